//! Chapter 1: run a program, stay with it, end as it ended.
//!
//! A container is a process, and somebody is its parent. This is all that a parent does: it makes a copy of itself
//! (fork), the copy becomes the program (exec), and the parent waits, passes signals on, and takes the exit status. No
//! other process takes part; the program is a grandchild of *your* shell.
//!
//! The subtlety is waiting for two things at once, a signal and the child's end. Both are made readable descriptors
//! (signalfd, pidfd), and one `poll` waits for either: nothing can happen between looking and sleeping.

use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, execvp};
use podling::sys::{self, Side};
use podling::trace::{self, Topic};

/// Run PROGRAM as a child, pass signals on to it, and end as it ended
///
/// fork copies this process, exec turns the copy into PROGRAM, wait collects how it ended. The exit status is PROGRAM's
/// own; 128 + n if signal n ended it; 127 if there is no such program, 126 if it may not be run.
///
/// Try: chapter01_fork sh -c 'exit 7'; echo $?
#[derive(Parser)]
#[command(name = "chapter01_fork")]
struct Options {
    /// Show what is left of PROGRAM between its end and the wait: a zombie
    #[arg(long)]
    zombie: bool,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true)]
    program: Vec<OsString>,
}

fn main() -> ExitCode {
    chapters::run(life)
}

// ANCHOR: life
fn life(options: Options) -> Result<u8> {
    let program = chapters::words(options.program)?;
    // Before the child exists: a signal that came between its birth and this line would end us and leave it alone.
    let signals = hold_back_signals()?;
    let (pid, child) = fork(&program)?;
    stay_with(child.as_fd(), &signals)?;
    if options.zombie {
        show(pid)?;
    }
    reap(child.as_fd())
}
// ANCHOR_END: life

// ANCHOR: signals
/// From now on signals wait in a descriptor instead of interrupting us.
fn hold_back_signals() -> Result<SignalFd> {
    let mut signals = SigSet::all();
    // Not these: faults are our own, and the shell's job control (Ctrl-Z, fg) stops and wakes us with our child.
    let ours = [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGILL, Signal::SIGFPE, Signal::SIGTSTP, Signal::SIGTTIN];
    for signal in ours.into_iter().chain([Signal::SIGTTOU, Signal::SIGCONT]) {
        signals.remove(signal);
    }
    trace::ask(Topic::Process, "sigprocmask", format_args!("block"), || signals.thread_block())?;
    let descriptor = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK);
    descriptor.context("making a signalfd")
}
// ANCHOR_END: signals

// ANCHOR: fork
/// Makes the child. It returns once, in the parent: the copy leaves by becoming the program, or by ending.
fn fork(program: &[CString]) -> Result<(Pid, OwnedFd)> {
    // clone3 without flags is fork, and hands out a pidfd: a descriptor that means this child and never another, even
    // when the number of its pid has been given to somebody else.
    trace::say(Topic::Process, "clone3", format_args!("no flags: fork"), "ok");
    match sys::clone3(0, None).context("copying this process")? {
        Side::Child => become_program(program),
        Side::Parent(pid, child) => Ok((pid, child)),
    }
}
// ANCHOR_END: fork

// ANCHOR: exec
/// Replaces this process, which is still a copy of its parent, by the program: same pid, other memory.
fn become_program(program: &[CString]) -> ! {
    // What survives an exec: the signal mask, ignored signals (Rust ignores SIGPIPE), open descriptors. None of them is
    // the program's business.
    let clean = SigSet::all().thread_unblock().and_then(|()| sys::restore_sigpipe());
    let clean = clean.and_then(|()| sys::close_on_exec_from(3));
    trace::say(Topic::Process, "execve", format_args!("{}", program[0].to_string_lossy()), "ok");
    let error = clean.and_then(|()| execvp(&program[0], program)).unwrap_err();
    eprintln!("Error: running {}: {}", program[0].to_string_lossy(), error.desc());
    // Not `exit`: that would run the exit handlers of our parent, whose copy we are.
    sys::exit_now(if error == Errno::ENOENT { 127 } else { 126 })
}
// ANCHOR_END: exec

// ANCHOR: stay
/// Passes signals on until the child has ended.
fn stay_with(child: BorrowedFd, signals: &SignalFd) -> Result<()> {
    loop {
        let mut wanted = [child, signals.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        match poll(&mut wanted, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("waiting"),
        }
        while let Some(signal) = signals.read_signal().context("reading a signal")? {
            let number = signal.ssi_signo as i32;
            // Ctrl-C: the terminal sends it to the whole group, so the child has had it. SIGCHLD is about us.
            if signal.ssi_code != libc::SI_KERNEL && number != libc::SIGCHLD {
                // An error means that it has just ended; the next poll says so.
                let _ = trace::ask(Topic::Process, "pidfd_send_signal", format_args!("{number}"), || {
                    sys::pidfd_send_signal(child, number)
                });
            }
        }
        if wanted[0].any() == Some(true) {
            return Ok(());
        }
    }
}
// ANCHOR_END: stay

// ANCHOR: reap
/// Takes the exit status. Until somebody does, the kernel keeps the child's number and status: a zombie.
fn reap(child: BorrowedFd) -> Result<u8> {
    let ended =
        trace::ask(Topic::Process, "waitid", format_args!("pidfd"), || waitid(Id::PIDFd(child), WaitPidFlag::WEXITED));
    match ended.context("waiting for the program")? {
        WaitStatus::Exited(_, code) => Ok(code as u8),
        WaitStatus::Signaled(_, signal, _) => Ok(128 + signal as u8),
        other => bail!("the program changed its state oddly: {other:?}"),
    }
}
// ANCHOR_END: reap

/// Prints the first lines of what /proc knows of a process.
fn show(pid: Pid) -> Result<()> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("a zombie has an entry in /proc")?;
    status.lines().filter(|line| line.starts_with("State:")).for_each(|line| eprintln!("{pid} {line}"));
    Ok(())
}
