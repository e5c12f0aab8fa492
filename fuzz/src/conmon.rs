//! podling-monitor in conmon's place: a command line up to what it asks for, lines of the control fifos, and what is told
//! on the sync pipe, which is one short line of JSON whatever the runtime has said.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;

use nix::unistd::Pid;
use podling::monitor::conmon::understand;
use podling::monitor::control::{Control, Order};
use podling::monitor::manner::Fifo;
use podling::monitor::report::{self, News};

use crate::{Scratch, choice};

/// What Podman reads in one piece.
const LINE_MAX: usize = 4096;

/// After a byte: 0 a command line, a word on each line; 1 and 2 what is written to `ctl` and `winsz`; 3 what a runtime says.
pub fn conmon(data: &[u8]) {
    match choice(data, 4) {
        (0, words) => command_line(words),
        (1, orders) => control(orders, false),
        (2, orders) => control(orders, true),
        (_, said) => tell(said, &["--api-version", "1"]),
    }
}

fn words(data: &[u8]) -> Vec<OsString> {
    data.split(|byte| *byte == b'\n').map(|word| OsString::from_vec(word.to_vec())).collect()
}

fn command_line(data: &[u8]) {
    match understand(&words(data)) {
        Ok((config, manner)) => {
            assert!(config.bundle.is_absolute() && config.pid_file.is_absolute(), "the monitor computes no path");
            assert!(manner.attach.iter().all(|path| path.is_absolute()));
            one_line((manner.words)(&News::Refused(data, 1)));
        }
        Err(error) => assert!(!podling::hint::line(&error).is_empty()),
    }
}

/// However the lines are cut into writes, the same orders come.
fn control(data: &[u8], only_sizes: bool) {
    let orders = |size: usize| {
        let scratch = Scratch::new();
        let path = scratch.0.join("ctl");
        let mut control = Control::open(Fifo { path: path.clone(), only_sizes, stays: false }).expect("a fifo");
        let mut fifo = OpenOptions::new().write(true).open(path).expect("it was made");
        let mut orders = Vec::new();
        for chunk in data.chunks(size) {
            fifo.write_all(chunk).expect("room, since it is read");
            // A read takes no more than it has room for.
            (0..=chunk.len() / 256).for_each(|_| orders.extend(control.read()));
        }
        control.close();
        orders
    };
    let at_once = orders(4096);
    assert_eq!(orders(7), at_once);
    let lines = data.iter().filter(|byte| **byte == b'\n').count();
    assert!(at_once.len() <= lines, "an order that nobody gave");
    if only_sizes {
        assert!(at_once.iter().all(|order| matches!(order, Order::Resize(..))));
    }
}

fn tell(said: &[u8], before: &[&str]) {
    let rest = ["-c", "fuzz", "-u", "fuzz", "-r", "/bin/sh", "-b", "/", "-l", "none"];
    let words: Vec<OsString> = before.iter().chain(&rest).map(OsString::from).collect();
    let (_, manner) = understand(&words).expect("conmon's own command line");
    let error = anyhow::anyhow!("{}", String::from_utf8_lossy(said));
    for news in [News::Created(Pid::this()), News::Refused(said, 1), News::Failed(&error)] {
        one_line((manner.words)(&news));
        let own = report::podling(&news).expect("podling tells everything");
        assert!(!own.contains('\n') && serde_json::from_str::<podling::handover::StartReport>(&own).is_ok());
    }
}

fn one_line(told: Option<String>) {
    let Some(line) = told else { return };
    assert!(!line.contains('\n') && line.len() < LINE_MAX, "{} bytes", line.len());
    let json: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert!(json.as_object().is_some_and(|object| object.values().any(serde_json::Value::is_number)));
}
