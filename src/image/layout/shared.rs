//! The layout shared with others: skopeo, or a script with jq.
//!
//! They know none of our locks. skopeo reads index.json when its copy begins, and at the end writes that text with one
//! entry more: what we added meanwhile is gone from it. So we keep what we wrote last, in `index.own`; an entry that is
//! there and not in index.json, but whose manifest still is a blob, was not removed but overwritten, and counts. (Who
//! removes an image with skopeo removes its manifest.)
//!
//! The other way round we look, when all is ready to be renamed, whether index.json still is what we read, and take over
//! what is new in it. What comes between that look and the rename is lost; it is microseconds.
//!
//! And it writes the file in place: for a moment there is none of it, or half.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use oci_spec::image::{Descriptor, ImageIndex};

use super::images::{named, place};
use super::{Layout, Staged};
use crate::hint::hinted;
use crate::image::digest::Digest;
use crate::trace;

/// How long half an index is waited for. To write one takes microseconds, but whoever does may be kept from it.
const HALF_WRITTEN: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(10);

impl Layout {
    /// index.json, with what others overwrote.
    pub(super) fn index(&self) -> Result<ImageIndex> {
        self.index_and_bytes().map(|(index, _)| index)
    }

    /// The same, and the bytes that the file has.
    pub(super) fn index_and_bytes(&self) -> Result<(ImageIndex, Vec<u8>)> {
        // Ours first: an image that is named in both places in this moment must not look overwritten.
        let own = fs::read(self.own()).unwrap_or_default();
        let (bytes, mut index) = read_whole(&self.dir.join("index.json"))?;
        if own != bytes
            && let Ok(own) = serde_json::from_slice::<ImageIndex>(&own)
        {
            let mut manifests = index.manifests().clone();
            for entry in own.manifests() {
                self.bring_back(&mut manifests, entry);
            }
            index.set_manifests(manifests);
        }
        Ok((index, bytes))
    }

    /// Replaces index.json, which had the bytes `seen` when `index` was made of it.
    pub(super) fn write_index(&self, mut index: ImageIndex, mut seen: Vec<u8>) -> Result<()> {
        let path = self.dir.join("index.json");
        let bytes = loop {
            let bytes = serde_json::to_vec(&index)?;
            let staged = Staged::new(&path, &bytes);
            let (now, theirs) = read_whole(&path)?;
            if now == seen {
                match staged {
                    Ok(staged) => staged.replace()?,
                    Err(error) if is_full(&error) && shorten(&path, &bytes).is_ok() => {}
                    Err(error) => return Err(error),
                }
                break bytes;
            }
            let known: ImageIndex = serde_json::from_slice(&seen).context("index.json as it was read")?;
            let mut manifests = index.manifests().clone();
            for new in theirs.manifests().iter().filter(|entry| !known.manifests().contains(entry)) {
                place(&mut manifests, new.clone(), named(new).as_ref());
            }
            index.set_manifests(manifests);
            seen = now;
        };
        // Not waited for: one that a power cut took back, or half, brings back only what still has its blob.
        let temporary = self.dir.join(format!("index.own-{}", std::process::id()));
        let write = fs::write(&temporary, &bytes).and_then(|()| {
            trace::point("written");
            fs::rename(&temporary, self.own())
        });
        if write.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        let write = write.or_else(|error| if is_no_space(&error) { shorten(&self.own(), &bytes) } else { Err(error) });
        write.with_context(|| format!("writing {}", self.own().display()))
    }

    fn own(&self) -> PathBuf {
        self.dir.join("index.own")
    }

    /// Adds an entry of ours if it was lost. Its name may be another image's by now.
    fn bring_back(&self, manifests: &mut Vec<Descriptor>, entry: &Descriptor) {
        let name = named(entry);
        let same = |known: &&Descriptor| known.digest() == entry.digest();
        let there = manifests.iter().filter(same).any(|known| name.is_none() || named(known) == name);
        let kept = Digest::try_from(entry.digest()).is_ok_and(|digest| self.has(digest));
        if there || !kept {
            return;
        }
        let taken = name.as_ref().is_some_and(|name| manifests.iter().any(|known| named(known).as_ref() == Some(name)));
        if !taken {
            return place(manifests, entry.clone(), name.as_ref());
        }
        let mut nameless = entry.clone();
        nameless.set_annotations(None);
        place(manifests, nameless, None);
    }
}

fn is_full(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).any(is_no_space)
}

fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Writes a file that becomes no longer into the room that it has. On a full disk there is no other, and to remove an image
/// is how room is made. Until it is cut off, spaces fill the rest: they mean nothing in JSON.
fn shorten(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = File::options().write(true).open(path)?;
    let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    if bytes.len() > length {
        return Err(ErrorKind::StorageFull.into());
    }
    let mut filled = bytes.to_vec();
    filled.resize(length, b' ');
    file.write_all_at(&filled, 0)?;
    file.set_len(bytes.len() as u64)?;
    file.sync_data()
}

/// The bytes of index.json and what they say.
fn read_whole(path: &Path) -> Result<(Vec<u8>, ImageIndex)> {
    let mut waited = Duration::ZERO;
    loop {
        let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        match serde_json::from_slice(&bytes) {
            Ok(index) => return Ok((bytes, index)),
            Err(error) if error.is_eof() && waited < HALF_WRITTEN => {
                thread::sleep(PAUSE);
                waited += PAUSE;
            }
            Err(error) => {
                let path = path.display();
                let cure = format!("'mv {path} {path}.broken' lets podling make a new one of what it knows");
                return Err(hinted(format!("{path} is broken: {error}"), cure));
            }
        }
    }
}
