//! Garbage: blobs that no image in index.json leads to.
//!
//! Nothing counts references; the collector walks from index.json and removes what it did not meet. Blobs that somebody
//! has stored but not yet named would look like garbage, so it runs only when nobody is adding.
//!
//! skopeo adds without a word. So a blob that is young stays, unless it was let go: dated to 1970 by whoever took its image
//! away. (That also leaves what an interrupted pull has brought for the next attempt.)

use std::collections::HashSet;
use std::fs;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use nix::fcntl::FlockArg;
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};

use super::{Layout, is_index, lock};
use crate::image::digest::Digest;
use crate::trace::{self, Topic};

/// How long the rest of a broken download waits to be resumed.
const PARTIAL_AGE: Duration = Duration::from_secs(24 * 3600);
/// How long a blob may be without a name: another program may be copying the image that it belongs to.
const NAMELESS_AGE: Duration = Duration::from_secs(3600);

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
            if known.is_none_or(|digest| !needed.contains(&digest)) && is_older(&entry, NAMELESS_AGE)? {
                remove(&entry, &mut collected)?;
            }
        }
        for entry in fs::read_dir(self.dir.join("partial"))? {
            let entry = entry?;
            let made_whole = entry.file_name().to_str().is_some_and(|name| name.starts_with("new-"));
            if made_whole || is_older(&entry, PARTIAL_AGE)? {
                remove(&entry, &mut collected)?;
            }
        }
        self.collect_staged(&mut collected)?;
        Ok(Some(collected))
    }

    /// Removes what was to become index.json, by a command that was killed.
    fn collect_staged(&self, collected: &mut Collected) -> Result<()> {
        // Whoever is about to replace the index holds this.
        let _lock = self.lock()?;
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if ["index.new-", "index.own-", "oci-layout.new-"].iter().any(|beginning| name.starts_with(beginning)) {
                remove(&entry, collected)?;
            }
        }
        Ok(())
    }

    /// Lets blobs go that nobody may need any more: if nobody does, the next collection takes them.
    pub fn let_go<'a>(&self, blobs: impl IntoIterator<Item = &'a Descriptor>) {
        for blob in blobs {
            let file = Digest::try_from(blob.digest()).and_then(|digest| self.open_blob(digest));
            // One that keeps its date is collected a while later.
            let _ = file.map(|file| file.set_modified(SystemTime::UNIX_EPOCH));
        }
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

fn is_older(entry: &fs::DirEntry, age: Duration) -> Result<bool> {
    let made = entry.metadata()?.modified()?;
    Ok(made.checked_add(age).is_some_and(|end| end < SystemTime::now()))
}

fn remove(entry: &fs::DirEntry, collected: &mut Collected) -> Result<()> {
    collected.bytes += entry.metadata()?.len();
    collected.files += 1;
    let what = || format!("removing {}", entry.path().display());
    trace::ask(Topic::Image, "unlink", format_args!("{}", entry.file_name().display()), || {
        fs::remove_file(entry.path())
    })
    .with_context(what)
}
