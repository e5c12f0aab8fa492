//! Another root: `pivot_root`, and why not `chroot`.
//!
//! chroot only moves the point where `/` begins: the old tree is still mounted, and a process with the privilege to chroot
//! again walks out of it. `pivot_root` exchanges the root *mount* of the whole mount namespace, and then the old one is
//! unmounted: there is nothing left to walk out to.
//!
//! The subtlety is `pivot_root(".", ".")`: the old root is stacked on top of the new one at the same place, so no directory
//! is needed to put it into, and one unmount of "." uncovers the new (pivot_root(2), NOTES).

use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, Result};
use nix::fcntl::{OFlag, open};
use nix::mount::MntFlags;
use nix::sys::stat::Mode;
use nix::unistd::{chdir, chroot, fchdir, pivot_root};

use super::mount;
use crate::trace::{self, Topic};

/// Attaches a detached mount over the present root, where [`pivot`] finds it. Our `/` stays what it was: a path lookup
/// begins below what is mounted on top of it.
pub fn stack(tree: impl AsFd) -> Result<()> {
    let root = open("/", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()).context("/")?;
    mount::attach(tree, root, Path::new("/")).context("stacking the new root on the old")
}

/// Makes the mount that `tree` holds open the root of this mount namespace, and unmounts the old one.
///
/// It must be attached, and no mount event may travel from here to the host any more ([`mount::isolate`]).
pub fn pivot(tree: impl AsFd) -> Result<()> {
    enter(tree)?;
    trace::ask(Topic::Mount, "pivot_root", format_args!(". ."), || pivot_root(".", "."))
        .context("changing the root (pivot_root)")?;
    // "." is now the old root, on top.
    trace::ask(Topic::Mount, "umount2", format_args!(". detach"), || nix::mount::umount2(".", MntFlags::MNT_DETACH))
        .context("unmounting the old root")?;
    trace::ask(Topic::Mount, "chdir", format_args!("/"), || chdir("/")).context("entering the new root")
}

fn enter(tree: impl AsFd) -> Result<()> {
    trace::ask(Topic::Mount, "fchdir", format_args!("the new root"), || fchdir(tree)).context("entering the new root")
}

/// The way without pivot_root, for a machine whose root is the kernel's first (initramfs), which cannot be exchanged: the
/// new root, stacked over the old one, becomes ours by chroot. Weaker, as the head of this file says: the old root is
/// still mounted below.
pub fn change(tree: impl AsFd) -> Result<()> {
    enter(tree)?;
    trace::ask(Topic::Mount, "chroot", format_args!("."), || chroot(".")).context("changing the root (chroot)")?;
    trace::ask(Topic::Mount, "chdir", format_args!("/"), || chdir("/")).context("entering the new root")
}
