//! The store: a tree of plain files, so that a container engine needs no daemon to remember for it.
//!
//! ```text
//! $DATA  ~/.local/share/podling | /var/lib/podling       survives a reboot
//!   images/  layers/  shifted/  networks/  volumes/  events  lock
//!   containers/<id>/  container.json  started.json  exit.json  log  upper/  work/  lock
//!   partial/<id>      a container that is being made or removed
//!   names/<name>      a symlink to the container: making it is claiming the name
//! $RUN   $XDG_RUNTIME_DIR/podling | /run/podling         gone after a reboot
//!   containers/<id>/  bundle/{config.json,rootfs}  monitor.json  pid  monitor.pid  process.json  attach  control
//!   runtime/          the OCI runtime's own; the engine never reads it
//! ```
//!
//! A file has one writer and appears whole: temporary file, (fsync,) rename. Readers take no lock and never see half a
//! file. The subtlety is what needs the fsync: only what a power cut would lose and nobody could make again.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};

use crate::trace::{self, Topic};

/// Where everything is.
#[derive(Debug, Clone)]
pub struct Paths {
    /// `$DATA`: survives a reboot.
    pub data: PathBuf,
    /// `$RUN`: does not.
    pub run: PathBuf,
}

impl Paths {
    /// The images: an OCI image layout.
    pub fn images(&self) -> PathBuf {
        self.data.join("images")
    }

    /// Unpacked layers, by chain id.
    pub fn layers(&self) -> PathBuf {
        self.data.join("layers")
    }

    /// What is kept of all containers.
    pub fn containers(&self) -> PathBuf {
        self.data.join("containers")
    }

    /// What is kept of one container.
    pub fn container(&self, id: &str) -> PathBuf {
        self.data.join("containers").join(id)
    }

    /// Containers that are being made or removed.
    pub fn partial(&self) -> PathBuf {
        self.data.join("partial")
    }

    /// What runs of one container.
    pub fn running(&self, id: &str) -> PathBuf {
        self.run.join("containers").join(id)
    }

    /// Claimed names.
    pub fn names(&self) -> PathBuf {
        self.data.join("names")
    }

    /// The name that leads to container `id`, found without reading the container.
    pub fn name_of(&self, id: &str) -> Option<String> {
        let mut links = fs::read_dir(self.names()).ok()?.flatten();
        let link = links.find(|link| fs::read_link(link.path()).is_ok_and(|target| target.ends_with(id)))?;
        link.file_name().into_string().ok()
    }

    /// Volumes, by name.
    pub fn volumes(&self) -> PathBuf {
        self.data.join("volumes")
    }

    /// Networks.
    pub fn networks(&self) -> PathBuf {
        self.data.join("networks")
    }

    /// What happened, a line each.
    pub fn events(&self) -> PathBuf {
        self.data.join("events")
    }

    /// The OCI runtime's state directory.
    pub fn runtime(&self) -> PathBuf {
        self.run.join("runtime")
    }

    /// The lock of the store as a whole. Shared: "a container is being made, and nothing it names may be removed
    /// meanwhile"; exclusive: removal of volumes and of what was left half made.
    pub fn lock(&self) -> PathBuf {
        self.data.join("lock")
    }
}

/// Makes a directory and its parents, for their owner only.
pub fn make_private(directory: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .with_context(|| format!("making {}", directory.display()))
}

/// Writes a whole file that must survive a power cut: temporary file, fsync, rename.
pub fn write_atomic(path: &Path, content: &[u8]) -> Result<()> {
    write(path, content, File::sync_all)
}

/// Writes a whole file that a reader must never see half, but that may be lost with the power: temporary file, rename.
pub fn write_whole(path: &Path, content: &[u8]) -> Result<()> {
    write(path, content, |_| Ok(()))
}

fn write(path: &Path, content: &[u8], sync: impl FnOnce(&File) -> std::io::Result<()>) -> Result<()> {
    let name = path.file_name().context("a file needs a name")?.to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        sync(&file)?;
        trace::point("written");
        trace::ask(Topic::Store, "rename", format_args!("{}", path.display()), || fs::rename(&temporary, path))
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written.with_context(|| format!("writing {}", path.display()))
}

/// Reads a file that may be absent.
pub fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

/// A `flock`, held until it is dropped or its holder dies, whichever way. The descriptor is close-on-exec: one inherited
/// by a monitor would be held for the container's life.
#[derive(Debug)]
pub struct Lock(Flock<File>);

impl Lock {
    /// Waits until nobody else holds the lock.
    pub fn exclusive(path: &Path) -> Result<Self> {
        Self::take(path, FlockArg::LockExclusive)
    }

    /// Waits until nobody else holds the lock in an object's own directory. None if there is no such directory: none is
    /// made, for somebody who removes the object meanwhile would leave that.
    pub fn of(directory: &Path) -> Result<Option<Self>> {
        match Self::exclusive(&directory.join("lock")) {
            Err(error) if error.downcast_ref().map(std::io::Error::kind) == Some(ErrorKind::NotFound) => Ok(None),
            taken => taken.map(Some),
        }
    }

    /// Waits until nobody holds the lock exclusively.
    pub fn shared(path: &Path) -> Result<Self> {
        Self::take(path, FlockArg::LockShared)
    }

    /// Takes the lock if nobody else holds it.
    pub fn if_free(path: &Path) -> Result<Option<Self>> {
        match Flock::lock(open(path)?, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(Self(lock))),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, error)) => Err(error).with_context(|| format!("locking {}", path.display())),
        }
    }

    /// Whether somebody holds the lock; makes no file.
    pub fn is_held(path: &Path) -> bool {
        let Ok(file) = File::open(path) else { return false };
        matches!(Flock::lock(file, FlockArg::LockSharedNonblock), Err((_, nix::errno::Errno::EWOULDBLOCK)))
    }

    /// A second descriptor of the lock, for a program that is about to be started: if we are killed, the lock is held until
    /// that program lets go of it, too.
    pub fn lend(&self) -> Result<OwnedFd> {
        Ok(self.0.as_fd().try_clone_to_owned()?)
    }

    fn take(path: &Path, how: FlockArg) -> Result<Self> {
        let mut file = open(path)?;
        loop {
            match Flock::lock(file, how) {
                Ok(lock) => {
                    let kind = if how == FlockArg::LockShared { "shared" } else { "exclusive" };
                    trace::say(Topic::Store, "flock", format_args!("{kind} {}", path.display()), "ok");
                    return Ok(Self(lock));
                }
                Err((again, nix::errno::Errno::EINTR)) => file = again,
                Err((_, error)) => return Err(error).with_context(|| format!("locking {}", path.display())),
            }
        }
    }
}

fn open(path: &Path) -> Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    file.with_context(|| format!("opening the lock {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_too_late_for_a_lock_leaves_nothing_where_it_was() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let removed = directory.path().join("removed");
        assert!(Lock::of(&removed).expect("no error").is_none());
        assert!(Lock::if_free(&removed.join("lock")).is_err());
        assert!(!removed.exists());
    }
}
