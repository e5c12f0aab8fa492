//! Chapter 8, the monitor: one small process that stays with one container.
//!
//! It holds what somebody must hold: the other end of the container's output, the log, the door for whoever wants to look
//! in. It waits for what only a parent can wait for: the exit status. When that is written down it ends.
//!
//! The subtlety is who the parent is. A container is made by a process that becomes root of a user namespace, and goes
//! when that is done (a runtime: runc, crun, podling-runtime). Its child is an orphan then, adopted by init, and init
//! would be told the status. But a *subreaper* among its ancestors comes first: the monitor says that it is one.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{PipeWriter, Read, Write, pipe};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};
use chapters::{container, machine};
use nix::pty::openpty;
use nix::sys::prctl::set_child_subreaper;
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, setsid};
use podling::linux::ipc::{SockType, listen};
use podling::linux::namespace::Namespace::{Ipc, Mount, Pid, User, Uts};
use podling::linux::process::{self, Process};
use podling::linux::userns::{self, Maps};
use podling::sys;
use podling::trace::{self, Actor, Topic};

use crate::Start;
use crate::chapter08_attach::pass_on;

// ANCHOR: monitor
/// The monitor's life, in order. The lock on `place` is inherited, and held until the end, however that is. `told` is where
/// whoever started it listens: silence means that all went well.
pub fn monitor(place: &Path, start: &Start, program: &[CString], told: &mut Option<PipeWriter>) -> Result<u8> {
    trace::ask(Topic::Monitor, "prctl", format_args!("PR_SET_CHILD_SUBREAPER"), || set_child_subreaper(true))?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    // All this before there is a container: nothing that it says is lost.
    let mut log = File::create(place.join("log"))?;
    let door = listen(&place.join("attach"), SockType::Stream)?;
    let (ours, theirs) = streams(place, start.terminal)?;
    let Some(container) = make(start, program, theirs, told.as_ref())? else { return Ok(chapters::OWN_FAILURE) };
    fs::write(place.join("pid"), container.pid().to_string())?;
    told.take();
    // The caller's directory and its ear for our narration are not ours to keep.
    std::env::set_current_dir("/")?;
    trace::end();
    pass_on(ours, &mut log, &door)?;
    let status = container.reap()?.status().to_string();
    // By rename: whoever looks finds all of it, or no file.
    let unfinished = place.join("exit.new");
    fs::write(&unfinished, status)?;
    fs::rename(&unfinished, place.join("exit"))?;
    Ok(0)
}

/// Says how a life went wrong, if it did, to whoever still listens.
pub fn tell(told: Option<&PipeWriter>, outcome: Result<u8>) -> u8 {
    let (status, text) = match outcome {
        Ok(status) => return status,
        Err(error) => chapters::failure(&error),
    };
    let _ = told.map(|mut told| told.write_all(&[&[status], text.as_bytes()].concat()));
    status
}
// ANCHOR_END: monitor

// ANCHOR: streams
/// Our end of the container's output (and of its input, if it has a terminal), and the container's.
fn streams(place: &Path, terminal: bool) -> Result<(File, OwnedFd)> {
    if !terminal {
        let (ours, theirs) = pipe()?;
        return Ok((OwnedFd::from(ours).into(), theirs.into()));
    }
    let pty =
        trace::ask(Topic::Monitor, "openpty", format_args!(""), || openpty(None, None)).context("making a pty")?;
    fs::write(place.join("terminal"), "")?;
    Ok((pty.master.into(), pty.slave))
}
// ANCHOR_END: streams

// ANCHOR: make
/// Has a process of its own make the container, and adopts what that leaves. `None`: it has been told why not.
fn make(start: &Start, program: &[CString], theirs: OwnedFd, told: Option<&PipeWriter>) -> Result<Option<Process>> {
    let (mut numbers, mut number) = pipe()?;
    let mut runtime = || {
        userns::enter(&Maps::of_this_user()?, &[User])?;
        let life = || tell(told, inside(start, program, &theirs));
        let container = process::clone(&[Mount, Pid, Ipc, Uts], None, life)?;
        number.write_all(&container.pid().as_raw().to_ne_bytes())?;
        Ok(0)
    };
    process::clone(&[], None, || tell(told, runtime()))?.reap()?;
    drop(number);
    let mut pid = [0; 4];
    match numbers.read_exact(&mut pid) {
        Ok(()) => Process::open(nix::unistd::Pid::from_raw(i32::from_ne_bytes(pid))),
        Err(_) => Ok(None),
    }
}

fn inside(start: &Start, program: &[CString], theirs: &OwnedFd) -> Result<u8> {
    trace::become_actor(Actor::Init);
    setsid()?;
    if start.terminal {
        trace::ask(Topic::Monitor, "TIOCSCTTY", format_args!(""), || sys::set_controlling_terminal(theirs.as_fd()))?;
        dup2_stdin(theirs)?;
    }
    dup2_stdout(theirs)?;
    dup2_stderr(theirs)?;
    container::enter(&machine::files(start.root.as_deref())?)?;
    container::furnish(&start.name)?;
    match process::execute(program)? {}
}
// ANCHOR_END: make
