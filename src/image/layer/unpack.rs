//! Unpacking a layer: a compressed tar file becomes a directory that overlay can stack.
//!
//! ```text
//! blob ─▶ [decompress] ─▶ chunks ─▶ [hash ─▶ tar entries ─▶ files]        two threads a layer
//! ```
//!
//! A layer says "this file of the layers below is gone" with an empty file `.wh.NAME`, and "nothing below shows in this
//! directory" with `.wh..wh..opq`. Overlay says the same with a character device 0:0 named NAME, and with an extended
//! attribute. podling always mounts overlay with `userxattr`, as root too, so that attribute is `user.overlay.opaque`
//! and the same directories serve every user. An image's own `user.overlay.*` attributes are dropped: they would be
//! orders to the kernel (redirects, for one).
//!
//! Some layers have no entry for a directory in which they change something. It is made all the same, and overlay would show
//! it as it was made, with owner and mode of the layer above; so it gets those that it has below ([`Below`]).
//!
//! Owners are checked as entries come, before the entry is made. The first that the id map lacks ends the unpacking; the
//! rest of the layer is only read, to name the largest id in the error.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufRead, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, fchmod, futimens, makedev, mkdirat, mknodat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown, fchownat, linkat, mkfifoat, symlinkat};

use super::below::look_up;
use super::compression::decompress_beside;
use super::ids::Ids;
use super::tar::{Entry, Kind, Reader};
use super::tree::{Tree, clean, is_whiteout};
use crate::image::digest::{Digest, Hashing};
use crate::linux::stat::is;
use crate::sys;

/// Overlay's mark for a directory that hides everything below it.
pub const OPAQUE: &str = "user.overlay.opaque";
pub(super) const WHITEOUT: &[u8] = b".wh.";
const WHITEOUT_OPAQUE: &[u8] = b".wh..wh..opq";
/// More entries than any image has: the unpacking of one that has them would only end with the disk's inodes.
const ENTRIES_MAX: u64 = 10_000_000;
/// More than the names of any image's directories take.
const NAMES_MAX: u64 = 256 << 20;
/// Where zeros begin a block of this size, it is looked at, and left out if it has nothing else.
const HOLE: usize = 64 << 10;

/// What unpacking found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unpacked {
    /// The digest of the tar file.
    pub diff_id: Digest,
    /// The size of its files, in bytes.
    pub size: u64,
    /// Device nodes left out, because a user namespace may not make any.
    pub devices_left_out: u64,
}

/// Opens the layers below, the topmost first; they are unpacked by then.
pub type Below<'a> = &'a dyn Fn() -> Result<Vec<OwnedFd>>;

/// Unpacks the layer that `input` holds into an empty directory. The caller compares the digest, and throws the directory
/// away if it is wrong.
pub fn unpack(input: impl Read + Send, directory: OwnedFd, ids: &Ids, below: Below) -> Result<Unpacked> {
    decompress_beside(input, |chunks| {
        let mut reader = Reader::new(Hashing::new(chunks));
        let mut unpacking = Unpacking::new(Tree::new(directory))?;
        while let Some(entry) = reader.next_entry()? {
            if !ids.have(&entry) {
                return Err(refuse(reader, entry, ids));
            }
            let name = || format!("unpacking {}", entry.path.display());
            unpacking.entry(&mut reader, &entry).with_context(name)?;
        }
        unpacking.imply(below)?;
        unpacking.finish()?;
        let (diff_id, _, _) = reader.drain()?.finish();
        Ok(Unpacked { diff_id, size: unpacking.size, devices_left_out: unpacking.devices_left_out })
    })
}

/// Reads the rest of a layer for the entry with the largest id.
fn refuse(mut reader: Reader<impl BufRead>, mut worst: Entry, ids: &Ids) -> anyhow::Error {
    while let Ok(Some(entry)) = reader.next_entry() {
        if entry.uid.max(entry.gid) > worst.uid.max(worst.gid) && !ids.have(&entry) {
            worst = entry;
        }
    }
    ids.refusal(&worst)
}

struct Unpacking {
    tree: Tree,
    /// What new files get by themselves: our ids, and modes without the umask's bits.
    own: (u32, u32),
    umask: u32,
    /// Directories get their modes and times last: making files in them changes both what they need and what they show.
    directories: BTreeMap<PathBuf, (u32, (i64, i64))>,
    /// The bytes of their names, which are kept in memory.
    names: u64,
    entries: u64,
    size: u64,
    devices_left_out: u64,
}

impl Unpacking {
    fn new(tree: Tree) -> Result<Self> {
        let own = (Uid::effective().as_raw(), Gid::effective().as_raw());
        let (directories, umask) = (BTreeMap::new(), umask()?);
        Ok(Self { tree, own, umask, directories, names: 0, entries: 0, size: 0, devices_left_out: 0 })
    }

    fn entry<R: BufRead>(&mut self, reader: &mut Reader<R>, entry: &Entry) -> Result<()> {
        self.entries += 1;
        ensure!(self.entries <= ENTRIES_MAX, "the layer has more than {ENTRIES_MAX} files");
        let path = clean(&entry.path)?;
        let Some(name) = path.file_name() else { return self.root(entry) };
        if let Some(gone) = name.as_bytes().strip_prefix(WHITEOUT) {
            return self.whiteout(&path, gone);
        }
        match &entry.kind {
            Kind::Directory => self.directory(path, entry),
            Kind::File(size) => self.file(reader, &path, entry, *size, &[(0, *size)]),
            Kind::Sparse(size, parts) => self.file(reader, &path, entry, *size, parts),
            Kind::HardLink(target) => self.hard_link(&path, target),
            Kind::Symlink(target) => {
                self.tree.make(&path, |place| symlinkat(target.as_path(), place.parent, place.name))?;
                self.dress(&path, entry, None)
            }
            Kind::Fifo => {
                self.tree.make(&path, |place| mkfifoat(place.parent, place.name, permissions(entry.mode)))?;
                self.dress(&path, entry, Some(entry.mode))
            }
            Kind::Character(major, minor) => self.device(&path, entry, SFlag::S_IFCHR, *major, *minor),
            Kind::Block(major, minor) => self.device(&path, entry, SFlag::S_IFBLK, *major, *minor),
        }
    }

    /// The archive's entry for the directory itself.
    fn root(&mut self, entry: &Entry) -> Result<()> {
        ensure!(entry.kind == Kind::Directory, "the root of an image is a directory");
        fchown(self.tree.root(), Some(entry.uid.into()), Some(entry.gid.into()))?;
        set_xattrs(self.tree.root(), entry)?;
        self.directories.insert(PathBuf::new(), (entry.mode, entry.mtime));
        Ok(())
    }

    fn file<R: BufRead>(
        &mut self,
        reader: &mut Reader<R>,
        path: &Path,
        entry: &Entry,
        size: u64,
        parts: &[(u64, u64)],
    ) -> Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = self.tree.make(path, |place| openat(place.parent, place.name, flags, permissions(entry.mode)))?;
        let mut file = File::from(file);
        write_parts(reader, &mut file, size, parts)?;
        // Holes cost nothing, so a few files may say more than a number holds.
        self.size = self.size.saturating_add(size);
        if (entry.uid, entry.gid) != self.own {
            fchown(&file, Some(entry.uid.into()), Some(entry.gid.into()))?;
        }
        // After the owner: a change of owner takes set-user-id away.
        if entry.mode & (self.umask | 0o7000) != 0 {
            fchmod(&file, permissions(entry.mode))?;
        }
        set_xattrs(file.as_fd(), entry)?;
        let time = time(entry);
        Ok(futimens(&file, &time, &time)?)
    }

    fn directory(&mut self, path: PathBuf, entry: &Entry) -> Result<()> {
        let place = self.tree.place(&path)?;
        // Special bits come last: a set-group-id directory would give its group to what is made in it.
        let plain = permissions(entry.mode & 0o777);
        match mkdirat(place.parent, place.name, plain) {
            Ok(()) => {}
            Err(Errno::EEXIST) => {
                let there = place.stat()?.context("it was there a moment ago")?;
                if !is(&there, SFlag::S_IFDIR) {
                    self.tree.remove(&path)?;
                    let place = self.tree.place(&path)?;
                    mkdirat(place.parent, place.name, plain)?;
                    // Gone below, and made anew here: what is below must not show through.
                    if is_whiteout(&there) {
                        self.make_opaque(&path)?;
                    }
                }
            }
            Err(errno) => return Err(errno.into()),
        }
        let place = self.tree.place(&path)?;
        fchownat(
            place.parent,
            place.name,
            Some(entry.uid.into()),
            Some(entry.gid.into()),
            AtFlags::AT_SYMLINK_NOFOLLOW,
        )?;
        if !entry.xattrs.is_empty() {
            set_xattrs(self.tree.open_directory(&path)?.as_fd(), entry)?;
        }
        self.tree.implied.remove(&path);
        self.names += path.as_os_str().len() as u64;
        ensure!(self.names <= NAMES_MAX, "the layer's directories have more than {NAMES_MAX} bytes of names");
        self.directories.insert(path, (entry.mode, entry.mtime));
        Ok(())
    }

    fn make_opaque(&self, path: &Path) -> Result<()> {
        let directory = self.tree.open_directory(path)?;
        sys::fsetxattr(directory.as_fd(), OsStr::new(OPAQUE), b"y")
            .context("the image store's file system has no user extended attributes, which overlay needs")
    }

    /// `.wh.NAME`. What this very layer has under that name stays: a whiteout speaks of the layers below.
    fn whiteout(&mut self, path: &Path, gone: &[u8]) -> Result<()> {
        if path.as_os_str().as_bytes().ends_with(WHITEOUT_OPAQUE) {
            let parent = path.parent().unwrap_or(Path::new("")).to_owned();
            self.tree.place(path)?;
            return self.make_opaque(&parent);
        }
        if gone.starts_with(WHITEOUT) {
            // The AUFS driver's own files (.wh..wh.plnk, .wh..wh.aufs).
            return Ok(());
        }
        ensure!(!gone.is_empty() && gone != b"." && gone != b"..", "a whiteout of no file");
        let target = path.with_file_name(OsStr::from_bytes(gone));
        let place = self.tree.place(&target)?;
        match mknodat(place.parent, place.name, SFlag::S_IFCHR, Mode::empty(), 0) {
            Ok(()) | Err(Errno::EEXIST) => Ok(()),
            Err(errno) => Err(errno).context("making a whiteout"),
        }
    }

    fn hard_link(&mut self, path: &Path, target: &Path) -> Result<()> {
        let source = clean(target)?;
        ensure!(source != path, "a hard link to itself");
        let name = source.file_name().context("a hard link to the root directory")?.to_owned();
        let from = self.tree.open(source.parent().unwrap_or(Path::new("")), OFlag::O_PATH | OFlag::O_DIRECTORY);
        let made = from.map_err(Into::into).and_then(|from| {
            self.tree.make(path, |place| linkat(&from, name.as_os_str(), place.parent, place.name, AtFlags::empty()))
        });
        made.with_context(|| format!("a hard link to {}", target.display()))
    }

    /// A device node. Root makes them, as Podman does; in a user namespace the kernel refuses, and they are left out: a
    /// container's /dev is the engine's anyway.
    fn device(&mut self, path: &Path, entry: &Entry, kind: SFlag, major: u32, minor: u32) -> Result<()> {
        let device = makedev(u64::from(major), u64::from(minor));
        let refused = self.tree.make(path, |place| {
            match mknodat(place.parent, place.name, kind, permissions(entry.mode), device) {
                Err(Errno::EPERM) => Ok(true),
                made => made.map(|()| false),
            }
        })?;
        if refused {
            self.devices_left_out += 1;
            return Ok(());
        }
        self.dress(path, entry, Some(entry.mode))
    }

    /// Owner, mode and time of what has no descriptor of its own.
    fn dress(&mut self, path: &Path, entry: &Entry, mode: Option<u32>) -> Result<()> {
        let own = self.own;
        let place = self.tree.place(path)?;
        if (entry.uid, entry.gid) != own {
            let (uid, gid) = (Some(entry.uid.into()), Some(entry.gid.into()));
            fchownat(place.parent, place.name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        }
        if let Some(mode) = mode {
            // Not followed: we made it a moment ago, in a directory that nobody else writes.
            nix::sys::stat::fchmodat(
                place.parent,
                place.name,
                permissions(mode),
                nix::sys::stat::FchmodatFlags::FollowSymlink,
            )?;
        }
        let time = time(entry);
        Ok(utimensat(place.parent, place.name, &time, &time, UtimensatFlags::NoFollowSymlink)?)
    }

    /// Gives directories that the archive has no entry for what they have below.
    fn imply(&mut self, below: Below) -> Result<()> {
        let implied = std::mem::take(&mut self.tree.implied);
        if implied.is_empty() {
            return Ok(());
        }
        let below: Vec<Tree> = below()?.into_iter().map(Tree::new).collect();
        for path in implied {
            let directory = match self.tree.open_directory(&path) {
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => continue,
                other => other.with_context(|| format!("unpacking {}", path.display()))?,
            };
            if let Some(stat) = look_up(&path, &below)? {
                fchown(&directory, Some(stat.st_uid.into()), Some(stat.st_gid.into()))?;
                self.directories.insert(path, (stat.st_mode, (stat.st_mtime, stat.st_mtime_nsec)));
            }
        }
        Ok(())
    }

    /// Modes and times of directories, the deepest first. One that gave way to something else has none.
    fn finish(&self) -> Result<()> {
        for (path, (mode, mtime)) in self.directories.iter().rev() {
            let directory = match self.tree.open_directory(path) {
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => continue,
                other => other.with_context(|| format!("unpacking {}", path.display()))?,
            };
            fchmod(&directory, permissions(*mode))?;
            let time = TimeSpec::new(mtime.0, mtime.1);
            futimens(&directory, &time, &time)?;
        }
        Ok(())
    }
}

/// Writes the current entry's bytes into a new file of this `size`: its parts (offset, length) where they belong, and
/// nothing where long runs of zeros would be.
pub fn write_parts<R: BufRead>(reader: &mut Reader<R>, file: &mut File, size: u64, parts: &[(u64, u64)]) -> Result<()> {
    let mut parts = parts.iter().filter(|(_, length)| *length > 0);
    // Where the next bytes go, how many still belong there, and how far the file reaches.
    let (mut at, mut left, mut end) = (0, 0, 0);
    while reader.copy_some(|mut chunk| {
        while !chunk.is_empty() {
            if left == 0 {
                let (offset, length) = *parts.next().context("a file has more bytes than its header says")?;
                if offset != at {
                    file.seek(SeekFrom::Start(offset))?;
                    at = offset;
                }
                left = length;
            }
            let (now, later) = chunk.split_at(usize::try_from(left).map_or(chunk.len(), |l| l.min(chunk.len())));
            if write_with_holes(file, now)? {
                end = at + now.len() as u64;
            }
            at += now.len() as u64;
            left -= now.len() as u64;
            chunk = later;
        }
        Ok(())
    })? {}
    if end < size {
        file.set_len(size)?;
    }
    Ok(())
}

/// Writes a chunk at the file's position, leaving out long runs of zeros. True if it ended with written bytes.
fn write_with_holes(file: &mut File, chunk: &[u8]) -> io::Result<bool> {
    // Bytes before this index are waiting to be written.
    let mut data = 0..0;
    for block in chunk.chunks(HOLE) {
        let end = data.end + block.len();
        if block.len() == HOLE && block.starts_with(&[0; 16]) && block.iter().all(|b| *b == 0) {
            file.write_all(&chunk[data.clone()])?;
            file.seek(SeekFrom::Current(HOLE as i64))?;
            data = end..end;
        } else {
            data.end = end;
        }
    }
    file.write_all(&chunk[data.clone()])?;
    Ok(!data.is_empty())
}

/// Sets the attributes that an image may bring: file capabilities and its own `user.` ones. Others belong to the machine
/// (labels, ACLs with its ids), and `user.overlay.` to overlay.
fn set_xattrs(fd: BorrowedFd, entry: &Entry) -> Result<()> {
    for (name, value) in entry.xattrs.iter().filter(|(name, _)| travels(name)) {
        match sys::fsetxattr(fd, name, value) {
            // Not every file system has them; Podman goes on without, too.
            Ok(()) | Err(Errno::ENOTSUP) => {}
            Err(errno) => return Err(errno).with_context(|| format!("setting attribute {}", name.display())),
        }
    }
    Ok(())
}

/// Whether an extended attribute is part of an image.
pub(super) fn travels(name: &OsString) -> bool {
    let name = name.as_bytes();
    name == b"security.capability" || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
}

fn permissions(mode: u32) -> Mode {
    Mode::from_bits_truncate(mode & 0o7777)
}

fn time(entry: &Entry) -> TimeSpec {
    TimeSpec::new(entry.mtime.0, entry.mtime.1)
}

/// This process's umask, without changing it (umask(2) can only set it, for all threads).
fn umask() -> Result<u32> {
    let status = std::fs::read_to_string("/proc/self/status").context("reading /proc/self/status")?;
    let Some(text) = status.lines().find_map(|line| line.strip_prefix("Umask:")) else {
        bail!("/proc/self/status does not tell the umask");
    };
    u32::from_str_radix(text.trim(), 8).context("the umask")
}
