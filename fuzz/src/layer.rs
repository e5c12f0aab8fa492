//! A layer, unpacked: whatever the archive says, nothing beside the directory is touched.
//!
//! A tar header has a checksum, which a fuzzer would almost never get right, so a first byte says whether ours are to be
//! put right before the archive is read; others say that it is to be compressed. What was unpacked is walked and packed
//! again, since `diff` and `commit` meet what layers leave.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::geteuid;
use podling::image::layer::{Ids, Reader, Source, changes, pack, unpack};

use crate::{Scratch, choice};

const BLOCK: usize = 512;

/// The layer after a byte: 0 as it is; 1 with its checksums put right; 2 so and with gzip, 3 with zstd.
pub fn layer(data: &[u8]) {
    let (way, data) = choice(data, 4);
    let mut bytes = data.to_vec();
    if way > 0 {
        put_checksums_right(&mut bytes);
    }
    match way {
        2 => bytes = gzip(&bytes),
        3 => bytes = zstd::encode_all(&bytes[..], 1).expect("memory takes it"),
        _ => {}
    }
    let scratch = Scratch::new();
    let (root, outside) = (scratch.0.join("root"), scratch.0.join("outside"));
    fs::create_dir(&root).expect("our own directory");
    fs::create_dir(&outside).expect("our own directory");
    fs::write(outside.join("secret"), "secret").expect("our own directory");
    let before = told(&outside);

    let ids = Ids::of_this_process().expect("this process has some");
    let unpacked = unpack(&bytes[..], open(&root), &ids, &|| Ok(vec![]));

    assert_eq!(told(&outside), before, "something outside was touched");
    assert_eq!(fs::read_dir(&scratch.0).expect("ours").count(), 2, "something was made beside the directory");
    // Who is not root may have shut himself out of what he unpacked.
    if unpacked.is_ok() && geteuid().is_root() {
        changes(open(&root), vec![open(&root)], &[]).expect("what was unpacked can be walked");
        pack_again(&root);
    }
}

/// Only names, modes and links: a file's size may be far beyond what a disk holds, with holes.
fn pack_again(root: &Path) {
    let mut stack = vec![root.to_owned()];
    while let Some(directory) = stack.pop() {
        for entry in fs::read_dir(directory).expect("unpacked by us").flatten() {
            let about = entry.metadata().expect("nobody takes it away");
            if about.len() > 1 << 20 {
                return;
            }
            if about.is_dir() {
                stack.push(entry.path());
            }
        }
    }
    let mut archive = Vec::new();
    if pack(open(root), Source::Plain, &[], None, &mut archive).is_ok() {
        let mut reader = Reader::new(&archive[..]);
        while reader.next_entry().expect("our own archive").is_some() {}
    }
}

fn open(directory: &Path) -> OwnedFd {
    File::open(directory).expect("our own directory").into()
}

type Told = (String, Vec<u8>, [u64; 5], (i64, i64));

/// What a change would show in: names, contents, modes, owners, links and times.
fn told(directory: &Path) -> Vec<Told> {
    let names = fs::read_dir(directory).expect("it is still there").flatten().map(|entry| entry.path());
    let told = |path: &Path| {
        let about = fs::symlink_metadata(path).expect("it was listed");
        let numbers = [about.mode().into(), about.uid().into(), about.gid().into(), about.nlink(), about.ino()];
        let content = if about.is_file() { fs::read(path).expect("it was listed") } else { Vec::new() };
        (path.display().to_string(), content, numbers, (about.mtime(), about.mtime_nsec()))
    };
    names.map(|path| told(&path)).chain([told(directory)]).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory takes it")
}

/// Goes from header to header as a reader would, by what they say of sizes.
fn put_checksums_right(bytes: &mut [u8]) {
    let mut at = 0;
    while let Some(header) = bytes.get_mut(at..at + BLOCK) {
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let text = String::from_utf8_lossy(&header[124..136]).into_owned();
        let size = usize::from_str_radix(text.trim_matches(['\0', ' ']), 8).unwrap_or(0);
        // Links, directories and devices have no bytes, whatever their size.
        let size = if matches!(header[156], b'1'..=b'6') { 0 } else { size };
        let Some(next) = size.checked_next_multiple_of(BLOCK).and_then(|size| size.checked_add(at + BLOCK)) else {
            return;
        };
        at = next;
    }
}
