//! What students handed in, and what of it is taken: only files that were given out, plain, and small. A link that leads out
//! of a student's folder is not followed, and nothing that is no file is opened.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::catalogue::{Exercise, names};

/// The largest file that is taken from a submission, in bytes.
const LARGEST: u64 = 1 << 20;

/// What one student handed in.
pub struct Submission {
    pub name: String,
    pub dir: PathBuf,
}

/// A submission for each folder and archive; archives are unpacked beside everything else that is temporary.
pub fn submissions(dir: &Path, scratch: &Path) -> Result<Vec<Submission>> {
    let mut submissions = Vec::new();
    for name in names(dir)? {
        let path = dir.join(&name);
        let kind = fs::symlink_metadata(&path)?.file_type();
        let stem = [".tar.gz", ".tgz", ".tar"].iter().find_map(|end| name.strip_suffix(end));
        match stem {
            Some(stem) if kind.is_file() => {
                let place = scratch.join("unpacked").join(stem);
                unpack(&path, &place).with_context(|| format!("unpacking {}", path.display()))?;
                submissions.push(Submission { name: stem.to_owned(), dir: place });
            }
            _ if kind.is_dir() => submissions.push(Submission { name, dir: path }),
            _ => eprintln!("{name}: neither a folder nor an archive; left out"),
        }
    }
    Ok(submissions)
}

/// Plain files and directories only, and not more than a course's worth of them. The crate tar keeps `..` out.
fn unpack(archive: &Path, place: &Path) -> Result<()> {
    const MOST: u64 = 64 << 20;
    let file = File::open(archive)?;
    let zipped = archive.extension().is_none_or(|end| end != "tar");
    let reader: Box<dyn Read> = if zipped { Box::new(flate2::read::GzDecoder::new(file)) } else { Box::new(file) };
    fs::create_dir_all(place)?;
    // One byte more than may be: that it is read says that there is too much.
    let mut limited = tar::Archive::new(reader.take(MOST + 1));
    let mut total = 0;
    for entry in limited.entries()? {
        let mut entry = entry?;
        total += entry.size();
        if total > MOST {
            bail!("it holds more than {} MB", MOST >> 20);
        }
        if (entry.header().entry_type().is_file() && entry.size() <= LARGEST) || entry.header().entry_type().is_dir() {
            entry.unpack_in(place)?;
        }
    }
    Ok(())
}

/// An exercise's files as the student handed them in: `Ok(None)` if none of them is there.
pub fn take(student: &Submission, exercise: &Exercise, into: &Path) -> Result<Option<()>> {
    // As podling-learn laid it out; or without the chapter's folder; or within the student's my-exercises.
    let below = [PathBuf::new(), crate::NAME.into()];
    let places = [exercise.place(), exercise.id.clone().into()];
    let candidates = below.iter().flat_map(|below| places.iter().map(move |place| student.dir.join(below).join(place)));
    let Some(place) = candidates.into_iter().find(|place| is_plain_directory(&student.dir, place)) else {
        return Ok(None);
    };
    fs::create_dir_all(into)?;
    for name in exercise.files()? {
        let path = place.join(&name);
        // No link is followed, and nothing that is not a file is opened to be read.
        let plain = fs::symlink_metadata(&path).is_ok_and(|file| file.is_file() && file.len() <= LARGEST);
        if !plain {
            return Ok(None);
        }
        let mut file = File::options().read(true).custom_flags(nix::libc::O_NOFOLLOW).open(&path)?;
        let mut bytes = Vec::new();
        file.by_ref().take(LARGEST).read_to_end(&mut bytes)?;
        fs::write(into.join(name), bytes)?;
    }
    Ok(Some(()))
}

/// Whether `place` is a directory, and no part of it below `root` is a link.
fn is_plain_directory(root: &Path, place: &Path) -> bool {
    let parts = place.ancestors().take_while(|part| *part != root);
    let plain = |part: &Path| fs::symlink_metadata(part).is_ok_and(|found| found.is_dir());
    parts.into_iter().all(plain)
}

pub fn collect_written(dir: &Path, submissions: &[Submission], exercises: &[&Exercise]) -> Result<()> {
    for exercise in exercises.iter().filter(|exercise| exercise.tests.is_empty()) {
        for student in submissions {
            take(student, exercise, &dir.join(&exercise.id).join(&student.name))?;
        }
    }
    Ok(())
}
