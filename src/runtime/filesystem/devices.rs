//! Device files: made with mknod where that is allowed, else the host's, bound; and the terminal at /dev/console.
//!
//! In a user namespace nobody makes devices (mknod(2)): whoever might make a node for the disk could read all of it. A bind
//! mount of the host's node gives away only what the host's file modes give.
//!
//! The subtlety: /dev is the image's until something is mounted there. Node and bind alike are made in a directory that was
//! opened without following a symlink, and what is there already is used only if it is the device that it should be.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, makedev, mknodat};
use nix::unistd::{Gid, Uid, fchownat, symlinkat};

use super::{Root, is, real_directory};
use crate::linux::mount::{self, Reach};
use crate::linux::pty::Pty;
use crate::linux::resolve;
use crate::runtime::plan::devices::Device;
use crate::trace::{self, Topic};

/// Makes all of `devices`, and the symlinks that belong beside them.
pub fn make_devices(root: &Root, devices: &[Device], in_user_namespace: bool) -> Result<()> {
    let dev = real_directory(root, Path::new("/dev")).context("/dev")?;
    for device in devices {
        make_device(root, &dev, device, in_user_namespace)
            .with_context(|| format!("device {}", device.path.display()))?;
    }
    let links = [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ];
    for (name, target) in links {
        trace::ask(Topic::Mount, "symlinkat", format_args!("/dev/{name} {target}"), || {
            match symlinkat(target, &dev, name) {
                Err(Errno::EEXIST | Errno::EROFS) => Ok(()),
                result => result,
            }
        })
        .with_context(|| format!("/dev/{name}"))?;
    }
    Ok(())
}

fn make_device(root: &Root, dev: &OwnedFd, device: &Device, in_user_namespace: bool) -> Result<()> {
    let name = device.path.file_name().context("it has no name")?;
    let elsewhere;
    let directory: BorrowedFd = match device.path.parent() {
        Some(parent) if parent == Path::new("/dev") => dev.as_fd(),
        Some(parent) => {
            elsewhere = resolve::directory_in_root(&root.tree, parent)?;
            elsewhere.as_fd()
        }
        None => bail!("it has no directory"),
    };
    if !in_user_namespace {
        let mode = Mode::from_bits_truncate(device.mode);
        let kind = SFlag::from_bits_truncate(device.kind);
        let made = trace::ask(Topic::Mount, "mknodat", format_args!("{}", device.path.display()), || {
            mknodat(directory, name, kind, mode, makedev(device.major, device.minor))
        });
        match made {
            Ok(()) if device.uid == 0 && device.gid == 0 => return Ok(()),
            Ok(()) => {
                let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
                let flags = nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW;
                return Ok(fchownat(directory, name, Some(uid), Some(gid), flags)?);
            }
            // The image brought it along, or its like; we only use it if it is what it should be.
            Err(Errno::EEXIST) => {
                let found = resolve::open_without_symlinks(directory, Path::new(name), OFlag::O_PATH)?;
                return check_device(&fstat(found)?, device);
            }
            Err(Errno::EPERM) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // In a user namespace nobody makes devices: the host's is bound, after a look whether it is the right one.
    let host = mount::copy(&device.path, Reach::One).context("binding the host's")?;
    check_device(&fstat(&host)?, device)?;
    let target = place_for_device(directory, Path::new(name))?;
    Ok(mount::attach(host, target, &device.path)?)
}

/// The file on which a device is bound; made if it is missing, refused if the image has put a symlink there.
fn place_for_device(directory: impl AsFd, name: &Path) -> Result<OwnedFd> {
    match resolve::open_without_symlinks(directory.as_fd(), name, OFlag::O_PATH) {
        Err(Errno::ENOENT) => Ok(resolve::new_file(directory, name)?),
        Err(Errno::ELOOP) => bail!("/dev/{} is a symlink in the container's root", name.display()),
        result => Ok(result?),
    }
}

fn check_device(found: &FileStat, wanted: &Device) -> Result<()> {
    let kind = SFlag::from_bits_truncate(wanted.kind);
    let numbers = makedev(wanted.major, wanted.minor);
    if !is(found, kind) || (kind != SFlag::S_IFIFO && found.st_rdev != numbers) {
        bail!("what is there is not device {}:{}", wanted.major, wanted.minor);
    }
    Ok(())
}

/// Opens a terminal in the container's own devpts, and binds it to /dev/console.
pub fn make_terminal(root: &Root) -> Result<Pty> {
    let ptmx = resolve::open_in_root(&root.tree, Path::new("/dev/pts/ptmx"), OFlag::O_RDWR | OFlag::O_NOCTTY)
        .context("opening /dev/pts/ptmx (a terminal needs a devpts mount)")?;
    let pty = Pty::of(ptmx)?;
    let dev = real_directory(root, Path::new("/dev"))?;
    let console = mount::copy_of(&pty.slave, Reach::One).context("/dev/console")?;
    let target = place_for_device(&dev, Path::new("console"))?;
    mount::attach(console, target, Path::new("/dev/console")).context("/dev/console")?;
    Ok(pty)
}
