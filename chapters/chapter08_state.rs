//! Chapter 8, the state: a directory for each container, and a lock that tells whether its monitor lives.
//!
//! ```text
//! $XDG_RUNTIME_DIR/chapter08/NAME/    pid   log   attach (a socket)   terminal (if it has one)   exit (in the end)
//! ```
//!
//! Nothing here says "running": a file that does must be corrected by somebody, and whoever is killed corrects nothing.
//! The monitor holds a lock on the directory; however it ends, the kernel lets go of that.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use chapters::places;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use podling::hint::hinted;

const CHAPTER: &str = "chapter08";

/// Where one is that exists.
pub fn place(name: &str) -> Result<PathBuf> {
    let place = places::of(CHAPTER, name)?;
    ensure!(place.is_dir(), "there is no container {name}");
    Ok(place)
}

// ANCHOR: claim
/// Makes the directory of a new one. Of two who try, one succeeds.
pub fn claim(name: &str) -> Result<PathBuf> {
    let place = places::of(CHAPTER, name)?;
    match fs::create_dir(&place) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Err(hinted(format!("the name {name} is taken"), format!("chapter08_monitor rm {name}")))
        }
        made => made.map(|()| place).with_context(|| format!("claiming the name {name}")),
    }
}
// ANCHOR_END: claim

// ANCHOR: lives
/// Whether a container has a monitor. `LockShared` waits until it has none.
pub fn lives(place: &Path, how: FlockArg) -> Result<bool> {
    match Flock::lock(File::open(place)?, how) {
        Ok(_) => Ok(false),
        Err((_, Errno::EWOULDBLOCK)) => Ok(true),
        Err((_, error)) => Err(error).context("asking for the monitor's lock"),
    }
}

/// Waits until a container has ended, and tells how.
pub fn wait(place: &Path) -> Result<u8> {
    lives(place, FlockArg::LockShared)?;
    let status = fs::read_to_string(place.join("exit")).context("its monitor was killed, and with it what it knew")?;
    Ok(status.parse()?)
}
// ANCHOR_END: lives

/// A line for each.
pub fn list() -> Result<u8> {
    let mut all = fs::read_dir(places::all(CHAPTER)?)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    all.sort();
    for place in all {
        let state = if lives(&place, FlockArg::LockSharedNonblock)? {
            format!("running, process {}", fs::read_to_string(place.join("pid")).unwrap_or_default())
        } else {
            wait(&place).map_or_else(|_| "lost".into(), |status| format!("ended with {status}"))
        };
        println!("{}: {state}", place.file_name().unwrap_or_default().display());
    }
    Ok(0)
}
