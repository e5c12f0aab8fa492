//! A copy of a tree of files, with owners, modes and links: what a tmpfs begins with (`tmpcopyup`), and a volume.
//!
//! Both ends may be in somebody else's hands while it is made: a volume is shared by containers that run. So directories are
//! held open on both sides, a name is never followed, and nothing is written into that was there before.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result, ensure};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, mkdirat, mknodat};
use nix::unistd::{Gid, Uid, fchown, fchownat, symlinkat};

use super::stat::{is, kind};

/// What becomes of device nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Devices {
    /// They are made, where that is allowed.
    Made,
    /// They are left out, and sockets with them.
    LeftOut,
}

/// Copies what is in the directory `from` into the directory `to`, which becomes like it.
pub fn tree(from: OwnedFd, to: &OwnedFd, devices: Devices) -> Result<()> {
    let mut listing = Dir::from_fd(from.try_clone()?)?;
    let names: Vec<CString> =
        listing.iter().map(|entry| entry.map(|entry| entry.file_name().to_owned())).collect::<Result<_, Errno>>()?;
    for name in names.iter().filter(|name| !matches!(name.as_bytes(), b"." | b"..")) {
        entry(&from, to, name, devices).with_context(|| name.to_string_lossy().into_owned())?;
    }
    // Last: a directory that nobody may write to has been written to by now.
    like(&fstat(&from)?, to)
}

fn entry(from: &OwnedFd, to: &OwnedFd, name: &CString, devices: Devices) -> Result<()> {
    let name = name.as_c_str();
    let found = fstatat(from, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    // A fifo that was a file a moment ago does not keep us.
    let stay = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let kind = kind(&found);
    let (uid, gid) = (Uid::from_raw(found.st_uid), Gid::from_raw(found.st_gid));
    if kind == SFlag::S_IFDIR {
        mkdirat(to, name, Mode::from_bits_truncate(0o700))?;
        let flags = stay | OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let inner = openat(to, name, flags, Mode::empty())?;
        tree(openat(from, name, flags, Mode::empty())?, &inner, devices)?;
    } else if kind == SFlag::S_IFREG {
        let mut source = File::from(openat(from, name, stay | OFlag::O_RDONLY, Mode::empty())?);
        let create = stay | OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
        let mut copy = File::from(openat(to, name, create, Mode::from_bits_truncate(0o600))?);
        let found = fstat(&source)?;
        ensure!(is(&found, SFlag::S_IFREG), "it changed while it was copied");
        io::copy(&mut source, &mut copy)?;
        like(&found, &copy)?;
    } else if kind == SFlag::S_IFLNK {
        symlinkat(readlinkat(from, name)?.as_os_str(), to, name)?;
        fchownat(to, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
    } else if devices == Devices::Made || kind == SFlag::S_IFIFO {
        match mknodat(to, name, kind, Mode::from_bits_truncate(found.st_mode & 0o7777), found.st_rdev) {
            // Devices only where root may make them.
            Err(Errno::EPERM) => {}
            result => {
                result?;
                fchownat(to, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
            }
        }
    }
    Ok(())
}

/// Gives the tree to one user and group, links not followed.
pub fn give(tree: &OwnedFd, uid: u32, gid: u32) -> Result<()> {
    let found = fstat(tree)?;
    if (found.st_uid, found.st_gid) != (uid, gid) {
        fchownat(tree, c"", Some(uid.into()), Some(gid.into()), AtFlags::AT_EMPTY_PATH)?;
    }
    if !is(&found, SFlag::S_IFDIR) {
        return Ok(());
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut listing = Dir::from_fd(openat(tree, c".", flags, Mode::empty())?)?;
    for entry in listing.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        match openat(tree, name, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty()) {
            Err(Errno::ENOENT) => {}
            held => held
                .map_err(Into::into)
                .and_then(|held| give(&held, uid, gid))
                .with_context(|| name.to_string_lossy().into_owned())?,
        }
    }
    Ok(())
}

/// Owner first: a change of owner clears the set-uid bit.
pub fn like(found: &FileStat, copy: impl AsFd) -> Result<()> {
    fchown(copy.as_fd(), Some(Uid::from_raw(found.st_uid)), Some(Gid::from_raw(found.st_gid)))?;
    fchmod(copy.as_fd(), Mode::from_bits_truncate(found.st_mode & 0o7777))?;
    Ok(())
}
