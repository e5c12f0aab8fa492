//! A container: what was decided about it, and what its files say of it now.
//!
//! [`ContainerConfig`] is `container.json`, written once. Everything that changes is *derived*: the status is not stored
//! anywhere, so it cannot be wrong after a crash or a reboot. A live process (a pid with its start time) means running;
//! `exit.json` means exited; neither means created.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::broken::Broken;
pub use super::config::{ContainerConfig, Init, MountConfig, MountSource, Root};
use super::store::{Paths, read_if_there};
use crate::handover::{ExitRecord, MonitorConfig};
use crate::linux::process::Stat;

/// A container in the store.
#[derive(Debug, Clone)]
pub struct Container {
    /// What was decided.
    pub config: ContainerConfig,
    /// `$DATA/containers/<id>`.
    pub data: PathBuf,
    /// `$RUN/containers/<id>`.
    pub run: PathBuf,
}

/// The container's first process: `process.json` in `$RUN`, written when the monitor reported it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its pid, in the pid namespace of whoever started it.
    pub pid: i32,
    /// Its start time: clock ticks since boot, field 22 of /proc/PID/stat.
    pub start_time: u64,
}

/// The last start: `started.json` in `$DATA`, written when the container's program was let go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// When, RFC 3339.
    pub at: String,
    /// How often the restart policy has started it since a person did.
    pub restarts: u32,
}

/// What its files say of a container now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Never started (since `exit.json` was removed).
    Created,
    /// The process exists and waits to be let go (`podling init`).
    Initialized(Process),
    /// It runs.
    Running(Process),
    /// It is frozen.
    Paused(Process),
    /// It ended.
    Exited(ExitRecord),
}

impl Status {
    /// Podman's word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Initialized(_) => "initialized",
            Self::Running(_) => "running",
            Self::Paused(_) => "paused",
            Self::Exited(_) => "exited",
        }
    }

    /// The live process, if there is one.
    pub fn process(&self) -> Option<Process> {
        match self {
            Self::Initialized(process) | Self::Running(process) | Self::Paused(process) => Some(*process),
            Self::Created | Self::Exited(_) => None,
        }
    }

    /// Whether its program runs (frozen or not).
    pub fn is_running(&self) -> bool {
        matches!(self, Self::Running(_) | Self::Paused(_))
    }
}

impl Process {
    /// Believes `pid` now: remembers when it started.
    pub fn of(pid: i32) -> Option<Self> {
        Some(Self { pid, start_time: start_time(pid)? })
    }

    /// Whether this very process still lives (a zombie does not).
    pub fn lives(&self) -> bool {
        start_time(self.pid) == Some(self.start_time)
    }

    /// Its root directory, held. Opened first, looked at after: if the process still lives then, the number meant no other
    /// while we opened it.
    pub fn root(&self) -> Result<File> {
        let path = format!("/proc/{}/root", self.pid);
        let root = File::open(&path).with_context(|| format!("opening {path}"))?;
        ensure!(self.lives(), "process {} has ended", self.pid);
        Ok(root)
    }
}

/// The first twelve digits of an id; all of one that is none, since a directory may have any name.
pub(super) fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// When process `pid` started; none if there is no such process, or if it is dead and only not yet reaped.
fn start_time(pid: i32) -> Option<u64> {
    let stat = Stat::of(Pid::from_raw(pid)).ok()??;
    stat.lives().then_some(stat.start_time)
}

impl Container {
    /// Reads the container with this id; none if there is none (or it is only half made). Fails with [`Broken`].
    pub fn read(paths: &Paths, id: &str) -> Result<Option<Self>> {
        let data = paths.container(id);
        let file = data.join("container.json");
        let config = (|| {
            let Some(content) = read_if_there(&file)? else { return Ok(None) };
            let config: ContainerConfig =
                serde_json::from_slice(&content).with_context(|| format!("reading {}", file.display()))?;
            if config.id != id {
                bail!("{} is that of container {}", file.display(), config.id);
            }
            Ok(Some(config))
        })();
        let config = config.map_err(|why| Broken::error(paths, id, &why))?;
        Ok(config.map(|config| Self { config, data, run: paths.running(id) }))
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.config.id
    }

    /// The first twelve digits of its id.
    pub fn short_id(&self) -> &str {
        short(&self.config.id)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Where it is, according to its files.
    pub fn status(&self) -> Status {
        if let Some(process) = self.process() {
            return if !self.was_let_go() {
                Status::Initialized(process)
            } else if frozen(process.pid) {
                Status::Paused(process)
            } else {
                Status::Running(process)
            };
        }
        // Between a process's end and its record its monitor still passes on what was said last. The monitor is asked
        // for first: if it is gone, whatever it had to record is there.
        let monitored = self.monitor().is_some();
        match (self.exit(), self.started()) {
            (Some(record), _) => Status::Exited(record),
            (None, Some(_)) if monitored && let Some(ending) = read_json(&self.run.join("process.json")) => {
                Status::Running(ending)
            }
            // It was let go, it is gone, and nobody saw how: its monitor was killed, or the machine lost its power.
            (None, Some(started)) => Status::Exited(ExitRecord {
                code: -1,
                signal: None,
                oom: false,
                timed_out: false,
                finished: started.at,
            }),
            (None, None) => Status::Created,
        }
    }

    /// Whether its last run came so far that the program was let go, or may have been; none since it was cleared away.
    pub fn ran(&self) -> bool {
        self.run.join("process.json").exists() && self.data.join("started.json").exists()
    }

    /// Whether the program of its live process has been let go. A note says so; but of a command that was killed before it
    /// could write that, only the runtime knows whether it came to `runtime start`.
    fn was_let_go(&self) -> bool {
        self.run.join("started").exists() || (self.ran() && self.runtime_says_it_runs())
    }

    /// Asks the runtime, as the monitor was told to call it.
    fn runtime_says_it_runs(&self) -> bool {
        let Some(config) = read_json::<MonitorConfig>(&self.run.join("monitor.json")) else { return false };
        let mut command = Command::new(config.runtime);
        command.args(config.runtime_options).args(["state", self.id()]).stdin(Stdio::null());
        let said = command.output().map(|output| output.stdout).unwrap_or_default();
        let state: serde_json::Value = serde_json::from_slice(&said).unwrap_or_default();
        state["status"].as_str().is_some_and(|status| status != "created")
    }

    /// Its live first process.
    pub fn process(&self) -> Option<Process> {
        let process: Process = read_json(&self.run.join("process.json"))?;
        process.lives().then_some(process)
    }

    /// Its live monitor.
    pub fn monitor(&self) -> Option<Process> {
        monitor_in(&self.run)
    }

    /// A live command that has its root file system mounted while it does not run (`cp`, `export`).
    pub fn holder(&self) -> Option<Process> {
        let mut files = fs::read_dir(self.holders()).into_iter().flatten().flatten();
        files.find_map(|file| process_in(&file.path()))
    }

    /// Where such commands say so, a file each.
    pub fn holders(&self) -> PathBuf {
        self.run.join("mounted")
    }

    /// How it ended last.
    pub fn exit(&self) -> Option<ExitRecord> {
        read_json(&self.data.join("exit.json")).or_else(|| read_json(&self.run.join("exit.json")))
    }

    /// When it was started last.
    pub fn started(&self) -> Option<Started> {
        read_json(&self.data.join("started.json"))
    }

    /// The bundle.
    pub fn bundle(&self) -> PathBuf {
        self.run.join("bundle")
    }

    /// Where the overlay is mounted, in the mount namespaces of the monitor and of commands that mount it.
    pub fn rootfs(&self) -> PathBuf {
        match &self.config.root {
            Root::Directory(directory) => directory.clone(),
            Root::Image { .. } => self.bundle().join("rootfs"),
        }
    }

    /// The container's own layer.
    pub fn upper(&self) -> PathBuf {
        self.data.join("upper")
    }

    /// The monitor's socket for clients that attach.
    pub fn attach_socket(&self) -> PathBuf {
        self.run.join("attach")
    }

    /// The monitor's fifo for orders.
    pub fn control_fifo(&self) -> PathBuf {
        self.run.join("control")
    }

    /// The lock.
    pub fn lock_file(&self) -> PathBuf {
        self.data.join("lock")
    }
}

/// The live monitor whose files are in `directory`: `monitor.pid` holds "PID START_TIME".
pub(super) fn monitor_in(directory: &std::path::Path) -> Option<Process> {
    process_in(&directory.join("monitor.pid"))
}

/// The live process that a file names: "PID START_TIME".
pub(super) fn process_in(file: &std::path::Path) -> Option<Process> {
    let said = fs::read_to_string(file).ok()?;
    let mut words = said.split_ascii_whitespace().map(str::parse::<u64>);
    let (pid, start_time) = (words.next()?.ok()?, words.next()?.ok()?);
    let process = Process { pid: i32::try_from(pid).ok()?, start_time };
    process.lives().then_some(process)
}

/// Reads a file of `$DATA` or `$RUN`; none if it is absent or says nothing.
pub(super) fn read_json<T: for<'a> Deserialize<'a>>(file: &std::path::Path) -> Option<T> {
    serde_json::from_slice(&fs::read(file).ok()?).ok()
}

/// Whether the cgroup (v2) of `pid` is frozen, by itself or by one above it.
fn frozen(pid: i32) -> bool {
    let Ok(groups) = fs::read_to_string(format!("/proc/{pid}/cgroup")) else { return false };
    let Some(group) = groups.lines().find_map(|line| line.strip_prefix("0::/")) else { return false };
    ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].iter().any(|root| {
        fs::read_to_string(format!("{root}/{group}/cgroup.events"))
            .is_ok_and(|events| events.lines().any(|line| line == "frozen 1"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_is_believed_only_with_its_start_time() {
        let me = Process::of(std::process::id() as i32).expect("this process lives");
        assert!(me.lives());
        assert!(!Process { start_time: me.start_time + 1, ..me }.lives());
    }

    #[test]
    fn a_root_is_not_taken_from_another_process_of_the_same_number() {
        let me = Process::of(std::process::id() as i32).expect("this process lives");
        assert!(me.root().is_ok());
        assert!(Process { start_time: me.start_time + 1, ..me }.root().is_err());
    }
}
