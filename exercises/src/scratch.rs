//! A directory for one test: what is in it is gone when the test is over, whoever owns it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::student;

/// The directory.
pub struct Scratch {
    pub path: PathBuf,
}

impl Scratch {
    pub fn new() -> Result<Self> {
        let path = nix::unistd::mkdtemp(&std::env::temp_dir().join("podling-learn-XXXXXX"));
        let path = path.context("making a directory for a test")?;
        // The student may be somebody else, who shall come through it to his work and his program.
        fs::set_permissions(&path, Permissions::from_mode(0o711))?;
        Ok(Self { path })
    }

    /// An empty directory in it that belongs to the student.
    pub fn work(&self) -> Result<PathBuf> {
        let work = self.path.join("work");
        fs::create_dir(&work)?;
        student::own(&work)?;
        Ok(work)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if fs::remove_dir_all(&self.path).is_err() {
            open(&self.path);
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// A program may leave directories that even their owner cannot enter.
fn open(dir: &Path) {
    let _ = fs::set_permissions(dir, Permissions::from_mode(0o700));
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open(&entry.path());
        }
    }
}
