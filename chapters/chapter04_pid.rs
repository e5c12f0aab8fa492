//! Chapter 4: process 1.
//!
//! A pid namespace counts its processes from 1 and knows no others: what has no number cannot be signalled, traced or
//! even named. Its first process is special. When it ends, the kernel kills all the rest. Orphans become its children.
//! And no signal reaches it from inside, nor from outside (but SIGKILL and SIGSTOP), for which it has set no handler.
//!
//! Few programs are written to be process 1. With --init, PROGRAM need not be: we stay process 1 and do its two duties.
//!
//! The subtlety is /proc. It shows the pid namespace of whoever mounted it: the machine's would name processes that do
//! not exist here. And a new one may be mounted only while an old one is in sight, so before the old root goes.

use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use chapters::{ask, machine};
use clap::Parser;
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, fchdir};
use podling::linux::process::{self, Process};
use podling::linux::userns::{self, Maps};
use podling::linux::{foreground::Wait, namespace::Namespace, rootfs};
use podling::sys::{self, Side};
use podling::trace::{self, Actor, Topic};

/// Run PROGRAM as process 1, where no process of the machine exists
///
/// Root and files are chapter 3's. When PROGRAM ends, so does all that it has started, and all its mounts.
///
/// Try: chapter04_pid ps -e; and beside it: chapter04_pid sh -c 'kill -9 1; echo still here'
#[derive(Parser)]
#[command(name = "chapter04_pid")]
struct Options {
    /// Stay as process 1: pass signals on to PROGRAM, and wait for orphans
    #[arg(long)]
    init: bool,
    /// The files to start from, instead of the machine's
    #[arg(long, value_name = "DIRECTORY")]
    root: Option<PathBuf>,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true)]
    program: Vec<OsString>,
}

fn main() -> ExitCode {
    chapters::run(outside)
}

// ANCHOR: outside
fn outside(options: Options) -> Result<u8> {
    let program = chapters::words(options.program.clone())?;
    let signals = Wait::begin(None)?;
    userns::enter(&Maps::of_this_user()?, &[Namespace::User])?;
    // We stay outside and see our child under another number than it sees itself.
    match sys::clone3((libc::CLONE_NEWNS | libc::CLONE_NEWPID) as u64, None) {
        Ok(Side::Child) => sys::exit_now(i32::from(chapters::status(inside(&options, &program)))),
        Ok(Side::Parent(pid, pidfd)) => {
            trace::say(Topic::Pid, "clone3", format_args!("mnt,pid"), &format!("pid {pid}"));
            Ok(signals.until_end(&Process::from_parts(pid, pidfd))?.status() as u8)
        }
        Err(errno) => Err(process::cannot_clone(errno, "mnt,pid")),
    }
}
// ANCHOR_END: outside

// ANCHOR: inside
fn inside(options: &Options, program: &[CString]) -> Result<u8> {
    trace::become_actor(Actor::Init);
    let root = machine::root(options.root.as_deref())?;
    rootfs::stack(&root)?;
    own_proc(&root)?;
    rootfs::pivot(&root)?;
    if options.init {
        return be_init(program);
    }
    match process::execute(program)? {}
}

/// Mounts a proc that shows our pid namespace.
fn own_proc(root: &OwnedFd) -> Result<()> {
    fchdir(root)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    ask(Topic::Pid, "mount", "proc proc", || mount(Some("proc"), "proc", Some("proc"), flags, None::<&str>))
}
// ANCHOR_END: inside

// ANCHOR: init
/// What is expected of process 1, done for the program, which becomes process 2.
fn be_init(program: &[CString]) -> Result<u8> {
    // What arrives while there is nobody to pass it on to has to wait.
    let all = SigSet::all();
    all.thread_block().context("holding back signals")?;
    let (pid, child) = match sys::clone3(0, None).context("making the program's process")? {
        Side::Child => match process::execute(program)? {},
        Side::Parent(pid, child) => (pid, child),
    };
    let signals = SignalFd::with_flags(&all, SfdFlags::SFD_CLOEXEC).context("making a signalfd")?;
    loop {
        let Some(signal) = signals.read_signal().context("reading a signal")? else { continue };
        let number = signal.ssi_signo as i32;
        if number == libc::SIGCHLD {
            if let Some(status) = reap(pid)? {
                return Ok(status);
            }
        } else if signal.ssi_code != libc::SI_KERNEL {
            // Not what a terminal sent: the program is in the same group, and has had it. ESRCH: SIGCHLD is on its way.
            let _ = trace::ask(Topic::Pid, "pidfd_send_signal", format_args!("{number}"), || {
                sys::pidfd_send_signal(child.as_fd(), number)
            });
        }
    }
}

/// Waits for all children that have ended, since one SIGCHLD may stand for many. Most are orphans: children of children
/// whose parents have gone. `Some`: the program was among them, and this is its exit status.
fn reap(program: Pid) -> Result<Option<u8>> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == program => return Ok(Some(code as u8)),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == program => return Ok(Some(128 + signal as u8)),
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(None),
            Ok(orphan) => trace::say(Topic::Pid, "waitpid", format_args!("-1"), &format!("{orphan:?}")),
            Err(error) => return Err(error).context("waiting for children"),
        }
    }
}
// ANCHOR_END: init
