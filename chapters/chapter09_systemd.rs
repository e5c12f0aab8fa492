//! Chapter 9: who starts it at boot, and again when it fails?
//!
//! Chapter 8's monitor stays with one container and knows how it ended. What to do then, and what to start when the machine
//! comes up, nobody knew; a daemon would. But each machine has one already, process 1, whose whole work is that: to start
//! programs, to be their parent, to keep what they print, to start them again. We only have to say what we want, in a file
//! (`chapter09_units`), and to tell it how things stand (`chapter09_notify`).
//!
//! This file is the service. It makes the container, says which process is the one to watch, and is gone: a container has
//! no process of ours any more. systemd is its monitor.
//!
//! The subtlety is whose child the container is. An exit status is told to the parent alone, so systemd must be that, though
//! it has not started it. A process whose parent ends is adopted by the nearest subreaper above, and that is systemd.

use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::io::{PipeWriter, Read, Write, pipe};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use chapters::{container, machine};
use clap::Parser;
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::unistd::execvpe;
use podling::linux::namespace::Namespace::{Ipc, Mount, Network, Pid, User, Uts};
use podling::linux::userns::{self, Maps};
use podling::linux::{process, reaper};
use podling::sys;
use podling::trace::{self, Actor, Topic};

mod chapter09_manager;
mod chapter09_notify;
mod chapter09_sockets;
mod chapter09_units;

use chapter09_manager::{install, uninstall};
use chapter09_notify::{environment, manager, notify};
use chapter09_sockets::{FIRST, passed};
use chapter09_units::{Install, units};

/// Containers that systemd starts, watches and starts again
///
/// Try: chapter09_systemd install box sleep 1000; systemctl --user status box; chapter09_systemd uninstall box
#[derive(Parser)]
#[command(name = "chapter09_systemd")]
enum Options {
    /// Write a unit for a container, and have it started: now, and whenever your systemd starts
    Install(Install),
    /// Only print what `install` would write
    Print(Install),
    /// Stop a container, and remove its unit
    Uninstall { name: String },
    /// What the unit runs: make the container, tell systemd, and leave
    Run(Container),
}

#[derive(clap::Args)]
struct Container {
    /// What to call it; also its hostname
    name: String,
    /// The files to start from, instead of the machine's
    #[arg(long, value_name = "DIRECTORY")]
    root: Option<PathBuf>,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true)]
    program: Vec<OsString>,
}

fn main() -> ExitCode {
    chapters::run(|options| match options {
        Options::Install(wanted) => install(&wanted),
        Options::Print(wanted) => {
            units(&wanted)?.iter().for_each(|(unit, text)| println!("# {unit}\n{text}"));
            Ok(0)
        }
        Options::Uninstall { name } => uninstall(&name),
        Options::Run(container) => run(&container),
    })
}

// ANCHOR: run
/// The service's first process. `MAINPID`: watch that one from now on, and not me.
fn run(container: &Container) -> Result<u8> {
    let manager = manager()?;
    let sockets = passed()?;
    let program = chapters::words(container.program.clone())?;
    let (mut report, told) = pipe()?;
    let (mut numbers, mut number) = pipe()?;
    // Who is given sockets needs no network to be reached: its own has not even a loopback device that is up.
    let kinds = if sockets > 0 { vec![Mount, Pid, Ipc, Uts, Network] } else { vec![Mount, Pid, Ipc, Uts] };
    let mut make = || {
        userns::enter(&Maps::of_this_user()?, &[User])?;
        let first = process::clone(&kinds, None, || tell(&told, inside(container, &program, sockets)))?;
        Ok(number.write_all(&first.pid().as_raw().to_ne_bytes()).map(|()| 0)?)
    };
    // As in chapter 8 a process between, with whose end the container is adopted: before we speak of it, by systemd.
    process::clone(&[], None, || tell(&told, make()))?.reap()?;
    drop((told, number));
    let (mut pid, mut complaint) = ([0; 4], Vec::new());
    // To the end: the last copy of it is closed by the execve of the container's program.
    report.read_to_end(&mut complaint)?;
    if let Some((status, text)) = complaint.split_first() {
        let text = String::from_utf8_lossy(text);
        eprint!("{text}");
        notify(&manager, &[("STATUS", text.trim())])?;
        return Ok(*status);
    }
    numbers.read_exact(&mut pid).context("whoever was to make the container was killed")?;
    let pid = i32::from_ne_bytes(pid).to_string();
    notify(&manager, &[("READY", "1"), ("MAINPID", &pid)])?;
    Ok(0)
}
// ANCHOR_END: run

// ANCHOR: inside
/// The container's first process: chapter 4's, which passes SIGTERM on to the program and ends as it ends.
fn inside(container: &Container, program: &[CString], sockets: u32) -> Result<u8> {
    trace::become_actor(Actor::Init);
    container::enter(&machine::files(container.root.as_deref())?)?;
    container::furnish(&container.name)?;
    if let Some(program) = reaper::part(false)? {
        reaper::stay(&program);
    }
    match become_program(program, sockets)? {}
}

/// Chapter 1's execve, with an environment, and with sockets that stay open.
fn become_program(program: &[CString], sockets: u32) -> Result<Infallible> {
    sys::restore_sigpipe()?;
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    sys::close_on_exec_from(FIRST + sockets as i32)?;
    let environment = environment(sockets)?;
    trace::say(Topic::Systemd, "execve", format_args!("with LISTEN_FDS={sockets}"), "ok");
    let Err(errno) = execvpe(&program[0], program, &environment);
    Err(process::NotRunnable { program: program[0].to_string_lossy().into_owned(), errno }.into())
}
// ANCHOR_END: inside

/// Says how a life went wrong, if it did, to whoever waits for the container.
fn tell(mut told: &PipeWriter, outcome: Result<u8>) -> u8 {
    let (status, text) = match outcome {
        Ok(status) => return status,
        Err(error) => chapters::failure(&error),
    };
    let _ = told.write_all(&[&[status], text.as_bytes()].concat());
    status
}
