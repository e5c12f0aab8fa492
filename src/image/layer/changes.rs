//! What a layer changes in those below it: `diff`.
//!
//! An overlay's upper directory holds only what differs, so each name in it is an answer; but whether it was added or
//! changed is known only from the layers below. They are walked along, each directory held open, so that a symbolic link
//! in any of them leads nowhere. A layer's directory ends the search below it where it is opaque.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat};

use super::tree::{is_whiteout, names};
use super::unpack::OPAQUE;
use crate::linux::stat::is;
use crate::sys;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// It is new.
    Added,
    /// It was there.
    Changed,
    /// It is there no more.
    Deleted,
}

/// What was done to one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What.
    pub done: Done,
    /// The path from the root, with a slash before it.
    pub path: PathBuf,
}

/// What the layer in the directory `upper` changes in `lower` (the top one first), in the order of the paths. Names in
/// `skip` (relative paths) are left out.
pub fn changes(upper: OwnedFd, lower: Vec<OwnedFd>, skip: &[PathBuf]) -> Result<Vec<Change>> {
    let mut walk = Walk { skip, found: Vec::new() };
    walk.directory(upper.as_fd(), &lower, Path::new(""))?;
    Ok(walk.found)
}

struct Walk<'a> {
    skip: &'a [PathBuf],
    found: Vec<Change>,
}

impl Walk<'_> {
    fn directory(&mut self, upper: BorrowedFd, lower: &[OwnedFd], path: &Path) -> Result<()> {
        for name in names(openat(upper, ".", DIRECTORY, Mode::empty())?)? {
            let path = path.join(&name);
            if !self.skip.contains(&path) {
                self.entry(upper, lower, &name, &path).with_context(|| path.display().to_string())?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, parent: BorrowedFd, lower: &[OwnedFd], name: &OsStr, path: &Path) -> Result<()> {
        let Some(stat) = look(parent, name)? else { return Ok(()) };
        let before = find(lower, name)?;
        if !is(&stat, SFlag::S_IFDIR) {
            let done = match before {
                _ if is_whiteout(&stat) => Done::Deleted,
                Some(_) => Done::Changed,
                None => Done::Added,
            };
            self.found.push(Change { done, path: Path::new("/").join(path) });
            return Ok(());
        }
        let at = self.found.len();
        let directory = openat(parent, name, DIRECTORY, Mode::empty())?;
        let below = if is_opaque(&directory)? { Vec::new() } else { beneath(lower, name)? };
        self.directory(directory.as_fd(), &below, path)?;
        let done = match before {
            None => Done::Added,
            Some(before) if self.found.len() > at || !is_same(&before, &stat) => Done::Changed,
            // Copied up only to hold something that was taken away again.
            Some(_) => return Ok(()),
        };
        self.found.insert(at, Change { done, path: Path::new("/").join(path) });
        Ok(())
    }
}

const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

fn look(parent: impl AsFd, name: &OsStr) -> Result<Option<FileStat>> {
    match fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// What the layers below have by this name: the topmost that says anything is heard.
fn find(lower: &[OwnedFd], name: &OsStr) -> Result<Option<FileStat>> {
    for layer in lower {
        if let Some(stat) = look(layer, name)? {
            return Ok(Some(stat).filter(|stat| !is_whiteout(stat)));
        }
    }
    Ok(None)
}

/// The directories of this name in the layers below, down to where one hides the rest.
fn beneath(lower: &[OwnedFd], name: &OsStr) -> Result<Vec<OwnedFd>> {
    let mut found = Vec::new();
    for layer in lower {
        match openat(layer, name, DIRECTORY, Mode::empty()) {
            Ok(directory) => {
                let hides = is_opaque(&directory)?;
                found.push(directory);
                if hides {
                    break;
                }
            }
            Err(Errno::ENOENT) => {}
            // A file, a link, or the mark of something removed.
            Err(Errno::ENOTDIR | Errno::ELOOP) => break,
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(found)
}

fn is_opaque(directory: &OwnedFd) -> Result<bool> {
    match sys::fgetxattr(directory.as_fd(), OsStr::new(OPAQUE)) {
        Ok(value) => Ok(value == b"y"),
        Err(Errno::ENODATA | Errno::ENOTSUP) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

fn is_same(one: &FileStat, other: &FileStat) -> bool {
    let told = |it: &FileStat| (it.st_mode, it.st_uid, it.st_gid, it.st_mtime, it.st_mtime_nsec);
    told(one) == told(other)
}
