//! The first contents of a volume: what the image has at that place.
//!
//! Docker's custom, which images rely on: a volume that is empty gets a copy of the directory it will hide, with owners
//! and modes. Where the image has nothing to hide, a new volume is given to the user that the container runs as, who could
//! not write to it otherwise; that is Podman's custom. What is copied is read through the root file system, so a link in the
//! image leads nowhere outside; and it is written by descriptors ([`copy`]), since the volume may be a running container's.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use anyhow::{Context, Result};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::container::Container;
use crate::linux::copy::{self, Devices};
use crate::linux::resolve;

/// Copies `target` of the container's root file system into the volume at `data`, if that is empty.
pub fn fill(container: &Container, target: &str, data: &Path) -> Result<()> {
    let what = || format!("filling a volume with the image's {target}");
    match hidden(container, target) {
        Some(source) if is_empty(data)? => {
            let data = fs::File::open(data).with_context(|| data.display().to_string())?;
            copy::tree(source, &data.into(), Devices::LeftOut).with_context(what)
        }
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
    resolve::open_in_root(&root, Path::new(target), OFlag::O_RDONLY | OFlag::O_DIRECTORY).ok()
}

/// `U`: gives a tree to the container's user, links in it not followed.
pub fn give(tree: &Path, uid: u32, gid: u32) -> Result<()> {
    let held = open(tree, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty());
    let held = held.with_context(|| tree.display().to_string())?;
    copy::give(&held, uid, gid).with_context(|| format!("giving {} to {uid}:{gid}", tree.display()))
}
