//! What our programs hand to each other: plain data, in files that a person can `cat`.
//!
//! The engine, the monitor and the runtime never name one another's code. They meet here: the engine writes a
//! [`MonitorConfig`], the monitor answers with a [`StartReport`] and, when the container ends, an [`ExitRecord`]. For
//! what goes to the runtime the field has a standard, `oci_spec::runtime::Spec`.
//!
//! The subtlety: every path here is absolute and was computed by the engine. The monitor computes none, so the layout of
//! the store is known in one place.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The annotation of a bundle by which podling-runtime is asked, with the value `true`, to stay as pid 1 (`--init`).
pub const INIT_ANNOTATION: &str = "podling.init";

/// crun's annotation, which podling-runtime heeds too: with the value `1` the container's program keeps the groups of
/// whoever starts it (`--group-add keep-groups`).
pub const KEEP_GROUPS_ANNOTATION: &str = "run.oci.keep_original_groups";

/// The version of OCI's runtime specification that our configurations name: the oldest with all that they use. A runtime
/// refuses a version that it does not know (crun 1.8 knows 1.0 only), whatever the configuration asks of it.
pub const CONFIG_VERSION: &str = "1.0.2";

/// Everything podling-monitor needs, from `monitor.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MonitorConfig {
    /// The container's id (64 hexadecimal digits), and its name for log tags.
    pub id: String,
    /// The container's name.
    pub name: String,
    /// The OCI runtime's program, and the options that go before its sub-command (`--root …`).
    pub runtime: PathBuf,
    /// Options before the runtime's sub-command.
    pub runtime_options: Vec<String>,
    /// Create a container, or run a process in one that runs.
    pub task: Task,
    /// The bundle: the directory that holds `config.json`.
    pub bundle: PathBuf,
    /// Where the runtime writes the container's (or the exec session's) pid.
    pub pid_file: PathBuf,
    /// Where the monitor writes its own pid.
    pub monitor_pid_file: PathBuf,
    /// Where the [`ExitRecord`] goes, by rename, before anybody is told.
    pub exit_file: PathBuf,
    /// The socket (`SOCK_SEQPACKET`) for clients that attach; see [`crate::handover::packet`].
    pub attach_socket: PathBuf,
    /// A fifo for orders: `1 ROWS COLUMNS` resizes the terminal, `2 0 0` reopens the log.
    pub control_fifo: PathBuf,
    /// Give the process a terminal.
    pub terminal: bool,
    /// Its first size (rows, columns), if the terminal of whoever asked is known.
    pub terminal_size: Option<(u16, u16)>,
    /// What standard input is.
    pub stdin: Stdin,
    /// Where output is logged.
    pub log: LogConfig,
    /// Kill the container after so many seconds.
    pub timeout: Option<u64>,
    /// How many descriptors from 3 on, which our caller has open, the process gets.
    pub preserve_fds: u32,
    /// Pass on a container's word that it is ready.
    pub notify: Option<NotifyRelay>,
    /// Be the child of a service manager, which sees only its children end: go on in a copy that it adopts.
    pub adopted: bool,
    /// Stay on the first process's report pipe and send the [`ExitRecord`] there too, because whoever started us waits.
    pub foreground: bool,
    /// Run this when all is recorded: program and arguments (empty: nothing). It is `podling container cleanup ID`.
    pub exit_command: Vec<String>,
}

/// A socket in the container's reach, and whose socket what is said there is passed on to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NotifyRelay {
    /// Ours.
    pub socket: PathBuf,
    /// The service manager's (`@` begins an abstract address).
    pub manager: String,
}

/// What the monitor asks of the runtime.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// `runtime create`; the engine itself calls `runtime start` later.
    Create,
    /// `runtime exec --process FILE --detach`.
    Exec {
        /// The OCI process to run, as a JSON file.
        process: PathBuf,
    },
    /// `runtime restore --detach`: the container of a checkpoint, which runs at once.
    Restore {
        /// The checkpoint's directory.
        image: PathBuf,
    },
}

impl Task {
    /// Whether it is a process in a container that runs already.
    pub fn is_exec(&self) -> bool {
        matches!(self, Self::Exec { .. })
    }
}

/// What a container's standard input is.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Stdin {
    /// /dev/null.
    Null,
    /// A pipe or terminal fed by whoever attaches; it closes when an attached client ends its side.
    Open,
}

/// Where a container's output is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LogConfig {
    /// The format.
    pub driver: LogDriver,
    /// The file, for the drivers that have one.
    pub path: PathBuf,
    /// Start a new file after so many bytes, if set.
    pub max_size: Option<u64>,
    /// The tag, for the drivers that carry one.
    pub tag: Option<String>,
}

/// The ways to keep output.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum LogDriver {
    /// `TIME stdout F text` a line, as Kubernetes has it.
    K8sFile,
    /// Docker's: `{"log":"text\n","stream":"stdout","time":"…"}` a line.
    JsonFile,
    /// The systemd journal.
    Journald,
    /// Nothing is kept.
    None,
    /// The container has the monitor's own standard streams; nothing passes through us.
    Passthrough,
}

// ANCHOR: report
/// The monitor's answer to whoever started it: one line of JSON on its standard output.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum StartReport {
    /// The container (or exec session) exists, with this pid in our pid namespace.
    Created {
        /// The pid.
        pid: i32,
    },
    /// It does not.
    Failed {
        /// What the runtime said, in one line.
        message: String,
        /// The runtime's exit status.
        status: i32,
    },
}
// ANCHOR_END: report

// ANCHOR: end
/// How a container or an exec session ended.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct ExitRecord {
    /// What a shell would call its exit status: 128 + signal number if a signal ended it.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The kernel killed a process of it for want of memory.
    pub oom: bool,
    /// `--timeout` ended it.
    pub timed_out: bool,
    /// When it ended, in RFC 3339.
    pub finished: String,
}
// ANCHOR_END: end

/// The packets on the attach socket; conmon's, plus one.
pub mod packet {
    /// First byte of a packet from the monitor: what follows (up to 8192 bytes) came from standard output.
    pub const STDOUT: u8 = 2;
    /// … from standard error.
    pub const STDERR: u8 = 3;
    /// … is the [`super::ExitRecord`] in JSON; the last packet. conmon does not send it.
    pub const EXIT: u8 = 4;
    /// The most bytes after the first in one packet from the monitor.
    pub const OUTPUT_MAX: usize = 8192;
    /// The most bytes of standard input in one packet from a client. An end of input is `shutdown(SHUT_WR)`.
    pub const INPUT_MAX: usize = 32768;
}
