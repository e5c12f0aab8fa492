//! A log file that may grow only so far, and is replaced then.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use crate::handover::LogConfig;
use crate::trace::{self, Topic};

/// How much is gathered before it is written.
const GATHER: usize = 16 * 1024;

/// A file that log lines are appended to.
pub struct LogFile {
    path: PathBuf,
    file: File,
    max_size: Option<u64>,
    /// The file's size, with what is gathered.
    size: u64,
    /// Of all files of this name together: how much there may be, and how much there was.
    max_total: Option<u64>,
    total: u64,
    gathered: Vec<u8>,
    /// The last write stopped inside a line (the disk was full): the next must not continue that line.
    torn: bool,
}

impl LogFile {
    /// Opens it; a container that is started again continues its log.
    pub fn open(config: &LogConfig, max_total: Option<u64>) -> io::Result<Self> {
        let file = trace::ask(Topic::Monitor, "open", format_args!("{} O_APPEND", config.path.display()), || {
            append(&config.path)
        })?;
        let size = file.metadata()?.len();
        let (path, max_size) = (config.path.clone(), config.max_size);
        Ok(Self { path, file, max_size, size, max_total, total: 0, gathered: Vec::new(), torn: false })
    }

    /// Adds one line, which `frame` writes.
    pub fn line(&mut self, frame: impl FnOnce(&mut Vec<u8>)) {
        if self.max_total.is_some_and(|max| self.total >= max) {
            return;
        }
        let before = self.gathered.len();
        frame(&mut self.gathered);
        let length = (self.gathered.len() - before) as u64;
        if self.max_size.is_some_and(|max| self.size > 0 && self.size + length > max) {
            let line = self.gathered.split_off(before);
            self.flush();
            self.rotate();
            self.gathered = line;
        }
        self.size += length;
        self.total += length;
        if self.gathered.len() >= GATHER {
            self.flush();
        }
    }

    /// Writes what is gathered; called once for each read of the container's output.
    pub fn flush(&mut self) {
        if self.gathered.is_empty() {
            return;
        }
        if std::mem::take(&mut self.torn) {
            self.gathered.insert(0, b'\n');
        }
        self.torn = self.file.write_all(&self.gathered).is_err();
        self.gathered.clear();
        // A burst of short lines must not keep its memory for the container's life.
        self.gathered.shrink_to(4096);
    }

    /// Waits until the disk has it. An error is no reason to stop: the file was kept as well as it could be.
    pub fn sync(&self) {
        let _ = self.file.sync_data();
    }

    /// Starts anew under the same name, as conmon does: whoever reads the old file can finish it.
    fn rotate(&mut self) {
        let mut fresh = self.path.clone().into_os_string();
        fresh.push(".tmp");
        let opened = trace::ask(Topic::Monitor, "rename", format_args!("{0}.tmp {0}", self.path.display()), || {
            let _ = fs::remove_file(&fresh);
            let file = append(&PathBuf::from(&fresh))?;
            fs::rename(&fresh, &self.path)?;
            Ok::<_, io::Error>(file)
        });
        // If not even a new file can be made, the old one goes on growing: output is worth more than the limit.
        if let Ok(file) = opened {
            self.file = file;
            self.torn = false;
        }
        self.size = 0;
    }

    /// Opens the file that has the log's name now.
    pub fn reopen(&mut self) {
        self.flush();
        if let Ok(file) = append(&self.path) {
            self.size = file.metadata().map_or(0, |metadata| metadata.len());
            self.file = file;
            self.torn = false;
        }
    }
}

fn append(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handover::LogDriver;

    #[test]
    fn a_full_file_is_replaced_between_lines() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        let config = LogConfig { driver: LogDriver::K8sFile, path: path.clone(), max_size: Some(30), tag: None };
        let mut log = LogFile::open(&config, None).expect("a log");
        for number in 0..100 {
            log.line(|out| out.extend_from_slice(format!("line {number:03}\n").as_bytes()));
            if number % 7 == 0 {
                log.flush();
            }
        }
        log.flush();
        let text = fs::read_to_string(&path).expect("a log");
        assert_eq!(text, "line 099\n", "33 files of three lines came before");
        assert!(!directory.path().join("log.tmp").exists());
    }

    #[test]
    fn a_moved_file_is_left_alone_after_reopening() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        let config = LogConfig { driver: LogDriver::K8sFile, path: path.clone(), max_size: None, tag: None };
        let mut log = LogFile::open(&config, None).expect("a log");
        log.line(|out| out.extend_from_slice(b"one\n"));
        fs::rename(&path, directory.path().join("old")).expect("moved");
        log.reopen();
        log.line(|out| out.extend_from_slice(b"two\n"));
        log.flush();
        assert_eq!(fs::read_to_string(directory.path().join("old")).expect("old"), "one\n");
        assert_eq!(fs::read_to_string(&path).expect("new"), "two\n");
    }
}
