//! A file that is written for a person (`save`, `export`): whole, or what it was before.
//!
//! It is written beside its place and renamed. The name there is fixed, and locked as long as somebody writes: what a
//! command that was killed has left is taken over by the next one that writes the same file.

use std::fs::{self, File};
use std::io::BufWriter;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::trace;

/// Has `write` fill the file, and gives it its name when it is whole. A device or a pipe has no second name.
pub fn write(path: &Path, write: impl FnOnce(BufWriter<File>) -> Result<()>) -> Result<()> {
    if path.exists() && !path.is_file() {
        return write(BufWriter::new(File::create(path)?));
    }
    let part = part(path);
    let (file, _lock) = open(&part)?;
    let written = write(BufWriter::new(file));
    if written.is_err() {
        let _ = fs::remove_file(&part);
        return written;
    }
    trace::point("written");
    Ok(fs::rename(&part, path)?)
}

fn part(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.podling"))
}

/// Opens it empty, and alone.
fn open(part: &Path) -> Result<(File, Option<Flock<File>>)> {
    loop {
        let file = File::options().create(true).truncate(false).write(true).open(part)?;
        let lock = match Flock::lock(file.try_clone()?, FlockArg::LockExclusive) {
            Ok(lock) => Some(lock),
            // Not every file system has locks.
            Err((_, Errno::ENOLCK | Errno::EOPNOTSUPP)) => None,
            Err((_, error)) => return Err(error.into()),
        };
        // While we waited, its last writer may have given it its name, or removed it.
        if fs::metadata(part).is_ok_and(|now| file.metadata().is_ok_and(|ours| now.ino() == ours.ino())) {
            file.set_len(0)?;
            return Ok((file, lock));
        }
    }
}
