//! Control groups, version 2: a directory is a group, writing a file sets a limit, rmdir ends it.
//!
//! A process is born into its group (clone3 with `CLONE_INTO_CGROUP`, which takes [`Cgroup::fd`]), not moved there: what
//! it allocated before a move stays charged to the old group, and a fork between the two would escape.
//!
//! `resources` turns limits into files, `stats` reads them back, `delegation` passes the controllers down the tree that
//! limits need, `devices` says which device files may be opened, `systemd` asks systemd for a group where the tree is
//! systemd's.
//!
//! The subtlety is that a group can be removed at any moment by whoever owns the one above, systemd above all; then the
//! kernel answers `ENODEV` to each read of a file that is still open. cgroups(7).

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use nix::unistd::Pid;

use crate::sys;
use crate::trace::{self, Topic};

mod delegation;
pub mod devices;
mod resources;
mod stats;
pub mod systemd;
#[cfg(test)]
mod tests;

pub use resources::{Limit, Resources, Unavailable, weight_from_shares};
pub use stats::Stats;

/// The extended attribute of a group that was made only to hold others: whoever removes the last of them removes it too.
const MADE: &str = "user.podling.made";

/// How long to wait for the kernel: freezing and dying take as long as the longest system call that is under way.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the tree of version 2 is mounted.
#[derive(Debug, Clone)]
pub struct Hierarchy {
    root: PathBuf,
    hybrid: bool,
}

impl Hierarchy {
    /// Finds it: all of /sys/fs/cgroup on most machines; on one that boots with version 1 too ("hybrid") the
    /// part /sys/fs/cgroup/unified, which has processes and freezing but, as a rule, no controllers.
    pub fn find() -> Option<Self> {
        let is_version_2 = |path: &str| statfs(path).is_ok_and(|found| found.filesystem_type() == CGROUP2_SUPER_MAGIC);
        [("/sys/fs/cgroup", false), ("/sys/fs/cgroup/unified", true)]
            .into_iter()
            .find(|(path, _)| is_version_2(path))
            .map(|(path, hybrid)| Self { root: path.into(), hybrid })
    }

    /// The mount point.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The controllers are version 1's on this machine.
    pub fn is_hybrid(&self) -> bool {
        self.hybrid
    }

    /// The group of process `pid` (`self` is one, too) as a path from the root of the hierarchy, as /proc/PID/cgroup has it.
    pub fn path_of(&self, pid: &str) -> Result<PathBuf> {
        let file = format!("/proc/{pid}/cgroup");
        let text = std::fs::read_to_string(&file).with_context(|| format!("reading {file}"))?;
        let path = text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
        // A group that was removed while processes of it were still dying.
        Ok(path.strip_suffix(" (deleted)").unwrap_or(path).into())
    }

    /// Our own group.
    pub fn own_path(&self) -> Result<PathBuf> {
        self.path_of("self")
    }

    /// A group's directory.
    pub fn directory(&self, path: &Path) -> PathBuf {
        let names = path.components().filter(|part| matches!(part, Component::Normal(_)));
        self.root.join(names.collect::<PathBuf>())
    }
}

/// A group.
#[derive(Debug)]
pub struct Cgroup {
    directory: OwnedFd,
    /// From the mount point of the hierarchy on.
    path: PathBuf,
    hierarchy: Hierarchy,
}

impl Cgroup {
    /// Makes the group at `path` (from the root of the hierarchy) and those above it; one that exists is opened.
    pub fn create(hierarchy: &Hierarchy, path: &Path) -> Result<Self> {
        if path.components().any(|part| part == Component::ParentDir) {
            bail!("cgroup {}: a path with .. leads out of its group", path.display());
        }
        // Others may remove an empty group above this one between two of our steps, as `remove` does: then once more.
        // Each round that fails is the end of somebody else's group, so the rounds come to an end.
        loop {
            if Self::make(hierarchy, path)?
                && let Some(group) = Self::open(hierarchy, path)?
            {
                return Ok(group);
            }
        }
    }

    /// Makes the directories, from the top down; false if one vanished meanwhile.
    fn make(hierarchy: &Hierarchy, path: &Path) -> Result<bool> {
        let target = hierarchy.directory(path);
        let mut directory = hierarchy.root.clone();
        for name in path.components().filter(|part| matches!(part, Component::Normal(_))) {
            directory.push(name);
            match nix::unistd::mkdir(&directory, Mode::from_bits_truncate(0o755)) {
                Err(Errno::EEXIST) => continue,
                Err(Errno::ENOENT) if directory.parent().is_some_and(|above| above != hierarchy.root) => {
                    return Ok(false);
                }
                result => trace::ask(Topic::Cgroup, "mkdir", format_args!("{}", directory.display()), || result)
                    .with_context(|| format!("making the cgroup {}", directory.display()))?,
            }
            if directory != target
                && let Ok(made) = File::open(&directory)
            {
                // A kernel before 5.7 keeps no such mark: there the empty group stays.
                let _ = sys::fsetxattr(made.as_fd(), OsStr::new(MADE), b"1");
            }
        }
        Ok(true)
    }

    /// Opens the group at `path` (from the root of the hierarchy), if there is one.
    pub fn open(hierarchy: &Hierarchy, path: &Path) -> Result<Option<Self>> {
        let place = hierarchy.directory(path);
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        match open(&place, flags, Mode::empty()) {
            Ok(directory) => Ok(Some(Self { directory, path: path.into(), hierarchy: hierarchy.clone() })),
            Err(Errno::ENOENT | Errno::ENODEV) => Ok(None),
            Err(errno) => Err(errno).with_context(|| format!("opening the cgroup {}", place.display())),
        }
    }

    /// Its path from the root of the hierarchy.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its directory's path.
    pub fn directory(&self) -> PathBuf {
        self.hierarchy.directory(&self.path)
    }

    /// Its directory, for clone3 and BPF.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// A file's text.
    ///
    /// Errors: `ENOENT`: this kernel, or this group (for want of the controller), has no such file.
    pub fn read(&self, file: &str) -> nix::Result<String> {
        let mut text = String::new();
        self.file(file, OFlag::O_RDONLY)?.read_to_string(&mut text).map_err(|error| errno(&error))?;
        Ok(text)
    }

    /// Writes one value into a file, as one write: the kernel takes each as one order.
    pub fn write(&self, file: &str, value: &str) -> nix::Result<()> {
        trace::ask(Topic::Cgroup, "write", format_args!("{file} {value}"), || {
            let mut file = self.file(file, OFlag::O_WRONLY)?;
            file.write_all(value.as_bytes()).map_err(|error| errno(&error))
        })
    }

    /// Opens a file whose changes poll tells as exceptions (`memory.events`, `cgroup.events`).
    pub fn watch(&self, file: &str) -> nix::Result<File> {
        self.file(file, OFlag::O_RDONLY)
    }

    fn file(&self, name: &str, flags: OFlag) -> nix::Result<File> {
        openat(&self.directory, name, flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW, Mode::empty()).map(File::from)
    }

    /// The words of a file such as `cgroup.controllers`.
    fn words(&self, file: &str) -> BTreeSet<String> {
        self.read(file).unwrap_or_default().split_whitespace().map(Into::into).collect()
    }

    /// Moves a process here. For those who could not be born here.
    pub fn add(&self, pid: Pid) -> Result<()> {
        self.write("cgroup.procs", &pid.to_string())
            .with_context(|| format!("moving process {pid} to the cgroup {}", self.path.display()))
    }

    /// The processes in this group and those below it, as pids of our pid namespace.
    pub fn processes(&self) -> Result<Vec<Pid>> {
        let mut found = Vec::new();
        for group in self.tree()? {
            match group.read("cgroup.procs") {
                Ok(text) => found.extend(text.lines().filter_map(|line| line.parse().ok().map(Pid::from_raw))),
                // Gone, or a threaded group, whose processes its parent lists.
                Err(Errno::ENODEV | Errno::ENOENT | Errno::EOPNOTSUPP) => {}
                Err(errno) => return Err(errno).with_context(|| format!("reading {}", group.directory().display())),
            }
        }
        Ok(found)
    }

    /// This group and all below it, parents before children.
    fn tree(&self) -> Result<Vec<Self>> {
        let mut groups = vec![self.try_clone()?];
        let mut next = 0;
        while next < groups.len() {
            for child in groups[next].children() {
                let path = groups[next].path.join(child);
                groups.extend(Self::open(&self.hierarchy, &path)?);
            }
            next += 1;
        }
        Ok(groups)
    }

    fn try_clone(&self) -> Result<Self> {
        let directory = self.directory.try_clone().context("copying a descriptor")?;
        Ok(Self { directory, path: self.path.clone(), hierarchy: self.hierarchy.clone() })
    }

    /// The names of the groups right below.
    fn children(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.directory()) else { return Vec::new() };
        let directories = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        directories.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    /// Stops all processes of the group where they are, or lets them go on; returns when it has happened.
    pub fn freeze(&self, frozen: bool) -> Result<()> {
        let what = if frozen { "freezing" } else { "thawing" };
        let context = || format!("{what} the cgroup {}", self.path.display());
        self.write("cgroup.freeze", if frozen { "1" } else { "0" }).with_context(context)?;
        if !self.wait("frozen", frozen).with_context(context)? {
            // Half frozen would be neither; back to where we came from.
            let _ = self.write("cgroup.freeze", if frozen { "0" } else { "1" });
            bail!("{}: it took longer than {} s", context(), PATIENCE.as_secs());
        }
        Ok(())
    }

    /// Whether the group is frozen.
    pub fn frozen(&self) -> Result<bool> {
        self.event("frozen")
    }

    /// Whether a process lives in the group or below it.
    pub fn populated(&self) -> Result<bool> {
        self.event("populated")
    }

    fn event(&self, name: &str) -> Result<bool> {
        let text = self.read("cgroup.events").with_context(|| format!("asking the cgroup {}", self.path.display()))?;
        Ok(pairs(&text).get(name) == Some(&1))
    }

    /// Kills every process of the group with SIGKILL, those of groups below it too, also frozen ones, and no fork can
    /// outrun it. Returns at once; [`remove`](Self::remove) waits.
    pub fn kill(&self) -> Result<()> {
        match self.write("cgroup.kill", "1") {
            // Gone already: an open file of it answers the one, its open directory the other.
            Ok(()) | Err(Errno::ENODEV) => Ok(()),
            Err(Errno::ENOENT) if self.read("cgroup.events") == Err(Errno::ENOENT) => Ok(()),
            // Before Linux 5.14: frozen, nobody forks; killed, they still die.
            Err(Errno::ENOENT) => {
                self.freeze(true)?;
                for pid in self.processes()? {
                    let _ = kill(pid, Signal::SIGKILL);
                }
                self.freeze(false)
            }
            Err(errno) => Err(errno).with_context(|| format!("killing the cgroup {}", self.path.display())),
        }
    }

    /// Waits until `cgroup.events` says so; false if patience ran out. A group that is gone holds and freezes nobody.
    fn wait(&self, event: &str, wanted: bool) -> Result<bool> {
        let end = Instant::now() + PATIENCE;
        let Ok(mut file) = self.file("cgroup.events", OFlag::O_RDONLY) else { return Ok(!wanted) };
        loop {
            let mut text = String::new();
            file.rewind()?;
            match file.read_to_string(&mut text) {
                Err(error) if errno(&error) == Errno::ENODEV => return Ok(!wanted),
                result => result?,
            };
            if (pairs(&text).get(event) == Some(&1)) == wanted {
                return Ok(true);
            }
            // The kernel announces each change of this file since it was last read as "exceptional".
            let left =
                PollTimeout::try_from(end.saturating_duration_since(Instant::now())).unwrap_or(PollTimeout::ZERO);
            match poll(&mut [PollFd::new(file.as_fd(), PollFlags::POLLPRI)], left) {
                Ok(0) => return Ok(false),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).context("waiting for a cgroup"),
            }
        }
    }

    /// Removes the group and those below it, when the last process has left; and those above it that were only made to
    /// hold it and its like, if it was the last. It does not kill.
    pub fn remove(self) -> Result<()> {
        if !self.wait("populated", false)? {
            let pids: Vec<String> = self.processes()?.iter().map(ToString::to_string).collect();
            bail!("removing the cgroup {}: it still holds processes: {}", self.path.display(), pids.join(" "));
        }
        for group in self.tree()?.iter().rev() {
            let directory = group.directory();
            let call = || match std::fs::remove_dir(&directory) {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                result => result,
            };
            trace::ask(Topic::Cgroup, "rmdir", format_args!("{}", directory.display()), call)
                .with_context(|| format!("removing the cgroup {}", directory.display()))?;
        }
        self.remove_empty_above();
        Ok(())
    }

    /// An administrator may have made an empty group, with limits, for containers to come: only what carries our mark
    /// goes. That others are in it, or have removed it, the kernel says.
    fn remove_empty_above(&self) {
        for path in self.path.ancestors().skip(1) {
            let Ok(Some(group)) = Self::open(&self.hierarchy, path) else { return };
            let made = sys::fgetxattr(group.fd(), OsStr::new(MADE)).is_ok();
            if !made || std::fs::remove_dir(group.directory()).is_err() {
                return;
            }
            trace::say(Topic::Cgroup, "rmdir", format_args!("{}", group.directory().display()), "ok");
        }
    }
}

/// `name number` lines.
fn pairs(text: &str) -> BTreeMap<String, u64> {
    let pair = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_string(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(pair).collect()
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}
