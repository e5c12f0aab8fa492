//! Looking up a directory in a stack of unpacked layers, as overlay would: from the top down, until one has it or hides it.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::Result;
use nix::errno::Errno;
use nix::sys::stat::{FileStat, SFlag, fstat};

use super::tree::Tree;
use super::unpack::OPAQUE;
use crate::linux::stat::is;
use crate::sys;

/// What `path` is in the topmost of these layers that has it, if it is a directory there.
pub fn look_up(path: &Path, top_first: &[Tree]) -> Result<Option<FileStat>> {
    for layer in top_first {
        match in_layer(path, layer)? {
            Found::Directory(stat) => return Ok(Some(stat)),
            Found::Hidden => return Ok(None),
            Found::Nothing => {}
        }
    }
    Ok(None)
}

enum Found {
    Directory(FileStat),
    /// Something else, here or on the way, which the layers below do not show through.
    Hidden,
    Nothing,
}

fn in_layer(path: &Path, layer: &Tree) -> Result<Found> {
    let mut missing = Found::Nothing;
    let ways: Vec<&Path> = path.ancestors().filter(|way| !way.as_os_str().is_empty()).collect();
    for way in ways.into_iter().rev() {
        let directory = match layer.open_directory(way) {
            Ok(directory) => directory,
            Err(Errno::ENOENT) => return Ok(missing),
            Err(Errno::ENOTDIR | Errno::ELOOP) => return Ok(Found::Hidden),
            Err(errno) => return Err(errno.into()),
        };
        if way == path {
            let stat = fstat(&directory)?;
            return Ok(if is(&stat, SFlag::S_IFDIR) { Found::Directory(stat) } else { Found::Hidden });
        }
        if sys::fgetxattr(directory.as_fd(), OsStr::new(OPAQUE)).is_ok_and(|value| value == b"y") {
            missing = Found::Hidden;
        }
    }
    Ok(missing)
}
