//! Chapter 8, the state: a directory for each container, and a lock that tells whether its monitor lives.
//!
//! ```text
//! $XDG_RUNTIME_DIR/chapter08/NAME/    pid   log   attach (a socket)   terminal (if it has one)   exit (in the end)
//! ```
//!
//! Nothing here says "running": a file that does must be corrected by somebody, and whoever is killed corrects nothing.
//! The monitor holds a lock on the directory; however it ends, the kernel lets go of that.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use chapters::places;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, Flock, FlockArg, RenameFlags, renameat2};
use podling::hint::hinted;

const CHAPTER: &str = "chapter08";

/// Where one is that exists.
pub fn place(name: &str) -> Result<PathBuf> {
    let place = places::of(CHAPTER, name)?;
    ensure!(place.is_dir(), "there is no container {name}");
    Ok(place)
}

// ANCHOR: claim
/// Makes the directory of a new one, locked. Of two who try, one succeeds; and nobody sees one that is not locked yet, which
/// he would take for one whose monitor was killed.
pub fn claim(name: &str) -> Result<PathBuf> {
    let place = places::of(CHAPTER, name)?;
    let unnamed = place.with_file_name(format!(".{}", std::process::id()));
    fs::create_dir_all(&unnamed).with_context(|| format!("making {}", unnamed.display()))?;
    let lock = Flock::lock(File::open(&unnamed)?, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
    // Held by this process and by all that it forks, until the last of them has ended. To drop it would unlock it for all.
    std::mem::forget(lock);
    match renameat2(AT_FDCWD, &unnamed, AT_FDCWD, &place, RenameFlags::RENAME_NOREPLACE) {
        Err(Errno::EEXIST) => {
            fs::remove_dir(&unnamed)?;
            Err(hinted(format!("the name {name} is taken"), format!("chapter08_monitor rm {name}")))
        }
        renamed => renamed.map(|()| place).with_context(|| format!("claiming the name {name}")),
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
    all.retain(|place| place.file_name().is_some_and(|name| !name.as_encoded_bytes().starts_with(b".")));
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
