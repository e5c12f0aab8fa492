//! The end: the record of how it went, first on disk, then told to whoever waits, then the exit command.
//!
//! The order is the promise. Whoever has been told can rely on the file; and if we are killed at any point before it, the
//! next command sees a dead pid and no record, and knows that much. Its room on disk is taken at the start, since a container
//! may well end because it has filled the disk.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::signalfd::SignalFd;

use super::time::{Clock, Zone};
use crate::handover::ExitRecord;
use crate::linux::poll::{PollFlags, Wanted};
use crate::linux::process::Exit;
use crate::sys;
use crate::trace::{self, Topic};

/// What a container's status is when nobody can know it, or when its time was up (Podman's -1, seen as a byte).
const UNKNOWN: i32 = 255;

/// More than any record takes: one block of most file systems.
const ROOM: libc::off_t = 4096;

/// The record of an end.
pub fn record(exit: Option<Exit>, oom: bool, timed_out: bool) -> ExitRecord {
    let signal = match exit {
        Some(Exit::Signal(signal)) => Some(signal.number()),
        _ => None,
    };
    let code = if timed_out { UNKNOWN } else { exit.map_or(UNKNOWN, Exit::status) };
    ExitRecord { code, signal, oom, timed_out, finished: Clock::new(Zone::Local).now().to_owned() }
}

/// What is left on disk of the end.
pub struct Records {
    /// The same record in each of these.
    pub files: Vec<PathBuf>,
    /// What it looks like there.
    pub text: fn(&ExitRecord) -> Vec<u8>,
    /// Empty files that say, by being there, that the kernel killed for want of memory.
    pub ooms: Vec<PathBuf>,
    /// Room for them is taken at the start, in files beside them; if we are killed, the caller clears those away.
    pub reserved: bool,
}

impl Records {
    /// Takes the room that the records will need, while there is some: an exit status must not be lost because the container
    /// has filled the disk. Fails only if there is no room; a file system that cannot reserve any will do.
    pub fn reserve(&self) -> Result<()> {
        if !self.reserved {
            return Ok(());
        }
        self.files.iter().try_for_each(|file| reserve(file)).inspect_err(|_| self.release())
    }

    /// There will be no record: nothing ran.
    pub fn release(&self) {
        for file in self.files.iter().filter(|_| self.reserved) {
            let _ = fs::remove_file(temporary(file));
        }
    }

    /// Writes them. One that cannot be written does not keep the others from it.
    pub fn write(&self, record: &ExitRecord) -> Result<()> {
        if record.oom {
            self.ooms.iter().for_each(|file| drop(open(file)));
        }
        let text = (self.text)(record);
        self.files.iter().map(|file| write(file, &text)).fold(Ok(()), Result::and)
    }
}

fn reserve(path: &Path) -> Result<()> {
    trace::ask(Topic::Monitor, "fallocate", format_args!("{}.tmp {ROOM}", path.display()), || {
        match fallocate(open(&temporary(path))?, FallocateFlags::empty(), 0, ROOM) {
            Err(error @ (Errno::ENOSPC | Errno::EDQUOT)) => Err(std::io::Error::from(error)),
            _ => Ok(()),
        }
    })
    .with_context(|| format!("reserving room for {}", path.display()))
}

/// Writes a record so that it is there whole or not at all.
fn write(path: &Path, record: &[u8]) -> Result<()> {
    let temporary = temporary(path);
    trace::ask(Topic::Monitor, "rename", format_args!("{0}.tmp {0}", path.display()), || {
        // Not emptied first: that would give the reserved room away.
        let mut file = open(&temporary)?;
        file.write_all(record)?;
        file.set_len(record.len() as u64)?;
        file.sync_data()?;
        trace::point("written");
        fs::rename(&temporary, path)
    })
    .with_context(|| format!("writing {}", path.display()))
}

fn temporary(path: &Path) -> PathBuf {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    temporary.into()
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// What is run when all is recorded.
pub struct Afterwards {
    /// Program and arguments; empty: nothing.
    pub words: Vec<String>,
    /// So much later.
    pub delay: Duration,
    /// Only while this exists: what the command would do has been done when it is gone.
    pub only_with: Option<PathBuf>,
    /// Also where the runtime could not make the container.
    pub after_failure: bool,
}

impl Afterwards {
    /// Waits until it is time. Who asks us to end meanwhile wants it now.
    pub fn await_time(&self, signals: &SignalFd) -> Result<()> {
        let time = Instant::now() + self.delay;
        while Instant::now() < time {
            let mut wanted = Wanted::default();
            wanted.add((), signals, PollFlags::POLLIN);
            wanted.wait(Some(time))?;
            while let Ok(Some(signal)) = signals.read_signal() {
                if signal.ssi_signo as i32 != libc::SIGCHLD {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Starts the command, if there is one and something is left for it to do.
    pub fn begin(&self) -> Option<Child> {
        let (program, arguments) = self.words.split_first()?;
        if self.only_with.as_ref().is_some_and(|undone| !undone.exists()) {
            return None;
        }
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        sys::unblock_signals_of(&mut command);
        trace::ask(Topic::Process, "execve", format_args!("{}", self.words.join(" ")), || command.spawn()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::process::Signal;

    #[test]
    fn a_signal_s_code_is_128_more() {
        let record = record(Some(Exit::Signal(Signal::KILL)), true, false);
        assert_eq!((record.code, record.signal, record.oom), (137, Some(9), true));
    }

    #[test]
    fn a_timeout_is_255_as_podman_has_it() {
        let record = record(Some(Exit::Signal(Signal::KILL)), false, true);
        assert_eq!((record.code, record.timed_out), (255, true));
    }
}
