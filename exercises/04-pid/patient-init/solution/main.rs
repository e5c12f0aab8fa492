//! Usage: patient-init PROGRAM [ARGUMENT…]

use std::convert::Infallible;
use std::ffi::CString;
use std::fs;
use std::process::exit;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, execvp, fork, getuid};

fn main() -> Result<()> {
    let words: Vec<CString> = std::env::args().skip(1).map(CString::new).collect::<Result<_, _>>()?;
    let uid = getuid();
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWPID).context("unshare")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1")).context("writing uid_map")?;
    // SAFETY: this process has one thread, and so have its children.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => exit(end_of(child)?),
        ForkResult::Child => init(&words),
    }
}

/// Process 1.
fn init(words: &[CString]) -> Result<()> {
    // SAFETY: as above.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => exit(end_of(child)?),
        ForkResult::Child => {
            let failed: Result<Infallible, _> = execvp(words.first().context("which program?")?, words);
            eprintln!("{failed:?}");
            exit(127)
        }
    }
}

/// Waits for the end of a child, and says how it ended. Whoever else ends meanwhile is an orphan, and only has to be let go.
fn end_of(child: Pid) -> Result<i32> {
    loop {
        match waitpid(None, None)? {
            WaitStatus::Exited(pid, status) if pid == child => return Ok(status),
            WaitStatus::Signaled(pid, signal, _) if pid == child => return Ok(128 + signal as i32),
            _ => {}
        }
    }
}
