//! Adding to the layout: blobs first, then the name.
//!
//! A blob arrives in `partial/`, under the digest it is expected to have, and moves to `blobs/` when it turned out to
//! have it. What has arrived of a broken download stays there and the next attempt goes on from it, even one by another
//! process: each partial file is locked while somebody fills it, so two pulls of the same layer download it once.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::{Flock, FlockArg};
use oci_spec::image::{Descriptor, MediaType};

use super::{INDEX_DIGEST, Layout, REF_NAME, lock};
use crate::image::digest::{Digest, Hashing};
use crate::image::reference::Reference;
use crate::trace::{self, Topic};

/// The right to add blobs: while it lives, nothing is collected as garbage.
pub struct Adding<'a> {
    layout: &'a Layout,
    _lock: Flock<File>,
}

impl Layout {
    /// Begins to add blobs. Waits while garbage is being collected.
    pub fn adding(&self) -> Result<Adding<'_>> {
        let lock = lock(&self.dir.join("adding"), FlockArg::LockShared)?.context("a blocking lock was refused")?;
        Ok(Adding { layout: self, _lock: lock })
    }
}

impl Adding<'_> {
    /// The layout that is added to.
    pub fn layout(&self) -> &Layout {
        self.layout
    }

    /// Stores a small blob whole.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::of(bytes);
        if !self.layout.has_already(digest) {
            let mut writer = self.writer()?;
            writer.write_all(bytes)?;
            writer.finish(None)?;
        }
        Ok(digest)
    }

    /// Stores what `reader` gives, and checks it against what was promised.
    pub fn put_stream(&self, mut reader: impl Read, promised: Option<Digest>) -> Result<(Digest, u64)> {
        let mut writer = self.writer()?;
        let mut buffer = vec![0; 1 << 18];
        loop {
            match reader.read(&mut buffer)? {
                0 => break,
                read => writer.write_all(&buffer[..read])?,
            }
        }
        writer.finish(promised)
    }

    /// A blob whose digest will be known when it has been written.
    pub fn writer(&self) -> Result<BlobWriter<'_>> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("new-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        let file = Arriving::open(self.layout.dir.join("partial").join(name))?;
        // Pids come back: the name may have been left by a process that crashed.
        file.hashing.get_ref().set_len(0)?;
        Ok(BlobWriter { layout: self.layout, file: Some(file) })
    }

    /// A blob whose digest is known, to be downloaded: `None` if it is there (perhaps since a moment ago, by another
    /// process, for which this waits).
    pub fn partial(&self, digest: Digest) -> Result<Option<Partial<'_>>> {
        let path = self.layout.dir.join("partial").join(digest.hex());
        while !self.layout.has_already(digest) {
            let mut file = Arriving::open(path.clone())?;
            // While we waited its holder may have finished (the name is gone) and a third one begun (another file).
            let ours = file.hashing.get_ref().metadata()?.ino();
            if fs::metadata(&path).is_ok_and(|now| now.ino() == ours) && !self.layout.has_already(digest) {
                let mut earlier = file.hashing.get_ref().try_clone()?;
                file.hashing.resume(&mut earlier)?;
                return Ok(Some(Partial { layout: self.layout, digest, file }));
            }
        }
        Ok(None)
    }

    /// Names a manifest that was added, moving the name from whatever had it. Without a name the image is there but
    /// dangling. `index` is the digest that the name had in the registry, if not the manifest's own.
    pub fn name(&self, manifest: &Descriptor, name: Option<&Reference>, index: Option<Digest>) -> Result<()> {
        let digest = Digest::try_from(manifest.digest())?;
        ensure!(self.layout.has(digest), "manifest {digest} was not stored");
        let mut entry = Descriptor::new(manifest.media_type().clone(), manifest.size(), manifest.digest().clone());
        entry.set_platform(manifest.platform().clone());
        let mut annotations = HashMap::new();
        annotations.extend(name.map(|name| (REF_NAME.to_owned(), name.to_string())));
        annotations.extend(index.map(|index| (INDEX_DIGEST.to_owned(), index.to_string())));
        entry.set_annotations((!annotations.is_empty()).then_some(annotations));
        self.layout.change(|manifests| {
            super::images::place(manifests, entry, name);
            Ok(())
        })
    }

    /// Stores a manifest and returns its descriptor.
    pub fn put_manifest(&self, bytes: &[u8], kind: MediaType) -> Result<Descriptor> {
        let digest = self.put(bytes)?;
        Ok(Descriptor::new(kind, bytes.len() as u64, digest))
    }
}

/// An open, locked file in `partial/`: while the lock is held, nobody takes it for one that a crash left behind.
struct Arriving {
    path: PathBuf,
    hashing: Hashing<File>,
    /// On a second descriptor of the same open file, which is what flock(2) locks.
    _lock: Flock<File>,
}

impl Arriving {
    fn open(path: PathBuf) -> Result<Self> {
        let file = File::options().create(true).truncate(false).read(true).write(true).open(&path);
        let file = file.with_context(|| format!("opening {}", path.display()))?;
        let lock = Flock::lock(file.try_clone()?, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
        Ok(Self { path, hashing: Hashing::new(file), _lock: lock })
    }

    /// Moves it to its place among the blobs, if it has the promised digest; else removes it.
    fn settle(self, layout: &Layout, promised: Option<Digest>) -> Result<(Digest, u64)> {
        let (digest, size, file) = self.hashing.finish();
        if let Some(promised) = promised.filter(|promised| *promised != digest) {
            let _ = fs::remove_file(&self.path);
            bail!("blob {promised} arrived with other bytes, whose digest is {digest}");
        }
        // Its data goes to the disk before a name says that it is there.
        file.sync_data().with_context(|| format!("storing blob {digest}"))?;
        trace::point("written");
        let partial = self.path.file_name().unwrap_or_default().to_string_lossy();
        trace::ask(Topic::Image, "rename", format_args!("partial/{partial} blobs/sha256/{}", digest.hex()), || {
            fs::rename(&self.path, layout.blob_path(digest))
        })
        .with_context(|| format!("storing blob {digest}"))?;
        Ok((digest, size))
    }
}

/// A blob being written; removed if it is dropped unfinished.
pub struct BlobWriter<'a> {
    layout: &'a Layout,
    file: Option<Arriving>,
}

impl BlobWriter<'_> {
    /// Stores it under the digest that it turned out to have, which must be the promised one if there is a promise.
    pub fn finish(mut self, promised: Option<Digest>) -> Result<(Digest, u64)> {
        self.file.take().context("a blob is finished once")?.settle(self.layout, promised)
    }
}

impl Write for BlobWriter<'_> {
    /// An error says where: whoever copies from one file to another could not tell which of them failed.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(file) = &mut self.file else { return Ok(0) };
        file.hashing
            .write(bytes)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", self.layout.writing())))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for BlobWriter<'_> {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            let _ = fs::remove_file(&file.path);
        }
    }
}

/// A blob being downloaded. Dropped unfinished it stays, to be resumed.
pub struct Partial<'a> {
    layout: &'a Layout,
    digest: Digest,
    file: Arriving,
}

impl Partial<'_> {
    /// What [`Self::append`] tries, for errors.
    pub fn writing(&self) -> String {
        self.layout.writing()
    }

    /// How many bytes have arrived.
    pub fn have(&self) -> u64 {
        self.file.hashing.count()
    }

    /// Adds bytes at the end.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.hashing.write_all(bytes)
    }

    /// Forgets what has arrived (the server cannot resume).
    pub fn restart(&mut self) -> io::Result<()> {
        let mut file = self.file.hashing.get_ref().try_clone()?;
        file.set_len(0)?;
        file.rewind()?;
        self.file.hashing = Hashing::new(file);
        Ok(())
    }

    /// Gives up for now: what has arrived stays, and if nothing has, nothing does.
    pub fn leave(self) {
        if self.have() == 0 {
            // Whoever waits for the lock sees that the name is gone, as after `finish`.
            let _ = fs::remove_file(&self.file.path);
        }
    }

    /// Stores it, if its digest is right; else what arrived is worth nothing and is removed.
    pub fn finish(self) -> Result<u64> {
        self.file.settle(self.layout, Some(self.digest)).map(|(_, size)| size)
    }
}
