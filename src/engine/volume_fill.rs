//! The first contents of a volume: what the image has at that place.
//!
//! Docker's custom, which images rely on: a volume that is empty gets a copy of the directory it will hide, with owners
//! and modes. Where the image has nothing to hide, a new volume is given to the user that the container runs as, who could
//! not write to it otherwise; that is Podman's custom. What is copied is read through the root file system, so a link in the image leads nowhere outside.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, chown, lchown, symlink};
use std::path::Path;

use anyhow::{Context, Result};
use nix::fcntl::OFlag;

use super::container::Container;
use crate::linux::{mount, resolve};

/// Copies `target` of the container's root file system into the volume at `data`, if that is empty.
pub fn fill(container: &Container, target: &str, data: &Path) -> Result<()> {
    let what = || format!("filling a volume with the image's {target}");
    match hidden(container, target) {
        Some(source) if is_empty(data)? => copy(&source, data).with_context(what),
        _ => Ok(()),
    }
}

/// Gives a volume that nobody has used to the container's user, `uid:gid` on disk, unless the image has something there
/// to go by.
pub fn give_new(container: &Container, target: &str, data: &Path, (uid, gid): (u32, u32)) -> Result<()> {
    let it = fs::metadata(data).with_context(|| data.display().to_string())?;
    if (it.uid(), it.gid()) != (0, 0) || !is_empty(data)? || hidden(container, target).is_some() {
        return Ok(());
    }
    chown(data, Some(uid), Some(gid)).with_context(|| format!("giving {} to {uid}:{gid}", data.display()))
}

fn is_empty(directory: &Path) -> Result<bool> {
    let mut entries = fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    Ok(entries.next().is_none())
}

/// The directory of the container's root file system that a mount at `target` will hide.
fn hidden(container: &Container, target: &str) -> Option<OwnedFd> {
    let root = fs::File::open(container.rootfs()).ok()?;
    resolve::open_in_root(&root, Path::new(target), OFlag::O_PATH | OFlag::O_DIRECTORY).ok()
}

fn copy(source: &OwnedFd, to: &Path) -> Result<()> {
    // A directory held open cannot be exchanged for a link meanwhile.
    let from = mount::descriptor_path(source.as_fd());
    let it = fs::metadata(&from)?;
    chown(to, Some(it.uid()), Some(it.gid()))?;
    for entry in fs::read_dir(&from)? {
        let entry = entry?;
        let it = entry.metadata()?;
        let target = to.join(entry.file_name());
        let kind = it.file_type();
        if kind.is_dir() {
            fs::create_dir(&target)?;
            copy(&beneath(source, &entry.file_name())?, &target)?;
            continue;
        } else if kind.is_symlink() {
            symlink(fs::read_link(entry.path())?, &target)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), &target)?;
        } else if kind.is_fifo() {
            nix::unistd::mkfifo(&target, nix::sys::stat::Mode::from_bits_truncate(it.mode()))?;
        } else {
            continue;
        }
        lchown(&target, Some(it.uid()), Some(it.gid()))?;
        if !kind.is_symlink() {
            fs::set_permissions(&target, it.permissions())?;
        }
    }
    // Last: a directory that nobody may write to has been written to by now.
    fs::set_permissions(to, it.permissions())?;
    Ok(())
}

fn beneath(directory: &OwnedFd, name: &OsStr) -> Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    Ok(resolve::open_in_root(directory, Path::new(name), flags)?)
}

/// `U`: gives a tree to the container's user, links not followed.
pub fn give(tree: &Path, uid: u32, gid: u32) -> Result<()> {
    let it = fs::symlink_metadata(tree).with_context(|| tree.display().to_string())?;
    if (it.uid(), it.gid()) != (uid, gid) {
        lchown(tree, Some(uid), Some(gid)).with_context(|| format!("giving {} to {uid}:{gid}", tree.display()))?;
    }
    if it.is_dir() {
        for entry in fs::read_dir(tree)? {
            give(&entry?.path(), uid, gid)?;
        }
    }
    Ok(())
}
