//! Chapter 9, sockets that are open already: sd_listen_fds(3), which is two variables of the environment.
//!
//! ```text
//! $LISTEN_FDS   so many descriptors, from 3 on, are listening sockets
//! $LISTEN_PID   the process that they are for
//! ```

use std::env;
use std::os::fd::RawFd;

use anyhow::{Context, Result, ensure};
use podling::linux::process;

/// The number of the first that is passed.
pub const FIRST: RawFd = 3;

// ANCHOR: passed
/// How many sockets have been passed to this process. None is no error: the variables may be our parent's.
pub fn passed() -> Result<u32> {
    let said = |name| env::var(name).unwrap_or_default();
    if said("LISTEN_PID") != std::process::id().to_string() {
        return Ok(0);
    }
    let told = || format!("LISTEN_FDS={}", said("LISTEN_FDS"));
    let count = said("LISTEN_FDS").parse().with_context(told)?;
    ensure!(process::inherited(count) == count, "{}, and they are not all open", told());
    Ok(count)
}
// ANCHOR_END: passed
