//! Chapter 7, the layers: tar files from a stranger become one directory.
//!
//! A layer is a list of files to write, and may say anything: `../../etc/passwd`, or a symlink to `/` and then a file below
//! it. One could examine each name and follow each link by hand; everybody who tried has overlooked one. So a process of
//! its own unpacks, whose root *is* the directory that it fills: where a name leads does not matter, there is no outside.
//!
//! The subtlety is the whiteout. A layer cannot hold the absence of a file, so a file `.wh.NAME` says that NAME of the
//! layers below is gone, and `.wh..wh..opq` that all they have in its directory is.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use anyhow::{Context, Result, ensure};
use chapters::layout::Part;
use flate2::read::MultiGzDecoder;
use oci_spec::image::MediaType;
use podling::hint::hinted;
use podling::linux::mount::{self, Propagation};
use podling::linux::rootfs;
use podling::trace::{self, Topic};
use tar::{Archive, Entry};

/// What every name begins with that says: not here.
const WHITEOUT: &[u8] = b".wh.";

// ANCHOR: unpack
/// The life of the process that unpacks. `owners`: the files may belong to others than root.
pub fn unpack(root: &OwnedFd, layers: &[(Part, MediaType)], owners: bool) -> Result<u8> {
    // The layers were opened before: from here on nothing can be opened but what has been written.
    mount::isolate(Propagation::Private)?;
    rootfs::stack(root)?;
    rootfs::pivot(root)?;
    for (number, (blob, kind)) in layers.iter().enumerate() {
        // Twice through each: whiteouts speak of the layers below, wherever in the file they stand.
        for step in [hide, write] {
            let mut layer = Archive::new(plain(blob, kind)?);
            layer.set_preserve_permissions(true);
            layer.set_preserve_ownerships(owners);
            each(&mut layer, step).with_context(|| format!("unpacking layer {number}"))?;
        }
        trace::say(Topic::Image, "unpack", format_args!("layer {number}"), "ok");
    }
    Ok(0)
}

type Tar<'a> = Box<dyn Read + 'a>;

/// What is under the compression.
fn plain<'a>(blob: &'a Part, kind: &MediaType) -> Result<Tar<'a>> {
    match kind {
        MediaType::ImageLayer => Ok(Box::new(blob.read()?)),
        MediaType::ImageLayerGzip => Ok(Box::new(MultiGzDecoder::new(blob.read()?))),
        other => Err(hinted(
            format!("a layer of type {other}: only tar and gzip are known here"),
            "skopeo copy --dest-compress-format gzip FROM TO writes such layers anew",
        )),
    }
}
// ANCHOR_END: unpack

// ANCHOR: entries
/// What is done with an entry of this path, whose last name is given besides.
type Step = fn(&mut Entry<Tar>, &Path, &OsStr) -> Result<()>;

fn each(layer: &mut Archive<Tar>, step: Step) -> Result<()> {
    for entry in layer.entries()? {
        let mut entry = entry?;
        let path = Path::new("/").join(entry.path()?);
        // It could do no harm. But it is nothing that an honest tool writes.
        ensure!(
            !path.components().any(|part| part == Component::ParentDir),
            "{} leads out of the image",
            path.display()
        );
        if let Some(name) = path.file_name() {
            step(&mut entry, &path, name).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}
// ANCHOR_END: entries

// ANCHOR: layer
/// Removes what a whiteout names. That it is not there is no mistake: it may have been a lower layer's whiteout already.
fn hide(_: &mut Entry<Tar>, path: &Path, name: &OsStr) -> Result<()> {
    match name.as_bytes().strip_prefix(WHITEOUT) {
        Some(b".wh..opq") => {
            for found in fs::read_dir(path.with_file_name("")).into_iter().flatten() {
                remove(&found?.path());
            }
        }
        Some(gone) => remove(&path.with_file_name(OsStr::from_bytes(gone))),
        None => {}
    }
    Ok(())
}

/// Writes everything else, in place of what a lower layer has there; only directories become one. Devices are left out:
/// an ordinary user makes none, and a container's /dev is not the image's.
fn write(entry: &mut Entry<Tar>, path: &Path, name: &OsStr) -> Result<()> {
    let kind = entry.header().entry_type();
    if name.as_bytes().starts_with(WHITEOUT) || kind.is_block_special() || kind.is_character_special() {
        return Ok(());
    }
    fs::create_dir_all(path.with_file_name(""))?;
    if !kind.is_dir() || !path.symlink_metadata().is_ok_and(|found| found.is_dir()) {
        remove(path);
    }
    entry.unpack(path)?;
    Ok(())
}

/// Removes a file, a symlink (never what it leads to), or a directory with all below it.
fn remove(path: &Path) {
    // If it stays, the next write says so.
    let _ = fs::remove_file(path).or_else(|_| fs::remove_dir_all(path));
}
// ANCHOR_END: layer
