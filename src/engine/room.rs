//! No room left: which of our two directories is meant, and what makes room there.
//!
//! A full disk may be met anywhere, by any of our programs, and most of them only know the file that they were writing. So
//! the cure is found last, when the error is about to be printed: by the directory that it names, or else by asking the
//! kernel which of them is full.
//!
//! The subtlety is that an error which names neither may be about a third place (`save -o /elsewhere`), where none of our
//! cures helps; and that a failed write may have been undone by now, so that the disk has room again.

use std::path::Path;
use std::sync::OnceLock;

use nix::sys::statvfs::statvfs;

use super::store::Paths;

/// The directories of the engine that this process has open.
static OPENED: OnceLock<Paths> = OnceLock::new();

/// Less than this is nothing: the smallest of our commands writes a few blocks.
const NOTHING: u64 = 64 << 10;

/// Remembers where this process's engine keeps its files.
pub(super) fn remember(paths: &Paths) {
    let _ = OPENED.set(paths.clone());
}

/// What to do about an error that says there is no room; none if it does not, or if we do not know.
pub fn cure(said: &str) -> Option<String> {
    let said = said.to_lowercase();
    if !["no space left on device", "disk quota exceeded"].iter().any(|words| said.contains(words)) {
        return None;
    }
    let Paths { data, run } = OPENED.get()?;
    let named = |directory: &Path| said.contains(&directory.display().to_string().to_lowercase());
    // One may lie below the other.
    let (inner, outer) = if run.starts_with(data) { (run, data) } else { (data, run) };
    let full =
        [inner, outer].into_iter().find(|it| named(it)).or_else(|| [data, run].into_iter().find(|it| is_full(it)));
    let full = full?;
    Some(if full == data {
        format!(
            "{} is full: 'podling system df' shows what is there, 'podling system prune' removes what nobody uses \
             (with --all, unused images too)",
            data.display()
        )
    } else {
        let around = run.parent().unwrap_or(run);
        format!("{} is full: 'du -ahx {}' shows what is there", run.display(), around.display())
    })
}

/// Whether the file system of a directory takes no more: no blocks, or no inodes.
pub(super) fn is_full(directory: &Path) -> bool {
    statvfs(directory).is_ok_and(|fs| {
        let blocks = fs.blocks_available() * fs.fragment_size();
        // Some file systems have no fixed number of inodes, and say 0 of 0.
        blocks < NOTHING || fs.files() > 0 && fs.files_available() == 0
    })
}
