//! Layers on disk: `layers/<chain id>/`, each unpacked once and then only read, shared by all containers.
//!
//! A layer is unpacked in `tmp-<chain id>`, under a lock on that very directory, and renamed when its digest is right: a
//! name without `tmp-` is always a whole layer. Several layers are unpacked at once, since a layer is only a difference; the
//! little that some need from those below they look up at their end ([`below`]).
//!
//! After a power cut a layer's name may be on the disk and the bytes of its files not. Waiting for the disk would double
//! the time of a pull, so a new layer is *doubted*: a file `new-<chain id>` beside it tells the boot that it was unpacked
//! in. In that boot the kernel's memory vouches for it; a while later the disk is asked to catch up and the doubt is
//! lifted; in another boot the layer is unpacked anew.
//!
//! Beside them, `shifted/<way>/<chain id>/` are the same layers with other owners, for user namespaces that map ids in their own way;
//! what is said here of layers goes for them, too.
//!
//! The subtlety is removal. A container that is just being created has been given directories but is not yet known to
//! whoever looks for unused ones; so [`InUse`] holds a shared lock until the container's own file names them.

mod below;
mod changes;
mod compression;
mod ids;
mod pack;
mod shift;
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

pub use changes::{Change, Done, changes};
pub use compression::{Compression, decompress};
pub use ids::Ids;
pub use pack::{Source, pack};
pub use shift::Data;
use shift::{Original, shift};
pub use tar::{Entry, Kind, Reader};
pub use tree::{Tree, clean, names, remove_all};
pub use unpack::{Below, OPAQUE, Unpacked, unpack, write_parts};
pub use write::Writer;

const TEMPORARY: &str = "tmp-";
const REMOVED: &str = "removed-";
const DOUBTED: &str = "new-";
const SHIFTED: &str = "shifted";
/// After this long the kernel has written most of what was to be written, and asking for the rest is cheap.
const SETTLING: Duration = Duration::from_secs(60);

/// The directory of unpacked layers; or of the same layers with other owners ([`Layers::shifted`]).
#[derive(Debug, Clone)]
pub struct Layers {
    dir: PathBuf,
    /// One lock for all: whoever removes a layer removes its shifted ones with it.
    lock: PathBuf,
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
        Ok(Self { dir: dir.to_owned(), lock: dir.join("lock") })
    }

    /// The layers once more, shifted in a way called `name` ([`Layers::ensure_shifted`]).
    pub fn shifted(&self, name: &str) -> Self {
        Self { dir: self.ways().join(name), lock: self.lock.clone() }
    }

    /// Where shifted layers are: beside this directory, not in it. Overlay takes no two directories of which one is in the
    /// other, and this one is the data of those.
    fn ways(&self) -> PathBuf {
        self.dir.with_file_name(SHIFTED)
    }

    /// An empty directory beside shifted layers, to try what their file system can do. Whoever makes it removes it, or
    /// else [`Layers::remove_unused`] does.
    pub fn scratch(&self) -> Result<PathBuf> {
        let scratch = self.ways().join(format!("{TEMPORARY}{}", std::process::id()));
        fs::create_dir_all(&scratch).with_context(|| format!("making {}", scratch.display()))?;
        Ok(scratch)
    }

    /// All directories in which a layer may be: this one, and one for each way of shifting.
    pub fn stores(&self) -> Result<Vec<PathBuf>> {
        let mut all = vec![self.dir.clone()];
        match fs::read_dir(self.ways()) {
            Ok(ways) => all.extend(ways.flatten().map(|way| way.path())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).context("reading the shifted layers"),
        }
        Ok(all)
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
        // Each with all below it.
        let stacks = (1..=image.layers.len()).map(|height| &image.layers[..height]);
        let missing: Vec<&[LoadedLayer]> = stacks.filter(|stack| !self.has(top(stack).chain_id)).collect();
        if missing.is_empty() {
            self.settle(&in_use.chain_ids).context("writing layers to the disk")?;
            return Ok(in_use);
        }
        let ids = Ids::of_this_process()?;
        in_parallel(&missing, |stack| {
            let blob = top(stack).blob;
            progress.event(Event::Unpacking { blob });
            self.unpack_top(layout, stack, &ids)?;
            progress.event(Event::Unpacked { blob });
            Ok(())
        })?;
        Ok(in_use)
    }

    /// Unpacks the topmost layer of a stack, and of those below what it takes. Whoever waits here for another thread or
    /// process waits for a lower layer than its own, so somebody always goes on.
    fn unpack_top(&self, layout: &Layout, stack: &[LoadedLayer], ids: &Ids) -> Result<()> {
        let layer = top(stack);
        let below = || {
            let lower = &stack[..stack.len() - 1];
            for height in 1..=lower.len() {
                self.unpack_top(layout, &lower[..height], ids)?;
            }
            lower.iter().rev().map(|layer| Ok(File::open(self.path(layer.chain_id))?.into())).collect()
        };
        if self.has(layer.chain_id) {
            return Ok(());
        }
        let blob = layout.open_blob(layer.blob)?;
        self.unpack(blob, layer.diff_id, layer.chain_id, ids, &below)
            .map_err(|error| layout.blame(layer.blob, error))
            .with_context(|| format!("layer {}", short(layer.blob)))
    }

    /// Makes sure that this directory has these layers of `originals` with the owners that they have outside `ids`: with
    /// [`Data::Original`] as one, under the name of the topmost. `seen` is called now and then with the number of files
    /// so far.
    pub fn ensure_shifted(
        &self,
        originals: &Layers,
        top_first: &[Digest],
        ids: &Ids,
        data: Data,
        seen: impl Fn(usize) + Sync,
    ) -> Result<InUse> {
        let merged = data == Data::Original;
        let in_use = self.hold(top_first.iter().copied().take(if merged { 1 } else { usize::MAX }))?;
        fs::create_dir_all(&self.dir).with_context(|| format!("making {}", self.dir.display()))?;
        let missing: Vec<Digest> = in_use.chain_ids.iter().copied().filter(|id| !self.has(*id)).collect();
        if missing.is_empty() {
            self.settle(&in_use.chain_ids).context("writing layers to the disk")?;
            return Ok(in_use);
        }
        let files = AtomicUsize::new(0);
        in_parallel(&missing, |id| {
            let of = if merged { top_first } else { std::slice::from_ref(id) };
            let count = |more| seen(files.fetch_add(more, Relaxed) + more);
            let made = self.make(*id, |directory| {
                let layers = of.iter().map(|id| originals.original(*id)).collect::<Result<Vec<_>>>()?;
                shift(layers, directory, ids, data, &count)
            });
            made.with_context(|| format!("shifting the owners of layer {}", short(*id)))?;
            trace::say(Topic::Image, "shift", format_args!("{}", self.path(*id).display()), "ok");
            Ok(())
        })?;
        Ok(in_use)
    }

    fn original(&self, chain_id: Digest) -> Result<Original> {
        let path = self.path(chain_id);
        let directory =
            File::open(&path).with_context(|| format!("layer {} is gone; pull the image again", path.display()))?;
        Ok(Original { directory: directory.into(), place: Path::new("/").join(chain_id.hex()) })
    }

    /// Protects layers from removal, there or not.
    pub fn hold(&self, top_first: impl Iterator<Item = Digest>) -> Result<InUse> {
        let lock = lock(&self.lock, FlockArg::LockShared)?.context("a blocking lock was refused")?;
        let chain_ids: Vec<Digest> = top_first.collect();
        Ok(InUse { directories: chain_ids.iter().map(|id| self.path(*id)).collect(), chain_ids, _lock: lock })
    }

    /// Unpacks one layer, unless it is there (perhaps since a moment ago, by another process, for which this waits).
    pub fn unpack(&self, blob: File, diff_id: Digest, chain_id: Digest, ids: &Ids, below: Below) -> Result<()> {
        let unpacked = self.make(chain_id, |directory| {
            let unpacked = unpack(blob, directory, ids, below)?;
            if unpacked.diff_id != diff_id {
                bail!("its unpacked digest is {}, but the image says {diff_id}", unpacked.diff_id);
            }
            Ok(unpacked)
        })?;
        if let Some(unpacked) = unpacked {
            let size = format!("{} bytes", unpacked.size);
            trace::say(Topic::Image, "unpack", format_args!("{}", self.path(chain_id).display()), &size);
        }
        Ok(())
    }

    /// Makes one layer by filling an empty directory, whole or not at all; `None` if it is there by then.
    fn make<T>(&self, chain_id: Digest, fill: impl FnOnce(OwnedFd) -> Result<T>) -> Result<Option<T>> {
        let temporary = self.dir.join(format!("{TEMPORARY}{}", chain_id.hex()));
        let Some((directory, _lock)) = self.claim(&temporary, chain_id)? else { return Ok(None) };
        match fill(directory) {
            Ok(made) => {
                // Before the name, so that no crash can leave a name without its doubt.
                trace::point("filled");
                let doubt = || fs::write(self.doubt(chain_id), boot_id()?);
                let named = || {
                    trace::point("doubted");
                    fs::rename(&temporary, self.path(chain_id))
                };
                doubt().and_then(|()| named()).with_context(|| format!("storing layer {chain_id}"))?;
                Ok(Some(made))
            }
            Err(error) => {
                // What cannot be removed now is removed by whoever unpacks this layer next.
                let _ = discard(&temporary);
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
            discard(&self.path(chain_id))?;
            for name in names(lock.try_clone()?.into())? {
                remove_all(std::os::fd::AsFd::as_fd(&*lock), &name)?;
            }
            // Not what umask and a set-group-id parent made of it.
            fs::set_permissions(temporary, Permissions::from_mode(0o755)).with_context(context)?;
            return Ok(Some((lock.try_clone()?.into(), lock)));
        }
    }

    /// Removes layers that are not in `keep`, also shifted ones, and what crashes left. `None`: containers are being
    /// created just now.
    pub fn remove_unused(&self, keep: &HashSet<Digest>) -> Result<Option<u64>> {
        let Some(_lock) = lock(&self.lock, FlockArg::LockExclusiveNonblock)? else { return Ok(None) };
        // The shifted ones first: without the original they are nothing.
        for way in self.stores()?.into_iter().skip(1) {
            if way.file_name().is_some_and(|name| name.to_string_lossy().starts_with(TEMPORARY)) {
                discard(&way)?;
                continue;
            }
            Self { dir: way.clone(), lock: self.lock.clone() }.remove_from(keep)?;
            match fs::remove_dir(&way) {
                Err(error) if error.kind() != std::io::ErrorKind::DirectoryNotEmpty => return Err(error.into()),
                _ => {}
            }
        }
        self.remove_from(keep).map(Some)
    }

    fn remove_from(&self, keep: &HashSet<Digest>) -> Result<u64> {
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
                    trace::point("put aside");
                    discard(&aside)?;
                    removed += 1;
                }
                Err(_) if name.starts_with(DOUBTED) => {
                    let about = Digest::from_hex(&name[DOUBTED.len()..]);
                    if !about.is_ok_and(|chain_id| keep.contains(&chain_id)) {
                        fs::remove_file(entry.path())?;
                    }
                }
                Err(_) if name.starts_with(TEMPORARY) || name.starts_with(REMOVED) => discard(&entry.path())?,
                Err(_) => {}
            }
        }
        Ok(removed)
    }
}

/// The topmost layer of a stack.
fn top(stack: &[LoadedLayer]) -> &LoadedLayer {
    stack.last().expect("a stack has a layer")
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

fn discard(directory: &Path) -> Result<()> {
    let parent = File::open(directory.parent().context("has a parent")?)?;
    remove_all(std::os::fd::AsFd::as_fd(&parent), directory.file_name().context("has a name")?)
}

#[cfg(test)]
mod tests;
