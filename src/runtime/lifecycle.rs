//! What can be done with a container that exists: start, kill, delete, list, pause, and asking about it.

use std::fs::{self, OpenOptions};
use std::io::{Write, stdout};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use oci_spec::runtime::Spec;

use super::cgroups;
use super::state::{State, Status, Store, owner};
use super::{Failure, hooks};
use crate::linux::process::Signal;
use crate::trace::{self, Topic};

/// `start`: lets a created container's program run, and stays until it does.
pub fn start(store: &Store, id: &str) -> Result<()> {
    let state = store.load(id)?;
    let status = state.status(store)?;
    if status != Status::Created {
        bail!("cannot start container {id}: it is {}", status.name());
    }
    let process = state.process()?.context("it ended a moment ago")?;
    let fifo = store.fifo(id)?;
    // Not waiting for a reader: if there is none, the process is dead.
    let gate = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&fifo);
    let mut gate = gate.with_context(|| format!("cannot start container {id}: {}", fifo.display()))?;
    // Of two that start it at once, one removes the name; the other has come too late.
    fs::remove_file(&fifo).with_context(|| format!("cannot start container {id}: it is being started"))?;
    trace::point("gate taken");
    trace::ask(Topic::Process, "write", format_args!("exec.fifo"), || gate.write_all(b"1"))?;

    // The reader's end closes at execve, or when it dies.
    let mut fds = [PollFd::new(gate.as_fd(), PollFlags::empty()), PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    loop {
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => break,
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("waiting for the program"),
        }
    }
    trace::point("program runs");
    let failure = store.directory(id)?.join("failure");
    let text = fs::read_to_string(&failure).unwrap_or_default();
    if let Some((status, text)) = text.split_once(' ') {
        return Err(Failure { status: status.parse().unwrap_or(1), text: text.into() }.into());
    }
    let _ = fs::remove_file(&failure);
    let hooks = poststart(store, &state);
    if hooks.is_err() {
        // A container that is not what was asked for does not go on (OCI's lifecycle, step 9). It may have ended meanwhile.
        let _ = process.signal(Signal::KILL);
    }
    hooks
}

/// Runs the hooks of the moment when the program runs.
pub fn poststart(store: &Store, state: &State) -> Result<()> {
    // Hardly a bundle has hooks: a look for the word spares most containers the parsing of their whole configuration.
    let Some(spec) = store.spec_if_it_says(&state.id, "poststart")? else { return Ok(()) };
    let Some(hooks) = spec.hooks() else { return Ok(()) };
    let (json, streams) = (state.for_hooks("running").to_string(), hooks::Streams::of(&state.annotations)?);
    hooks::run("poststart", hooks.poststart().as_ref(), &json, &state.bundle, &streams)
}

/// Runs the hooks of the moment when a container is gone. Nothing that goes wrong there brings it back: it is told of.
pub fn poststop(spec: &Spec, state: &State) {
    let Some(hooks) = spec.hooks() else { return };
    let json = state.for_hooks("stopped").to_string();
    let streams = hooks::Streams::of(&state.annotations).unwrap_or_default();
    hooks::run_all("poststop", hooks.poststop().as_ref(), &json, &state.bundle, &streams);
}

/// `state`: the JSON that OCI prescribes.
pub fn state(store: &Store, id: &str) -> Result<()> {
    let state = store.load(id)?;
    let mut json = state.json(state.status(store)?);
    json["owner"] = owner(&store.directory(id)?)?.into();
    Ok(writeln!(stdout(), "{json:#}")?)
}

/// Whom a signal is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whom {
    /// The first process.
    First,
    /// Every process.
    All,
}

/// `kill`.
///
/// That there is nobody to kill is said in runc's very words: by "container not running" containerd's shim knows a
/// container that has just ended, which is no fault, from a runtime that failed.
pub fn kill(store: &Store, id: &str, signal: Signal, whom: Whom) -> Result<()> {
    let state = store.load(id)?;
    if whom == Whom::All {
        return kill_all(&state, signal);
    }
    match state.process()? {
        Some(process) => match process.signal(signal) {
            Err(Errno::ESRCH) => bail!("cannot kill {id}: container not running"),
            result => result.with_context(|| format!("sending {signal} to container {id}")),
        },
        None => bail!("cannot kill {id}: container not running"),
    }
}

fn kill_all(state: &State, signal: Signal) -> Result<()> {
    if let Some(place) = &state.cgroup {
        return place.kill(signal);
    }
    match state.process()? {
        // Without a cgroup, the pid namespace: when its first process is killed, the kernel kills the rest.
        Some(process) => match process.signal(signal) {
            Err(Errno::ESRCH) => Ok(()),
            result => Ok(result?),
        },
        None => Ok(()),
    }
}

/// Whether `delete` may end a container that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// Kill it; and it is no error if there is none.
    Yes,
    /// Only one that has stopped, or never started.
    No,
}

/// `delete`.
pub fn delete(store: &Store, id: &str, force: Force) -> Result<()> {
    let state = match store.load(id) {
        Ok(state) => state,
        Err(_) if force == Force::Yes => {
            // Absent, or what a runtime that was killed in the middle of create has left. Its first process ends by itself.
            if let Ok(text) = std::fs::read(store.directory(id)?.join("config.json"))
                && let Ok(spec) = serde_json::from_slice(&text)
            {
                cgroups::remove_unrecorded(id, &spec);
            }
            return store.forget(id);
        }
        Err(error) => return Err(error),
    };
    let status = state.status(store)?;
    if force == Force::No && !matches!(status, Status::Stopped | Status::Created) {
        bail!("cannot delete container {id}: it is {}; kill it first, or use --force", status.name());
    }
    if let Some(process) = state.process()? {
        match process.signal(Signal::KILL) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => return Err(error).with_context(|| format!("killing container {id}")),
        }
        if status == Status::Paused
            && let Some(place) = &state.cgroup
        {
            place.freeze(false)?;
        }
        process.await_end(PollTimeout::NONE)?;
    }
    trace::point("killed");
    let spec = store.spec_if_it_says(id, "poststop").ok().flatten();
    let cgroup = state.cgroup.as_ref().map_or(Ok(()), |place| {
        place.kill(Signal::KILL)?;
        place.remove()
    });
    trace::point("without cgroup");
    store.forget(id)?;
    trace::point("forgotten");
    if let Some(spec) = spec {
        poststop(&spec, &state);
    }
    cgroup
}

/// `list`.
pub fn list(store: &Store, format: &str, only_ids: bool) -> Result<()> {
    let mut rows = Vec::new();
    for state in store.all()? {
        let status = state.status(store)?;
        let mut json = state.json(status);
        json["owner"] = owner(&store.directory(&state.id)?).unwrap_or_default().into();
        rows.push(json);
    }
    let mut out = stdout().lock();
    let text = |row: &serde_json::Value, key: &str| match &row[key] {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match format {
        _ if only_ids => {
            for row in &rows {
                writeln!(out, "{}", text(row, "id"))?;
            }
        }
        "json" => writeln!(out, "{}", serde_json::Value::Array(rows))?,
        "table" => {
            let columns = ["id", "pid", "status", "bundle", "created", "owner"];
            let lines: Vec<Vec<String>> = std::iter::once(columns.map(str::to_uppercase).to_vec())
                .chain(rows.iter().map(|row| columns.map(|column| text(row, column)).to_vec()))
                .collect();
            let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
            let widths: Vec<usize> = (0..columns.len()).map(width).collect();
            for line in &lines {
                let cells: Vec<String> =
                    line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
                writeln!(out, "{}", cells.join("  ").trim_end())?;
            }
        }
        other => bail!("unknown format {other:?}: table or json"),
    }
    Ok(())
}

/// `pause` and `resume`.
pub fn freeze(store: &Store, id: &str, frozen: bool) -> Result<()> {
    let state = store.load(id)?;
    let (verb, wanted) = if frozen { ("pause", Status::Running) } else { ("resume", Status::Paused) };
    let status = state.status(store)?;
    if status != wanted && !(frozen && status == Status::Created) {
        bail!("cannot {verb} container {id}: it is {}", status.name());
    }
    match &state.cgroup {
        Some(place) => place.freeze(frozen).with_context(|| format!("cannot {verb} container {id}")),
        None => bail!("cannot {verb} container {id}: it has no cgroup of its own"),
    }
}
