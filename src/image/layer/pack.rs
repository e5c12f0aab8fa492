//! Packing a directory into a tar file: the way back of [`super::unpack`].
//!
//! Of an overlay's upper directory it makes a layer: overlay's marks become whiteouts again, its own attributes are left
//! out. Of any other directory it makes a plain archive. Names are sorted, so the same files give the same bytes.
//!
//! The directory may belong to a container that runs: a name is opened once, without following, and what is read is what
//! that descriptor holds.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, major, minor};

use super::ids::Ids;
use super::tar::{Entry, Kind};
use super::tree::{is_whiteout, names};
use super::unpack::{OPAQUE, travels};
use super::write::Writer;
use crate::linux::stat::{is, kind};
use crate::sys;

/// Overlay's other mark for a removed file, on file systems below which another overlay works.
const WHITEOUT_XATTR: &str = "user.overlay.whiteout";

type Attributes = Vec<(OsString, Vec<u8>)>;

/// What kind of directory is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// An overlay's upper directory: a difference.
    Upper,
    /// A directory that is what it shows.
    Plain,
}

/// Packs a directory's contents (not its own entry) into a tar file. Names in `skip` (relative paths) are left out.
/// With `owners`, a file belongs in the archive to who it belongs to inside that map.
pub fn pack<W: Write>(directory: OwnedFd, source: Source, skip: &[PathBuf], owners: Option<&Ids>, out: W) -> Result<W> {
    let mut packing = Packing { writer: Writer::new(out), source, skip, owners, links: HashMap::new() };
    packing.directory(directory.as_fd(), Path::new(""))?;
    packing.writer.finish()
}

struct Packing<'a, W> {
    writer: Writer<W>,
    source: Source,
    skip: &'a [PathBuf],
    owners: Option<&'a Ids>,
    /// Files with several names, by device and inode: the first name that was met.
    links: HashMap<(u64, u64), PathBuf>,
}

impl<W: Write> Packing<'_, W> {
    fn directory(&mut self, directory: BorrowedFd, path: &Path) -> Result<()> {
        for name in
            names(openat(directory, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?)?
        {
            let path = path.join(&name);
            if !self.skip.contains(&path) {
                self.entry(directory, &name, &path).with_context(|| format!("packing {}", path.display()))?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, parent: BorrowedFd, name: &OsStr, path: &Path) -> Result<()> {
        let stat = match fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            // Gone since the directory was read.
            Err(Errno::ENOENT) => return Ok(()),
            stat => stat?,
        };
        if self.source == Source::Upper && is_whiteout(&stat) {
            return self.whiteout(path);
        }
        if is(&stat, SFlag::S_IFREG) || is(&stat, SFlag::S_IFDIR) {
            let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
            let open = openat(parent, name, flags, Mode::empty())?;
            let stat = fstat(&open)?;
            return if is(&stat, SFlag::S_IFDIR) {
                self.open_directory(&open, &stat, path)
            } else {
                self.file(open, &stat, path)
            };
        }
        let (major, minor) = (major(stat.st_rdev) as u32, minor(stat.st_rdev) as u32);
        let kind = match kind(&stat) {
            SFlag::S_IFLNK => Kind::Symlink(readlinkat(parent, name)?.into()),
            SFlag::S_IFIFO => Kind::Fifo,
            SFlag::S_IFCHR => Kind::Character(major, minor),
            SFlag::S_IFBLK => Kind::Block(major, minor),
            // A socket is nothing without the process that listens.
            _ => return Ok(()),
        };
        let kind = self.linked(&stat, path).unwrap_or(kind);
        let header = self.header(path, &stat, kind, vec![]);
        self.writer.entry(&header, io::empty())
    }

    fn open_directory(&mut self, open: &OwnedFd, stat: &FileStat, path: &Path) -> Result<()> {
        let (attributes, opaque) = self.attributes(open)?;
        let header = self.header(path, stat, Kind::Directory, attributes);
        self.writer.entry(&header, io::empty())?;
        if opaque {
            let mark = path.join(".wh..wh..opq");
            let header = self.header(&mark, stat, Kind::File(0), vec![]);
            self.writer.entry(&header, io::empty())?;
        }
        self.directory(open.as_fd(), path)
    }

    fn file(&mut self, open: OwnedFd, stat: &FileStat, path: &Path) -> Result<()> {
        if let Some(link) = self.linked(stat, path) {
            let header = self.header(path, stat, link, vec![]);
            return self.writer.entry(&header, io::empty());
        }
        let (attributes, gone) = self.attributes(&open)?;
        if gone {
            return self.whiteout(path);
        }
        let kind = Kind::File(stat.st_size.max(0) as u64);
        let header = self.header(path, stat, kind, attributes);
        self.writer.entry(&header, File::from(open))
    }

    fn whiteout(&mut self, path: &Path) -> Result<()> {
        let mut name = OsString::from(".wh.");
        name.push(path.file_name().context("a whiteout has a name")?);
        let kind = Kind::File(0);
        let path = path.with_file_name(name);
        let entry = Entry { path, kind, mode: 0o644, uid: 0, gid: 0, mtime: (0, 0), xattrs: vec![] };
        self.writer.entry(&entry, io::empty())
    }

    /// If this file was packed under another name already: a hard link to that.
    fn linked(&mut self, stat: &FileStat, path: &Path) -> Option<Kind> {
        if stat.st_nlink < 2 {
            return None;
        }
        let known = self.links.entry((stat.st_dev, stat.st_ino)).or_insert_with(|| path.to_owned());
        (known != path).then(|| Kind::HardLink(known.clone()))
    }

    /// The attributes that travel with an image; and whether overlay has marked it as opaque or gone.
    fn attributes(&self, open: &OwnedFd) -> Result<(Attributes, bool)> {
        let all = match sys::flistxattr(open.as_fd()) {
            Ok(names) => names,
            Err(Errno::ENOTSUP) => vec![],
            Err(errno) => return Err(errno).context("its attributes"),
        };
        let mut attributes = Vec::new();
        let mut marked = false;
        for name in all {
            if travels(&name) {
                let value = sys::fgetxattr(open.as_fd(), &name).with_context(|| name.display().to_string())?;
                attributes.push((name, value));
            } else if self.source == Source::Upper && (name == WHITEOUT_XATTR || name == OPAQUE) {
                // On a directory "x" says only that whiteouts of the other kind are inside.
                marked |= name == WHITEOUT_XATTR || sys::fgetxattr(open.as_fd(), &name)? == b"y";
            }
        }
        attributes.sort();
        Ok((attributes, marked))
    }

    fn header(&self, path: &Path, stat: &FileStat, kind: Kind, xattrs: Attributes) -> Entry {
        let (uid, gid) = match self.owners {
            Some(ids) => ids.inside(stat.st_uid, stat.st_gid),
            None => (stat.st_uid, stat.st_gid),
        };
        let (mode, mtime) = (stat.st_mode & 0o7777, (stat.st_mtime, 0));
        Entry { path: path.to_owned(), kind, mode, uid, gid, mtime, xattrs }
    }
}
