//! Usage: reused-pid run FILE PROGRAM [ARGUMENT…]  |  reused-pid end FILE

use std::ffi::CString;
use std::fs;

use anyhow::{Context, Result, bail};
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, execvp};

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
    let pid = holder(file)?;
    // The user namespace first: it gives the right to enter the others.
    for kind in ["user", "net", "ipc", "uts"] {
        let door = open(format!("/proc/{pid}/ns/{kind}").as_str(), OFlag::O_RDONLY, Mode::empty()).context(kind)?;
        setns(&door, CloneFlags::empty()).context(kind)?;
        // The namespace must not go away while we are on our way.
        std::mem::forget(door);
    }
    let words = [&[program], arguments].concat();
    let words: Vec<CString> = words.into_iter().map(CString::new).collect::<Result<_, _>>()?;
    execvp(&words[0], &words).context("exec")?;
    Ok(())
}

fn end(file: &str) -> Result<()> {
    kill(Pid::from_raw(holder(file)?), Signal::SIGKILL).context("kill")
}

/// The number of the holder.
fn holder(file: &str) -> Result<i32> {
    let text = fs::read_to_string(file).context("reading the file")?;
    let (pid, _start) = text.trim().split_once(' ').context("PID START")?;
    pid.parse().context("a pid is a number")
}
