//! Packs: the exercises as an archive that works with `podling-learn --exercises DIRECTORY` wherever it is unpacked.
//!
//! The students' has no solutions and no mutants. The same exercises give the same bytes: names are sorted, and times and
//! owners are nobody's.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use flate2::{Compression, write::GzEncoder};
use tar::{Builder, EntryType, Header};

use crate::catalogue::{Catalogue, names};

/// For whom a pack is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Audience {
    /// Without solutions
    Student,
    /// Everything
    Instructor,
}

#[derive(Debug, Args)]
pub struct Options {
    /// For whom
    audience: Audience,
    /// The archive [default: podling-exercises-student.tar.gz, or -instructor]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What students shall not see.
const SECRET: [&str; 2] = ["solution", "mutants"];

/// `podling-learn pack`.
pub fn pack(catalogue: &Catalogue, options: &Options) -> Result<()> {
    let audience = if options.audience == Audience::Student { "student" } else { "instructor" };
    let path = options.output.clone().unwrap_or_else(|| format!("podling-exercises-{audience}.tar.gz").into());
    let mut whole = GzEncoder::new(Vec::new(), Compression::default());
    let files = files(catalogue, options.audience)?;
    let mut archive = Builder::new(&mut whole);
    for (name, from) in &files {
        let bytes = fs::read(from).with_context(|| format!("reading {}", from.display()))?;
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, Path::new("podling-exercises").join(name), bytes.as_slice())?;
    }
    archive.finish()?;
    drop(archive);
    let bytes = whole.finish()?;
    File::create(&path)
        .and_then(|mut file| file.write_all(&bytes))
        .with_context(|| format!("writing {}", path.display()))?;
    println!("{}: {} exercises, {} files", path.display(), catalogue.exercises.len(), files.len());
    Ok(())
}

/// The files of a pack: each by its name in it, and where it is.
pub fn files(catalogue: &Catalogue, audience: Audience) -> Result<Vec<(PathBuf, PathBuf)>> {
    let mut files = vec![("kit.sh".into(), catalogue.root.join("kit.sh"))];
    for exercise in &catalogue.exercises {
        for name in names(&exercise.dir)? {
            if audience == Audience::Instructor || !SECRET.contains(&&*name) {
                collect(&exercise.dir.join(&name), &exercise.place().join(&name), &mut files)?;
            }
        }
    }
    Ok(files)
}

fn collect(from: &Path, name: &Path, files: &mut Vec<(PathBuf, PathBuf)>) -> Result<()> {
    if !from.is_dir() {
        files.push((name.to_owned(), from.to_owned()));
        return Ok(());
    }
    for below in names(from)? {
        collect(&from.join(&below), &name.join(&below), files)?;
    }
    Ok(())
}
