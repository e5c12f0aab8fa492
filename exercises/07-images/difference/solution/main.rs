//! Usage: difference OLD NEW LAYER

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// How a name begins that says of another name: it has gone.
const WHITEOUT: &str = ".wh.";

fn main() -> Result<()> {
    let places: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [old, new, layer] = &places[..] else { bail!("usage: difference OLD NEW LAYER") };
    compare(old, new, layer)
}

/// Puts what is different between two directories into the layer's, which is made if there is something. An old one that is
/// no directory has nothing in it.
fn compare(old: &Path, new: &Path, layer: &Path) -> Result<()> {
    let (before, after) = (names(old)?, names(new)?);
    for name in &after {
        if name.as_bytes().starts_with(WHITEOUT.as_bytes()) {
            bail!("{} would be taken for a whiteout", new.join(name).display());
        }
        let (old, new, layer) = (old.join(name), new.join(name), layer.join(name));
        if is_directory(&new) {
            compare(&old, &new, &layer)?;
            if !is_directory(&old) || mode(&old)? != mode(&new)? {
                fs::create_dir_all(&layer)?;
            }
            if layer.exists() {
                fs::set_permissions(&layer, Permissions::from_mode(mode(&new)?))?;
            }
        } else if !is_same(&old, &new)? {
            copy(&new, &layer)?;
        }
    }
    for gone in before.difference(&after) {
        fs::create_dir_all(layer)?;
        let mut name = OsString::from(WHITEOUT);
        name.push(gone);
        File::create(layer.join(name))?;
    }
    Ok(())
}

/// The names in a directory. None, if there is none.
fn names(dir: &Path) -> Result<BTreeSet<OsString>> {
    if !is_directory(dir) {
        return Ok(BTreeSet::new());
    }
    fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name())).collect()
}

/// A directory itself, and no link to one.
fn is_directory(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.is_dir())
}

fn mode(path: &Path) -> Result<u32> {
    Ok(path.symlink_metadata()?.permissions().mode() & 0o7777)
}

/// Whether a file or symlink is as it was.
fn is_same(old: &Path, new: &Path) -> Result<bool> {
    let before = match old.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound || error.kind() == ErrorKind::NotADirectory => return Ok(false),
        before => before?,
    };
    if before.file_type() != new.symlink_metadata()?.file_type() {
        return Ok(false);
    }
    if before.is_symlink() {
        return Ok(fs::read_link(old)? == fs::read_link(new)?);
    }
    Ok(mode(old)? == mode(new)? && fs::read(old)? == fs::read(new)?)
}

/// Copies a file, with its mode, or a symlink.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.parent().unwrap_or(OsStr::new("/").as_ref()))?;
    if from.is_symlink() {
        symlink(fs::read_link(from)?, to)?;
    } else {
        fs::copy(from, to)?;
        // Once more: a write takes set-user-ID away from a file, unless root writes.
        fs::set_permissions(to, from.metadata()?.permissions())?;
    }
    Ok(())
}
