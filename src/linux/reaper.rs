//! A first process that does what the kernel expects of pid 1, so that the program need not (`--init`).
//!
//! Pid 1 of a pid namespace is special twice. Orphans become its children, and stay zombies unless it waits for them. And
//! a signal for which it has no handler does not reach it at all, not even SIGTERM: `stop` would wait in vain, then kill.
//! Few programs are written for that.
//!
//! Others bind an init program into the container: a file that must be static, or it would look for its libraries in an
//! image that may have none. We need no file: this process is pid 1 already. It parts into two ([`part`]); both go through
//! all that a program has to go through, so that pid 1 is as powerless as the one it waits for; then the child becomes the
//! program, and pid 1 stays ([`stay`]).
//!
//! The subtlety is what it still carries, as a copy of its maker that no execve has washed: descriptors (closed),
//! the host's words and environment (overwritten), memory (not dumpable: no process in the container may look into it).

use std::fs::OpenOptions;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::{Pid, getpid, setpgid, tcsetpgrp};

use super::process::Process;
use crate::sys::{self, Side};
use crate::trace::{self, Topic};

/// What is shown in place of its maker's command line.
const NAME: &str = "podling-init";

/// Parts into two. `None`: this is the child, which shall become the program. Else this is pid 1, and holds it.
pub fn part(terminal: bool) -> Result<Option<Process>> {
    // What arrives from now on waits until there is somebody to pass it on to.
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&SigSet::all()), None).context("holding back signals")?;
    match trace::ask(Topic::Process, "clone3", format_args!("(the program, below --init)"), || sys::clone3(0, None))
        .context("parting into init and program")?
    {
        Side::Parent(pid, fd) => {
            let _ = nix::sys::prctl::set_name(c"podling-init");
            overwrite_words();
            Ok(Some(Process::from_parts(pid, fd)))
        }
        Side::Child => {
            // A group of its own, in the terminal's foreground: Ctrl-C is for the program. (SIGTTOU is blocked.)
            setpgid(Pid::from_raw(0), Pid::from_raw(0)).context("a process group for the program")?;
            if terminal {
                tcsetpgrp(std::io::stdin(), getpid()).context("taking the terminal's foreground")?;
            }
            Ok(None)
        }
    }
}

/// /proc/1/cmdline is for everybody to read, and ours tells of the host. Its place in our memory is named by
/// /proc/self/stat (fields 48 to 51). Done while we are root, who alone may open the memory of what is not dumpable.
fn overwrite_words() {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let Some((_, rest)) = stat.rsplit_once(')') else { return };
    let field = |number: usize| rest.split_ascii_whitespace().nth(number - 3)?.parse::<u64>().ok();
    let Ok(memory) = OpenOptions::new().write(true).open("/proc/self/mem") else { return };
    for (start, end, text) in [(field(48), field(49), NAME), (field(50), field(51), "")] {
        let (Some(start), Some(end)) = (start, end) else { continue };
        let mut bytes = vec![0; end.saturating_sub(start) as usize];
        for (byte, letter) in bytes.iter_mut().zip(text.bytes()) {
            *byte = letter;
        }
        // A kernel may forbid it (proc_mem.force_override); then the words stay, which does no harm but to tidiness.
        let _ = memory.write_all_at(&bytes, start);
    }
}

/// Pid 1's life: it passes signals on, reaps orphans, and ends as the program ends.
pub fn stay(program: &Process) -> ! {
    let held = program.as_fd().as_raw_fd();
    // The last that our maker's caller hears of us: these were his sockets and fifos, too.
    let _ = sys::close_inherited(3, held - 1);
    let _ = sys::close_inherited(held + 1, i32::MAX);
    let Ok(signals) = SignalFd::with_flags(&SigSet::all(), SfdFlags::SFD_CLOEXEC) else { sys::exit_now(125) };
    sys::release_code();
    loop {
        match signals.read_signal() {
            Ok(Some(signal)) if signal.ssi_signo as i32 == libc::SIGCHLD => reap(program.pid()),
            Ok(Some(signal)) => {
                // It may have ended meanwhile: SIGCHLD follows.
                let _ = sys::pidfd_send_signal(program.as_fd(), signal.ssi_signo as i32);
            }
            Ok(None) | Err(Errno::EINTR) => {}
            Err(_) => sys::exit_now(125),
        }
    }
}

/// Signals coalesce: one SIGCHLD may stand for many children.
fn reap(program: Pid) {
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    while let Ok(status) = waitid(Id::All, look) {
        let Some(pid) = status.pid() else { return };
        match status {
            WaitStatus::Exited(_, code) if pid == program => sys::exit_now(code),
            WaitStatus::Signaled(_, signal, _) if pid == program => sys::exit_now(128 + signal as i32),
            _ => drop(waitpid(pid, None)),
        }
    }
}
