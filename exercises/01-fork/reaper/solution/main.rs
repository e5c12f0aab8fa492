//! Usage: reaper PROGRAM [ARGUMENT…]

use std::ffi::CString;
use std::process::exit;

use anyhow::{Context, Result};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::wait::{WaitStatus, wait};
use nix::unistd::{ForkResult, Pid, execvp, fork};

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
        ForkResult::Parent { child } => exit(stay(child)?),
    }
}

/// Stays until the program has ended; returns its exit status. Whoever else ends is taken leave of.
fn stay(program: Pid) -> Result<i32> {
    loop {
        match wait()? {
            WaitStatus::Exited(pid, status) if pid == program => return Ok(status),
            WaitStatus::Signaled(pid, signal, _) if pid == program => return Ok(128 + signal as i32),
            _ => {}
        }
    }
}
