//! Hooks: programs of the host that a bundle wants run at certain moments, with the container's state on their input.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::hash::BuildHasher;
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use nix::poll::PollTimeout;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::Pid;
use oci_spec::runtime::Hook;

use crate::hint;
use crate::linux::process::{Process, Signal};
use crate::sys;
use crate::trace::{self, Topic};

/// Where hooks' words go, if the bundle says so in crun's annotations. Opened outside the container, also for hooks that
/// run inside.
#[derive(Debug, Default)]
pub struct Streams {
    output: Option<File>,
    error: Option<File>,
}

impl Streams {
    /// Opens them.
    pub fn of<S: BuildHasher>(annotations: &HashMap<String, String, S>) -> Result<Self> {
        let open = |name: &str| {
            let path = annotations.get(name).filter(|path| !path.is_empty());
            let open = |path: &String| {
                let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
                file.with_context(|| format!("the annotation {name}: {path}"))
            };
            path.map(open).transpose()
        };
        Ok(Self { output: open("run.oci.hooks.stdout")?, error: open("run.oci.hooks.stderr")? })
    }
}

/// Runs hooks one after another; the first that fails ends it. `state` is the JSON that OCI prescribes.
pub fn run(moment: &str, hooks: Option<&Vec<Hook>>, state: &str, directory: &Path, streams: &Streams) -> Result<()> {
    hooks.into_iter().flatten().try_for_each(|hook| one(moment, hook, state, directory, streams))
}

/// Runs all of them: one that fails is told of, and does not keep the others from their work.
pub fn run_all(moment: &str, hooks: Option<&Vec<Hook>>, state: &str, directory: &Path, streams: &Streams) {
    for hook in hooks.into_iter().flatten() {
        if let Err(error) = one(moment, hook, state, directory, streams) {
            eprintln!("podling-runtime: warning: {}", hint::line(&error));
        }
    }
}

fn one(moment: &str, hook: &Hook, state: &str, directory: &Path, streams: &Streams) -> Result<()> {
    attempt(hook, state, directory, streams).with_context(|| format!("{moment} hook {}", hook.path().display()))
}

fn attempt(hook: &Hook, state: &str, directory: &Path, streams: &Streams) -> Result<()> {
    ensure!(hook.path().is_absolute(), "its path is not absolute");
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
    let output = streams.output.as_ref().map(File::try_clone).transpose()?.map_or_else(Stdio::null, Stdio::from);
    let error = streams.error.as_ref().unwrap_or(&complaints).try_clone()?;
    command.current_dir(directory).stdin(Stdio::piped()).stdout(output).stderr(error);
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
