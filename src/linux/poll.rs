//! One thread that waits for many things: poll(2), with a name for each thing.
//!
//! A list is made anew for each wait, from what is wanted at that moment: a full queue is simply not on it. That costs a
//! little more than epoll for thousands of descriptors, and is easier to follow for a dozen.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollTimeout};

pub use nix::poll::PollFlags;

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
        let timeout = deadline.map_or(PollTimeout::NONE, |deadline| {
            // Rounded up: a wait that ends a little early would turn into a busy loop for the rest of the millisecond.
            let left = deadline.saturating_duration_since(Instant::now()).as_nanos().div_ceil(1_000_000);
            PollTimeout::from(u16::try_from(left).unwrap_or(u16::MAX))
        });
        match nix::poll::poll(&mut self.fds, timeout) {
            Ok(0) | Err(Errno::EINTR) => return Ok(Vec::new()),
            Ok(_) => {}
            Err(error) => return Err(error),
        }
        let happened = self.fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        Ok(self.names.into_iter().zip(happened).filter(|(_, events)| !events.is_empty()).collect())
    }
}
