//! Usage: reused-pid run FILE PROGRAM [ARGUMENT…]  |  reused-pid end FILE

use std::ffi::CString;
use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::unistd::execvp;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["run", file, program, arguments @ ..] => run(file, program, arguments),
        ["end", file] => end(file),
        _ => bail!("reused-pid run FILE PROGRAM … | reused-pid end FILE"),
    }
}

fn run(file: &str, program: &str, arguments: &[&str]) -> Result<()> {
    let holder = holder(file)?;
    let kinds = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
    setns(&holder, kinds).context("joining the pod")?;
    let words = [&[program], arguments].concat();
    let words: Vec<CString> = words.into_iter().map(CString::new).collect::<Result<_, _>>()?;
    execvp(&words[0], &words).context("exec")?;
    Ok(())
}

fn end(file: &str) -> Result<()> {
    let holder = holder(file)?;
    // SAFETY: no memory is passed.
    let done = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, holder.as_raw_fd(), libc::SIGKILL, 0, 0) };
    Errno::result(done).map(drop).context("ending the holder")
}

/// The holder itself: it is held first, and then looked at. Close-on-exec, as every pidfd.
fn holder(file: &str) -> Result<OwnedFd> {
    let text = fs::read_to_string(file).context("reading the file")?;
    let (pid, start) = text.trim().split_once(' ').context("PID START")?;
    let pid: i32 = pid.parse().context("a pid is a number")?;
    // SAFETY: the call returns a new descriptor, which is ours alone.
    let holder = unsafe {
        let fd = Errno::result(libc::syscall(libc::SYS_pidfd_open, pid, 0)).context("the holder has ended")?;
        OwnedFd::from_raw_fd(fd as i32)
    };
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("the holder has ended")?;
    // After the name, in which anything may stand.
    let (_, fields) = stat.rsplit_once(')').context("stat has a name")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    ensure!(fields.first() != Some(&"Z"), "the holder has ended");
    ensure!(fields.get(19) == Some(&start), "number {pid} is another process's now");
    Ok(holder)
}
