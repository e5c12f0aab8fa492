//! Chapter 10: what is a pod? A few namespaces that several containers share, and one sleeping process that holds them.
//!
//! A namespace lives as long as somebody is in it. Were it made by the first container and joined by the second, it would
//! be the first one's, and a restart would make another. So it belongs to neither: a process that does nothing is in it,
//! and both join. Kubernetes calls this process *pause*, Podman *infra*.
//!
//! ```text
//! the pod's             user   net   ipc   uts
//! each container's own                           mnt   pid
//! ```
//!
//! This file is the command. What the sleeping process does before it sleeps is in `chapter10_infra`; how it is found
//! again is in `chapter10_state`, and so is the subtlety: to join means to go where a process is, and a process is written
//! down as a number, which may be another's tomorrow.

use std::ffi::{CString, OsString};
use std::io::{Read, pipe};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use chapters::{container, machine, status};
use clap::Parser;
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use podling::hint::cured;
use podling::linux::foreground::Wait;
use podling::linux::namespace::Namespace::{Mount, Pid};
use podling::linux::process::{self, Exit, Process};
use podling::sys;
use podling::trace::{self, Actor, Topic};

mod chapter10_infra;
mod chapter10_state;

use chapter10_infra::hold;
use chapter10_state::{holder, list, place, remove};

/// Containers that share one localhost, one IPC namespace and one hostname
///
/// Try: chapter10_pods create shop; chapter10_pods run shop sh; and a second time beside it: nc -l -p 80 hears nc localhost 80
#[derive(Parser)]
#[command(name = "chapter10_pods")]
enum Options {
    /// Make a pod: its namespaces, and a sleeping process that holds them
    Create { name: String },
    /// Run PROGRAM in a container of its own that joins a pod
    Run(Run),
    /// List the pods, who holds them, and which containers are in them
    Ls,
    /// End a pod in which there are no containers
    Rm { name: String },
}

#[derive(clap::Args)]
struct Run {
    /// The pod to join
    pod: String,
    /// The files to start from, instead of the machine's
    #[arg(long, value_name = "DIRECTORY")]
    root: Option<PathBuf>,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true)]
    program: Vec<OsString>,
}

fn main() -> ExitCode {
    // What our caller has left open for us would be open for as long as the pod is there.
    let _ = sys::close_inherited(3, i32::MAX);
    chapters::run(|options| match options {
        Options::Create { name } => create(&name),
        Options::Run(options) => run(&options),
        Options::Ls => list(),
        Options::Rm { name } => remove(&name),
    })
}

// ANCHOR: create
/// Makes the holder, and leaves it.
fn create(name: &str) -> Result<u8> {
    let link = place(name)?;
    let (ear, mouth) = pipe()?;
    let mut ear = Some(ear);
    let holder = process::clone(&[], None, || {
        drop(ear.take());
        status(hold(name, &link, mouth))
    })?;
    let mut ear = ear.context("our end of the pipe")?;
    if ear.read(&mut [0])? == 0 {
        match holder.reap()? {
            Exit::Code(status) => return Ok(status as u8), // it has said why
            Exit::Signal(_) => bail!("the holder was killed before the pod was complete"),
        }
    }
    println!("{name}");
    Ok(0)
}
// ANCHOR_END: create

// ANCHOR: join
/// Moves this process into the pod: all at once or not at all, the user namespace first.
fn join(holder: &Process) -> Result<()> {
    let shared =
        CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
    let call = || setns(holder, shared);
    trace::ask(Topic::Pod, "setns", format_args!("pidfd user,net,ipc,uts"), call).map_err(|error| {
        let tried = format!("joining the namespaces of process {}", holder.pid());
        match error {
            Errno::EPERM => cured(error, tried, "they are another user's: only who has made a pod may join it"),
            _ => anyhow::Error::new(error).context(tried),
        }
    })
}
// ANCHOR_END: join

// ANCHOR: run
fn run(options: &Run) -> Result<u8> {
    let program = chapters::words(options.program.clone())?;
    let signals = Wait::begin(None)?;
    join(&holder(&options.pod)?)?;
    // From here on as in chapter 6, but that we make two namespaces less, and name no host.
    let child = process::clone(&[Mount, Pid], None, || status(inside(options, &program)))?;
    Ok(signals.until_end(&child)?.status() as u8)
}

fn inside(options: &Run, program: &[CString]) -> Result<u8> {
    trace::become_actor(Actor::Init);
    container::enter(&machine::files(options.root.as_deref())?)?;
    container::show_ipc()?;
    match process::execute(program)? {}
}
// ANCHOR_END: run
