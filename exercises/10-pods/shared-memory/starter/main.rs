//! Usage: shared-memory PID PROGRAM [ARGUMENT…]

use std::ffi::CString;
use std::os::fd::{FromRawFd, OwnedFd};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::unistd::execvp;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let pid: i32 = arguments.next().context("which process?")?.parse().context("a pid is a number")?;
    let words: Vec<CString> = arguments.map(CString::new).collect::<Result<_, _>>()?;
    let program = words.first().context("which program?")?;
    let holder = open(pid)?;
    let kinds = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
    setns(&holder, kinds).context("joining the pod")?;
    // TODO: /dev/shm is the machine's.
    execvp(program, &words).context("exec")?;
    Ok(())
}

/// A pidfd.
fn open(pid: i32) -> Result<OwnedFd> {
    // SAFETY: the call returns a new descriptor, which is ours alone.
    unsafe {
        let fd = Errno::result(libc::syscall(libc::SYS_pidfd_open, pid, 0)).context("the holder has ended")?;
        Ok(OwnedFd::from_raw_fd(fd as i32))
    }
}
