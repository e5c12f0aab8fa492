//! Logs: what the monitor's writer keeps, the engine's reader gives back, however the output was cut into reads; and a log
//! that anybody wrote is read without harm, its last lines being the same lines.

use jiff::Timestamp;
use podling::engine::logs::{Line, LogRequest, read_file};
use podling::handover::{LogConfig, LogDriver, MonitorConfig, Stdin, Task};
use podling::monitor::log::{Log, Stream};
use podling::monitor::manner::MoreLogs;

use crate::{Scratch, choice};

/// After a byte: 0 and 1 output of a container, kept in Kubernetes' format and in Docker's, cut as a second byte says; 2 and
/// 3 such a log itself, of which as many lines are wanted as a second byte says.
pub fn log_lines(data: &[u8]) {
    let (way, data) = choice(data, 4);
    let (number, data) = choice(data, u8::MAX);
    let scratch = Scratch::new();
    let driver = if way % 2 == 0 { LogDriver::K8sFile } else { LogDriver::JsonFile };
    let log = LogConfig { driver, path: scratch.0.join("log"), max_size: None, tag: None };
    if way < 2 {
        keep_and_read(log, usize::from(number) + 1, data);
    } else {
        scratch.file("log", data);
        read_foreign(&log, usize::from(number));
    }
}

fn keep_and_read(log: LogConfig, size: usize, output: &[u8]) {
    // JSON holds text: other bytes are replaced on purpose.
    let lossy = log.driver == LogDriver::JsonFile;
    let output = if lossy { String::from_utf8_lossy(output).into_owned().into_bytes() } else { output.to_vec() };
    let config = monitored(log.clone());
    let mut kept = Log::open(&config, &MoreLogs::default()).expect("our own directory");
    let (first, second) = output.split_at(output.len() / 2);
    // A character cut between the streams would not come together again.
    let (first, second) = if lossy { (&output[..], &b""[..]) } else { (first, second) };
    let mut reads = [(Stream::Stdout, first.chunks(size)), (Stream::Stderr, second.chunks(size))];
    loop {
        let mut more = false;
        for (stream, chunks) in &mut reads {
            if let Some(chunk) = chunks.next() {
                kept.keep(*stream, chunk);
                more = true;
            }
        }
        if !more {
            break;
        }
    }
    kept.finish();
    let lines = read(&log, &LogRequest::default());
    for (is_error, written) in [(false, first), (true, second)] {
        let mut again = Vec::new();
        for line in lines.iter().filter(|line| line.error == is_error) {
            again.extend_from_slice(&line.text);
            again.extend((!line.partial).then_some(b'\n'));
        }
        assert_eq!(again, written, "standard {}", if is_error { "error" } else { "output" });
    }
}

fn read_foreign(log: &LogConfig, tail: usize) {
    let all = read(log, &LogRequest::default());
    let last = read(log, &LogRequest { tail: Some(tail), ..LogRequest::default() });
    assert!(all.ends_with(&last), "the last lines are other lines");
    let ends = |lines: &[Line]| lines.iter().filter(|line| !line.partial).count();
    assert!(ends(&last) <= tail, "more than {tail} lines");
    if ends(&all) >= tail && !all.last().is_some_and(|line| line.partial) {
        assert_eq!(ends(&last), tail, "fewer than {tail} lines, though there are");
    }
    if let Some(line) = all.get(all.len() / 2) {
        let since = read(log, &LogRequest { since: Some(line.time), ..LogRequest::default() });
        let until = read(log, &LogRequest { until: Some(line.time), ..LogRequest::default() });
        assert!(since.contains(line) && until.contains(line));
        let at = |lines: &[Line], time: Timestamp| lines.iter().filter(|line| line.time == time).count();
        assert_eq!(since.len() + until.len() - at(&all, line.time), all.len());
    }
}

fn read(log: &LogConfig, request: &LogRequest) -> Vec<Line> {
    let mut lines = Vec::new();
    let push = |line: &Line| {
        lines.push(line.clone());
        Ok(())
    };
    read_file(log, request, &mut { push }).expect("our own file");
    lines
}

/// A monitor's configuration, of which only the log matters.
fn monitored(log: LogConfig) -> MonitorConfig {
    MonitorConfig {
        id: String::new(),
        name: String::new(),
        runtime: "/bin/true".into(),
        runtime_options: Vec::new(),
        task: Task::Create,
        bundle: "/".into(),
        pid_file: "/".into(),
        monitor_pid_file: "/".into(),
        exit_file: "/".into(),
        attach_socket: "/".into(),
        control_fifo: "/".into(),
        terminal: false,
        terminal_size: None,
        stdin: Stdin::Null,
        log,
        timeout: None,
        preserve_fds: 0,
        notify: None,
        adopted: false,
        foreground: false,
        exit_command: Vec::new(),
    }
}
