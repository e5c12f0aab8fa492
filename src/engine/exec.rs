//! A further process in a running container.
//!
//! Two ways. Where our own standard streams are pipes, the runtime is our child and has them: the bytes pass through
//! nobody's hands, and its exit status is the process's. With a terminal, or detached, somebody must hold the terminal's
//! other end or record the end: a monitor of its own, for the time of the session.
//!
//! The subtlety is what a descriptor gives away. Whoever holds a file, were it only to read it, can open it anew through
//! /proc/self/fd, for writing if it is his; whoever holds a terminal hears what is typed, and goes on to after the command.
//! So a process gets pipes only, and where our streams are something else a monitor stands between.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{SFlag, fstat, makedev};
use serde_json::Value;

use super::attach::{AttachOptions, Attachment, Outcome};
use super::container::{Container, Process, Status};
use super::failure::Failure;
use super::lifecycle::wrong;
use super::request::ExecRequest;
use super::store::{make_private, read_if_there, write_whole};
use super::{Engine, names, service, spec};
use crate::handover::{ExitRecord, LogConfig, LogDriver, MonitorConfig, Stdin, Task};
use crate::linux::process::inherited;
use crate::linux::stat::kind;
use crate::trace::{self, Topic};

/// How `exec` went.
#[derive(Debug, Clone)]
pub enum ExecOutcome {
    /// It ended with this status.
    Exited(i32),
    /// The person detached.
    Detached,
    /// `-d`: the session's id.
    Started(String),
}

/// Whether there are so many descriptors from 3 on to be passed to a container.
pub(super) fn are_there(preserve_fds: u32) -> Result<()> {
    let there = inherited(preserve_fds);
    if there < preserve_fds {
        bail!(Failure::Invalid(format!(
            "file descriptor {} is not open: --preserve-fds passes on what this command was given",
            3 + there
        )));
    }
    Ok(())
}

/// Whether a process of a container may have our own standard streams: each it gets is a pipe, or swallows everything.
fn may_be_lent(request: &ExecRequest) -> bool {
    let harmless = |stream: BorrowedFd| {
        fstat(stream).is_ok_and(|it| match kind(&it) {
            SFlag::S_IFIFO => true,
            SFlag::S_IFCHR => it.st_rdev == makedev(1, 3),
            _ => false,
        })
    };
    (!request.interactive || harmless(std::io::stdin().as_fd()))
        && harmless(std::io::stdout().as_fd())
        && harmless(std::io::stderr().as_fd())
}

impl Engine {
    /// Runs a further process in a running container.
    pub fn exec(&self, container: &Container, request: &ExecRequest) -> Result<ExecOutcome> {
        let status = container.status();
        let Status::Running(process) = status else {
            return Err(wrong(container, &status, "can only create exec sessions on running containers"));
        };
        if request.command.is_empty() {
            bail!(Failure::Invalid("must provide a command to exec".into()));
        }
        if let Some(directory) = &request.working_dir
            && !directory.starts_with('/')
        {
            bail!(Failure::Invalid(format!("the working directory {directory:?} is not an absolute path")));
        }
        are_there(request.preserve_fds)?;
        self.enter(Some(container))?;
        let json = process_json(container, process, request)?;
        self.record(container, "exec", &[]);
        if request.detach || request.terminal || !may_be_lent(request) {
            return self.exec_monitored(container, request, &json);
        }
        let status = self.exec_directly(container, request, &json)?;
        self.record(container, "exec_died", &[("containerExitCode", &status.to_string())]);
        Ok(ExecOutcome::Exited(status))
    }

    fn exec_directly(&self, container: &Container, request: &ExecRequest, json: &Value) -> Result<i32> {
        // A file without a name: nothing to clean up. Not close-on-exec, for the runtime opens it through /proc.
        let mut file = File::from(memfd_create(c"process.json", MFdFlags::empty()).context("making process.json")?);
        file.write_all(&serde_json::to_vec(json)?)?;
        // What the runtime has to say itself stands there too, apart from what the process says and how it ends.
        let log = File::from(memfd_create(c"runtime.log", MFdFlags::empty()).context("making the runtime's log")?);
        let program = self.runtime(&container.config.runtime)?;
        let mut command = Command::new(&program);
        service::keep_from(&mut command);
        command.args(self.runtime_options(container)?);
        command.args(["--log", &format!("/proc/self/fd/{}", log.as_raw_fd()), "--log-format", "json", "exec"]);
        if request.preserve_fds > 0 {
            command.args(["--preserve-fds", &request.preserve_fds.to_string()]);
        }
        command.args(["--process", &format!("/proc/self/fd/{}", file.as_raw_fd()), container.id()]);
        if !request.interactive {
            command.stdin(Stdio::null());
        }
        trace::pass_on(&mut command);
        trace::say(Topic::Process, "execve", format_args!("{} exec {}", program.display(), container.short_id()), "ok");
        let status = command.status().with_context(|| format!("running the OCI runtime {}", program.display()))?;
        match complaint(log) {
            // It was printed already.
            Some(message) if !status.success() => Ok(Failure::from_runtime(&message).status()),
            _ => Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())),
        }
    }

    fn exec_monitored(&self, container: &Container, request: &ExecRequest, json: &Value) -> Result<ExecOutcome> {
        let keys = match &request.detach_keys {
            Some(keys) => keys.parse().map_err(|error| Failure::Invalid(format!("{error:#}")))?,
            None => super::detach::DetachKeys::default(),
        };
        let session = names::new_id()?;
        let directory = container.run.join("exec").join(&session);
        make_private(&directory)?;
        let file = directory.join("process.json");
        write_whole(&file, &serde_json::to_vec(json)?)?;
        let config = MonitorConfig {
            id: container.config.id.clone(),
            name: container.config.name.clone(),
            runtime: self.runtime(&container.config.runtime)?,
            runtime_options: self.runtime_options(container)?,
            task: Task::Exec { process: file },
            bundle: container.bundle(),
            pid_file: directory.join("pid"),
            monitor_pid_file: directory.join("monitor.pid"),
            exit_file: directory.join("exit.json"),
            attach_socket: directory.join("attach"),
            control_fifo: directory.join("control"),
            terminal: request.terminal,
            terminal_size: crate::sys::window_size(std::io::stdin().as_fd())
                .ok()
                .filter(|_| request.terminal && !request.detach),
            stdin: if request.interactive { Stdin::Open } else { Stdin::Null },
            log: LogConfig { driver: LogDriver::None, path: directory.join("log"), max_size: None, tag: None },
            timeout: None,
            preserve_fds: request.preserve_fds,
            notify: None,
            adopted: false,
            foreground: !request.detach,
            exit_command: self.exit_command(["--exec", session.as_str(), container.id()].iter())?,
        };
        let launched = self.start_monitor(&directory.join("monitor.json"), &config, None);
        let mut launched = match launched {
            Ok(launched) => launched,
            Err(error) => {
                let _ = std::fs::remove_dir_all(&directory);
                return Err(error);
            }
        };
        if request.detach {
            return Ok(ExecOutcome::Started(session));
        }
        let streams = Attachment::connect(AttachOptions {
            socket: config.attach_socket,
            control: config.control_fifo,
            stdin: request.interactive,
            stdout: true,
            stderr: true,
            terminal: request.terminal,
            detach_keys: keys,
            signal_proxy: true,
        })?;
        let process = launched.process;
        let outcome = streams.run(|signal| {
            let _ = process.signal(signal);
        })?;
        if outcome == Outcome::Detached {
            return Ok(ExecOutcome::Detached);
        }
        let record = launched.end().or(if let Outcome::Exited(record) = outcome { Some(record) } else { None });
        let _ = std::fs::remove_dir_all(&directory);
        let record = record.with_context(|| Failure::Start("lost sight of the process: its monitor is gone".into()))?;
        self.record(container, "exec_died", &[("containerExitCode", &record.code.to_string())]);
        Ok(ExecOutcome::Exited(record.code))
    }
}

impl Engine {
    /// What an exec session's monitor runs when nobody waits for the session's end: notes it, and removes its files.
    pub(super) fn cleanup_exec(&self, container: &Container, session: &str) -> Result<()> {
        names::check(session)?;
        let directory = container.run.join("exec").join(session);
        let Some(record) = read_if_there(&directory.join("exit.json"))? else { return Ok(()) };
        let record: ExitRecord = serde_json::from_slice(&record)?;
        self.record(container, "exec_died", &[("containerExitCode", &record.code.to_string())]);
        std::fs::remove_dir_all(&directory).with_context(|| format!("removing {}", directory.display()))
    }
}

/// The last error in a runtime's log.
fn complaint(mut log: File) -> Option<String> {
    let mut text = String::new();
    log.rewind().ok()?;
    log.read_to_string(&mut text).ok()?;
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut errors =
        lines.filter(|line| line["level"] == "error").filter_map(|line| Some(line["msg"].as_str()?.to_owned()));
    errors.next_back()
}

/// The OCI process. Users are looked up in the container as it is now, through its own first process.
fn process_json(container: &Container, process: Process, request: &ExecRequest) -> Result<Value> {
    let root = process.root().with_context(|| format!("opening the root directory of {}", container.name()))?;
    let config = &container.config;
    let asked = request.user.as_ref().unwrap_or(&config.user);
    let user = spec::user::resolve(&root, asked, &config.groups)?;
    spec::further(config, &user, request)
}
