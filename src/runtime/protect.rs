//! Our own executable, kept from the container (CVE-2019-5736).
//!
//! An image may name `/proc/self/exe` as its program, as its script's interpreter or as its program's loader. execve then
//! runs *this file* in the container, and a process there may open it through /proc, wait until it is no longer running,
//! and write. If the container's root is the file's owner, the next container is started by the attacker's program, on
//! the host.
//!
//! Looking at what is executed does not help: it can be exchanged after the look. So what runs in the container must be
//! something that nobody can write: the same file through a read-only mount that is attached nowhere, or, for who may
//! not make mounts, a sealed copy in memory. It costs one more execve, and only where the file could be written at all.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::statvfs::FsFlags;
use nix::unistd::{execveat, geteuid};

use crate::linux::idmap;
use crate::linux::mount::{self, Attributes, Reach};
use crate::trace::{self, Topic};

const OURS: &str = "/proc/self/exe";

/// The id under which files of owners outside our user namespace appear.
const NOBODY: u32 = 65534;

/// Makes sure that we run from something nobody can write; may begin this program anew to get there. Before anything
/// else: nothing is lost then.
pub fn own_executable() -> Result<()> {
    if is_protected()? || !is_writable_by_containers()? {
        return Ok(());
    }
    let safe =
        read_only_mount().or_else(|error| if error == Errno::EPERM { sealed_copy() } else { Err(error.into()) })?;
    let arguments = std::env::args_os().map(|word| CString::new(word.into_vec())).collect::<Result<Vec<_>, _>>()?;
    trace::say(Topic::Security, "execveat", format_args!("our own executable, read-only"), "ok");
    let carried = trace::carried().map(|(name, value)| (name.into(), value.into()));
    let environment = std::env::vars_os()
        .chain(carried)
        .map(|(name, value)| CString::new([name.into_vec(), value.into_vec()].join(&b'=')))
        .collect::<Result<Vec<_>, _>>()?;
    let Err(errno) = execveat(&safe, c"", &arguments, &environment, AtFlags::AT_EMPTY_PATH);
    Err(errno).context("beginning anew from a protected executable")
}

/// Whether we run from a read-only mount or a sealed memory file.
fn is_protected() -> Result<bool> {
    let found = nix::sys::statvfs::statvfs(OURS).context(OURS)?;
    if found.flags().contains(FsFlags::ST_RDONLY) {
        return Ok(true);
    }
    // Only a file in memory has seals; others answer EINVAL.
    let seals = fcntl(File::open(OURS).context(OURS)?, FcntlArg::F_GET_SEALS).unwrap_or(0);
    Ok(SealFlag::from_bits_retain(seals).contains(SealFlag::F_SEAL_WRITE))
}

/// Whether the root of a container could own the file: the owner is somebody of our user namespace, whose ids the
/// container may have. For a user with a runtime that root installed, that is not so.
fn is_writable_by_containers() -> Result<bool> {
    let file = std::fs::metadata(OURS).context(OURS)?;
    if file.mode() & 0o022 != 0 {
        return Ok(true);
    }
    if !geteuid().is_root() {
        return Ok(file.uid() == geteuid().as_raw());
    }
    Ok(file.uid() != NOBODY || idmap::is_initial(&idmap::current(idmap::Kind::Uid)?))
}

fn read_only_mount() -> nix::Result<OwnedFd> {
    let copy = mount::copy(Path::new(OURS), Reach::One)?;
    mount::set_attributes(&copy, Attributes::READ_ONLY, Reach::One)?;
    Ok(copy)
}

fn sealed_copy() -> Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let memory = memfd_create("podling-runtime", flags).context("memfd_create")?;
    let mut copy = File::from(memory);
    std::io::copy(&mut File::open(OURS)?, &mut copy).context("copying our own executable")?;
    let seals = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(copy.as_fd(), FcntlArg::F_ADD_SEALS(seals)).context("sealing the copy of our own executable")?;
    Ok(copy.into())
}
