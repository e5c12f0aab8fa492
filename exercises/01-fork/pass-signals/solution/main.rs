//! Usage: pass-signals PROGRAM [ARGUMENT…]

use std::ffi::CString;
use std::process::exit;

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, execvp, fork};

fn main() -> Result<()> {
    let words: Vec<CString> = std::env::args().skip(1).map(CString::new).collect::<Result<_, _>>()?;
    let program = words.first().context("which program?")?;
    let passed = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2];
    let signals: SigSet = passed.into_iter().chain([Signal::SIGCHLD]).collect();
    // Before there is a child: a signal in between would end us and leave it alone.
    signals.thread_block()?;
    // SAFETY: this process has one thread.
    match unsafe { fork() }? {
        ForkResult::Child => {
            signals.thread_unblock()?;
            let _ = execvp(program, &words);
            exit(127)
        }
        ForkResult::Parent { child } => exit(stay_with(child, &signals)?),
    }
}

/// Waits for the child and passes signals on; returns its exit status.
fn stay_with(child: Pid, signals: &SigSet) -> Result<i32> {
    loop {
        let signal = signals.wait()?;
        if signal != Signal::SIGCHLD {
            // An error means that it has just ended; SIGCHLD will say so.
            let _ = kill(child, signal);
            continue;
        }
        match waitpid(child, Some(WaitPidFlag::WNOHANG))? {
            WaitStatus::Exited(_, status) => return Ok(status),
            WaitStatus::Signaled(_, signal, _) => return Ok(128 + signal as i32),
            _ => {}
        }
    }
}
