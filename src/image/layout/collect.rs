//! Garbage: blobs that no image in index.json leads to.
//!
//! Nothing counts references; the collector walks from index.json and removes what it did not meet. Blobs that somebody
//! has stored but not yet named would look like garbage, so it runs only when nobody is adding.

use std::collections::HashSet;
use std::fs;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use nix::fcntl::FlockArg;
use oci_spec::image::{ImageIndex, ImageManifest};

use super::{Layout, is_index, lock};
use crate::image::digest::Digest;

/// How long the rest of a broken download waits to be resumed.
const PARTIAL_AGE: Duration = Duration::from_secs(24 * 3600);

/// What a collection removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Number of files.
    pub files: u64,
    /// Their size in bytes.
    pub bytes: u64,
}

impl Layout {
    /// Removes blobs that no image needs, and what broken downloads left more than a day ago. `None`: somebody is adding
    /// blobs just now; they will be collected another time.
    pub fn collect(&self) -> Result<Option<Collected>> {
        let Some(_lock) = lock(&self.dir.join("adding"), FlockArg::LockExclusiveNonblock)? else { return Ok(None) };
        let needed = self.needed()?;
        let mut collected = Collected::default();
        for entry in fs::read_dir(self.dir.join("blobs/sha256")).context("reading the image store")? {
            let entry = entry?;
            let name = entry.file_name();
            let known = name.to_str().and_then(|hex| Digest::from_hex(hex).ok());
            if known.is_none_or(|digest| !needed.contains(&digest)) {
                remove(&entry, &mut collected)?;
            }
        }
        for entry in fs::read_dir(self.dir.join("partial"))? {
            let entry = entry?;
            let made_whole = entry.file_name().to_str().is_some_and(|name| name.starts_with("new-"));
            let old = entry.metadata()?.modified()?.checked_add(PARTIAL_AGE).is_some_and(|end| end < SystemTime::now());
            if made_whole || old {
                remove(&entry, &mut collected)?;
            }
        }
        Ok(Some(collected))
    }

    /// All blobs that an image leads to. A manifest that is missing or broken needs nothing.
    fn needed(&self) -> Result<HashSet<Digest>> {
        let mut needed = HashSet::new();
        let mut open = self.index()?.manifests().clone();
        while let Some(entry) = open.pop() {
            let Ok(digest) = Digest::try_from(entry.digest()) else { continue };
            if !needed.insert(digest) {
                continue;
            }
            if is_index(entry.media_type()) {
                let index = self.read_json::<ImageIndex>(digest, "image index");
                open.extend(index.iter().flat_map(|index| index.manifests().clone()));
            } else if let Ok(manifest) = self.read_json::<ImageManifest>(digest, "manifest") {
                let parts = manifest.layers().iter().chain([manifest.config()]);
                needed.extend(parts.filter_map(|part| Digest::try_from(part.digest()).ok()));
            }
        }
        Ok(needed)
    }
}

fn remove(entry: &fs::DirEntry, collected: &mut Collected) -> Result<()> {
    collected.bytes += entry.metadata()?.len();
    collected.files += 1;
    fs::remove_file(entry.path()).with_context(|| format!("removing {}", entry.path().display()))
}
