//! Usage: pass-signals PROGRAM [ARGUMENT…]

use std::ffi::CString;
use std::process::exit;

use anyhow::{Context, Result};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, execvp, fork};

fn main() -> Result<()> {
    let words: Vec<CString> = std::env::args().skip(1).map(CString::new).collect::<Result<_, _>>()?;
    let program = words.first().context("which program?")?;
    // SAFETY: this process has one thread.
    match unsafe { fork() }? {
        ForkResult::Child => {
            let _ = execvp(program, &words);
            exit(127)
        }
        ForkResult::Parent { child } => exit(stay_with(child)?),
    }
}

/// Waits for the child; returns its exit status.
fn stay_with(child: Pid) -> Result<i32> {
    // TODO: pass signals on.
    loop {
        match waitpid(child, None)? {
            WaitStatus::Exited(_, status) => return Ok(status),
            WaitStatus::Signaled(_, signal, _) => return Ok(128 + signal as i32),
            _ => {}
        }
    }
}
