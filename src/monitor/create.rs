//! Runs the runtime, which makes the container (or the exec session) and leaves: its first process stays, and becomes our
//! child, because we are its nearest subreaper.
//!
//! The runtime writes its complaints to standard error, which is what the container inherits. Until the runtime has left,
//! what comes there is the runtime's; if it fails, that is the message.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use nix::sys::signalfd::SignalFd;
use nix::unistd::Pid;

use super::log::Stream;
use super::manner::Manner;
use super::report;
use super::stdio::{Arrived, ChildEnds, Streams};
use crate::handover::{MonitorConfig, Task};
use crate::linux::ipc::{self, SockType};
use crate::linux::poll::{PollFlags, Wanted};
use crate::linux::process::{Process, Signal};
use crate::linux::pty;
use crate::sys;
use crate::trace::{self, Topic};

/// How much of the runtime's complaints is kept.
const MESSAGE_MAX: usize = 16 * 1024;

/// What came of it.
pub enum Outcome {
    /// The first process, and what was written to standard error until now: a warning, or already the container's.
    Created(Process, Vec<u8>),
    /// What the runtime wrote to standard error, and its exit status.
    Refused(Vec<u8>, i32),
}

/// What the loop below waits for.
enum Source {
    Runtime,
    Complaint,
    Console,
    Signal,
}

/// Runs `runtime create` or `runtime exec` to its end.
pub fn run(
    config: &MonitorConfig,
    manner: &Manner,
    streams: &mut Streams,
    ends: ChildEnds,
    signals: &SignalFd,
) -> Result<Outcome> {
    let console = if config.terminal { Some(Console::listen(&manner.console)?) } else { None };
    let mut command = command(config, &manner.runtime_words, console.as_ref());
    command.stdin(ends.stdin).stdout(ends.stdout).stderr(ends.stderr);
    // A request to end that we pass on must reach it, whichever runtime it is.
    sys::unblock_signals_of(&mut command);
    // If we are killed, nobody would know of what it makes; and what it has made so far ends without it.
    sys::end_with_us(&mut command);
    let child = trace::ask(Topic::Process, "execve", format_args!("{}", words(&command)), || command.spawn())
        .with_context(|| format!("starting the runtime {}", config.runtime.display()))?;
    // The command holds the container's ends of the pipes.
    drop(command);
    let runtime =
        Process::open(Pid::from_raw(child.id() as i32))?.context("the runtime is our child, and not reaped")?;

    // The complaints of `create` are read to the end, lest they fill the pipe; an exec session's own output may wait.
    let inherited = !config.terminal && config.task.is_exec();
    let mut said = Vec::new();
    let mut master = None;
    let mut buffer = [0; 4096];
    let mut left = false;
    while !left {
        let mut wanted = Wanted::default();
        wanted.add(Source::Runtime, &runtime, PollFlags::POLLIN);
        wanted.add(Source::Signal, signals, PollFlags::POLLIN);
        if let Some(console) = &console {
            wanted.add(Source::Console, &console.listener, PollFlags::POLLIN);
        }
        if let Some(stderr) = streams.readable(Stream::Stderr).filter(|_| said.len() < MESSAGE_MAX || !inherited) {
            wanted.add_borrowed(Source::Complaint, stderr, PollFlags::POLLIN);
        }
        for (source, _) in wanted.wait(None)? {
            match source {
                Source::Runtime => left = true,
                Source::Complaint => {
                    gather(streams, &mut buffer, &mut said);
                }
                Source::Console => {
                    if let Some(received) = console.as_ref().and_then(Console::receive) {
                        master = Some(sized(received, config.terminal_size));
                    }
                }
                Source::Signal => forward(signals, &runtime),
            }
        }
    }
    let status = runtime.reap()?.status();
    while (!inherited || status != 0) && gather(streams, &mut buffer, &mut said) {}
    if status != 0 {
        return Ok(Outcome::Refused(said, status));
    }
    if let Some(console) = &console {
        let late = || console.receive().map(|master| sized(master, config.terminal_size));
        let master = master.or_else(late).context("the runtime sent no terminal")?;
        streams.adopt_terminal(master)?;
        streams.close_stderr();
    }
    let pid = fs::read_to_string(&config.pid_file)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .with_context(|| format!("the runtime wrote no pid to {}", config.pid_file.display()))?;
    let process =
        trace::ask(Topic::Process, "pidfd_open", format_args!("{pid}"), || Process::open(Pid::from_raw(pid)))?
            .with_context(|| format!("process {pid} is not ours"))?;
    Ok(Outcome::Created(process, said))
}

/// Gives a terminal its first size: at once, since the program of an exec session may already be asking for it.
fn sized(master: OwnedFd, size: Option<(u16, u16)>) -> OwnedFd {
    if let Some((rows, columns)) = size {
        let _ = sys::set_window_size(master.as_fd(), rows, columns);
    }
    master
}

/// The OCI command line.
fn command(config: &MonitorConfig, further: &[String], console: Option<&Console>) -> Command {
    let mut command = Command::new(&config.runtime);
    command.env_remove(report::VARIABLE).args(&config.runtime_options);
    match &config.task {
        Task::Create => command.arg("create").arg("--bundle").arg(&config.bundle),
        Task::Exec { process } => command.args(["exec", "--detach", "--process"]).arg(process),
        Task::Restore { image } => {
            command.args(["restore", "--detach", "--bundle"]).arg(&config.bundle);
            // criu writes its own log into the second.
            command.arg("--image-path").arg(image).arg("--work-path").arg(&config.bundle)
        }
    };
    command.args(further);
    if config.preserve_fds > 0 {
        command.arg("--preserve-fds").arg(config.preserve_fds.to_string());
    }
    command.arg("--pid-file").arg(&config.pid_file);
    if let Some(console) = console {
        command.arg("--console-socket").arg(&console.told);
    }
    command.arg(&config.id);
    command
}

fn words(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(std::ffi::OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// Reads what stands on standard error; beyond the limit it is dropped. Returns whether there may be more.
fn gather(streams: &mut Streams, buffer: &mut [u8], said: &mut Vec<u8>) -> bool {
    let Arrived::Bytes(count) = streams.read(Stream::Stderr, buffer) else { return false };
    let kept = count.min(MESSAGE_MAX.saturating_sub(said.len()));
    said.extend_from_slice(&buffer[..kept]);
    true
}

/// A request to end that comes now is meant for the runtime.
fn forward(signals: &SignalFd, runtime: &Process) {
    while let Ok(Some(signal)) = signals.read_signal() {
        if let (libc::SIGTERM | libc::SIGINT | libc::SIGQUIT, Ok(signal)) =
            (signal.ssi_signo as i32, Signal::from_number(signal.ssi_signo as i32))
        {
            let _ = runtime.signal(signal);
        }
    }
}

/// The runtime's complaint in one line. runc logs in `key="value"` form, where the message is one value.
pub fn message(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    let lines: Vec<String> = said
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.contains("level=warning"))
        .map(|line| logged(line).unwrap_or_else(|| line.trim().to_owned()))
        .collect();
    if lines.is_empty() { "the runtime failed and said nothing".into() } else { lines.join("; ") }
}

fn logged(line: &str) -> Option<String> {
    let quoted = line.starts_with("time=").then(|| line.split_once(" msg=\""))??.1;
    let mut text = String::new();
    let mut characters = quoted.chars();
    loop {
        match characters.next()? {
            '"' => return Some(text),
            '\\' => match characters.next()? {
                'n' | 't' => text.push(' '),
                other => text.push(other),
            },
            other => text.push(other),
        }
    }
}

/// Where the runtime sends the terminal's master: a socket that lives for as long as the runtime runs.
struct Console {
    path: PathBuf,
    /// The path as the runtime is told it: one that fits a socket's address.
    told: PathBuf,
    listener: UnixListener,
    _directory: fs::File,
}

impl Console {
    fn listen(path: &Path) -> Result<Self> {
        let directory = fs::File::open(path.parent().unwrap_or(Path::new("/")))?;
        let listener = ipc::listen(path, SockType::Stream).context("opening the console socket")?;
        let told = if path.as_os_str().as_bytes().len() <= ipc::PATH_MAX {
            path.to_owned()
        } else {
            let directory = format!("/proc/{}/fd/{}", std::process::id(), directory.as_raw_fd());
            Path::new(&directory).join(path.file_name().unwrap_or_default())
        };
        Ok(Self { path: path.to_owned(), told, listener, _directory: directory })
    }

    /// The terminal, if the runtime has sent it.
    fn receive(&self) -> Option<OwnedFd> {
        let (stream, _) = self.listener.accept().ok()?;
        pty::receive(&stream).ok().flatten()
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_is_the_runtime_s_without_its_log_s_dress() {
        let said = b"time=\"2026-11-23T18:00:00Z\" level=warning msg=\"odd\"\n\
            time=\"2026-11-23T18:00:00Z\" level=error msg=\"exec: \\\"x\\\": executable file not found in $PATH\"\n";
        assert_eq!(message(said), "exec: \"x\": executable file not found in $PATH");
        assert_eq!(message(b"one\ntwo\n"), "one; two");
        assert_eq!(message(b" \n"), "the runtime failed and said nothing");
    }
}
