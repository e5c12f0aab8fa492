//! Namespaces: private copies of what all processes otherwise share.
//!
//! A process gets new ones at its birth (`clone3`), leaves old ones (`unshare`), or joins another's (`setns`, on a file of
//! /proc/PID/ns or on a pidfd, several at once).
//!
//! The subtlety is whose they are: each belongs to the user namespace its maker was in, and only privilege *there* counts.
//! So a user namespace comes first, always: the others are made inside it.

use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, Result};
use nix::sched::CloneFlags;
use nix::unistd::Pid;

use crate::sys;
use crate::trace::{self, Topic};

/// A kind of namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Namespace {
    /// Ids and capabilities.
    User,
    /// Mounts.
    Mount,
    /// Process numbers.
    Pid,
    /// Network devices, addresses, ports.
    Network,
    /// SysV IPC and POSIX message queues.
    Ipc,
    /// Host and domain name.
    Uts,
    /// The root of the cgroup tree one sees.
    Cgroup,
    /// Offsets of the monotonic and boot-time clocks.
    Time,
}

impl Namespace {
    /// All kinds, user first: the order in which they are joined one by one.
    pub const ALL: [Namespace; 8] = [
        Namespace::User,
        Namespace::Cgroup,
        Namespace::Ipc,
        Namespace::Uts,
        Namespace::Network,
        Namespace::Pid,
        Namespace::Time,
        Namespace::Mount,
    ];

    /// Its `CLONE_NEW*` flag.
    pub fn flag(self) -> i32 {
        match self {
            Namespace::User => libc::CLONE_NEWUSER,
            Namespace::Mount => libc::CLONE_NEWNS,
            Namespace::Pid => libc::CLONE_NEWPID,
            Namespace::Network => libc::CLONE_NEWNET,
            Namespace::Ipc => libc::CLONE_NEWIPC,
            Namespace::Uts => libc::CLONE_NEWUTS,
            Namespace::Cgroup => libc::CLONE_NEWCGROUP,
            Namespace::Time => sys::CLONE_NEWTIME,
        }
    }

    /// Its file's name in /proc/PID/ns.
    pub fn file(self) -> &'static str {
        match self {
            Namespace::User => "user",
            Namespace::Mount => "mnt",
            Namespace::Pid => "pid",
            Namespace::Network => "net",
            Namespace::Ipc => "ipc",
            Namespace::Uts => "uts",
            Namespace::Cgroup => "cgroup",
            Namespace::Time => "time",
        }
    }

    /// The kind whose file in /proc/PID/ns has this name.
    pub fn from_file(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.file() == name)
    }

    fn topic(self) -> Topic {
        match self {
            Namespace::User => Topic::User,
            Namespace::Mount => Topic::Mount,
            Namespace::Pid => Topic::Pid,
            Namespace::Network => Topic::Network,
            Namespace::Ipc | Namespace::Uts => Topic::Ipc,
            Namespace::Cgroup => Topic::Cgroup,
            Namespace::Time => Topic::Process,
        }
    }
}

/// The flags of several kinds together.
pub fn flags(kinds: &[Namespace]) -> i32 {
    kinds.iter().fold(0, |all, kind| all | kind.flag())
}

/// The names of several kinds, for the narration: `user,mnt,pid`.
pub fn names(kinds: &[Namespace]) -> String {
    kinds.iter().map(|kind| kind.file()).collect::<Vec<_>>().join(",")
}

/// Moves this process into new namespaces of these kinds; a new pid namespace only takes its next children.
///
/// With [`Namespace::User`], this process must have one thread.
pub fn unshare(kinds: &[Namespace]) -> Result<()> {
    let names = names(kinds);
    let topic = kinds.first().map_or(Topic::Process, |kind| kind.topic());
    trace::ask(topic, "unshare", format_args!("{names}"), || {
        nix::sched::unshare(CloneFlags::from_bits_retain(flags(kinds)))
    })
    .with_context(|| format!("making new namespaces ({names})"))
}

/// Moves this process into namespace `kind` that `file` (from /proc/PID/ns, or a mount of one) names.
pub fn join(file: impl AsFd, kind: Namespace) -> nix::Result<()> {
    trace::ask(kind.topic(), "setns", format_args!("{}", kind.file()), || {
        nix::sched::setns(file, CloneFlags::from_bits_retain(kind.flag()))
    })
}

/// Moves this process into several namespaces of the process that `pidfd` names, all or none.
pub fn join_process(pidfd: impl AsFd, kinds: &[Namespace]) -> nix::Result<()> {
    let topic = kinds.first().map_or(Topic::Process, |kind| kind.topic());
    trace::ask(topic, "setns", format_args!("pidfd {}", names(kinds)), || {
        nix::sched::setns(pidfd, CloneFlags::from_bits_retain(flags(kinds)))
    })
}

/// Which namespace of this kind process `pid` is in: two processes share it if the (device, inode) pairs are equal.
pub fn identity(pid: Pid, kind: Namespace) -> Result<(u64, u64)> {
    identity_of(Path::new(&format!("/proc/{pid}/ns/{}", kind.file())))
}

/// Which namespace a namespace file names.
pub fn identity_of(file: &Path) -> Result<(u64, u64)> {
    let stat = nix::sys::stat::stat(file).with_context(|| file.display().to_string())?;
    Ok((stat.st_dev, stat.st_ino))
}

/// The processes in the same namespace of this kind as `pid`. Whoever may not be looked at is not among them.
pub fn sharing(pid: Pid, kind: Namespace) -> Result<Vec<i32>> {
    let its = identity(pid, kind)?;
    let entries = std::fs::read_dir("/proc").context("reading /proc")?.flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut pids: Vec<i32> =
        pids.filter(|pid| identity(Pid::from_raw(*pid), kind).is_ok_and(|found| found == its)).collect();
    pids.sort_unstable();
    Ok(pids)
}

/// Names the host in our UTS namespace; which must not be the machine's own, or the machine is renamed.
pub fn name_host(name: &str) -> Result<()> {
    trace::ask(Topic::Ipc, "sethostname", format_args!("{name}"), || nix::unistd::sethostname(name))
        .with_context(|| format!("naming the host {name:?}"))
}

/// Sets the NIS domain name in our UTS namespace.
pub fn name_domain(name: &str) -> Result<()> {
    trace::ask(Topic::Ipc, "setdomainname", format_args!("{name}"), || sys::setdomainname(name))
        .with_context(|| format!("naming the domain {name:?}"))
}

/// Switches the loopback device of our network namespace on; in a new one it is off, and 127.0.0.1 unreachable.
pub fn raise_loopback() -> Result<()> {
    trace::ask(Topic::Network, "SIOCSIFFLAGS", format_args!("lo up"), sys::raise_loopback)
        .context("switching the loopback device on")
}
