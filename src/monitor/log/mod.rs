//! Where a container's output is kept.
//!
//! Each driver gets what one read brought, which may hold many lines, one, or a part of one, and keeps it the way its
//! field's readers expect: Kubernetes' and Docker's files, or the journal. None may stop the container: when a disk is
//! full the lines are lost, not the program. So it is with conmon, too, which however goes on behind half a line, and
//! leaves a log that Podman refuses to read.

mod file;
mod journald;
mod json;
mod k8s;

use anyhow::{Context, Result};

use self::file::LogFile;
use self::journald::Journal;
use self::json::JsonFile;
use self::k8s::K8sFile;
use super::manner::MoreLogs;
use crate::handover::{LogDriver, MonitorConfig};

/// Which of the two output streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output; also all of a terminal's output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// Its name in log files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// All that is kept; often it is one, and may be none.
pub struct Log {
    kept: Vec<Kept>,
    durable: bool,
}

/// An open log.
enum Kept {
    /// Kubernetes' format.
    K8s(K8sFile),
    /// Docker's.
    Json(JsonFile),
    /// systemd's journal.
    Journal(Journal),
}

impl Log {
    /// Opens the logs that `config` and `more` ask for.
    pub fn open(config: &MonitorConfig, more: &MoreLogs) -> Result<Self> {
        let mut kept = Vec::new();
        for log in std::iter::once(&config.log).chain(&more.beside) {
            let file = || {
                LogFile::open(log, more.max_total).with_context(|| format!("opening the log {}", log.path.display()))
            };
            match log.driver {
                LogDriver::None | LogDriver::Passthrough => {}
                LogDriver::K8sFile => kept.push(Kept::K8s(K8sFile::new(file()?))),
                LogDriver::JsonFile => kept.push(Kept::Json(JsonFile::new(file()?))),
                LogDriver::Journald => kept.push(Kept::Journal(Journal::open(config, log, &more.labels)?)),
            }
        }
        Ok(Self { kept, durable: more.durable })
    }

    /// Keeps what one read brought.
    pub fn keep(&mut self, stream: Stream, bytes: &[u8]) {
        for kept in &mut self.kept {
            match kept {
                Kept::K8s(log) => log.keep(stream, bytes),
                Kept::Json(log) => log.keep(stream, bytes),
                Kept::Journal(log) => log.keep(stream, bytes),
            }
        }
    }

    /// Keeps the last lines that had no end: no more will come.
    pub fn finish(&mut self) {
        for kept in &mut self.kept {
            match kept {
                Kept::K8s(_) => {}
                Kept::Json(log) => log.finish(),
                Kept::Journal(log) => log.finish(),
            }
        }
        if self.durable {
            self.files().for_each(|file| file.sync());
        }
    }

    /// Goes on in a new file of the same name, after somebody has moved the old one away.
    pub fn reopen(&mut self) {
        self.files().for_each(LogFile::reopen);
    }

    fn files(&mut self) -> impl Iterator<Item = &mut LogFile> {
        self.kept.iter_mut().filter_map(|kept| match kept {
            Kept::K8s(log) => Some(&mut log.file),
            Kept::Json(log) => Some(&mut log.file),
            Kept::Journal(_) => None,
        })
    }
}

/// A line that waits for its end, for the drivers that keep whole lines only.
#[derive(Default)]
pub struct Begun {
    text: Vec<u8>,
}

impl Begun {
    /// Calls `line` for each line of `bytes`, the first one with what waited before it, and lets the rest wait; a line
    /// longer than `limit` is passed on in parts. The second argument of `line` says whether its newline (which is not
    /// passed) was there.
    pub fn split(&mut self, bytes: &[u8], limit: usize, mut line: impl FnMut(&[u8], bool)) {
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            let (text, whole) = part.strip_suffix(b"\n").map_or((part, false), |text| (text, true));
            if whole && self.text.is_empty() && text.len() <= limit {
                line(text, true);
                continue;
            }
            self.text.extend_from_slice(text);
            while self.text.len() > limit {
                let cut = character_end(&self.text, limit);
                line(&self.text[..cut], false);
                self.text.drain(..cut);
            }
            if whole {
                line(&self.text, true);
                // The memory goes too: most containers write whole lines, and the monitor stays small.
                self.text = Vec::new();
            }
        }
    }

    /// Calls `line` with what still waits, if anything.
    pub fn finish(&mut self, line: impl FnOnce(&[u8], bool)) {
        let text = std::mem::take(&mut self.text);
        if !text.is_empty() {
            line(&text, false);
        }
    }
}

/// The largest number of bytes up to `limit` that does not cut a UTF-8 character (text that is not UTF-8 is cut anywhere).
fn character_end(text: &[u8], limit: usize) -> usize {
    let continues = |index: &usize| text[*index] & 0xc0 == 0x80;
    (limit.saturating_sub(3).max(1)..=limit).rev().find(|index| !continues(index)).unwrap_or(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However the output is cut into reads, the lines are the same.
    #[test]
    fn lines_do_not_depend_on_how_reads_cut_them() {
        let text = "one\n\ntwo \u{2603} snow\nmuch longer than the limit \u{e9}\u{e9}\u{e9}\nno end";
        let lines = |sizes: &[usize]| {
            let (mut begun, mut seen, mut rest) = (Begun::default(), Vec::new(), text.as_bytes());
            for size in sizes.iter().cycle() {
                let (read, later) = rest.split_at((*size).min(rest.len()));
                begun.split(read, 10, |line, whole| seen.push((line.to_vec(), whole)));
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            begun.finish(|line, whole| seen.push((line.to_vec(), whole)));
            seen
        };
        let whole = lines(&[1000]);
        for sizes in [&[1][..], &[2], &[3, 1], &[7, 2, 5], &[10], &[11], &[64]] {
            assert_eq!(lines(sizes), whole, "reads of {sizes:?}");
        }
        let mut again = Vec::new();
        for (line, ended) in &whole {
            assert!(line.len() <= 10 && std::str::from_utf8(line).is_ok(), "{line:?}");
            again.extend_from_slice(line);
            if *ended {
                again.push(b'\n');
            }
        }
        assert_eq!(again, text.as_bytes(), "nothing is lost");
    }
}
