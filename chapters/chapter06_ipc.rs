//! Chapter 6: what is IPC? Things that processes talk through, and a wall around those who may.
//!
//! A process has its memory for itself. To talk, two of them need a thing that both can name, and the kernel keeps it: a
//! queue, a semaphore, a piece of memory. Where names are looked up, a wall can be built:
//!
//! ```text
//! System V queues, semaphores, memory     by key, a number     tables of the IPC namespace
//! POSIX message queues                    by name              a file system of the IPC namespace (/dev/mqueue)
//! POSIX shared memory                     by name              a tmpfs (/dev/shm): the mount namespace
//! the host's name                                              the UTS namespace
//! ```
//!
//! `chapter06_talk` talks through all but the last two. The subtlety is what lies in these tables: it belongs to no
//! process. It stays when its maker ends, until somebody removes it, or the last process of the namespace has gone.

use std::ffi::{CString, OsString};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use chapters::{ask, container, machine};
use clap::Parser;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::sethostname;
use podling::linux::userns::{self, Maps};
use podling::linux::{foreground::Wait, namespace::Namespace, process, rootfs};
use podling::trace::{self, Actor, Topic};

/// Run PROGRAM in a container with a hostname, queues and shared memory of its own
///
/// Root, files and processes are those of chapter 4; two namespaces more, IPC and UTS, and what is mounted to show them.
///
/// Try: chapter06_ipc sh; and in there: hostname; ls /dev/mqueue /dev/shm; ipcs
#[derive(Parser)]
#[command(name = "chapter06_ipc")]
struct Options {
    /// What the host is called inside
    #[arg(long, default_value = "box")]
    hostname: String,
    /// Leave them out: the machine's hostname, queues and shared memory, as in the chapters before
    #[arg(long)]
    shared: bool,
    /// The files to start from, instead of the machine's
    #[arg(long, value_name = "DIRECTORY")]
    root: Option<PathBuf>,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true)]
    program: Vec<OsString>,
}

fn main() -> ExitCode {
    chapters::run(outside)
}

/// The life of whoever stays outside: makes the container's first process, and ends as that one ends.
fn outside(options: Options) -> Result<u8> {
    let program = chapters::words(options.program.clone())?;
    let signals = Wait::begin(None)?;
    userns::enter(&Maps::of_this_user()?, &[Namespace::User])?;
    let life = || chapters::status(inside(&options, &program));
    let child = process::clone(&[Namespace::Mount, Namespace::Pid], None, life)?;
    Ok(signals.until_end(&child)?.status() as u8)
}

// ANCHOR: inside
/// The life of the container's first process.
fn inside(options: &Options, program: &[CString]) -> Result<u8> {
    trace::become_actor(Actor::Init);
    if options.shared {
        rootfs::pivot(&machine::with_proc(options.root.as_deref())?)?;
    } else {
        separate()?;
        name_the_host(&options.hostname)?;
        container::enter(&machine::files(options.root.as_deref())?)?;
        mount_what_shows_it()?;
    }
    match process::execute(program)? {}
}
// ANCHOR_END: inside

// ANCHOR: separate
/// From now on this process, and the children it will have, look keys and names up in tables of their own. They are
/// empty: nothing is copied, nothing of the old is reachable.
fn separate() -> Result<()> {
    let new = CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
    ask(Topic::Ipc, "unshare", "ipc,uts", || unshare(new))
}
// ANCHOR_END: separate

// ANCHOR: hostname
/// The new UTS namespace began as a copy: until now it holds the machine's name. Before `separate` this call would be
/// refused, since the machine's own namespace belongs to the machine's root.
fn name_the_host(name: &str) -> Result<()> {
    ask(Topic::Ipc, "sethostname", name, || sethostname(name))
}
// ANCHOR_END: hostname

// ANCHOR: mounts
/// A mount of mqueue shows the queues of the namespace that its maker is in, so it comes after `separate`. Queues work
/// without it; it is there for `ls` and `rm`. POSIX shared memory needs its tmpfs: shm_open(3) opens a file in it.
fn mount_what_shows_it() -> Result<()> {
    for (kind, place, settings) in [("mqueue", "/dev/mqueue", ""), ("tmpfs", "/dev/shm", "mode=1777")] {
        std::fs::create_dir(place).with_context(|| format!("making {place}"))?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        let call = || mount(Some(kind), place, Some(kind), flags, Some(settings));
        ask(Topic::Ipc, "mount", &format!("{kind} {place} {settings}"), call)?;
    }
    Ok(())
}
// ANCHOR_END: mounts
