//! Usage: shared-memory PID PROGRAM [ARGUMENT…]

use std::env;
use std::ffi::CString;
use std::os::fd::{FromRawFd, OwnedFd};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::execvp;

fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let pid: i32 = arguments.next().context("which process?")?.parse().context("a pid is a number")?;
    let words: Vec<CString> = arguments.map(CString::new).collect::<Result<_, _>>()?;
    let program = words.first().context("which program?")?;
    let holder = open(pid)?;
    let kinds = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
    // To join a mount namespace leads to its root. And a descriptor of this directory would lead back out of it.
    let here = env::current_dir().context("the current directory")?;
    setns(&holder, kinds | CloneFlags::CLONE_NEWNS).context("joining the pod")?;
    // A copy of the mounts, not of what is in them.
    unshare(CloneFlags::CLONE_NEWNS).context("a mount namespace of our own")?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none).context("keeping mounts to ourselves")?;
    env::set_current_dir(here).context("going back")?;
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
