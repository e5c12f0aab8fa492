//! What differs between those who call us, and nothing else.
//!
//! podling's engine and a caller of `conmon` ask the same of a monitor: keep the output, let people attach, wait, record
//! the end. But they want it told in other words, in other files, and each wants a little that the other does not. That
//! is written down here, as data that the rest obeys; no other file asks who called.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use nix::unistd::{Pid, getppid};

use super::exit::{Afterwards, Records};
use super::gate::Gate;
use super::report::{self, Words};
use crate::handover::{LogConfig, MonitorConfig, NotifyRelay, Task};

/// How this monitor deals with its caller.
pub struct Manner {
    /// Whose foreground the container is: that client may hold it back.
    pub caller: Option<Pid>,
    /// What the report's lines look like.
    pub words: Words,
    /// How long the report is heard.
    pub hears: Hears,
    /// Where our own pid and start time are written.
    pub pid_file: Option<PathBuf>,
    /// What is left on disk of the end.
    pub records: Records,
    /// Attached clients get the record, too, as the last packet.
    pub farewell: bool,
    /// Which client's going ends the container's input.
    pub input: InputEnds,
    /// The socket to attach to, if there is one.
    pub attach: Option<PathBuf>,
    /// The fifos for orders.
    pub fifos: Vec<Fifo>,
    /// Where the runtime sends a terminal.
    pub console: PathBuf,
    /// Further options of the runtime's sub-command.
    pub runtime_words: Vec<String>,
    /// Before the runtime is called, the caller says that he is ready.
    pub gate: Option<Gate>,
    /// Descriptors that the caller wants open for as long as the container runs.
    pub held: Vec<OwnedFd>,
    /// The container may tell systemd that it is ready.
    pub relay: Option<NotifyRelay>,
    /// What else is asked of logs.
    pub logs: MoreLogs,
    /// What is run when all is recorded.
    pub afterwards: Afterwards,
}

/// How long the report is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hears {
    /// Until the container exists.
    Start,
    /// Until it has ended.
    End,
    /// And whoever listens then does at once what the exit command would do: it waits until he has gone.
    EndAndTidies,
}

/// Which client's going ends the container's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputEnds {
    /// One that has said so, or had been typing into a pipe; from a terminal its user only walked away.
    Typist,
    /// Anybody's.
    Anybody,
    /// Nobody's.
    Nobody,
}

/// A fifo for orders, and what a line in it looks like.
pub struct Fifo {
    /// Where.
    pub path: PathBuf,
    /// Its lines are two numbers, rows and columns, without a first one that says which order it is.
    pub only_sizes: bool,
    /// Its name stays when we go.
    pub stays: bool,
}

/// What else is asked of logs.
#[derive(Default)]
pub struct MoreLogs {
    /// Logs beside the first.
    pub beside: Vec<LogConfig>,
    /// Further fields for the journal, `NAME=value`.
    pub labels: Vec<String>,
    /// Files get so many bytes in all, and no more.
    pub max_total: Option<u64>,
    /// When all is written, wait for the disk.
    pub durable: bool,
}

impl Manner {
    /// podling's.
    pub fn podling(config: &MonitorConfig) -> Self {
        // The engine and the exit command do the same: the bundle (or the session's process file) says whether it is done.
        let undone = match &config.task {
            Task::Exec { process } => process,
            Task::Create | Task::Restore { .. } => &config.bundle,
        };
        Self {
            // Asked for now, because a parent that ends is replaced by another.
            caller: config.foreground.then(getppid),
            words: Box::new(report::podling),
            hears: if config.foreground { Hears::EndAndTidies } else { Hears::Start },
            pid_file: Some(config.monitor_pid_file.clone()),
            records: Records {
                files: vec![config.exit_file.clone()],
                text: |record| serde_json::to_vec(record).unwrap_or_default(),
                ooms: Vec::new(),
                reserved: true,
            },
            farewell: true,
            input: InputEnds::Typist,
            attach: Some(config.attach_socket.clone()),
            fifos: vec![Fifo { path: config.control_fifo.clone(), only_sizes: false, stays: false }],
            console: config.attach_socket.with_file_name("console"),
            runtime_words: Vec::new(),
            gate: None,
            held: Vec::new(),
            relay: config.notify.clone(),
            logs: MoreLogs::default(),
            afterwards: Afterwards {
                words: config.exit_command.clone(),
                delay: Duration::ZERO,
                only_with: Some(undone.clone()),
                after_failure: false,
            },
        }
    }
}
