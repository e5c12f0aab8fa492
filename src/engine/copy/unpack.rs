//! A tar stream becomes a tree.
//!
//! Stream and tree may both be somebody else's: the stream names what it likes, and in a directory that a container can
//! reach, its program exchanges files for links while they are being written. So each thing is made by its bare name in a
//! directory that is held open ([`Tree`]), and gets owner and mode through its descriptor, or without following.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, UtimensatFlags, fchmod, futimens, mkdirat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{fchown, fchownat, linkat, mkfifoat, symlinkat};

use crate::image::layer::{Entry, Ids, Kind, Reader, Tree, clean, write_parts};
use crate::linux::stat::is;

/// Where a stream is unpacked.
pub struct Base {
    tree: Tree,
    /// The directory's path in the tree.
    path: PathBuf,
}

impl Base {
    /// The directory `path` of a container, whose root directory this is: links in it mean what they mean inside.
    pub fn inside(root: OwnedFd, path: &Path) -> Result<Self> {
        Ok(Self { tree: Tree::new(root), path: clean(path)? })
    }

    /// A directory of the host: no link in it is followed out of it.
    pub fn beneath(directory: OwnedFd) -> Self {
        Self { tree: Tree::beneath(directory), path: PathBuf::new() }
    }
}

/// Who gets what is unpacked.
#[derive(Debug, Clone)]
pub enum Owner {
    /// One user and group, as they are on the disk.
    One(u32, u32),
    /// Whom the stream says, as it is outside this map.
    Said(Option<Ids>),
}

impl Owner {
    fn of(&self, entry: &Entry) -> (Option<u32>, Option<u32>) {
        match self {
            Self::One(uid, gid) => (Some(*uid), Some(*gid)),
            Self::Said(None) => (Some(entry.uid), Some(entry.gid)),
            Self::Said(Some(ids)) => ids.outside(entry.uid, entry.gid),
        }
    }
}

/// Unpacks a stream; nothing of it lands outside.
pub fn unpack(stream: impl Read, base: Base, owner: &Owner, overwrite: bool) -> Result<()> {
    let mut reader = Reader::new(BufReader::with_capacity(256 << 10, stream));
    let mut unpacking = Unpacking { base, owner, overwrite, directories: BTreeMap::new() };
    while let Some(entry) = reader.next_entry().context("reading the tar stream")? {
        let what = || format!("writing {}", entry.path.display());
        let Ok(inside) = clean(&entry.path) else { bail!("{} would land outside", entry.path.display()) };
        match unpacking.entry(&mut reader, &entry, &inside) {
            // What openat2 says of a link that leads out.
            Err(error) if error.downcast_ref() == Some(&Errno::EXDEV) => {
                bail!("{} would land outside: it is behind a link", entry.path.display())
            }
            other => other.with_context(what)?,
        }
    }
    // What follows the end mark belongs to it: whoever sends it waits until it is read.
    reader.drain().context("reading the tar stream")?;
    unpacking.finish()
}

struct Unpacking<'a> {
    base: Base,
    owner: &'a Owner,
    overwrite: bool,
    /// Directories get owner, mode and time last: a mode without `w` would keep out what they hold.
    directories: BTreeMap<PathBuf, Entry>,
}

impl Unpacking<'_> {
    fn entry<R: std::io::BufRead>(&mut self, reader: &mut Reader<R>, entry: &Entry, inside: &Path) -> Result<()> {
        let path = self.base.path.join(inside);
        if inside.as_os_str().is_empty() {
            // `.`: the directory is there already, and stays whose it is unless the stream is heard about that.
            if entry.kind == Kind::Directory && matches!(self.owner, Owner::Said(_)) {
                self.directories.insert(path, entry.clone());
            }
            return Ok(());
        }
        if !self.make_way(&path, &entry.kind)? {
            return Ok(());
        }
        let tree = &mut self.base.tree;
        match &entry.kind {
            Kind::Directory => {
                let place = tree.place(&path)?;
                match mkdirat(place.parent, place.name, Mode::S_IRWXU) {
                    Ok(()) | Err(Errno::EEXIST) => drop(self.directories.insert(path, entry.clone())),
                    Err(errno) => return Err(errno.into()),
                }
            }
            Kind::File(size) => self.file(reader, &path, entry, *size, &[(0, *size)])?,
            Kind::Sparse(size, parts) => self.file(reader, &path, entry, *size, parts)?,
            Kind::Symlink(target) => {
                tree.make(&path, |place| symlinkat(target.as_path(), place.parent, place.name))?;
                self.dress(&path, entry)?;
            }
            Kind::HardLink(target) => {
                let Ok(source) = clean(target) else { bail!("it is a hard link to {}", target.display()) };
                let source = self.base.path.join(source);
                let name = source.file_name().context("a hard link to the directory itself")?.to_owned();
                let from = tree.open(source.parent().unwrap_or(Path::new("")), OFlag::O_PATH | OFlag::O_DIRECTORY)?;
                tree.make(&path, |place| linkat(&from, name.as_os_str(), place.parent, place.name, AtFlags::empty()))
                    .with_context(|| format!("a hard link to {}", target.display()))?;
            }
            Kind::Fifo => {
                let mode = Mode::from_bits_truncate(entry.mode & 0o777);
                tree.make(&path, |place| mkfifoat(place.parent, place.name, mode))?;
                self.dress(&path, entry)?;
            }
            // A node is a way to the device for whoever may open the node; nobody asked for that.
            Kind::Character(..) | Kind::Block(..) => {
                eprintln!("podling: warning: {} is a device, and is not copied", entry.path.display());
            }
        }
        Ok(())
    }

    /// Looks at what is at `path` already, and takes it away if it must go. False if what comes is there: a link that
    /// leads to a directory in the tree is as good as the directory.
    fn make_way(&mut self, path: &Path, kind: &Kind) -> Result<bool> {
        let directory = *kind == Kind::Directory;
        let Some(there) = self.base.tree.place(path)?.stat()? else { return Ok(true) };
        let is_directory = |it: &FileStat| is(it, SFlag::S_IFDIR);
        if is_directory(&there) == directory {
            return Ok(true);
        }
        if directory && self.base.tree.open(path, OFlag::O_PATH | OFlag::O_DIRECTORY).is_ok() {
            return Ok(false);
        }
        match () {
            () if self.overwrite => self.base.tree.remove(path)?,
            () if directory => bail!("it is a directory, and there is a file"),
            () => bail!("it is a file, and there is a directory"),
        }
        Ok(true)
    }

    fn file<R: std::io::BufRead>(
        &mut self,
        reader: &mut Reader<R>,
        path: &Path,
        entry: &Entry,
        size: u64,
        parts: &[(u64, u64)],
    ) -> Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let own = Mode::S_IRUSR | Mode::S_IWUSR;
        let made = self.base.tree.make(path, |place| openat(place.parent, place.name, flags, own))?;
        let mut file = File::from(made);
        write_parts(reader, &mut file, size, parts)?;
        let (uid, gid) = self.owner.of(entry);
        fchown(&file, uid.map(Into::into), gid.map(Into::into))?;
        // After the owner: a change of owner takes set-user-id away, which cp keeps.
        fchmod(&file, Mode::from_bits_truncate(entry.mode))?;
        let time = time(entry);
        Ok(futimens(&file, &time, &time)?)
    }

    /// Owner and time of what has no descriptor of its own.
    fn dress(&mut self, path: &Path, entry: &Entry) -> Result<()> {
        let (uid, gid) = self.owner.of(entry);
        let place = self.base.tree.place(path)?;
        let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
        fchownat(place.parent, place.name, uid.map(Into::into), gid.map(Into::into), flags)?;
        let time = time(entry);
        Ok(utimensat(place.parent, place.name, &time, &time, UtimensatFlags::NoFollowSymlink)?)
    }

    fn finish(&self) -> Result<()> {
        for (path, entry) in self.directories.iter().rev() {
            let what = || format!("writing {}", entry.path.display());
            let directory = match self.base.tree.open_directory(path) {
                // It gave way to something else.
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => continue,
                other => other.with_context(what)?,
            };
            let (uid, gid) = self.owner.of(entry);
            fchown(&directory, uid.map(Into::into), gid.map(Into::into)).with_context(what)?;
            fchmod(&directory, Mode::from_bits_truncate(entry.mode)).with_context(what)?;
            let time = time(entry);
            futimens(&directory, &time, &time).with_context(what)?;
        }
        Ok(())
    }
}

fn time(entry: &Entry) -> TimeSpec {
    TimeSpec::new(entry.mtime.0, entry.mtime.1)
}
