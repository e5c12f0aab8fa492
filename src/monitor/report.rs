//! The line to whoever started us: one word of success or failure, and in the foreground the end as well.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use serde::Serialize;

use crate::sys;

/// Says which descriptor the report goes to, where standard output is the container's own (the log driver
/// `passthrough`).
pub const VARIABLE: &str = "PODLING_REPORT";

/// The pipe.
pub struct Report {
    pipe: Option<File>,
}

impl Report {
    /// The number of the descriptor to keep open at the start, if it is not standard output.
    pub fn number() -> Option<i32> {
        std::env::var(VARIABLE).ok()?.parse().ok()
    }

    /// Takes the pipe: standard output, or the descriptor that [`VARIABLE`] says.
    pub fn open() -> Result<Self> {
        let pipe = match Self::number() {
            Some(number) => sys::inherited(number).with_context(|| format!("{VARIABLE}={number}"))?,
            None => std::io::stdout().as_fd().try_clone_to_owned().context("standard output")?,
        };
        fcntl(&pipe, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        Ok(Self { pipe: Some(File::from(pipe)) })
    }

    /// Says one thing, on a line. Nobody may be left to hear it; that is no reason to stop.
    pub fn say(&mut self, what: &impl Serialize) {
        if let (Some(pipe), Ok(mut line)) = (&mut self.pipe, serde_json::to_vec(what)) {
            line.push(b'\n');
            let _ = pipe.write_all(&line);
        }
    }

    /// Lets go of it: whoever reads it to the end need not wait longer.
    pub fn close(&mut self) {
        self.pipe = None;
    }

    /// Waits until nobody reads it any more.
    pub fn await_no_reader(&mut self) {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        if let Some(pipe) = &self.pipe {
            let wait = || poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::empty())], PollTimeout::NONE);
            while wait() == Err(nix::errno::Errno::EINTR) {}
        }
        self.close();
    }

    /// To notice that its reader went (`POLLERR`).
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }
}
