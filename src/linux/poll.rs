//! One thread that waits for many things: poll(2), with a name for each thing.
//!
//! A list is made anew for each wait, from what is wanted at that moment: a full queue is simply not on it. That costs a
//! little more than epoll for thousands of descriptors, and is easier to follow for a dozen.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollTimeout};

pub use nix::poll::PollFlags;

use crate::sys;

/// What to wait for; `T` names each descriptor.
pub struct Wanted<'fd, T> {
    names: Vec<T>,
    fds: Vec<PollFd<'fd>>,
}

impl<T> Default for Wanted<'_, T> {
    fn default() -> Self {
        Self { names: Vec::with_capacity(16), fds: Vec::with_capacity(16) }
    }
}

impl<'fd, T> Wanted<'fd, T> {
    /// Adds a descriptor. Errors and hang-ups are reported whether asked for or not.
    pub fn add(&mut self, name: T, fd: &'fd impl AsFd, events: PollFlags) {
        self.add_borrowed(name, fd.as_fd(), events);
    }

    /// The same for a borrowed descriptor.
    pub fn add_borrowed(&mut self, name: T, fd: BorrowedFd<'fd>, events: PollFlags) {
        self.names.push(name);
        self.fds.push(PollFd::new(fd, events));
    }

    /// Waits until something is ready or `deadline` has come (then the answer is empty, as it is after a signal handler).
    pub fn wait(mut self, deadline: Option<Instant>) -> nix::Result<Vec<(T, PollFlags)>> {
        let timeout = left(deadline).map_or(PollTimeout::NONE, PollTimeout::from);
        let waited = nix::poll::poll(&mut self.fds, timeout).map(drop);
        self.happened(waited)
    }

    /// The same, with hardly any of this program's code in memory meanwhile: for a wait that may be long.
    pub fn rest(mut self, deadline: Option<Instant>) -> nix::Result<Vec<(T, PollFlags)>> {
        let timeout = left(deadline).map(|left| Duration::from_millis(left.into()));
        let waited = sys::poll_without_code(&mut self.fds, timeout).map(drop);
        self.happened(waited)
    }

    fn happened(self, waited: nix::Result<()>) -> nix::Result<Vec<(T, PollFlags)>> {
        match waited {
            Err(Errno::EINTR) => return Ok(Vec::new()),
            other => other?,
        }
        let happened = self.fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        Ok(self.names.into_iter().zip(happened).filter(|(_, events)| !events.is_empty()).collect())
    }
}

/// The milliseconds until then, or as many as poll takes. Rounded up: a wait that ends a little early would turn into a
/// busy loop for the rest of the millisecond.
fn left(deadline: Option<Instant>) -> Option<u16> {
    let left = deadline?.saturating_duration_since(Instant::now()).as_nanos().div_ceil(1_000_000);
    Some(u16::try_from(left).unwrap_or(u16::MAX))
}
