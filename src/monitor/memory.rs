//! Whether the kernel killed for want of memory: the `oom_kill` count in a cgroup's `memory.events`.
//!
//! An exit status cannot tell it from another SIGKILL. The file reports a change as an exceptional condition (`POLLPRI`),
//! and is read once more at the end, since the killed process's end may be seen first.
//!
//! The subtlety is a group that is gone before we look. systemd removes a scope the moment its last process has died, and
//! from then on even an open file of it answers `ENODEV`; a monitor that got no processor for that long (a machine short
//! of memory is a busy one) would never know. But counts are those of a group *and all below it*, and what was counted
//! stays counted above when a group goes. So the same file of the group above is held open too: if it counts more than
//! when we last looked, and our group is gone, and the end was a SIGKILL, then it was this.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use nix::unistd::Pid;

use crate::linux::cgroup::Hierarchy;
use crate::linux::process::{Exit, Signal};

/// The count of one cgroup, watched.
pub struct MemoryEvents {
    own: Option<Count>,
    above: Option<Count>,
    killed: bool,
}

impl MemoryEvents {
    /// Begins to watch the cgroup that `process` was born into, if it has one that is not ours too and that counts memory.
    /// Kills until now are of another's past.
    pub fn watch(process: Pid) -> Self {
        let (own, above) = groups_of(process).unwrap_or_default();
        Self { own, above, killed: false }
    }

    /// To wait on, for `POLLPRI`; none once there is nothing more to learn.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.own.as_ref().filter(|own| !self.killed && !own.gone).map(|own| own.file.as_fd())
    }

    /// Reads the count; what was seen once stays true when the cgroup is removed.
    pub fn look(&mut self) {
        let Some(own) = &mut self.own else { return };
        // Asked for first: what it counts by now and our own does not count a moment later was another's.
        let others = self.above.as_ref().and_then(Count::read);
        self.killed |= own.grew();
        if let (false, Some(above), Some(count)) = (own.gone, &mut self.above, others) {
            above.last = count;
        }
    }

    /// The last word, when the process has ended.
    pub fn killed(&mut self, exit: Option<Exit>) -> bool {
        self.look();
        let gone = self.own.as_ref().is_some_and(|own| own.gone);
        // Also where the victim was a child, and a shell passed its end on.
        let sigkill = exit.is_some_and(|exit| exit.status() == Exit::Signal(Signal::KILL).status());
        if gone && sigkill {
            self.killed |= self.above.as_mut().is_some_and(Count::grew);
        }
        self.killed
    }
}

/// One `memory.events`, and what it said last.
struct Count {
    file: File,
    last: u64,
    gone: bool,
}

impl Count {
    fn open(directory: &Path) -> Option<Self> {
        let file = File::open(directory.join("memory.events")).ok()?;
        let mut count = Self { file, last: 0, gone: false };
        count.last = count.read()?;
        Some(count)
    }

    /// Whether there are more kills than when this was last asked.
    fn grew(&mut self) -> bool {
        let before = self.last;
        match self.read() {
            Some(count) => self.last = count,
            None => self.gone = true,
        }
        self.last > before
    }

    fn read(&self) -> Option<u64> {
        let mut text = [0; 512];
        let length = self.file.read_at(&mut text, 0).ok()?;
        oom_kills(std::str::from_utf8(&text[..length]).ok()?)
    }
}

/// The counts of a process's group and of the one above.
fn groups_of(process: Pid) -> Option<(Option<Count>, Option<Count>)> {
    let hierarchy = Hierarchy::find().filter(|hierarchy| !hierarchy.is_hybrid())?;
    let path = hierarchy.path_of(&process.to_string()).ok()?;
    if path == hierarchy.own_path().ok()? {
        return None;
    }
    let count = |path: &Path| Count::open(&hierarchy.directory(path));
    Some((count(&path), path.parent().and_then(count)))
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
