//! Usage: honest-status PROGRAM [ARGUMENT…]

use std::convert::Infallible;
use std::ffi::CString;
use std::process::exit;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, execvp, fork};

fn main() -> Result<()> {
    let words: Vec<CString> = std::env::args().skip(1).map(CString::new).collect::<Result<_, _>>()?;
    let program = words.first().context("which program?")?;
    // SAFETY: this process has one thread.
    match unsafe { fork() }? {
        ForkResult::Child => {
            let failed: Result<Infallible, _> = execvp(program, &words);
            exit(if failed == Err(Errno::ENOENT) { 127 } else { 126 })
        }
        ForkResult::Parent { child } => {
            let status = match waitpid(child, None)? {
                WaitStatus::Exited(_, status) => status,
                WaitStatus::Signaled(_, signal, _) => 128 + signal as i32,
                other => unreachable!("{other:?}"),
            };
            exit(status)
        }
    }
}
