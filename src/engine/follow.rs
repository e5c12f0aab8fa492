//! A file that another process appends to, read as it grows: what `tail -F` does, for logs and events.
//!
//! inotify says when there is something to read. The subtlety is rotation: the writer renames another file over (or away
//! from) the name and goes on in a new one. So the *directory* is watched, the old file is read to its end first, and only
//! then the name is opened again.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

/// The lines of a growing file.
#[derive(Debug)]
pub struct Lines {
    path: PathBuf,
    file: Option<File>,
    inode: u64,
    begun: Vec<u8>,
    watch: Option<Inotify>,
}

impl Lines {
    /// Begins at the start of the file, which need not exist yet. `watched`: [`wait`] is going to be used.
    pub fn open(path: &Path, watched: Watched) -> Result<Self> {
        let watch = match watched {
            Watched::No => None,
            // Watched before the first read, so that nothing appended in between is missed.
            Watched::Yes => {
                let watch = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)
                    .context("watching files (see /proc/sys/fs/inotify)")?;
                let directory = path.parent().context("a file is in a directory")?;
                let flags = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
                watch.add_watch(directory, flags).with_context(|| format!("watching {}", directory.display()))?;
                Some(watch)
            }
        };
        let mut lines = Self { path: path.into(), file: None, inode: 0, begun: Vec::new(), watch };
        lines.reopen()?;
        Ok(lines)
    }

    /// Calls `line` with every whole line of the file as long as it is now. For whoever wants to come to an end: a
    /// writer may be faster than we.
    pub fn read_present(&mut self, line: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let length = self.file.as_ref().map_or(Ok(0), |file| file.metadata().map(|about| about.len()))?;
        self.drain(length, line)
    }

    /// Calls `line` with every whole line that is there and was not yet read, until there is no more.
    pub fn read(&mut self, line: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        loop {
            self.drain(u64::MAX, line)?;
            let renewed = fs::metadata(&self.path).is_ok_and(|now| self.file.is_none() || now.ino() != self.inode);
            if !renewed {
                return Ok(());
            }
            // What the writer appended to the old file between our last read and its rename.
            self.drain(u64::MAX, line)?;
            self.begun.clear();
            self.reopen()?;
        }
    }

    fn drain(&mut self, most: u64, line: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut file = file.take(most);
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let length = file.read(&mut buffer).with_context(|| format!("reading {}", self.path.display()))?;
            if length == 0 {
                return Ok(());
            }
            for part in buffer[..length].split_inclusive(|&byte| byte == b'\n') {
                match part.strip_suffix(b"\n") {
                    Some(end) if self.begun.is_empty() => line(end)?,
                    Some(end) => {
                        self.begun.extend_from_slice(end);
                        line(&self.begun)?;
                        self.begun.clear();
                    }
                    None => self.begun.extend_from_slice(part),
                }
            }
        }
    }

    fn reopen(&mut self) -> Result<()> {
        match File::open(&self.path) {
            Ok(file) => {
                self.inode = file.metadata()?.ino();
                self.file = Some(file);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error).with_context(|| format!("opening {}", self.path.display())),
        }
    }
}

/// Whether somebody is going to wait for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watched {
    /// What is there now is enough.
    No,
    /// [`wait`] will be called.
    Yes,
}

/// Waits until one of the files may have grown or one of `others` (pidfds) is readable, at most until `timeout`.
pub fn wait<'a>(
    files: impl IntoIterator<Item = &'a Lines>,
    others: impl IntoIterator<Item = BorrowedFd<'a>>,
    timeout: PollTimeout,
) -> Result<()> {
    let watches: Vec<&Inotify> = files.into_iter().filter_map(|lines| lines.watch.as_ref()).collect();
    let mut fds: Vec<PollFd> = watches.iter().map(|watch| PollFd::new(watch.as_fd(), PollFlags::POLLIN)).collect();
    fds.extend(others.into_iter().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
    match poll(&mut fds, timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error).context("waiting for more"),
    }
    for watch in watches {
        // What happened does not matter, only that it is not told twice.
        while watch.read_events().is_ok_and(|events| !events.is_empty()) {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn lines_are_read_once_and_across_a_replaced_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        let mut lines = Lines::open(&path, Watched::Yes).expect("a watch");
        let mut seen = Vec::new();
        let mut read = |lines: &mut Lines| {
            lines
                .read(&mut |line| {
                    seen.push(String::from_utf8_lossy(line).into_owned());
                    Ok(())
                })
                .expect("readable");
        };
        let mut first = File::create(&path).expect("a file");
        first.write_all(b"one\ntw").expect("written");
        wait([&lines], [], PollTimeout::from(1000u16)).expect("it waits");
        read(&mut lines);
        first.write_all(b"o\nthree\n").expect("written");
        fs::rename(&path, directory.path().join("old")).expect("moved");
        fs::write(&path, "four\n").expect("written");
        read(&mut lines);
        assert_eq!(seen, ["one", "two", "three", "four"]);
    }
}
