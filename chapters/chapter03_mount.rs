//! Chapter 3: another root.
//!
//! A mount namespace is a tree of mounts of one's own. Nobody else sees what is mounted in it, and all of it goes with
//! the last process that lives there: the kernel is the cleaner. The root mounted here is an overlay. Below lie the
//! machine's files, which shine through; above is a tmpfs, which takes what is written.
//!
//! The subtlety is how to get there. chroot only moves the point where `/` begins: the old tree is still mounted, and
//! whoever may chroot climbs out of the new. pivot_root exchanges the root *mount*, and the old one can be unmounted.

use std::ffi::{CString, OsString};
use std::fs::{create_dir, create_dir_all, read_dir, read_link};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use chapters::ask;
use clap::Parser;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{chdir, chroot, pivot_root};
use podling::hint::cured;
use podling::linux::{foreground::Wait, namespace::Namespace, process, userns};
use podling::trace::{self, Actor, Topic::Mount};

/// Run PROGRAM in another root, where what it writes is gone with it
///
/// PROGRAM sees this machine's files, or those in DIRECTORY. What it changes, it changes for itself, in memory. What
/// belongs to the machine's root stays closed.
///
/// Try: chapter03_mount sh -c 'touch /etc/mine; ls /etc/mine'; ls /etc/mine
#[derive(Parser)]
#[command(name = "chapter03_mount")]
struct Options {
    /// The files to start from, instead of the machine's
    #[arg(long, value_name = "DIRECTORY")]
    root: Option<PathBuf>,
    /// Change the root by chroot instead of pivot_root
    #[arg(long)]
    chroot: bool,
    /// Try to climb out of the new root before PROGRAM starts
    #[arg(long)]
    break_out: bool,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true)]
    program: Vec<OsString>,
}

const NONE: Option<&str> = None;
const EMPTY: [&str; 9] = ["boot", "dev", "lost+found", "media", "mnt", "proc", "run", "sys", "tmp"];
/// The new root grows here, under a tmpfs that covers the machine's /tmp for us alone.
const ROOT: &str = "/tmp/root";

fn main() -> ExitCode {
    chapters::run(outside)
}

fn outside(options: Options) -> Result<u8> {
    let program = chapters::words(options.program.clone())?;
    let signals = Wait::begin(None)?;
    userns::enter(&userns::Maps::of_this_user()?, &[Namespace::User])?;
    let child = process::clone(&[], None, || chapters::status(inside(&options, &program)))?;
    Ok(signals.until_end(&child)?.status() as u8)
}

// ANCHOR: inside
fn inside(options: &Options, program: &[CString]) -> Result<u8> {
    trace::become_actor(Actor::Init);
    own_mounts()?;
    // Lower directories are named from here on by their way from this one, which stays ours when /tmp is covered.
    let start = options.root.as_deref().unwrap_or(Path::new("/"));
    chdir(start).with_context(|| format!("entering {}", start.display()))?;
    attach("tmpfs", "/tmp", "mode=755")?;
    options.root.as_ref().map_or_else(overlay_the_machine, |_| overlay("")).context("making the new root")?;
    for name in ["/proc", "/dev"] {
        create_dir_all(format!("{ROOT}{name}")).context(name)?;
        let bind = || mount(Some(name), &*format!("{ROOT}{name}"), NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE);
        ask(Mount, "mount", &format!("bind {name}"), bind)?;
    }
    // These are the machine's devices. Nobody removes one from here; but a device is written to on such a mount, too.
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    ask(Mount, "mount", "/dev read-only", || mount(NONE, "/tmp/root/dev", NONE, flags, NONE))?;
    chdir(ROOT)?;
    let entered = if options.chroot { ask(Mount, "chroot", ".", || chroot(".")) } else { exchange_root() };
    entered.context("entering the new root")?;
    options.break_out.then(break_out).transpose()?;
    match process::execute(program)? {}
}
// ANCHOR_END: inside

// ANCHOR: namespace
/// A tree of our own. It begins as a copy of the machine's.
fn own_mounts() -> Result<()> {
    ask(Mount, "unshare", "mnt", || unshare(CloneFlags::CLONE_NEWNS))
        .map_err(|error| cured(error, "mounting for ourselves", "is it forbidden here? see 'podling doctor'"))?;
    // Copies of a mount may be *shared*: they tell each other what is mounted upon them, as systemd wants it. Then what
    // we mount would appear on the machine. (A copy in a new user namespace only listens.) Private ones do neither.
    ask(Mount, "mount", "/ private tree", || mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE))
}
// ANCHOR_END: namespace

// ANCHOR: overlay
fn attach(kind: &str, place: &str, options: &str) -> Result<()> {
    let call = || mount(Some(kind), place, Some(kind), MsFlags::MS_NODEV, Some(options));
    ask(Mount, "mount", &format!("{kind} {place} {options}"), call)
}

/// An overlay of a directory: what is written goes to the upper one, what is not shines through from the lower.
fn overlay(lower: &str) -> Result<()> {
    let [upper, work, root] = ["/tmp/upper", "/tmp/work", ROOT].map(|top| format!("{top}/{lower}"));
    [&upper, &work, &root].into_iter().try_for_each(create_dir_all)?;
    attach("overlay", &root, &format!("userxattr,lowerdir=./{lower},upperdir={upper},workdir={work}"))
}

/// `/` cannot be a lower directory: mounts lie upon it, and who is root only here may not look under them (EINVAL). Its
/// directories can, one by one; what has mounts upon it stays empty.
fn overlay_the_machine() -> Result<()> {
    create_dir(ROOT)?;
    attach("tmpfs", ROOT, "mode=755")?;
    for entry in read_dir(".")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        match read_link(&name) {
            Ok(target) => symlink(target, format!("{ROOT}/{name}"))?,
            Err(_) if EMPTY.contains(&&*name) => create_dir(format!("{ROOT}/{name}"))?,
            Err(_) if !Path::new(&name).is_dir() => {}
            Err(_) if name == "usr" => overlay(&name)?,
            Err(_) => drop(overlay(&name)),
        }
    }
    Ok(())
}
// ANCHOR_END: overlay

// ANCHOR: root
/// Makes the new root, where we are, that of the whole namespace, and lets go of the old one.
fn exchange_root() -> Result<()> {
    ask(Mount, "pivot_root", ". .", || pivot_root(".", "."))?;
    // Now the old root lies upon the new one. Taken away, nothing leads to it any more.
    ask(Mount, "umount2", ". detach", || umount2(".", MntFlags::MNT_DETACH))?;
    Ok(chdir("/")?)
}

/// `..` stops at our root and nowhere else. So we put our root below the directory that we are in, and climb.
fn break_out() -> Result<()> {
    create_dir("/below")?;
    ask(Mount, "chroot", "/below", || chroot("/below"))?;
    (0..64).try_for_each(|_| chdir(".."))?;
    ask(Mount, "chroot", ".", || chroot("."))
}
// ANCHOR_END: root
