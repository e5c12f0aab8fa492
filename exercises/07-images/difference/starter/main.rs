//! Usage: difference OLD NEW LAYER

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

fn main() -> Result<()> {
    let places: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [old, new, layer] = &places[..] else { bail!("usage: difference OLD NEW LAYER") };
    compare(old, new, layer)
}

/// Puts what is different between two directories into the layer's.
fn compare(old: &Path, new: &Path, layer: &Path) -> Result<()> {
    // TODO: this finds new names only, and makes too many directories.
    for entry in fs::read_dir(new)? {
        let name = entry?.file_name();
        let (old, new, layer) = (old.join(&name), new.join(&name), layer.join(&name));
        if new.is_dir() {
            fs::create_dir(&layer)?;
            compare(&old, &new, &layer)?;
        } else if !old.exists() {
            copy(&new, &layer)?;
        }
    }
    Ok(())
}

/// Copies a file, with its mode, or a symlink.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if from.is_symlink() {
        symlink(fs::read_link(from)?, to)?;
    } else {
        fs::copy(from, to)?;
        // Once more: a write takes set-user-ID away from a file, unless root writes.
        fs::set_permissions(to, from.metadata()?.permissions())?;
    }
    Ok(())
}
