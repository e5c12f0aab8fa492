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

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};

use super::time::{Clock, Zone};
use crate::handover::ExitRecord;
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

/// Takes the room that the record will need, while there is some: an exit status must not be lost because the container
/// has filled the disk. Fails only if there is no room; a file system that cannot reserve any will do.
pub fn reserve(path: &Path) -> Result<()> {
    let reserved = trace::ask(Topic::Monitor, "fallocate", format_args!("{}.tmp {ROOM}", path.display()), || {
        match fallocate(open(&temporary(path))?, FallocateFlags::empty(), 0, ROOM) {
            Err(error @ (Errno::ENOSPC | Errno::EDQUOT)) => Err(std::io::Error::from(error)),
            _ => Ok(()),
        }
    });
    if reserved.is_err() {
        release(path);
    }
    reserved.with_context(|| format!("reserving room for {}", path.display()))
}

/// There will be no record: nothing ran.
pub fn release(path: &Path) {
    let _ = fs::remove_file(temporary(path));
}

/// Writes the record so that it is there whole or not at all.
pub fn write(path: &Path, record: &[u8]) -> Result<()> {
    let temporary = temporary(path);
    trace::ask(Topic::Monitor, "rename", format_args!("{0}.tmp {0}", path.display()), || {
        // Not emptied first: that would give the reserved room away.
        let mut file = open(&temporary)?;
        file.write_all(record)?;
        file.set_len(record.len() as u64)?;
        file.sync_data()?;
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

/// Starts the exit command, if there is one.
pub fn command(words: &[String]) -> Option<Child> {
    let (program, arguments) = words.split_first()?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    sys::unblock_signals_of(&mut command);
    trace::ask(Topic::Process, "execve", format_args!("{}", words.join(" ")), || command.spawn()).ok()
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
