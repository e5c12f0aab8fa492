//! How large an image is once unpacked, told without unpacking it.
//!
//! Compressed files say themselves how much they hold: gzip in its last four bytes (modulo 4 GiB), zstd in the header of
//! its frame. Both are hints for people; nothing is allocated or trusted by them. A file that says something impossible
//! (several gzip members, a zstd stream of unknown length) counts with its own size.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use anyhow::Result;

use super::{Layout, LoadedImage};
use crate::image::digest::Digest;
use crate::image::layer::Compression;

impl Layout {
    /// The size in bytes of all layers, unpacked.
    pub fn unpacked_size(&self, image: &LoadedImage) -> u64 {
        image.layers.iter().map(|layer| self.unpacked_layer_size(layer.blob)).sum()
    }

    /// The size in bytes of one layer's tar file, unpacked; 0 if it is not here.
    pub fn unpacked_layer_size(&self, blob: Digest) -> u64 {
        self.open_blob(blob).and_then(said).unwrap_or(0)
    }
}

fn said(mut file: File) -> Result<u64> {
    let whole = file.metadata()?.len();
    let mut first = [0; 18];
    let count = file.read(&mut first)?;
    let size = match Compression::of(&first[..count])? {
        Compression::Gzip => {
            file.seek(SeekFrom::End(-4))?;
            let mut last = [0; 4];
            file.read_exact(&mut last)?;
            Some(u64::from(u32::from_le_bytes(last)))
        }
        Compression::Zstd => zstd_size(&first[..count]),
        Compression::None => Some(whole),
    };
    Ok(size.filter(|size| *size >= whole).unwrap_or(whole))
}

/// The frame content size of RFC 8878 §3.1.1.1, if the header has one.
fn zstd_size(header: &[u8]) -> Option<u64> {
    let descriptor = *header.get(4)?;
    let single_segment = descriptor & 0x20 != 0;
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let start = 5 + usize::from(!single_segment) + dictionary;
    let field = |length: usize| {
        let bytes = header.get(start..start + length)?;
        Some(bytes.iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte)))
    };
    match descriptor >> 6 {
        0 if single_segment => field(1),
        0 => None,
        1 => field(2).map(|size| size + 256),
        2 => field(4),
        _ => field(8),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn size_of(bytes: &[u8]) -> u64 {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(bytes).expect("write");
        file.rewind().expect("rewind");
        said(file).expect("a size")
    }

    #[test]
    fn compressed_files_say_their_size() {
        let content = vec![b'x'; 100_000];
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&content).expect("compress");
        assert_eq!(size_of(&gzip.finish().expect("compress")), 100_000);
        let zstd = zstd::bulk::compress(&content, 1).expect("compress");
        assert_eq!(size_of(&zstd), 100_000);
    }
}
