//! Where the bytes of an OCI image layout lie: a directory of files, or one tar file that holds such a directory.
//!
//! A tar file need not be unpacked to be read: it is its files one after another, so a file is a place and a length.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use podling::hint::hinted;

/// A layout.
pub struct Layout {
    path: PathBuf,
    /// Where each file begins in the archive, and its length; none for a directory.
    archive: Option<HashMap<PathBuf, (u64, u64)>>,
}

/// One file of it, to be read as often as one likes.
pub struct Part {
    file: File,
    start: u64,
    size: u64,
}

impl Layout {
    /// Opens it; of an archive, all headers are read.
    pub fn open(path: &Path) -> Result<Self> {
        let told = || format!("the image {}", path.display());
        let mut layout = Self { path: path.to_owned(), archive: None };
        if !path.is_dir() {
            let mut archive = tar::Archive::new(File::open(path).with_context(told)?);
            // What is wrong with a file that is no archive at all says nothing to anybody, and may be binary.
            let places = places(&mut archive).unwrap_or_default();
            if !places.contains_key(Path::new("index.json")) {
                let cure = "'podling save --format oci-archive -o FILE IMAGE' writes one";
                return Err(hinted(format!("{} is no archive of an OCI image", path.display()), cure));
            }
            layout.archive = Some(places);
        }
        Ok(layout)
    }

    /// The file called `name`.
    pub fn part(&self, name: &Path) -> Result<Part> {
        let told = || format!("{} of the image {}", name.display(), self.path.display());
        let Some(archive) = &self.archive else {
            let file = File::open(self.path.join(name)).with_context(told)?;
            let size = file.metadata()?.len();
            return Ok(Part { file, start: 0, size });
        };
        let (start, size) = *archive.get(name).context("the archive lacks it").with_context(told)?;
        Ok(Part { file: File::open(&self.path).with_context(told)?, start, size })
    }
}

fn places(archive: &mut tar::Archive<File>) -> io::Result<HashMap<PathBuf, (u64, u64)>> {
    let mut places = HashMap::new();
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        let name = entry.path()?.components().filter(|part| part.as_os_str() != ".").collect();
        places.insert(name, (entry.raw_file_position(), entry.size()));
    }
    Ok(places)
}

impl Part {
    /// From the beginning to the end.
    pub fn read(&self) -> io::Result<impl Read> {
        (&self.file).seek(SeekFrom::Start(self.start))?;
        Ok((&self.file).take(self.size))
    }
}
