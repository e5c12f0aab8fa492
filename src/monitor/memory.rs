//! Whether the kernel killed for want of memory: the `oom_kill` count in a cgroup's `memory.events`.
//!
//! An exit status cannot tell it from another SIGKILL. The file reports a change as an exceptional condition (`POLLPRI`),
//! and is read once more at the end, since the killed process's end may be seen first.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The count of one cgroup, watched.
pub struct MemoryEvents {
    file: Option<File>,
    before: u64,
    killed: bool,
}

impl MemoryEvents {
    /// Begins to watch, if the cgroup has the file. `before`: kills until now do not count (an exec session comes into a
    /// cgroup that has a past).
    pub fn watch(path: Option<&Path>, has_past: bool) -> Self {
        let file = path.and_then(|path| File::open(path).ok());
        let mut events = Self { file, before: 0, killed: false };
        if has_past {
            events.before = events.count().unwrap_or(0);
        }
        events.look();
        events
    }

    /// To wait on, for `POLLPRI`; none once there is nothing more to learn.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().filter(|_| !self.killed).map(AsFd::as_fd)
    }

    /// Reads the count; what was seen once stays true when the cgroup is removed.
    pub fn look(&mut self) -> bool {
        match self.count() {
            Some(count) => self.killed |= count > self.before,
            None => self.file = None,
        }
        self.killed
    }

    fn count(&self) -> Option<u64> {
        let mut text = [0; 512];
        let length = self.file.as_ref()?.read_at(&mut text, 0).ok()?;
        oom_kills(std::str::from_utf8(&text[..length]).ok()?)
    }
}

fn oom_kills(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_that_of_kills_not_of_events() {
        let text = "low 0\nhigh 0\nmax 12\noom 3\noom_kill 1\noom_group_kill 0\n";
        assert_eq!(oom_kills(text), Some(1));
        assert_eq!(oom_kills(""), None);
    }
}
