//! Where programs keep what they must find again: `$XDG_RUNTIME_DIR/CHAPTER/NAME`. It belongs to the user alone, and is
//! empty after a boot, as are the things that it tells of.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use podling::hint::{cured, hinted};

/// The directory of a chapter's program, which is made if it is missing.
pub fn all(chapter: &str) -> Result<PathBuf> {
    let cure = "export XDG_RUNTIME_DIR=/run/user/$(id -u), or any directory of your own";
    let parent = std::env::var_os("XDG_RUNTIME_DIR").ok_or_else(|| hinted("XDG_RUNTIME_DIR is not set", cure))?;
    let places = PathBuf::from(parent).join(chapter);
    std::fs::create_dir_all(&places).map_err(|error| cured(error, format!("making {}", places.display()), cure))?;
    Ok(places)
}

/// The place of one of these names. Nothing is made.
pub fn of(chapter: &str, name: &str) -> Result<PathBuf> {
    // It names a file and a host.
    let is_name = (1..=64).contains(&name.len()) && !name.contains('/') && !name.starts_with('.');
    ensure!(is_name, "{name:?} is no name: it may have 64 bytes, no slash in it, and no dot in front");
    Ok(all(chapter)?.join(name))
}
