//! A directory being filled from an archive that nobody trusts.
//!
//! The attacks are known by heart: names with `..`, absolute names, a symbolic link out of the tree followed by a file
//! "inside" it, hard links to files outside. So no path is ever resolved by us as text: the kernel resolves a *parent
//! directory* as if our tree were `/` (openat2(2), `RESOLVE_IN_ROOT`), and each thing is then made by its bare last name
//! in that descriptor, without following. An archive may still link where it likes; it arrives in its own tree.
//!
//! Entries come directory by directory, so the last parent is kept open: most entries cost no resolution at all. It must
//! be forgotten whenever a directory is removed.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat, major, minor, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

/// The directory, and the last parent that was used in it.
pub struct Tree {
    root: OwnedFd,
    last: Option<(PathBuf, OwnedFd)>,
}

/// Where a thing is to be made: a directory held open, and a bare name in it.
pub struct Place<'a> {
    /// The directory.
    pub parent: BorrowedFd<'a>,
    /// The name: never empty, `.` or `..`, and without a slash.
    pub name: &'a OsStr,
}

impl Tree {
    /// A tree in an open directory.
    pub fn new(root: OwnedFd) -> Self {
        Self { root, last: None }
    }

    /// The directory itself.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The place of `path`, whose parents are made if they are missing. `path` comes from [`clean`].
    pub fn place<'a>(&'a mut self, path: &'a Path) -> Result<Place<'a>> {
        let name = path.file_name().context("the root has no parent")?;
        let parent = path.parent().unwrap_or(Path::new(""));
        if self.last.as_ref().is_none_or(|(known, _)| known != parent) {
            self.last = Some((parent.to_owned(), self.directory(parent)?));
        }
        let (_, fd) = self.last.as_ref().context("was set above")?;
        Ok(Place { parent: fd.as_fd(), name })
    }

    /// Opens a directory of the tree; missing ones are made, as root's with mode 0755.
    fn directory(&self, path: &Path) -> Result<OwnedFd> {
        match self.open(path, DIRECTORY) {
            Err(Errno::ENOENT) => {}
            other => return Ok(other?),
        }
        let mut so_far = PathBuf::new();
        for component in path.components() {
            let parent = self.open(&so_far, DIRECTORY)?;
            match mkdirat(&parent, component.as_os_str(), Mode::from_bits_truncate(0o755)) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
            so_far.push(component);
        }
        Ok(self.open(path, DIRECTORY)?)
    }

    /// Opens something of the tree, following symbolic links as if the tree were `/`.
    pub fn open(&self, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        openat2(&self.root, path, OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(resolve))
    }

    /// Opens a directory of the tree whose last name must not be a symbolic link.
    pub fn open_directory(&self, path: &Path) -> nix::Result<OwnedFd> {
        self.open(path, DIRECTORY | OFlag::O_NOFOLLOW)
    }

    /// Removes whatever has `path`, with all below it.
    pub fn remove(&mut self, path: &Path) -> Result<()> {
        // The directory that is kept open may be the one that goes, or be below it.
        let last = self.last.take();
        if let Some((known, fd)) = last.filter(|(known, _)| !known.starts_with(path)) {
            self.last = Some((known, fd));
        }
        let place = self.place(path)?;
        remove_all(place.parent, place.name)
    }
}

impl Place<'_> {
    /// What is there, if anything; a symbolic link is itself.
    pub fn stat(&self) -> nix::Result<Option<FileStat>> {
        match fstatat(self.parent, self.name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }
}

/// Whether `stat` is of a file of this kind.
pub fn is(stat: &FileStat, kind: SFlag) -> bool {
    stat.st_mode & SFlag::S_IFMT.bits() == kind.bits()
}

/// Whether it is overlay's mark for "this was removed": a character device 0:0.
pub fn is_whiteout(stat: &FileStat) -> bool {
    is(stat, SFlag::S_IFCHR) && major(stat.st_rdev) == 0 && minor(stat.st_rdev) == 0
}

/// A name from an archive, relative and without `.` and `..`. Errors: it leads out of the archive; it is too long.
pub fn clean(path: &Path) -> Result<PathBuf> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                if !clean.pop() {
                    bail!("{}: leads out of the image", path.display());
                }
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    if clean.as_os_str().len() >= libc::PATH_MAX as usize || path.as_os_str().as_bytes().contains(&0) {
        bail!("a file name in the image is longer than the kernel takes");
    }
    Ok(clean)
}

/// Removes `name` in `parent`, with all below it, never following a link. It is no error if it is not there.
pub fn remove_all(parent: BorrowedFd, name: &OsStr) -> Result<()> {
    match unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => return Ok(()),
        Err(Errno::EISDIR | Errno::EPERM) => {}
        Err(errno) => return Err(errno).with_context(|| format!("removing {}", name.display())),
    }
    // A stack instead of recursion: the depth is a stranger's choice.
    let mut open: Vec<(OsString, OwnedFd, Vec<OsString>)> = Vec::new();
    let enter = |at: BorrowedFd, name: &OsStr| -> Result<(OsString, OwnedFd, Vec<OsString>)> {
        let fd = openat(at, name, DIRECTORY | OFlag::O_NOFOLLOW, Mode::empty())
            .with_context(|| format!("removing {}", name.display()))?;
        Ok((name.to_owned(), fd.try_clone()?, names(fd)?))
    };
    open.push(enter(parent, name)?);
    while let Some((own, fd, left)) = open.last_mut() {
        let Some(name) = left.pop() else {
            let own = own.clone();
            open.pop();
            let parent = open.last().map_or(parent, |(_, fd, _)| fd.as_fd());
            unlinkat(parent, own.as_os_str(), UnlinkatFlags::RemoveDir)
                .with_context(|| format!("removing {}", own.display()))?;
            continue;
        };
        match unlinkat(&*fd, name.as_os_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(Errno::EISDIR | Errno::EPERM) => {
                let deeper = enter(fd.as_fd(), &name)?;
                open.push(deeper);
            }
            Err(errno) => return Err(errno).with_context(|| format!("removing {}", name.display())),
        }
    }
    Ok(())
}

/// The names in a directory, without `.` and `..`, sorted.
pub fn names(directory: OwnedFd) -> Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::from_fd(directory)?.iter() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    names.sort();
    Ok(names)
}
