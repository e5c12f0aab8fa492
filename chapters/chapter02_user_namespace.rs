//! Chapter 2: root, but only here.
//!
//! To be root is to have uid 0 and the capabilities that go with it, *in a user namespace*. Anybody may make one and be
//! root inside; outside he stays who he is. Whatever belongs to ids that have no name inside stays out of root's reach.
//!
//! Who is who says the map, which somebody *outside* writes. A user may map one id by himself: his own. For more, root
//! lends him ids in /etc/subuid and /etc/subgid, and two set-uid programs, newuidmap and newgidmap, write the map.
//!
//! The subtlety is the order. Until the map is written the child is nobody (65534), and by an execve it would lose all
//! its capabilities. So it waits at a pipe.

use std::ffi::{CString, OsString};
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::Parser;
use nix::unistd::{Pid, User, getegid, geteuid};
use podling::hint::cured;
use podling::linux::foreground::Wait;
use podling::linux::process::{self, Process, in_path};
use podling::sys::{self, Side};
use podling::trace::{self, Topic};

/// Run PROGRAM as root of a user namespace of its own
///
/// Inside, PROGRAM is root with every capability; outside it is still you. If root has lent you ids (/etc/subuid,
/// /etc/subgid), PROGRAM can become others, too. The exit status is PROGRAM's own.
///
/// Try: chapter02_user_namespace --show sh -c 'id; cat /etc/shadow; mount -t tmpfs none /mnt'
#[derive(Parser)]
#[command(name = "chapter02_user_namespace")]
struct Options {
    /// Map only your own id, by hand, whatever root has lent you
    #[arg(long)]
    single: bool,
    /// Show first who PROGRAM is, seen from outside and from inside
    #[arg(long)]
    show: bool,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true)]
    program: Vec<OsString>,
}

fn main() -> ExitCode {
    chapters::run(life)
}

// ANCHOR: life
fn life(options: Options) -> Result<u8> {
    let program = chapters::words(options.program.clone())?;
    let signals = Wait::begin(None)?;
    let (mut mouth, child) = birth(&options, &program)?;
    match if options.single { None } else { lent_ids()? } {
        Some(lent) => have_maps_written(child.pid(), &lent)?,
        None => write_maps(child.pid())?,
    }
    if options.show {
        show("outside", child.pid(), &["Uid", "Gid", "Groups", "CapEff"])?;
    }
    mouth.write_all(b"!").context("telling the child that its ids are mapped")?;
    Ok(signals.until_end(&child)?.status() as u8)
}
// ANCHOR_END: life

// ANCHOR: birth
/// Makes the child, in a new user namespace. It waits until we write into the pipe.
fn birth(options: &Options, program: &[CString]) -> Result<(PipeWriter, Process)> {
    let (ear, mouth) = std::io::pipe().context("making a pipe")?;
    match sys::clone3(libc::CLONE_NEWUSER as u64, None).map_err(|errno| process::cannot_clone(errno, "user"))? {
        Side::Parent(pid, pidfd) => {
            trace::say(Topic::User, "clone3", format_args!("user"), &format!("pid {pid}"));
            Ok((mouth, Process::from_parts(pid, pidfd)))
        }
        Side::Child => {
            // Our copy of the other end. While it is open we would never hear that our parent has died.
            drop(mouth);
            let end = become_root(ear, options).and_then(|()| match process::execute(program)? {});
            sys::exit_now(i32::from(chapters::status(end)))
        }
    }
}
// ANCHOR_END: birth

// ANCHOR: root
/// The child's part. It need not change: it is whom the map says, as soon as there is one.
fn become_root(mut ear: PipeReader, options: &Options) -> Result<()> {
    if ear.read(&mut [0]).context("waiting for the map")? == 0 {
        // Our parent has said why.
        sys::exit_now(i32::from(chapters::OWN_FAILURE));
    }
    // The caller's groups (docker, sudo, …) still open their files. We leave them, unless that was given up, see below.
    let _ = trace::ask(Topic::User, "setgroups", format_args!("none"), || sys::setgroups(&[]));
    if options.show { show("inside", Pid::this(), &["Uid", "Gid", "Groups", "CapEff"]) } else { Ok(()) }
}
// ANCHOR_END: root

// ANCHOR: by_hand
/// Maps 0 to our own ids and nothing else; that needs no privilege.
fn write_maps(pid: Pid) -> Result<()> {
    let (uid, gid) = (geteuid(), getegid());
    // Groups can take rights away, too (mode 604: all but the group). To leave one is to gain. So setgroups must be
    // given up for good before a user may map his group: user_namespaces(7).
    let texts = [("setgroups", "deny".into()), ("gid_map", format!("0 {gid} 1")), ("uid_map", format!("0 {uid} 1"))];
    for (file, text) in texts {
        let path = format!("/proc/{pid}/{file}");
        trace::ask(Topic::User, "write", format_args!("{path} {text}"), || std::fs::write(&path, &text))
            .map_err(|error| cured(error, format!("writing {text:?} to {path}"), "see 'podling doctor'"))?;
    }
    Ok(())
}
// ANCHOR_END: by_hand

// ANCHOR: lent
/// The ids that root has lent us, of users and of groups; `None` if there are none, or nobody to map them.
fn lent_ids() -> Result<Option<[String; 2]>> {
    let name = User::from_uid(geteuid()).context("asking who we are")?.map_or_else(String::new, |user| user.name);
    let lent = ["/etc/subuid", "/etc/subgid"].map(|file| {
        let text = std::fs::read_to_string(file).ok()?;
        let (first, count) = text.lines().find_map(|line| line.strip_prefix(&format!("{name}:"))?.split_once(':'))?;
        Some(format!("1 {first} {count}"))
    });
    let [Some(users), Some(groups)] = lent else { return Ok(None) };
    Ok(in_path("newuidmap").and(in_path("newgidmap")).map(|_| [users, groups]))
}

/// Has the maps written: our own id becomes 0, those that were lent come after it.
fn have_maps_written(pid: Pid, [users, groups]: &[String; 2]) -> Result<()> {
    for (program, own, lent) in [("newgidmap", getegid().as_raw(), groups), ("newuidmap", geteuid().as_raw(), users)] {
        let words = format!("{pid} 0 {own} 1 {lent}");
        let run = || Command::new(program).args(words.split(' ')).status();
        if !trace::ask(Topic::User, program, format_args!("{words}"), run).context(program)?.success() {
            bail!("{program} refused {words}");
        }
    }
    Ok(())
}
// ANCHOR_END: lent

/// Prints some of what /proc tells of a process, and its id map.
fn show(side: &str, pid: Pid, fields: &[&str]) -> Result<()> {
    let read =
        |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).context("what /proc tells of the child");
    let (status, map) = (read("status")?, read("uid_map")?.trim_end().replace('\n', ","));
    let told = status.lines().filter(|line| fields.contains(&line.split(':').next().unwrap_or_default()));
    told.for_each(|line| eprintln!("{side:<8}{line}"));
    eprintln!("{side:<8}uid_map:\t{}", map.split_whitespace().collect::<Vec<_>>().join(" "));
    Ok(())
}
