//! Whether the kernel killed for want of memory: the `oom_kill` count in a cgroup's `memory.events`.
//!
//! An exit status cannot tell it from another SIGKILL. The file reports a change as an exceptional condition (`POLLPRI`),
//! and is read once more at the end, since the killed process's end may be seen first.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::unistd::Pid;

use crate::linux::cgroup::Hierarchy;

/// The count of one cgroup, watched.
pub struct MemoryEvents {
    file: Option<File>,
    before: u64,
    killed: bool,
}

impl MemoryEvents {
    /// Begins to watch `path`, or else the cgroup that `process` was born into, if it has one that is not ours too and that
    /// counts memory. Kills until now are of another's past.
    pub fn watch(path: Option<&Path>, process: Pid) -> Self {
        let file = path.map(Path::to_owned).or_else(|| events_of(process)).and_then(|path| File::open(path).ok());
        let mut events = Self { file, before: 0, killed: false };
        events.before = events.count().unwrap_or(0);
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

fn events_of(process: Pid) -> Option<PathBuf> {
    let hierarchy = Hierarchy::find().filter(|hierarchy| !hierarchy.is_hybrid())?;
    let path = hierarchy.path_of(&process.to_string()).ok()?;
    (path != hierarchy.own_path().ok()?).then(|| hierarchy.directory(&path).join("memory.events"))
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
