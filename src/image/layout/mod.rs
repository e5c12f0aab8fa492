//! The store of images: an OCI image layout, the field's own directory format, so that skopeo and others read it.
//!
//! ```text
//! oci-layout        {"imageLayoutVersion":"1.0.0"}
//! index.json        the images: descriptors of manifests, named by the annotation org.opencontainers.image.ref.name
//! blobs/sha256/…    manifests, configurations, layers, each under its digest
//! partial/…         ours: downloads under way or broken off, to be resumed
//! index.own         ours: index.json as we last wrote it
//! lock  adding      ours: locks
//! ```
//!
//! Readers take no lock: a blob never changes, and index.json is replaced by rename. Writers of index.json hold `lock`
//! for a moment. Whoever adds blobs holds `adding` shared until index.json names them, and the garbage collector, which
//! would see them as garbage, holds it alone.
//!
//! The subtlety is that others write here who know none of our locks ([`shared`]).

mod adding;
mod collect;
mod images;
mod shared;
mod size;

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use nix::fcntl::{Flock, FlockArg};
use oci_spec::image::{Descriptor, ImageIndexBuilder};
use serde::de::DeserializeOwned;

use super::digest::{Digest, Hashing, read_at_most};
use crate::trace::{self, Topic};

pub use adding::{Adding, Partial};
pub use collect::Collected;
pub use images::{DOCKER_LIST, DOCKER_MANIFEST, LoadedImage, LoadedLayer, NotFound, is_index, is_manifest};

/// The annotation that names an image in index.json.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Ours: the digest that the name had in the registry, when that was a multi-platform index.
pub const INDEX_DIGEST: &str = "dev.podling.index.digest";
/// The most bytes of a manifest, an index or a configuration: the registries' own limit.
pub const MANIFEST_MAX: u64 = 4 << 20;

/// An OCI image layout on disk.
#[derive(Debug, Clone)]
pub struct Layout {
    dir: PathBuf,
}

/// Blobs up to this size are read before they are believed, in bytes: more than manifests and configurations take.
const LOOKED_INTO: u64 = 256 << 10;

impl Layout {
    /// Opens the layout in `dir`, making an empty one if there is none.
    pub fn open(dir: &Path) -> Result<Self> {
        let layout = Self { dir: dir.to_owned() };
        // Each is there from the beginning; who moved a broken index away means to begin anew.
        if ["oci-layout", "index.json"].iter().any(|file| !dir.join(file).exists()) {
            layout.make().with_context(|| format!("making the image store {}", dir.display()))?;
        }
        Ok(layout)
    }

    fn make(&self) -> Result<()> {
        for sub in ["blobs/sha256", "partial"] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(self.dir.join(sub))?;
        }
        let _lock = self.lock()?;
        if !self.dir.join("index.json").exists() {
            let empty = ImageIndexBuilder::default().schema_version(2u32).manifests(vec![]).build()?;
            Staged::new(&self.dir.join("index.json"), &serde_json::to_vec(&empty)?)?.replace()?;
        }
        // Last: its presence says that the rest is there.
        Staged::new(&self.dir.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?.replace()
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file of a blob, there or not.
    pub fn blob_path(&self, digest: Digest) -> PathBuf {
        self.dir.join("blobs/sha256").join(digest.hex())
    }

    /// Whether a blob is there (a blob gets its name only when it is complete and verified).
    pub fn has(&self, digest: Digest) -> bool {
        self.blob_path(digest).exists()
    }

    /// Whether a blob is there and still what its name says. Reads all of it.
    pub fn is_sound(&self, digest: Digest) -> bool {
        let mut hashing = Hashing::new(());
        let read = File::open(self.blob_path(digest)).and_then(|mut blob| hashing.resume(&mut blob));
        read.is_ok() && hashing.finish().0 == digest
    }

    /// Why a layer could not be unpacked: if its blob is not what its name says any more, that. It is removed then, so that
    /// it will be fetched again.
    pub(super) fn blame(&self, digest: Digest, error: anyhow::Error) -> anyhow::Error {
        if self.is_sound(digest) {
            return error;
        }
        let _ = fs::remove_file(self.blob_path(digest));
        anyhow!("its blob in the image store is damaged; pull or load the image again")
    }

    /// Whether a blob need not come again. Manifests and configurations are looked into: a damaged one would keep its image
    /// from being known at all. A layer is when it is unpacked.
    fn has_already(&self, digest: Digest) -> bool {
        match fs::metadata(self.blob_path(digest)) {
            Ok(blob) => blob.len() > LOOKED_INTO || self.is_sound(digest),
            Err(_) => false,
        }
    }

    /// Opens a blob for reading.
    pub fn open_blob(&self, digest: Digest) -> Result<File> {
        File::open(self.blob_path(digest)).map_err(|error| match error.kind() {
            ErrorKind::NotFound => anyhow!("blob {digest} is missing from the image store; pull the image again"),
            _ => anyhow!(error).context(format!("opening blob {digest}")),
        })
    }

    /// Reads a small blob (manifest, index, configuration).
    pub fn read_blob(&self, digest: Digest) -> Result<Vec<u8>> {
        read_at_most(self.open_blob(digest)?, MANIFEST_MAX, &format!("blob {digest}"))
    }

    /// What is being tried when bytes are added, for errors.
    fn writing(&self) -> String {
        format!("writing to the image store {}", self.dir.display())
    }

    fn read_json<T: DeserializeOwned>(&self, digest: Digest, what: &str) -> Result<T> {
        let bytes = self.read_blob(digest)?;
        serde_json::from_slice(&bytes).with_context(|| format!("{what} {digest} is not valid"))
    }

    /// Changes index.json, alone among us.
    fn change<T>(&self, edit: impl FnOnce(&mut Vec<Descriptor>) -> Result<T>) -> Result<T> {
        let _lock = self.lock()?;
        let (mut index, seen) = self.index_and_bytes()?;
        let before = index.manifests().clone();
        let mut after = before.clone();
        let answer = edit(&mut after)?;
        if after != before {
            index.set_manifests(after);
            self.write_index(index, seen)?;
        }
        Ok(answer)
    }

    fn lock(&self) -> Result<Flock<File>> {
        lock(&self.dir.join("lock"), FlockArg::LockExclusive)?.context("a blocking lock was refused")
    }
}

/// Takes a file lock, making the file; `None` if somebody holds it and `how` does not wait.
pub(super) fn lock(path: &Path, how: FlockArg) -> Result<Option<Flock<File>>> {
    let open = || File::options().create(true).truncate(false).write(true).open(path);
    let file = open().with_context(|| format!("opening {}", path.display()))?;
    match Flock::lock(file, how) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(errno).with_context(|| format!("locking {}", path.display())),
    }
}

/// A file beside the one that it will replace as a whole: readers see the old bytes or the new, and so does the disk after a
/// crash.
struct Staged<'a> {
    path: &'a Path,
    temporary: PathBuf,
}

impl<'a> Staged<'a> {
    fn new(path: &'a Path, bytes: &[u8]) -> Result<Self> {
        let temporary = path.with_extension(format!("new-{}", std::process::id()));
        let staged = Self { path, temporary };
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&staged.temporary)?;
            file.write_all(bytes)?;
            file.sync_data()
        };
        write().with_context(|| format!("writing {}", path.display()))?;
        Ok(staged)
    }

    fn replace(self) -> Result<()> {
        trace::point("written");
        let rename = || -> std::io::Result<()> {
            let name = self.path.file_name().unwrap_or_default().display();
            trace::ask(Topic::Image, "rename", format_args!("{name}"), || fs::rename(&self.temporary, self.path))?;
            File::open(self.path.parent().unwrap_or(Path::new("/")))?.sync_all()
        };
        rename().with_context(|| format!("writing {}", self.path.display()))
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        // Gone already, unless it could not be written or put in its place.
        let _ = fs::remove_file(&self.temporary);
    }
}

#[cfg(test)]
mod tests;
