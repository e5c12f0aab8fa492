//! A tree becomes a tar stream.
//!
//! The tree may belong to a container that runs, whose program exchanges its files while they are read. So each name is
//! opened once, without following and without reading, and all that is packed is asked of that descriptor.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, major, minor};

use crate::image::layer::{Entry, Ids, Kind, Writer, names};
use crate::linux::{resolve, stat};

/// Packs what `source` holds (`O_PATH`), called `top` in the stream; without `top`, what is in the directory. With
/// `owners`, files belong in the stream to who they belong to inside that map.
pub fn pack(source: &OwnedFd, top: Option<&Path>, owners: Option<&Ids>, out: impl Write) -> Result<()> {
    let mut packing = Packing { writer: Writer::new(out), owners };
    match top {
        Some(top) => packing.held(source, top).with_context(|| top.display().to_string())?,
        None => packing.children(source, Path::new(""))?,
    }
    packing.writer.finish().context("writing the tar stream").map(drop)
}

struct Packing<'a, W> {
    writer: Writer<W>,
    owners: Option<&'a Ids>,
}

impl<W: Write> Packing<'_, W> {
    fn children(&mut self, directory: &OwnedFd, path: &Path) -> Result<()> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let readable = openat(directory, ".", flags, Mode::empty())?;
        for name in names(readable.try_clone()?)? {
            let path = path.join(&name);
            self.entry(readable.as_fd(), &name, &path).with_context(|| path.display().to_string())?;
        }
        Ok(())
    }

    fn entry(&mut self, parent: BorrowedFd, name: &OsStr, path: &Path) -> Result<()> {
        match openat(parent, name, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty()) {
            Ok(open) => self.held(&open, path),
            // It has gone since its directory was read: containers run on while they are copied.
            Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// What a descriptor holds, and what is below it.
    fn held(&mut self, open: &OwnedFd, path: &Path) -> Result<()> {
        let about = fstat(open)?;
        let device = (major(about.st_rdev) as u32, minor(about.st_rdev) as u32);
        match stat::kind(&about) {
            SFlag::S_IFDIR => {
                self.writer.entry(&self.header(path, &about, Kind::Directory), io::empty())?;
                self.children(open, path)
            }
            SFlag::S_IFREG => {
                let size = about.st_size.unsigned_abs();
                // Exactly as long as the header says, even if somebody is writing to it.
                let exactly = File::from(resolve::reopen(open, OFlag::O_RDONLY)?).chain(io::repeat(0));
                self.writer.entry(&self.header(path, &about, Kind::File(size)), exactly)
            }
            SFlag::S_IFLNK => {
                let target = readlinkat(open, "")?;
                self.writer.entry(&self.header(path, &about, Kind::Symlink(target.into())), io::empty())
            }
            SFlag::S_IFIFO => self.writer.entry(&self.header(path, &about, Kind::Fifo), io::empty()),
            SFlag::S_IFCHR => {
                let kind = Kind::Character(device.0, device.1);
                self.writer.entry(&self.header(path, &about, kind), io::empty())
            }
            SFlag::S_IFBLK => {
                self.writer.entry(&self.header(path, &about, Kind::Block(device.0, device.1)), io::empty())
            }
            // A socket is nothing without who listens on it.
            _ => Ok(()),
        }
    }

    fn header(&self, path: &Path, about: &FileStat, kind: Kind) -> Entry {
        let (uid, gid) = self.owners.map_or((about.st_uid, about.st_gid), |ids| ids.inside(about.st_uid, about.st_gid));
        let (mode, mtime) = (about.st_mode & 0o7777, (about.st_mtime, 0));
        Entry { path: path.to_owned(), kind, mode, uid, gid, mtime, xattrs: vec![] }
    }
}
