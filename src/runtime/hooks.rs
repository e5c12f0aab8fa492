//! Hooks: programs of the host that a bundle wants run at certain moments, with the container's state on their input.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::poll::PollTimeout;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::Pid;
use oci_spec::runtime::Hook;

use crate::linux::process::{Process, Signal};
use crate::sys;
use crate::trace::{self, Topic};

/// Runs hooks one after another; the first that fails ends it. `state` is the JSON that OCI prescribes.
pub fn run(moment: &str, hooks: Option<&Vec<Hook>>, state: &str, directory: &Path) -> Result<()> {
    for hook in hooks.into_iter().flatten() {
        one(hook, state, directory).with_context(|| format!("{moment} hook {}", hook.path().display()))?;
    }
    Ok(())
}

fn one(hook: &Hook, state: &str, directory: &Path) -> Result<()> {
    let words = hook.args().clone().unwrap_or_default();
    let mut command = Command::new(hook.path());
    // The first argument is the program's own name, as for execve.
    if let Some(name) = words.first() {
        command.arg0(name);
    }
    command.args(words.iter().skip(1)).env_clear();
    for variable in hook.env().iter().flatten() {
        let (name, value) = variable.split_once('=').with_context(|| format!("env {variable:?} has no ="))?;
        command.env(name, value);
    }
    // A file in memory takes all that it says, where a pipe that nobody reads yet would stop it.
    let mut complaints = File::from(memfd_create("complaints", MFdFlags::MFD_CLOEXEC).context("memfd_create")?);
    command.current_dir(directory).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(complaints.try_clone()?);
    // `run` holds back signals for the container by now.
    sys::unblock_signals_of(&mut command);
    let mut child = trace::ask(Topic::Process, "hook", format_args!("{}", hook.path().display()), || command.spawn())?;
    if let Some(mut input) = child.stdin.take() {
        match input.write_all(state.as_bytes()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error).context("giving it the state"),
            _ => {}
        }
    }
    if let Some(seconds) = hook.timeout() {
        let held = Process::open(Pid::from_raw(child.id() as i32))?;
        let patience = PollTimeout::try_from(seconds.saturating_mul(1000)).unwrap_or(PollTimeout::MAX);
        if let Some(process) = held
            && !process.await_end(patience)?
        {
            let _ = process.signal(Signal::KILL);
            child.wait()?;
            bail!("did not end within {seconds} s");
        }
    }
    let status = child.wait()?;
    if !status.success() {
        let mut said = Vec::new();
        complaints.rewind()?;
        complaints.read_to_end(&mut said)?;
        let said = String::from_utf8_lossy(&said);
        bail!("{status}: {}", said.trim().lines().last().unwrap_or("it said nothing"));
    }
    Ok(())
}
