//! Paths inside a root whose files somebody else chose: one `openat2` finds, and what is missing is made name by name.
//!
//! Whoever looks up "/etc/passwd" of a container by putting the two paths together trusts each symlink on the way, and an
//! absolute one leads to the host's file. Under `RESOLVE_IN_ROOT` the kernel resolves the path as if the process had
//! changed its root to the given directory: no symlink and no `..` leads out (openat2(2)).
//!
//! The subtlety: an answer is true only while it is held. An image, or a process in another container that shares a
//! volume, may swap a directory for a symlink between two look-ups (CVE-2021-30465). So all functions give a descriptor,
//! and whoever goes on names that descriptor, never the path again.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};

use super::mount::descriptor_path;
use super::stat::is;
use crate::trace::{self, Topic};

/// How a path inside a root is resolved: `..`, absolute paths and symlinks stay inside; /proc's links are refused.
const IN_ROOT: ResolveFlag = ResolveFlag::RESOLVE_IN_ROOT.union(ResolveFlag::RESOLVE_NO_MAGICLINKS);

/// openat2(2), until it has an answer.
pub fn openat2_retrying(
    at: BorrowedFd,
    path: &Path,
    flags: OFlag,
    mode: Mode,
    resolve: ResolveFlag,
) -> nix::Result<OwnedFd> {
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).mode(mode).resolve(resolve);
    loop {
        match openat2(at, path, how) {
            // A rename somewhere on the machine raced with the resolution of `..` (openat2(2)): ask again.
            Err(Errno::EAGAIN) => {}
            result => return result,
        }
    }
}

/// Opens `path` inside `root` with `flags`; symlinks are followed, and stay inside.
pub fn open_in_root(root: impl AsFd, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    trace::ask(Topic::Mount, "openat2", format_args!("in root {}", path.display()), || {
        openat2_retrying(root.as_fd(), path, flags, Mode::empty(), IN_ROOT)
    })
}

/// Opens `path` inside `root` with `flags`, and refuses (`ELOOP`) if any part of it is a symlink.
pub fn open_without_symlinks(root: impl AsFd, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    trace::ask(Topic::Mount, "openat2", format_args!("in root, no symlinks {}", path.display()), || {
        openat2_retrying(root.as_fd(), path, flags, Mode::empty(), IN_ROOT | ResolveFlag::RESOLVE_NO_SYMLINKS)
    })
}

/// Opens `path` inside `root` with `flags`, and refuses whatever somebody may have put in the way: any symlink (`ELOOP`),
/// any other mount (`EXDEV`).
pub fn open_in_place(root: impl AsFd, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    let resolve = IN_ROOT | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV;
    trace::ask(Topic::Mount, "openat2", format_args!("in place {}", path.display()), || {
        openat2_retrying(root.as_fd(), path, flags, Mode::empty(), resolve)
    })
}

/// Opens the regular file `path` inside `root` with `flags`; what is none is not opened: a fifo would keep us waiting, and a
/// device does something when it is opened. Errors: `EINVAL` if it is something else. Needs a /proc that can be trusted.
pub fn open_file_in_root(root: impl AsFd, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    let held = open_in_root(root, path, OFlag::O_PATH)?;
    if !is(&fstat(&held)?, SFlag::S_IFREG) {
        return Err(Errno::EINVAL);
    }
    reopen(held, flags)
}

/// Opens what an `O_PATH` descriptor holds, with `flags`: to be asked for only when it is known what that is, since opening
/// a device does something to it. Needs a /proc that can be trusted.
pub fn reopen(held: impl AsFd, flags: OFlag) -> nix::Result<OwnedFd> {
    open(&descriptor_path(held.as_fd()), flags | OFlag::O_CLOEXEC, Mode::empty())
}

/// A descriptor (`O_PATH`) for the directory `path` inside `root`; what is missing of it is made, mode 0755.
pub fn directory_in_root(root: impl AsFd, path: &Path) -> Result<OwnedFd> {
    let path = clean(path);
    make_directory(root.as_fd(), &path, 0).with_context(|| format!("making the directory {}", path.display()))
}

/// A descriptor (`O_PATH`) for the file `path` inside `root` (or whatever is there, if it is no directory); an empty file
/// is made if it is missing.
pub fn file_in_root(root: impl AsFd, path: &Path) -> Result<OwnedFd> {
    let path = clean(path);
    make_file(root.as_fd(), &path, 0).with_context(|| format!("making the file {}", path.display()))
}

/// Makes the file `name` in a directory that is held open. `EEXIST`: something of that name is there.
pub fn new_file(directory: impl AsFd, name: &Path) -> nix::Result<OwnedFd> {
    let create = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
    open_name(directory.as_fd(), name, create, Mode::from_bits_truncate(0o644))
}

/// How many dangling symlinks we follow before we call it a loop; the kernel's own number.
const MOST_LINKS: u32 = 40;

/// One `openat2` if it exists, as it mostly does. Else its parent the same way, then `mkdirat` of one name in that: no
/// path of more than one name is ever given to a call that makes something.
fn make_directory(root: BorrowedFd, path: &Path, links: u32) -> nix::Result<OwnedFd> {
    match open_in_root(root, path, OFlag::O_PATH | OFlag::O_DIRECTORY) {
        Err(Errno::ENOENT) => {}
        result => return result,
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::ENOENT) };
    let inside = make_directory(root, parent, links)?;
    let name = Path::new(name);
    let made = trace::ask(Topic::Mount, "mkdirat", format_args!("{}", path.display()), || {
        mkdirat(&inside, name, Mode::from_bits_truncate(0o755))
    });
    match made {
        Ok(()) => open_name(inside.as_fd(), name, OFlag::O_PATH | OFlag::O_DIRECTORY, Mode::empty()),
        // A symlink to nowhere, or another process was quicker.
        Err(Errno::EEXIST) => match link_target(inside.as_fd(), path) {
            Some(target) if links < MOST_LINKS => make_directory(root, &target, links + 1),
            Some(_) => Err(Errno::ELOOP),
            None => open_name(inside.as_fd(), name, OFlag::O_PATH | OFlag::O_DIRECTORY, Mode::empty()),
        },
        Err(error) => Err(error),
    }
}

fn make_file(root: BorrowedFd, path: &Path, links: u32) -> nix::Result<OwnedFd> {
    match open_in_root(root, path, OFlag::O_PATH) {
        Err(Errno::ENOENT) => {}
        result => return result,
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::EISDIR) };
    let inside = make_directory(root, parent, links)?;
    match new_file(&inside, Path::new(name)) {
        Err(Errno::EEXIST) => match link_target(inside.as_fd(), path) {
            Some(target) if links < MOST_LINKS => make_file(root, &target, links + 1),
            Some(_) => Err(Errno::ELOOP),
            None => open_name(inside.as_fd(), Path::new(name), OFlag::O_PATH, Mode::empty()),
        },
        result => result,
    }
}

/// Opens or makes one name in a directory that we hold; never a symlink.
fn open_name(at: BorrowedFd, name: &Path, flags: OFlag, mode: Mode) -> nix::Result<OwnedFd> {
    let how = if flags.contains(OFlag::O_CREAT) { "beneath, create" } else { "beneath" };
    trace::ask(Topic::Mount, "openat2", format_args!("{how} {}", name.display()), || {
        openat2_retrying(at, name, flags, mode, ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS)
    })
}

/// Where the symlink `path`, whose directory is `inside`, points, as a path from the root.
fn link_target(inside: BorrowedFd, path: &Path) -> Option<PathBuf> {
    let target = PathBuf::from(readlinkat(inside, path.file_name()?).ok()?);
    Some(clean(&path.parent()?.join(target)))
}

/// `path` without `.`, `..` and doubled slashes, absolute; it is not asked whether symlinks are on the way.
pub fn clean(path: &Path) -> PathBuf {
    let mut parts: Vec<&OsStr> = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.push(part),
            Component::ParentDir => drop(parts.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Path::new("/").join(parts.iter().collect::<PathBuf>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn root() -> (tempfile::TempDir, OwnedFd) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let fd = std::fs::File::open(directory.path()).expect("open").into();
        (directory, fd)
    }

    #[test]
    fn a_target_is_made_inside_the_root_whatever_the_links_say() {
        let (directory, fd) = root();
        let inside = directory.path();
        symlink("/outside/../../deep", inside.join("absolute")).expect("symlink");
        symlink("../../../../up", inside.join("upwards")).expect("symlink");
        directory_in_root(&fd, Path::new("/absolute/a/b")).expect("through an absolute link");
        file_in_root(&fd, Path::new("upwards/c")).expect("through a link upwards");
        file_in_root(&fd, Path::new("/x/../../y")).expect("through dots");
        assert!(inside.join("deep/a/b").is_dir());
        assert!(inside.join("up/c").is_file());
        assert!(inside.join("y").is_file());
    }

    #[test]
    fn links_in_a_circle_end() {
        let (directory, fd) = root();
        symlink("b", directory.path().join("a")).expect("symlink");
        symlink("a", directory.path().join("b")).expect("symlink");
        assert!(directory_in_root(&fd, Path::new("/a/c")).is_err());
        assert!(file_in_root(&fd, Path::new("/a")).is_err());
    }

    #[test]
    fn a_path_without_symlinks_refuses_one() {
        let (directory, fd) = root();
        symlink("/tmp", directory.path().join("dev")).expect("symlink");
        let refused = open_without_symlinks(&fd, Path::new("/dev"), OFlag::O_PATH | OFlag::O_DIRECTORY);
        assert_eq!(refused.map(drop), Err(Errno::ELOOP));
    }

    #[test]
    fn a_path_is_cleaned() {
        assert_eq!(clean(Path::new("a//b/./c/../d")), Path::new("/a/b/d"));
        assert_eq!(clean(Path::new("/../..")), Path::new("/"));
    }
}
