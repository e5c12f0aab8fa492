//! The line to whoever started us: one word of success or failure, and in the foreground the end as well.
//!
//! What there is to say is [`News`]; the caller's language turns it into a line.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::unistd::Pid;

use super::OWN_FAILURE;
use super::create::message;
use crate::handover::{ExitRecord, StartReport};
use crate::sys;

/// Says which descriptor the report goes to, where standard output is the container's own (the log driver
/// `passthrough`).
pub const VARIABLE: &str = "PODLING_REPORT";

/// What a caller may hear.
pub enum News<'a> {
    /// The container (or exec session) exists.
    Created(Pid),
    /// The runtime has left with this status, and said something on standard error.
    Refused(&'a [u8], i32),
    /// It was our fault.
    Failed(&'a anyhow::Error),
    /// How it ended.
    Ended(&'a ExitRecord),
}

/// Turns news into a line, without its end; `None`: that is not told.
pub type Words = Box<dyn Fn(&News) -> Option<String>>;

/// In podling's words.
pub fn podling(news: &News) -> Option<String> {
    let report = match news {
        News::Created(pid) => StartReport::Created { pid: pid.as_raw() },
        News::Refused(said, status) => StartReport::Failed { message: message(said), status: *status },
        News::Failed(error) => StartReport::Failed { message: format!("{error:#}"), status: OWN_FAILURE },
        News::Ended(record) => return serde_json::to_string(record).ok(),
    };
    serde_json::to_string(&report).ok()
}

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
        Ok(Self::to(Some(File::from(pipe))))
    }

    /// Speaks into this pipe, or to nobody.
    pub fn to(pipe: Option<File>) -> Self {
        Self { pipe }
    }

    /// Says one thing, on a line. Nobody may be left to hear it; that is no reason to stop.
    pub fn say(&mut self, words: &Words, news: &News) {
        if let (Some(pipe), Some(mut line)) = (&mut self.pipe, words(news)) {
            line.push('\n');
            let _ = pipe.write_all(line.as_bytes());
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
