//! Layers on disk: `layers/<chain id>/`, each unpacked once and then only read, shared by all containers.
//!
//! A layer is unpacked in `tmp-<chain id>`, under a lock on that very directory, and renamed when its digest is right: a
//! name without `tmp-` is always a whole layer. Several layers are unpacked at once, since a layer is only a difference
//! and needs nothing from those below it.
//!
//! After a power cut a layer's name may be on the disk and the bytes of its files not. Waiting for the disk would double
//! the time of a pull, so a new layer is *doubted*: a file `new-<chain id>` beside it tells the boot that it was unpacked
//! in. In that boot the kernel's memory vouches for it; a while later the disk is asked to catch up and the doubt is
//! lifted; in another boot the layer is unpacked anew.
//!
//! The subtlety is removal. A container that is just being created has been given directories but is not yet known to
//! whoever looks for unused ones; so [`InUse`] holds a shared lock until the container's own file names them.

mod compression;
mod ids;
mod pack;
mod tar;
mod tree;
mod unpack;
mod write;

use std::collections::HashSet;
use std::fs::{self, File, Permissions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::digest::Digest;
use super::layout::{Layout, LoadedImage, LoadedLayer, lock};
use super::progress::{Event, Progress};
use crate::trace::{self, Topic};

pub use compression::{Compression, decompress};
pub use ids::Ids;
pub use pack::{Source, pack};
pub use tar::{Entry, Kind, Reader};
pub use tree::{names, remove_all};
pub use unpack::{OPAQUE, Unpacked, unpack};
pub use write::Writer;

const TEMPORARY: &str = "tmp-";
const REMOVED: &str = "removed-";
const DOUBTED: &str = "new-";
/// After this long the kernel has written most of what was to be written, and asking for the rest is cheap.
const SETTLING: Duration = Duration::from_secs(60);

/// The directory of unpacked layers.
#[derive(Debug, Clone)]
pub struct Layers {
    dir: PathBuf,
}

/// Layers that are there, and stay as long as this lives.
pub struct InUse {
    /// Their directories, **the top layer first**, as overlay wants them.
    pub directories: Vec<PathBuf>,
    /// Their chain ids, in the same order.
    pub chain_ids: Vec<Digest>,
    _lock: Flock<File>,
}

impl Layers {
    /// Opens the directory, making it if it is missing.
    pub fn open(dir: &Path) -> Result<Self> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(dir).with_context(|| format!("making {}", dir.display()))?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// The directory of a layer, there or not.
    pub fn path(&self, chain_id: Digest) -> PathBuf {
        self.dir.join(chain_id.hex())
    }

    /// Whether a layer has been unpacked, and can be believed.
    pub fn has(&self, chain_id: Digest) -> bool {
        let believed = match fs::read_to_string(self.doubt(chain_id)) {
            Ok(boot) => boot_id().is_ok_and(|now| now == boot),
            Err(_) => true,
        };
        believed && self.path(chain_id).is_dir()
    }

    fn doubt(&self, chain_id: Digest) -> PathBuf {
        self.dir.join(format!("{DOUBTED}{}", chain_id.hex()))
    }

    /// Lifts the doubt about layers that were unpacked a while ago, when all of them are on the disk.
    fn settle(&self, chain_ids: &[Digest]) -> Result<()> {
        let old = |doubt: &PathBuf| -> Option<bool> {
            Some(fs::metadata(doubt).ok()?.modified().ok()?.elapsed().ok()? > SETTLING)
        };
        let doubts: Vec<PathBuf> =
            chain_ids.iter().map(|id| self.doubt(*id)).filter(|d| old(d) == Some(true)).collect();
        if !doubts.is_empty() {
            nix::unistd::syncfs(File::open(&self.dir)?)?;
            for doubt in doubts {
                let _ = fs::remove_file(doubt);
            }
        }
        Ok(())
    }

    /// Makes sure that all layers of an image are unpacked. Runs in the user namespace whose ids the files shall have.
    pub fn ensure(&self, layout: &Layout, image: &LoadedImage, progress: &dyn Progress) -> Result<InUse> {
        let in_use = self.hold(image.layers.iter().rev().map(|layer| layer.chain_id))?;
        let missing: Vec<&LoadedLayer> = image.layers.iter().filter(|layer| !self.has(layer.chain_id)).collect();
        if missing.is_empty() {
            self.settle(&in_use.chain_ids).context("writing layers to the disk")?;
            return Ok(in_use);
        }
        let ids = Ids::of_this_process()?;
        in_parallel(&missing, |layer| {
            progress.event(Event::Unpacking { blob: layer.blob });
            let blob = layout.open_blob(layer.blob)?;
            self.unpack(blob, layer.diff_id, layer.chain_id, &ids)
                .with_context(|| format!("layer {}", short(layer.blob)))?;
            progress.event(Event::Unpacked { blob: layer.blob });
            Ok(())
        })?;
        Ok(in_use)
    }

    /// Protects layers from removal, there or not.
    pub fn hold(&self, top_first: impl Iterator<Item = Digest>) -> Result<InUse> {
        let lock = lock(&self.dir.join("lock"), FlockArg::LockShared)?.context("a blocking lock was refused")?;
        let chain_ids: Vec<Digest> = top_first.collect();
        Ok(InUse { directories: chain_ids.iter().map(|id| self.path(*id)).collect(), chain_ids, _lock: lock })
    }

    /// Unpacks one layer, unless it is there (perhaps since a moment ago, by another process, for which this waits).
    pub fn unpack(&self, blob: File, diff_id: Digest, chain_id: Digest, ids: &Ids) -> Result<()> {
        let temporary = self.dir.join(format!("{TEMPORARY}{}", chain_id.hex()));
        let Some((directory, _lock)) = self.claim(&temporary, chain_id)? else { return Ok(()) };
        let unpacked = unpack(blob, directory, ids).and_then(|unpacked| {
            if unpacked.diff_id != diff_id {
                bail!("its unpacked digest is {}, but the image says {diff_id}", unpacked.diff_id);
            }
            Ok(unpacked)
        });
        let target = self.path(chain_id);
        match unpacked {
            Ok(unpacked) => {
                // Before the name, so that no crash can leave a name without its doubt.
                let doubt = || fs::write(self.doubt(chain_id), boot_id()?);
                doubt()
                    .and_then(|()| fs::rename(&temporary, &target))
                    .with_context(|| format!("storing layer {chain_id}"))?;
                let size = format!("{} bytes", unpacked.size);
                trace::say(Topic::Image, "unpack", format_args!("{}", target.display()), &size);
                Ok(())
            }
            Err(error) => {
                // What cannot be removed now is removed by whoever unpacks this layer next.
                let _ = self.discard(&temporary);
                Err(error)
            }
        }
    }

    /// Makes and locks an empty temporary directory; `None` if the layer is there by then.
    fn claim(&self, temporary: &Path, chain_id: Digest) -> Result<Option<(OwnedFd, Flock<File>)>> {
        let context = || format!("making {}", temporary.display());
        loop {
            if self.has(chain_id) {
                return Ok(None);
            }
            match fs::create_dir(temporary) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(error).with_context(context);
                }
                _ => {}
            }
            let Ok(directory) = File::open(temporary) else { continue };
            let lock = Flock::lock(directory, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
            let ours = lock.metadata()?.ino();
            if !fs::metadata(temporary).is_ok_and(|now| now.ino() == ours) {
                // Its last holder finished, and it has its final name now; or it was removed.
                continue;
            }
            // Left by a crash, perhaps; and so may be a layer that cannot be believed.
            self.discard(&self.path(chain_id))?;
            for name in names(lock.try_clone()?.into())? {
                remove_all(std::os::fd::AsFd::as_fd(&*lock), &name)?;
            }
            // Not what umask and a set-group-id parent made of it.
            fs::set_permissions(temporary, Permissions::from_mode(0o755)).with_context(context)?;
            return Ok(Some((lock.try_clone()?.into(), lock)));
        }
    }

    fn discard(&self, directory: &Path) -> Result<()> {
        let parent = File::open(&self.dir)?;
        remove_all(std::os::fd::AsFd::as_fd(&parent), directory.file_name().context("has a name")?)
    }

    /// Removes layers that are not in `keep`, and what crashes left. `None`: containers are being created just now.
    pub fn remove_unused(&self, keep: &HashSet<Digest>) -> Result<Option<u64>> {
        let Some(_lock) = lock(&self.dir.join("lock"), FlockArg::LockExclusiveNonblock)? else { return Ok(None) };
        let mut removed = 0;
        for entry in fs::read_dir(&self.dir).with_context(|| format!("reading {}", self.dir.display()))? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            match Digest::from_hex(&name) {
                Ok(chain_id) if keep.contains(&chain_id) => {}
                Ok(_) => {
                    // First out of the way: half a layer must never have a layer's name.
                    let aside = self.dir.join(format!("{REMOVED}{name}"));
                    fs::rename(entry.path(), &aside)?;
                    self.discard(&aside)?;
                    removed += 1;
                }
                Err(_) if name.starts_with(DOUBTED) => {
                    let about = Digest::from_hex(&name[DOUBTED.len()..]);
                    if !about.is_ok_and(|chain_id| keep.contains(&chain_id)) {
                        fs::remove_file(entry.path())?;
                    }
                }
                Err(_) if name.starts_with(TEMPORARY) || name.starts_with(REMOVED) => self.discard(&entry.path())?,
                Err(_) => {}
            }
        }
        Ok(Some(removed))
    }
}

/// What the kernel calls the time since it started.
fn boot_id() -> std::io::Result<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
}

/// The first digits of a digest, as people are shown them.
pub fn short(digest: Digest) -> String {
    let mut hex = digest.hex();
    hex.truncate(12);
    hex
}

/// Does something for each item, in as many threads as there are processors; the first error stops the others before
/// their next item.
pub(super) fn in_parallel<T: Sync>(items: &[T], work: impl Fn(&T) -> Result<()> + Sync) -> Result<()> {
    let threads = thread::available_parallelism().map_or(2, usize::from).min(items.len());
    in_threads(threads, items, work)
}

/// The same with a number of threads: for work that waits more than it computes.
pub(super) fn in_threads<T: Sync>(threads: usize, items: &[T], work: impl Fn(&T) -> Result<()> + Sync) -> Result<()> {
    let (next, stop, first_error) = (AtomicUsize::new(0), AtomicBool::new(false), Mutex::new(None));
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Relaxed)) {
                    if stop.load(Relaxed) {
                        return;
                    }
                    if let Err(error) = work(item) {
                        stop.store(true, Relaxed);
                        if let Ok(mut first) = first_error.lock() {
                            first.get_or_insert(error);
                        }
                    }
                }
            });
        }
    });
    match first_error.into_inner() {
        Ok(None) => Ok(()),
        Ok(Some(error)) => Err(error),
        Err(_) => bail!("{}", Errno::ECANCELED),
    }
}

#[cfg(test)]
mod tests;
