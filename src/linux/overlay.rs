//! Overlay: many read-only directories and one writable one, seen as one.
//!
//! A lower layer is shared by every container of an image; what a container changes is copied up into its own upper
//! directory. A deleted file is a character device 0:0 there, a replaced directory is marked with an extended attribute.
//!
//! The subtlety: the mark is `trusted.overlay.opaque`, and only root may write `trusted.*`. With `userxattr` it is
//! `user.overlay.opaque` instead. We always ask for that, so that layers unpacked by root and by a user look the same.
//!
//! A file of a layer may hold no data and say instead where its data is ([`METACOPY`], [`REDIRECT`]): in a *data-only*
//! directory below all layers, of which nothing shows by itself. So a layer can be had again with other owners for the
//! price of its inodes. Since Linux 6.16 that goes with `userxattr`, and so without root; [`follows_redirects`] asks.

use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::mount::MsFlags;
use nix::sys::stat::Mode;

use super::mount;
use crate::sys;
use crate::trace::{self, Topic};

/// The most layers the kernel takes in one overlay.
pub const MOST_LAYERS: usize = 500;

/// The mark of a file whose data is elsewhere. Its size, owner, mode and times are its own.
pub const METACOPY: &str = "user.overlay.metacopy";
/// Where: an absolute path in a data-only directory.
pub const REDIRECT: &str = "user.overlay.redirect";

/// The directories that an overlay only reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lowers {
    /// The layers, the topmost first.
    pub layers: Vec<PathBuf>,
    /// What the layers' [`REDIRECT`]s lead into.
    pub data: Option<PathBuf>,
}

/// The directories that make an overlay writable.
#[derive(Debug, Clone, Copy)]
pub struct Writable<'a> {
    /// Where changes go.
    pub upper: &'a Path,
    /// An empty directory of the kernel's own, on the same file system as `upper`.
    pub work: &'a Path,
    /// What changes are worth after a power cut.
    pub durability: Durability,
}

/// Whether the kernel makes sure that changes reach the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// It does: at each sync that a program asks for, and for the whole of the upper's file system at the unmount.
    Kept,
    /// It never does: who would read them? An unmount then waits for no disk. The kernel leaves a mark in `work`, and
    /// takes the two directories for no other overlay while it is there: after a power cut their content is anything.
    Volatile,
}

/// Takes away the mark that a volatile overlay left in its work directory. Only for who can tell that the machine has not
/// gone down since.
pub fn forget_volatile(work: &Path) -> Result<()> {
    let mark = work.join("work/incompat/volatile");
    match std::fs::remove_dir(&mark) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", mark.display()))
        }
        _ => Ok(()),
    }
}

/// Mounts an overlay of `lowers` on `target`; read-only without `writable`.
pub fn mount(lowers: &Lowers, writable: Option<Writable>, target: &Path) -> Result<()> {
    let overlay = detached(lowers, writable)
        .with_context(|| format!("mounting an overlay of {} layers on {}", lowers.layers.len(), target.display()))?;
    let held = open(target, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .with_context(|| target.display().to_string())?;
    match overlay {
        Made::Detached(overlay) => mount::attach(overlay, held, target),
        Made::Options(options, _held_layers) => {
            let flags = if writable.is_some() { MsFlags::empty() } else { MsFlags::MS_RDONLY };
            mount::mount_on(held, "overlay", "overlay", flags, &options)
        }
    }
    .with_context(|| format!("mounting an overlay on {}", target.display()))
}

enum Made {
    /// By the newer calls.
    Detached(OwnedFd),
    /// The options for mount(2), and the descriptors that they name.
    Options(String, Vec<OwnedFd>),
}

/// Whether this kernel finds the data of a file through [`REDIRECT`], in this user namespace and on the file system of
/// `scratch`: an empty directory, in which it is tried.
pub fn follows_redirects(scratch: &Path) -> Result<bool> {
    let (layer, data) = (scratch.join("layer"), scratch.join("data"));
    std::fs::create_dir(&layer)?;
    std::fs::create_dir(&data)?;
    std::fs::write(data.join("there"), b"found")?;
    let file = std::fs::File::create(layer.join("here"))?;
    file.set_len(5)?;
    for (name, value) in [(METACOPY, ""), (REDIRECT, "/there")] {
        match sys::fsetxattr(file.as_fd(), OsStr::new(name), value.as_bytes()) {
            Err(Errno::ENOTSUP) => return Ok(false),
            other => other.with_context(|| format!("setting attribute {name}"))?,
        }
    }
    // An older kernel refuses the mount, or the file.
    let Ok(Made::Detached(overlay)) = detached(&Lowers { layers: vec![layer], data: Some(data) }, None) else {
        return Ok(false);
    };
    let Ok(file) = openat(&overlay, "here", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()) else {
        return Ok(false);
    };
    let mut text = String::new();
    Ok(std::fs::File::from(file).read_to_string(&mut text).is_ok() && text == "found")
}

fn detached(all: &Lowers, writable: Option<Writable>) -> Result<Made> {
    let lowers = &all.layers[..];
    if lowers.is_empty() || lowers.len() > MOST_LAYERS {
        bail!("an overlay takes 1 to {MOST_LAYERS} layers");
    }
    let mut held = Vec::new();
    let fs = trace::ask(Topic::Mount, "fsopen", format_args!("overlay"), || sys::fsopen("overlay"))?;
    let set = |name: &str, value: &str| {
        trace::ask(Topic::Mount, "fsconfig", format_args!("overlay {name}={value}"), || {
            sys::fsconfig_set(fs.as_fd(), name, Some(value))
        })
    };
    for lower in lowers {
        let text = shorten(lower, &mut held)?;
        match set("lowerdir+", &text) {
            Ok(()) => {}
            // Linux before 6.7 takes the layers only as one string.
            Err(Errno::EINVAL) if all.data.is_none() => return options(lowers, writable),
            Err(error) => return Err(error).with_context(|| lower.display().to_string()),
        }
    }
    // A read-only overlay of a single layer is refused: it would be a bind mount.
    if lowers.len() == 1 && all.data.is_none() && writable.is_none() {
        return Ok(Made::Detached(read_only_copy(&lowers[0])?));
    }
    if let Some(data) = &all.data {
        set("datadir+", &shorten(data, &mut held)?).with_context(|| data.display().to_string())?;
    }
    if let Some(Writable { upper, work, durability }) = writable {
        set("upperdir", &shorten(upper, &mut held)?).with_context(|| upper.display().to_string())?;
        set("workdir", &shorten(work, &mut held)?).with_context(|| work.display().to_string())?;
        if durability == Durability::Volatile {
            trace::ask(Topic::Mount, "fsconfig", format_args!("overlay volatile"), || {
                sys::fsconfig_set(fs.as_fd(), "volatile", None)
            })
            .context("volatile")?;
        }
    }
    trace::ask(Topic::Mount, "fsconfig", format_args!("overlay userxattr"), || {
        sys::fsconfig_set(fs.as_fd(), "userxattr", None)
    })
    .context("userxattr")?;
    trace::ask(Topic::Mount, "fsconfig", format_args!("overlay create"), || sys::fsconfig_create(fs.as_fd()))
        .map_err(|error| mount::explain(error, fs.as_fd()))?;
    let attributes = if writable.is_some() { 0 } else { libc::MOUNT_ATTR_RDONLY };
    let how = if writable.is_some() { "rw" } else { "ro" };
    let made =
        trace::ask(Topic::Mount, "fsmount", format_args!("overlay {how}"), || sys::fsmount(fs.as_fd(), attributes));
    Ok(Made::Detached(made?))
}

fn read_only_copy(layer: &Path) -> Result<OwnedFd> {
    let copy = mount::copy(layer, mount::Reach::One)?;
    mount::set_attributes(&copy, mount::Attributes::READ_ONLY, mount::Reach::One)?;
    Ok(copy)
}

/// A path that fsconfig takes (255 bytes at most, and no colon or comma to misread): itself, or one through a descriptor.
fn shorten(path: &Path, held: &mut Vec<OwnedFd>) -> Result<String> {
    if let Some(text) = path.to_str().filter(|text| text.len() < 256 && !text.contains([',', ':', '\\'])) {
        return Ok(text.into());
    }
    through_descriptor(path, held)
}

fn through_descriptor(path: &Path, held: &mut Vec<OwnedFd>) -> Result<String> {
    let fd = open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .with_context(|| path.display().to_string())?;
    let short = mount::descriptor_path(fd.as_fd()).display().to_string();
    held.push(fd);
    Ok(short)
}

/// The options as one string, each directory named by a descriptor: mount(2) takes 4095 bytes, some 200 layers.
fn options(lowers: &[PathBuf], writable: Option<Writable>) -> Result<Made> {
    let mut held = Vec::new();
    let layers = lowers.iter().map(|lower| through_descriptor(lower, &mut held)).collect::<Result<Vec<_>>>()?;
    let mut text = format!("userxattr,lowerdir={}", layers.join(":"));
    if let Some(Writable { upper, work, durability }) = writable {
        let (upper, work) = (through_descriptor(upper, &mut held)?, through_descriptor(work, &mut held)?);
        text.push_str(&format!(",upperdir={upper},workdir={work}"));
        if durability == Durability::Volatile {
            text.push_str(",volatile");
        }
    }
    if text.len() > 4095 {
        bail!("this kernel takes no more than some 200 layers (Linux 6.7 and later take {MOST_LAYERS})");
    }
    Ok(Made::Options(text, held))
}
