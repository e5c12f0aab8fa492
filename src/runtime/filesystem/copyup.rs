//! `tmpcopyup`: a new tmpfs begins with what the image has at its place.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, mkdirat, mknodat};
use nix::unistd::{Gid, Uid, fchown, fchownat, symlinkat};

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
    directory(from, &to).context("copying what the image has there (tmpcopyup)")?;
    if is_described(asked) { like(&fresh, &to) } else { Ok(()) }
}

/// Whether the mount says itself whose its top directory is, or who may use it.
fn is_described(asked: &Mount) -> bool {
    let Source::New { settings, .. } = &asked.source else { return false };
    settings.iter().any(|(name, _)| matches!(name.as_str(), "mode" | "uid" | "gid"))
}

fn directory(from: OwnedFd, to: &OwnedFd) -> Result<()> {
    like(&fstat(&from)?, to)?;
    let mut listing = Dir::from_fd(from.try_clone()?)?;
    let names: Vec<CString> =
        listing.iter().map(|entry| entry.map(|entry| entry.file_name().to_owned())).collect::<Result<_, Errno>>()?;
    for name in names.iter().filter(|name| !matches!(name.as_bytes(), b"." | b"..")) {
        entry(&from, to, name).with_context(|| name.to_string_lossy().into_owned())?;
    }
    Ok(())
}

fn entry(from: &OwnedFd, to: &OwnedFd, name: &CString) -> Result<()> {
    let name = name.as_c_str();
    let found = fstatat(from, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    let stay = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let kind = SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits());
    let (uid, gid) = (Uid::from_raw(found.st_uid), Gid::from_raw(found.st_gid));
    if kind == SFlag::S_IFDIR {
        mkdirat(to, name, Mode::from_bits_truncate(0o700))?;
        let flags = stay | OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let inner = openat(to, name, flags, Mode::empty())?;
        directory(openat(from, name, flags, Mode::empty())?, &inner)?;
    } else if kind == SFlag::S_IFREG {
        let mut source = File::from(openat(from, name, stay | OFlag::O_RDONLY, Mode::empty())?);
        let create = stay | OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
        let mut copy = File::from(openat(to, name, create, Mode::from_bits_truncate(0o600))?);
        io::copy(&mut source, &mut copy)?;
        like(&found, &copy)?;
    } else if kind == SFlag::S_IFLNK {
        symlinkat(readlinkat(from, name)?.as_os_str(), to, name)?;
        fchownat(to, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
    } else {
        // Devices only where root may make them; a socket or fifo is made anew.
        match mknodat(to, name, kind, Mode::from_bits_truncate(found.st_mode & 0o7777), found.st_rdev) {
            Err(Errno::EPERM) => {}
            result => {
                result?;
                fchownat(to, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
            }
        }
    }
    Ok(())
}

/// Owner first: a change of owner clears the set-uid bit.
fn like(found: &FileStat, copy: impl AsFd) -> Result<()> {
    fchown(copy.as_fd(), Some(Uid::from_raw(found.st_uid)), Some(Gid::from_raw(found.st_gid)))?;
    fchmod(copy.as_fd(), Mode::from_bits_truncate(found.st_mode & 0o7777))?;
    Ok(())
}
