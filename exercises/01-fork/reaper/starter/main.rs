//! Usage: reaper PROGRAM [ARGUMENT…]

use std::ffi::CString;
use std::process::exit;

use anyhow::{Context, Result, bail};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::wait::{WaitStatus, wait};
use nix::unistd::{ForkResult, execvp, fork};

fn main() -> Result<()> {
    let words: Vec<CString> = std::env::args().skip(1).map(CString::new).collect::<Result<_, _>>()?;
    let program = words.first().context("which program?")?;
    // Orphans below us become our children.
    set_child_subreaper(true)?;
    // SAFETY: this process has one thread.
    match unsafe { fork() }? {
        ForkResult::Child => {
            let _ = execvp(program, &words);
            exit(127)
        }
        ForkResult::Parent { child: _ } => exit(stay()?),
    }
}

/// Stays until the program has ended; returns its exit status.
fn stay() -> Result<i32> {
    match wait()? {
        WaitStatus::Exited(_, status) => Ok(status),
        WaitStatus::Signaled(_, signal, _) => Ok(128 + signal as i32),
        other => bail!("an odd end: {other:?}"),
    }
}
