//! Usage: own-proc PROGRAM [ARGUMENT…]

use std::convert::Infallible;
use std::ffi::CString;
use std::fs;
use std::process::exit;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, execvp, fork, getuid};

fn main() -> Result<()> {
    let words: Vec<CString> = std::env::args().skip(1).map(CString::new).collect::<Result<_, _>>()?;
    let uid = getuid();
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID).context("unshare")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1")).context("writing uid_map")?;
    // SAFETY: this process has one thread.
    let side = unsafe { fork() }?;
    let ForkResult::Parent { child } = side else {
        let none: Option<&str> = None;
        mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), none).context("mounting proc")?;
        let failed: Result<Infallible, _> = execvp(words.first().context("which program?")?, &words);
        eprintln!("{failed:?}");
        exit(if failed == Err(Errno::ENOENT) { 127 } else { 126 })
    };
    match waitpid(child, None)? {
        WaitStatus::Exited(_, status) => exit(status),
        WaitStatus::Signaled(_, signal, _) => exit(128 + signal as i32),
        other => unreachable!("{other:?}"),
    }
}
