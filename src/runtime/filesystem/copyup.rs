//! `tmpcopyup`: a new tmpfs begins with what the image has at its place.

use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fstat};

use crate::linux::copy::{Devices, like, tree};
use crate::linux::resolve;
use crate::runtime::plan::mounts::{Mount, Source};

/// Copies the tree at `asked`'s target in `root`, which `target` holds open, into the detached tmpfs `made`. Its top
/// directory is as the image has it, unless somebody said how it is to be.
pub fn copy(root: &OwnedFd, target: &OwnedFd, made: &OwnedFd, asked: &Mount) -> Result<()> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
    let from = resolve::open_in_root(root, &asked.target, flags)?;
    // Opened again to be read: it must still be the directory that will be mounted on.
    let (held, found) = (fstat(target)?, fstat(&from)?);
    anyhow::ensure!((held.st_dev, held.st_ino) == (found.st_dev, found.st_ino), "it changed while it was copied");
    let to = openat(made, ".", flags | OFlag::O_CLOEXEC, Mode::empty())?;
    let fresh = fstat(&to)?;
    tree(from, &to, Devices::Made).context("copying what the image has there (tmpcopyup)")?;
    if is_described(asked) { like(&fresh, &to) } else { Ok(()) }
}

/// Whether the mount says itself whose its top directory is, or who may use it.
fn is_described(asked: &Mount) -> bool {
    let Source::New { settings, .. } = &asked.source else { return false };
    settings.iter().any(|(name, _)| matches!(name.as_str(), "mode" | "uid" | "gid"))
}
