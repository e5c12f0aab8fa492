//! Logs, read: what a container's monitor kept of its output.
//!
//! Two formats in files (Kubernetes' `TIME STREAM F|P text`, Docker's JSON) and the journal, which `journalctl` reads for
//! us. Nobody asks the monitor anything: it appends, we read, and with `--follow` the kernel tells us when there is more.
//!
//! The subtlety is when to stop following: not when the container's process ends, for its monitor may still hold lines,
//! but when the monitor has ended. Then the file is whole, and is read once more.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use jiff::Timestamp;
use nix::poll::PollTimeout;
use nix::unistd::Pid;

use super::container::Container;
use super::failure::Failure;
use super::follow::{self, Lines, Watched};
use crate::handover::{LogConfig, LogDriver};
use crate::linux::process::Process;

/// What of a log is wanted.
#[derive(Debug, Clone, Default)]
pub struct LogRequest {
    /// Wait for more until the container ends.
    pub follow: bool,
    /// Only so many of the last lines (before following).
    pub tail: Option<usize>,
    /// Only what is not older.
    pub since: Option<Timestamp>,
    /// Only what is not younger.
    pub until: Option<Timestamp>,
}

/// One line (or, with `partial`, a part of one that goes on in the next) of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Of which container: its place in the list that was asked for.
    pub container: usize,
    /// When it was written.
    pub time: Timestamp,
    /// Standard error, not standard output.
    pub error: bool,
    /// Its newline is still to come.
    pub partial: bool,
    /// The text without its newline.
    pub text: Vec<u8>,
}

/// Calls `emit` for each line of the logs of `containers`: first what is there, in the order of time, then, with
/// `follow`, what comes.
pub fn read(containers: &[Container], request: &LogRequest, emit: &mut dyn FnMut(&Line) -> Result<()>) -> Result<()> {
    let mut sources = Vec::new();
    for (index, container) in containers.iter().enumerate() {
        sources.push(Source::open(container, index, request)?);
    }
    history(&mut sources, request, emit)?;
    if request.follow { follow_all(&mut sources, request, emit) } else { Ok(()) }
}

/// Calls `emit` for each line of a log file that nobody writes any more.
pub fn read_file(log: &LogConfig, request: &LogRequest, emit: &mut dyn FnMut(&Line) -> Result<()>) -> Result<()> {
    let parse =
        parser(log.driver).map_err(|driver| Failure::Invalid(format!("no log file: the driver is {driver}")))?;
    let lines = Lines::open(&log.path, Watched::No)?;
    history(&mut [Source { container: 0, parse, lines, monitor: None }], request, emit)
}

/// What is there.
fn history(sources: &mut [Source], request: &LogRequest, emit: &mut dyn FnMut(&Line) -> Result<()>) -> Result<()> {
    let alone = sources.len() == 1;
    let mut history = Vec::new();
    for source in &mut *sources {
        // Nothing to wait for and nothing to put in order: a log may be larger than the memory.
        if alone && request.tail.is_none() {
            source.present(&mut |line| if request.wants(&line) { emit(&line) } else { Ok(()) })?;
            continue;
        }
        let mut last = Last::new(request.tail.unwrap_or(usize::MAX));
        source.present(&mut |line| {
            if request.wants(&line) {
                last.push(line);
            }
            Ok(())
        })?;
        history.extend(last.lines);
    }
    if !alone {
        history.sort_by_key(|line: &Line| line.time);
    }
    history.iter().try_for_each(emit)
}

/// The last lines of a log that is longer; the parts of a line count as one.
struct Last {
    most: usize,
    lines: VecDeque<Line>,
    /// How many of them are, or end, a line.
    ends: usize,
}

impl Last {
    fn new(most: usize) -> Self {
        Self { most, lines: VecDeque::new(), ends: 0 }
    }

    fn push(&mut self, line: Line) {
        self.ends += usize::from(!line.partial);
        let begun = usize::from(line.partial);
        self.lines.push_back(line);
        while self.ends + begun > self.most {
            while self.lines.pop_front().is_some_and(|line| line.partial) {}
            self.ends = self.ends.saturating_sub(1);
            if self.lines.is_empty() {
                break;
            }
        }
    }
}

fn follow_all(
    sources: &mut Vec<Source>,
    request: &LogRequest,
    emit: &mut dyn FnMut(&Line) -> Result<()>,
) -> Result<()> {
    loop {
        if request.until.is_some_and(|until| Timestamp::now() > until) {
            return Ok(());
        }
        let mut going = Vec::new();
        for mut source in sources.drain(..) {
            // Asked before the last read: what was written until then is read.
            let ended = source.monitor.as_ref().is_none_or(|monitor| monitor.has_ended().unwrap_or(true));
            source.lines(&mut |line| if request.wants(&line) { emit(&line) } else { Ok(()) })?;
            if !ended {
                going.push(source);
            }
        }
        *sources = going;
        if sources.is_empty() {
            return Ok(());
        }
        let timeout = match request.until {
            None => PollTimeout::NONE,
            Some(until) => {
                let left = until.as_millisecond() - Timestamp::now().as_millisecond();
                PollTimeout::try_from(left.clamp(0, 60_000) + 1)?
            }
        };
        let files = sources.iter().map(|source| &source.lines);
        let monitors = sources.iter().filter_map(|source| source.monitor.as_ref().map(AsFd::as_fd));
        follow::wait(files, monitors, timeout)?;
    }
}

impl LogRequest {
    fn wants(&self, line: &Line) -> bool {
        self.since.is_none_or(|since| line.time >= since) && self.until.is_none_or(|until| line.time <= until)
    }
}

type Parse = fn(&[u8]) -> Option<Line>;

/// What reads a driver's lines; the name of one that keeps no file.
fn parser(driver: LogDriver) -> Result<Parse, &'static str> {
    match driver {
        LogDriver::K8sFile => Ok(parse_k8s),
        LogDriver::JsonFile => Ok(parse_json),
        LogDriver::None => Err("none"),
        LogDriver::Passthrough => Err("passthrough"),
        LogDriver::Journald => Err("journald"),
    }
}

/// One container's log.
struct Source {
    container: usize,
    parse: Parse,
    lines: Lines,
    monitor: Option<Process>,
}

impl Source {
    fn open(container: &Container, index: usize, request: &LogRequest) -> Result<Self> {
        let log = &container.config.log;
        let parse = parser(log.driver).map_err(|driver| {
            Failure::Invalid(format!("{} has no log to read: its log driver is {driver}", container.name()))
        })?;
        let monitor = match container.monitor() {
            Some(monitor) if request.follow => Process::find(Pid::from_raw(monitor.pid), monitor.start_time)?,
            _ => None,
        };
        let watched = if monitor.is_some() { Watched::Yes } else { Watched::No };
        Ok(Self { container: index, parse, lines: Lines::open(&log.path, watched)?, monitor })
    }

    /// What the log holds at this moment.
    fn present(&mut self, each: &mut dyn FnMut(Line) -> Result<()>) -> Result<()> {
        let (container, parse) = (self.container, self.parse);
        self.lines.read_present(&mut |line| pass_on(container, parse(line), each))
    }

    /// All that was not read yet.
    fn lines(&mut self, each: &mut dyn FnMut(Line) -> Result<()>) -> Result<()> {
        let (container, parse) = (self.container, self.parse);
        self.lines.read(&mut |line| pass_on(container, parse(line), each))
    }
}

/// Passes over what could not be read: a line torn by a full disk hides no other.
fn pass_on(container: usize, line: Option<Line>, each: &mut dyn FnMut(Line) -> Result<()>) -> Result<()> {
    line.map_or(Ok(()), |line| each(Line { container, ..line }))
}

/// `2026-11-23T18:48:15.111763842+00:00 stdout F text`.
fn parse_k8s(line: &[u8]) -> Option<Line> {
    let mut words = line.splitn(4, |&byte| byte == b' ');
    let time = std::str::from_utf8(words.next()?).ok()?.parse().ok()?;
    let error = match words.next()? {
        b"stdout" => false,
        b"stderr" => true,
        _ => return None,
    };
    // The tag is a list (`F:more`), of which the first word counts.
    let partial = words.next()?.first() == Some(&b'P');
    Some(Line { container: 0, time, error, partial, text: words.next().unwrap_or_default().to_vec() })
}

/// `{"log":"text\n","stream":"stdout","time":"…"}`.
fn parse_json(line: &[u8]) -> Option<Line> {
    let value: serde_json::Value = serde_json::from_slice(line).ok()?;
    let log = value.get("log")?.as_str()?;
    let text = log.strip_suffix('\n');
    Some(Line {
        container: 0,
        time: value.get("time")?.as_str()?.parse().ok()?,
        error: value.get("stream")?.as_str()? == "stderr",
        partial: text.is_none(),
        text: text.unwrap_or(log).as_bytes().to_vec(),
    })
}

/// A container whose log is in the journal: `journalctl` reads it, in its own way with `-o cat` (or `-o short-iso`).
pub fn read_journal(container: &Container, request: &LogRequest, timestamps: bool) -> Result<i32> {
    let mut words = vec![
        format!("CONTAINER_ID_FULL={}", container.id()),
        "--no-pager".into(),
        "--quiet".into(),
        "--all".into(),
        format!("--output={}", if timestamps { "short-iso-precise" } else { "cat" }),
    ];
    words.push(request.tail.map_or_else(|| "--lines=all".into(), |tail| format!("--lines={tail}")));
    let monitor = match container.monitor() {
        Some(monitor) if request.follow => Process::find(Pid::from_raw(monitor.pid), monitor.start_time)?,
        _ => None,
    };
    // Nothing comes of a container that does not run, and journalctl would wait for it for ever.
    words.extend(monitor.is_some().then(|| "--follow".into()));
    for (option, time) in [("since", request.since), ("until", request.until)] {
        words.extend(time.map(|time| format!("--{option}=@{}", time.as_second())));
    }
    let mut reader = Command::new("journalctl")
        .args(&words)
        .stdin(Stdio::null())
        .spawn()
        .context("reading the journal with journalctl")?;
    if let Some(monitor) = monitor {
        monitor.await_end(PollTimeout::NONE)?;
        reader.kill().context("ending journalctl")?;
        reader.wait()?;
        return Ok(0);
    }
    Ok(reader.wait()?.code().unwrap_or(125))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_say_the_same() {
        let k8s = parse_k8s(b"2026-11-23T18:48:15.1+00:00 stderr P half a  line").expect("a line");
        let json = br#"{"log":"half a  line","stream":"stderr","time":"2026-11-23T18:48:15.1Z"}"#;
        assert_eq!(Some(&k8s), parse_json(json).as_ref());
        assert!(k8s.error && k8s.partial);
        assert_eq!(parse_k8s(b"2026-11-23T18:48:15Z stdout F ").expect("an empty line").text, b"");
        assert_eq!(parse_k8s(b"torn"), None);
    }

    fn line(number: usize, partial: bool) -> Line {
        let text = number.to_string().into_bytes();
        Line { container: 0, time: Timestamp::UNIX_EPOCH, error: false, partial, text }
    }

    fn last(most: usize, partial: &[bool]) -> String {
        let mut last = Last::new(most);
        partial.iter().enumerate().for_each(|(number, partial)| last.push(line(number, *partial)));
        last.lines.iter().map(|line| String::from_utf8_lossy(&line.text).into_owned()).collect()
    }

    #[test]
    fn the_parts_of_a_line_count_as_one() {
        let parts = [false, true, true, false, false, true];
        for (most, kept) in [(0, ""), (1, "5"), (2, "45"), (3, "12345"), (4, "012345"), (9, "012345")] {
            assert_eq!(last(most, &parts), kept, "the last {most}");
        }
    }

    /// To count all lines that are kept anew for each that comes would take hours.
    #[test]
    fn many_lines_of_many_are_found_in_one_pass() {
        let (all, most) = (1_000_000, 500_000);
        let mut last = Last::new(most);
        (0..all).for_each(|number| last.push(line(number, false)));
        assert_eq!((last.lines.len(), last.lines.front()), (most, Some(&line(all - most, false))));
    }
}
