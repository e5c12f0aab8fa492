//! Chapter 8: who stays? The command ends, the container goes on, and yet somebody takes its output and its exit status.
//!
//! A process's end is told to its parent and to nobody else, and its terminal has an other end that somebody must hold.
//! One big daemon could do both for all containers. Here each has one small process of its own, its monitor.
//!
//! This file is the command: how a monitor comes to be. What it does is in `chapter08_watch`, how to look in is in
//! `chapter08_attach`, what both sides know of each other is in `chapter08_state`: files, a lock, and nothing else.
//!
//! The subtlety is to leave the caller in every sense: his process group, session, terminal, streams and directory. What
//! is forgotten here kills the container when he logs out, or keeps his pipe open for ever.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, pipe, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use nix::fcntl::FlockArg::{LockShared, LockSharedNonblock};
use nix::unistd::setsid;
use podling::linux::process;
use podling::sys;
use podling::trace::{self, Actor, Topic};

mod chapter08_attach;
mod chapter08_state;
mod chapter08_watch;

use chapter08_attach::{End, attach};
use chapter08_state::{claim, list, lives, place, wait};
use chapter08_watch::{monitor, tell};

/// Containers that outlive the command that started them
///
/// Try: chapter08_monitor start -t box sh; chapter08_monitor attach box; and leave it with Ctrl-P Ctrl-Q
#[derive(Parser)]
#[command(name = "chapter08_monitor")]
enum Options {
    /// Start PROGRAM in a container, and leave it to its monitor
    Start(Start),
    /// See what a container prints from now on, and type to it if it has a terminal
    Attach { name: String },
    /// Print what a container has printed
    Logs { name: String },
    /// Wait until a container has ended, and end with its status
    Wait { name: String },
    /// List the containers, and how they are
    Ls,
    /// Forget a container that has ended
    Rm { name: String },
}

#[derive(clap::Args)]
struct Start {
    /// What to call it; also its hostname
    name: String,
    /// Give it a terminal
    #[arg(short, long)]
    terminal: bool,
    /// The files to start from, instead of the machine's
    #[arg(long, value_name = "DIRECTORY")]
    root: Option<PathBuf>,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true)]
    program: Vec<OsString>,
}

fn main() -> ExitCode {
    // What our caller has left open for us would be open for as long as the container runs.
    let _ = sys::close_inherited(3, i32::MAX);
    chapters::run(|options| match options {
        Options::Start(options) => start(&options),
        Options::Attach { name } => match attach(&place(&name)?)? {
            End::Left => Ok(0),
            End::Closed => wait(&place(&name)?),
        },
        Options::Logs { name } => {
            io::copy(&mut File::open(place(&name)?.join("log")).context("its log")?, &mut stdout())?;
            Ok(0)
        }
        Options::Wait { name } => wait(&place(&name)?),
        Options::Ls => list(),
        Options::Rm { name } => {
            ensure!(!lives(&place(&name)?, LockSharedNonblock)?, "{name} is running");
            fs::remove_dir_all(place(&name)?)?;
            Ok(0)
        }
    })
}

// ANCHOR: start
/// Makes the monitor by forking twice, with the name claimed in between. Whoever forked may be killed at any moment after
/// that: the monitor has another session, another parent, and needs neither.
fn start(options: &Start) -> Result<u8> {
    let program = chapters::words(options.program.clone())?;
    let (mut report, told) = pipe()?;
    let mut told = Some(told);
    let between = process::clone(&[], None, || {
        trace::become_actor(Actor::Monitor);
        // A new session has no terminal: neither Ctrl-C nor the end of a login reaches it. Its leader could get one again
        // by opening it, so the leader ends here, and its child is the monitor.
        let _ = trace::ask(Topic::Monitor, "setsid", format_args!(""), setsid);
        chapters::status(claim(&options.name).and_then(|place| {
            let life = || {
                let outcome = monitor(&place, options, &program, &mut told);
                tell(told.as_ref(), outcome)
            };
            process::clone(&[], None, life).map(|_| 0)
        }))
    })?;
    let begun = between.reap()?.status();
    if begun != 0 {
        return Ok(begun as u8); // it has said why
    }
    drop(told);
    let place = place(&options.name)?;
    // Each of them closes its end when nothing can go wrong any more, the container's first process by its execve.
    let mut complaint = Vec::new();
    report.read_to_end(&mut complaint)?;
    if let Some((status, text)) = complaint.split_first() {
        eprint!("{}", String::from_utf8_lossy(text));
        lives(&place, LockShared)?;
        fs::remove_dir_all(&place)?;
        return Ok(*status);
    }
    ensure!(place.join("pid").exists(), "the monitor was killed before it had a container");
    println!("{}", options.name);
    Ok(0)
}
// ANCHOR_END: start
