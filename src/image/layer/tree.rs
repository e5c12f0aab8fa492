//! A directory being filled from an archive that nobody trusts.
//!
//! The attacks are known by heart: names with `..`, absolute names, a symbolic link out of the tree followed by a file
//! "inside" it, hard links to files outside. So no path is ever resolved by us as text: the kernel resolves a *parent
//! directory* as if our tree were `/` (openat2(2), `RESOLVE_IN_ROOT`), and each thing is then made by its bare last name
//! in that descriptor, without following. An archive may still link where it likes; it arrives in its own tree.
//!
//! Entries come directory by directory, so the last parent is kept open: most entries cost no resolution at all. It must
//! be forgotten whenever a directory is removed.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, RenameFlags, ResolveFlag, openat, renameat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat, major, minor, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::linux::resolve::openat2_retrying;
use crate::linux::stat::is;

const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

/// The directory, and the last parent that was used in it.
pub struct Tree {
    root: OwnedFd,
    bounds: ResolveFlag,
    last: Option<(PathBuf, OwnedFd)>,
    /// Directories that were made because something is in them, and that the archive has no entry for so far.
    pub implied: BTreeSet<PathBuf>,
}

/// Where a thing is to be made: a directory held open, and a bare name in it.
pub struct Place<'a> {
    /// The directory.
    pub parent: BorrowedFd<'a>,
    /// The name: never empty, `.` or `..`, and without a slash.
    pub name: &'a OsStr,
}

impl Tree {
    /// A tree in an open directory, which is `/` for the symbolic links in it.
    pub fn new(root: OwnedFd) -> Self {
        Self { root, bounds: ResolveFlag::RESOLVE_IN_ROOT, last: None, implied: BTreeSet::new() }
    }

    /// A tree in a directory of the host, where a symbolic link means what it says: one that leads out is refused.
    pub fn beneath(root: OwnedFd) -> Self {
        Self { bounds: ResolveFlag::RESOLVE_BENEATH, ..Self::new(root) }
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
            let directory = self.directory(parent)?;
            self.last = Some((parent.to_owned(), directory));
        }
        let (_, fd) = self.last.as_ref().context("was set above")?;
        Ok(Place { parent: fd.as_fd(), name })
    }

    /// Opens a directory of the tree; missing ones are made, as root's with mode 0755.
    fn directory(&mut self, path: &Path) -> Result<OwnedFd> {
        match self.open(path, DIRECTORY) {
            Err(Errno::ENOENT) => {}
            other => return Ok(other?),
        }
        let mut so_far = PathBuf::new();
        for component in path.components() {
            let parent = self.open(&so_far, DIRECTORY)?;
            match mkdirat(&parent, component.as_os_str(), Mode::from_bits_truncate(0o755)) {
                Ok(()) => drop(self.implied.insert(so_far.join(component))),
                Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
            so_far.push(component);
        }
        Ok(self.open(path, DIRECTORY)?)
    }

    /// Opens something of the tree, following symbolic links within it.
    pub fn open(&self, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let resolve = self.bounds | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        openat2_retrying(self.root.as_fd(), path, flags, Mode::empty(), resolve)
    }

    /// Opens a directory of the tree whose last name must not be a symbolic link.
    pub fn open_directory(&self, path: &Path) -> nix::Result<OwnedFd> {
        self.open(path, DIRECTORY | OFlag::O_NOFOLLOW)
    }

    /// Makes something at `path` with `call`, which must fail with `EEXIST` if there is something already; that gives
    /// way. (An archive may hold a name twice; the last one counts.)
    pub fn make<T>(&mut self, path: &Path, call: impl Fn(&Place) -> nix::Result<T>) -> Result<T> {
        match call(&self.place(path)?) {
            Err(Errno::EEXIST) => {
                self.remove(path)?;
                Ok(call(&self.place(path)?)?)
            }
            other => Ok(other?),
        }
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

/// How deep [`remove_all`] goes: each level costs a descriptor, of which a process may have no more than it was given.
const DEEPEST: usize = 32;

/// Removes `name` in `parent`, with all below it, never following a link. It is no error if it is not there.
///
/// The depth is a stranger's choice: a program digs until no path is long enough. So there is no recursion, and what lies
/// too deep is first moved up.
pub fn remove_all(parent: BorrowedFd, name: &OsStr) -> Result<()> {
    if !is_directory_after_unlink(parent, name)? {
        return Ok(());
    }
    let mut open = vec![Opened::enter(parent, name)?];
    let mut moved = 0;
    while let Some(deepest) = open.last_mut() {
        let Some(name) = deepest.left.pop() else {
            let Some(Opened { name, .. }) = open.pop() else { break };
            let parent = open.last().map_or(parent, |above| above.fd.as_fd());
            unlinkat(parent, name.as_os_str(), UnlinkatFlags::RemoveDir)
                .with_context(|| format!("removing {}", name.display()))?;
            continue;
        };
        if !is_directory_after_unlink(deepest.fd.as_fd(), &name)? {
            continue;
        }
        if open.len() < DEEPEST {
            let deeper = Opened::enter(open[open.len() - 1].fd.as_fd(), &name)?;
            open.push(deeper);
            continue;
        }
        let up = move_up(open[DEEPEST - 1].fd.as_fd(), &name, open[0].fd.as_fd(), &mut moved)?;
        open[0].left.push(up);
    }
    Ok(())
}

/// A directory that is being emptied.
struct Opened {
    name: OsString,
    fd: OwnedFd,
    left: Vec<OsString>,
}

impl Opened {
    fn enter(at: BorrowedFd, name: &OsStr) -> Result<Self> {
        let fd = openat(at, name, DIRECTORY | OFlag::O_NOFOLLOW, Mode::empty())
            .with_context(|| format!("removing {}", name.display()))?;
        Ok(Self { name: name.to_owned(), left: names(fd.try_clone()?)?, fd })
    }
}

/// Unlinks `name`; true if it is a directory, for which that is not the way.
fn is_directory_after_unlink(at: BorrowedFd, name: &OsStr) -> Result<bool> {
    match unlinkat(at, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(false),
        // POSIX's word for it is EPERM, Linux's EISDIR.
        Err(Errno::EISDIR | Errno::EPERM) => Ok(true),
        Err(errno) => Err(errno).with_context(|| format!("removing {}", name.display())),
    }
}

/// Moves a directory to the top of the tree that is being removed, under a name that nothing has there; returns it.
fn move_up(from: BorrowedFd, name: &OsStr, top: BorrowedFd, moved: &mut u64) -> Result<OsString> {
    loop {
        *moved += 1;
        let up = OsString::from(format!(".moved-{moved}"));
        match renameat2(from, name, top, up.as_os_str(), RenameFlags::RENAME_NOREPLACE) {
            Ok(()) => return Ok(up),
            Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno).with_context(|| format!("removing {}", name.display())),
        }
    }
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
