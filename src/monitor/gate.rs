//! A gate before the runtime: the caller opens it when he has attached, so that he hears the first word.
//!
//! An exec session begins to speak when the runtime is called, without waiting for a `start`. So we say when our socket
//! can be reached, and wait for leave. A caller that has gone does not attach any more; then the gate stands open.

use std::fs::File;
use std::io::{Read, Write};

use anyhow::{Context, Result, bail};
use nix::sys::signalfd::SignalFd;

use crate::linux::poll::{PollFlags, Wanted};

/// What is said, where, and where leave is given.
pub struct Gate {
    /// Our socket is open: the pipe, and the line.
    pub ready: (File, String),
    /// One byte, or the end.
    pub leave: Option<File>,
}

impl Gate {
    /// Waits before it.
    pub fn pass(mut self, signals: &SignalFd) -> Result<()> {
        // He may have gone already.
        let _ = self.ready.0.write_all(self.ready.1.as_bytes());
        let Some(mut leave) = self.leave else { return Ok(()) };
        loop {
            let mut wanted = Wanted::default();
            wanted.add(true, &leave, PollFlags::POLLIN);
            wanted.add(false, signals, PollFlags::POLLIN);
            for (is_leave, _) in wanted.wait(None)? {
                if is_leave {
                    leave.read(&mut [0]).context("waiting for leave to begin")?;
                    return Ok(());
                }
                while let Ok(Some(signal)) = signals.read_signal() {
                    if matches!(signal.ssi_signo as i32, libc::SIGTERM | libc::SIGINT | libc::SIGQUIT) {
                        bail!("told to end before it began");
                    }
                }
            }
        }
    }
}
