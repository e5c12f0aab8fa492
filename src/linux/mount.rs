//! Mounts by descriptor: made detached, given their attributes, and only then attached to a target that is held open.
//!
//! mount(2) takes paths, and a path is resolved anew at each use. Here a target is found once ([`super::resolve`]), and all
//! that follows names the descriptor that holds it.
//!
//! The subtlety: `mount_setattr` changes just the attributes it is told to. The old way, `MS_REMOUNT`, replaces them all,
//! and in a user namespace fails if that would drop a locked `nosuid`, `nodev` or `noexec`.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::mount::{MntFlags, MsFlags};

use crate::sys::{self, MountAttributes};
use crate::trace::{self, Topic};

/// How mount events travel between copies of a mount (mount_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// Both ways.
    Shared,
    /// Towards this copy only.
    Slave,
    /// Not at all.
    Private,
    /// Not at all, and it cannot be bound.
    Unbindable,
}

impl Propagation {
    fn flag(self) -> libc::c_ulong {
        match self {
            Propagation::Shared => libc::MS_SHARED,
            Propagation::Slave => libc::MS_SLAVE,
            Propagation::Private => libc::MS_PRIVATE,
            Propagation::Unbindable => libc::MS_UNBINDABLE,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Propagation::Shared => "shared",
            Propagation::Slave => "slave",
            Propagation::Private => "private",
            Propagation::Unbindable => "unbindable",
        }
    }
}

/// One mount, or it and all below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// This mount.
    One,
    /// The whole tree.
    Tree,
}

impl Reach {
    fn flag(self) -> i32 {
        if self == Reach::Tree { libc::AT_RECURSIVE } else { 0 }
    }
}

/// A mount's attributes: bits `MOUNT_ATTR_*` to set and to clear.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// To set.
    pub set: u64,
    /// To clear; bits in `set` win.
    pub clear: u64,
}

impl Attributes {
    /// Read-only, and nothing else changed.
    pub const READ_ONLY: Attributes = Attributes { set: libc::MOUNT_ATTR_RDONLY, clear: 0 };
    /// No set-uid, no devices, no programs: for a mount that only holds data.
    pub const DATA_ONLY: Attributes =
        Attributes { set: libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC, clear: 0 };

    /// Whether it asks for no change.
    pub fn is_empty(self) -> bool {
        self.set | self.clear == 0
    }
}

/// A detached copy of the mount at `path`: the source of a bind mount.
pub fn copy(path: &Path, reach: Reach) -> nix::Result<OwnedFd> {
    trace::ask(Topic::Mount, "open_tree", format_args!("copy of {}", path.display()), || {
        sys::open_tree(AT_FDCWD, path, libc::OPEN_TREE_CLONE | reach.flag() as u32)
    })
}

/// A detached copy of the mount, from the file or directory on that `fd` holds open.
pub fn copy_of(fd: impl AsFd, reach: Reach) -> nix::Result<OwnedFd> {
    let place = trace::on().then(|| std::fs::read_link(descriptor_path(fd.as_fd())).unwrap_or_default());
    trace::ask(Topic::Mount, "open_tree", format_args!("copy of {}", place.unwrap_or_default().display()), || {
        let flags = libc::OPEN_TREE_CLONE | (libc::AT_EMPTY_PATH | reach.flag()) as u32;
        sys::open_tree(fd.as_fd(), Path::new(""), flags)
    })
}

/// Attaches a detached mount onto what `target` holds open.
pub fn attach(mount: impl AsFd, target: impl AsFd, what: &Path) -> nix::Result<()> {
    trace::ask(Topic::Mount, "move_mount", format_args!("onto {}", what.display()), || {
        sys::move_mount(mount.as_fd(), target.as_fd())
    })
}

/// Changes a mount's attributes.
pub fn set_attributes(mount: impl AsFd, attributes: Attributes, reach: Reach) -> nix::Result<()> {
    let mut change = MountAttributes { set: attributes.set, clear: attributes.clear, ..MountAttributes::default() };
    // The access-time bits are one field of three values: to set one, the field must be cleared whole.
    if change.set & libc::MOUNT_ATTR__ATIME != 0 || change.clear & libc::MOUNT_ATTR__ATIME != 0 {
        change.clear |= libc::MOUNT_ATTR__ATIME;
    }
    trace::ask(Topic::Mount, "mount_setattr", format_args!("{}", attribute_names(attributes)), || {
        sys::mount_setattr(mount.as_fd(), Path::new(""), libc::AT_EMPTY_PATH | reach.flag(), &change)
    })
}

/// Maps the ids of the files on a detached mount as user namespace `userns` maps them.
pub fn map_ids(mount: impl AsFd, userns: impl AsFd, reach: Reach) -> nix::Result<()> {
    let change = MountAttributes {
        set: libc::MOUNT_ATTR_IDMAP,
        userns_fd: userns.as_fd().as_raw_fd() as u64,
        ..MountAttributes::default()
    };
    trace::ask(Topic::Mount, "mount_setattr", format_args!("idmap"), || {
        sys::mount_setattr(mount.as_fd(), Path::new(""), libc::AT_EMPTY_PATH | reach.flag(), &change)
    })
}

/// Changes how mount events travel to and from a mount.
pub fn set_propagation(mount: impl AsFd, propagation: Propagation, reach: Reach) -> nix::Result<()> {
    let change = MountAttributes { propagation: propagation.flag(), ..MountAttributes::default() };
    let tree = if reach == Reach::Tree { " tree" } else { "" };
    trace::ask(Topic::Mount, "mount_setattr", format_args!("{}{tree}", propagation.name()), || {
        sys::mount_setattr(mount.as_fd(), Path::new(""), libc::AT_EMPTY_PATH | reach.flag(), &change)
    })
}

/// Changes how mount events travel for all mounts of this mount namespace: before anything is mounted in a fresh one, or
/// it would appear on the host too.
pub fn isolate(propagation: Propagation) -> Result<()> {
    let change = MountAttributes { propagation: propagation.flag(), ..MountAttributes::default() };
    trace::ask(Topic::Mount, "mount_setattr", format_args!("/ {} tree", propagation.name()), || {
        sys::mount_setattr(AT_FDCWD, Path::new("/"), libc::AT_RECURSIVE, &change)
    })
    .with_context(|| format!("making all mounts {}", propagation.name()))
}

/// An option of a file system: a name, and a value if it is no mere flag.
pub type Setting = (String, Option<String>);

/// A detached mount of a new file system of type `kind` with its own `settings` and `attributes` (only those set count).
///
/// The error's cause is the `Errno`; above it stands the kernel's own explanation where it gives one ("tmpfs: Unknown
/// parameter 'sise'").
pub fn create(kind: &str, source: &str, settings: &[Setting], attributes: Attributes) -> Result<OwnedFd> {
    let fs = trace::ask(Topic::Mount, "fsopen", format_args!("{kind}"), || sys::fsopen(kind))?;
    let explain = |error| explain(error, fs.as_fd());
    if !source.is_empty() {
        sys::fsconfig_set(fs.as_fd(), "source", Some(source)).map_err(explain)?;
    }
    for (name, value) in settings {
        let shown = value.as_ref().map(|value| format!("={value}")).unwrap_or_default();
        trace::ask(Topic::Mount, "fsconfig", format_args!("{kind} {name}{shown}"), || {
            sys::fsconfig_set(fs.as_fd(), name, value.as_deref())
        })
        .map_err(explain)?;
    }
    trace::ask(Topic::Mount, "fsconfig", format_args!("{kind} create"), || sys::fsconfig_create(fs.as_fd()))
        .map_err(explain)?;
    let mount = trace::ask(Topic::Mount, "fsmount", format_args!("{kind} {}", attribute_names(attributes)), || {
        sys::fsmount(fs.as_fd(), attributes.set)
    });
    Ok(mount?)
}

/// The error with the kernel's own words, which it leaves to be read from the file system's descriptor.
pub(super) fn explain(error: Errno, fs: BorrowedFd) -> anyhow::Error {
    let mut said = [0u8; 512];
    match nix::unistd::read(fs, &mut said) {
        Ok(length) if length > 2 => {
            // "e overlay: …": a level, a space, the text.
            let text = String::from_utf8_lossy(&said[2..length]).trim().to_string();
            anyhow::Error::new(error).context(text)
        }
        _ => error.into(),
    }
}

/// mount(2), for what the descriptor calls cannot say: file systems that want their options in one string longer than
/// the 255 bytes fsconfig takes. The target is still a descriptor, through /proc/self/fd.
pub fn mount_on(target: impl AsFd, kind: &str, source: &str, flags: MsFlags, options: &str) -> nix::Result<()> {
    let path = descriptor_path(target.as_fd());
    trace::ask(Topic::Mount, "mount", format_args!("{kind} {options}"), || {
        nix::mount::mount(Some(source), path.as_path(), Some(kind), flags, Some(options))
    })
}

/// The path under which the kernel finds what `fd` holds open.
pub fn descriptor_path(fd: BorrowedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// Takes the mount at `path`, and all below it, out of this mount namespace; the file systems go when nobody uses them.
pub fn detach(path: &Path) -> Result<()> {
    trace::ask(Topic::Mount, "umount2", format_args!("{} detach", path.display()), || {
        nix::mount::umount2(path, MntFlags::MNT_DETACH)
    })
    .with_context(|| format!("unmounting {}", path.display()))
}

/// Words for attributes, as mount(8) has them: `ro,nosuid`.
fn attribute_names(attributes: Attributes) -> String {
    const NAMES: [(u64, &str, &str); 5] = [
        (libc::MOUNT_ATTR_RDONLY, "ro", "rw"),
        (libc::MOUNT_ATTR_NOSUID, "nosuid", "suid"),
        (libc::MOUNT_ATTR_NODEV, "nodev", "dev"),
        (libc::MOUNT_ATTR_NOEXEC, "noexec", "exec"),
        (libc::MOUNT_ATTR_NOSYMFOLLOW, "nosymfollow", "symfollow"),
    ];
    if !trace::on() {
        return String::new();
    }
    let mut words = Vec::new();
    for (bit, set, clear) in NAMES {
        if attributes.set & bit != 0 {
            words.push(set);
        } else if attributes.clear & bit != 0 {
            words.push(clear);
        }
    }
    words.join(",")
}

/// Refuses a directory that is not of the file system type it must be (its `f_type`, statfs(2)).
pub fn check_type(fd: impl AsFd, magic: i64, name: &str) -> Result<()> {
    let found = nix::sys::statfs::fstatfs(fd).with_context(|| format!("asking for the file system of {name}"))?;
    if found.filesystem_type().0 as i64 != magic {
        bail!("{name} is not the file system it must be (type {:#x})", found.filesystem_type().0);
    }
    Ok(())
}
