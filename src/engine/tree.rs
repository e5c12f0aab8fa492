//! `tree`: who runs in which namespaces, from the live /proc.
//!
//! The store says of a few processes whose they are: a container's first, its monitors, its network helper. The rest
//! follows from /proc: who descends from these; who has entered a container's pid namespace from outside, as `exec` does;
//! and, by the inode numbers behind /proc/PID/ns, who shares what with whom.
//!
//! The subtlety is that nothing stands still meanwhile. A process may end between two looks: then it is not there, or
//! some of it could not be read any more, and neither is an error. And nobody has to join a user namespace to read the
//! links of those in it: its owner has all capabilities there, also from outside (user_namespaces(7)).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;

use anyhow::{Context, Result};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::container::{Container, Process, Status, monitor_in};
use super::network::pasta;
use super::{Engine, Owner, userns};
use crate::linux::namespace::{self, Namespace};
use crate::linux::process::Stat;

/// The kinds of namespaces in the order in which the course meets them; time, which hardly anybody unshares, last.
pub const KINDS: [Namespace; 8] = [
    Namespace::User,
    Namespace::Mount,
    Namespace::Pid,
    Namespace::Cgroup,
    Namespace::Ipc,
    Namespace::Uts,
    Namespace::Network,
    Namespace::Time,
];

/// Inode numbers by the names in /proc/PID/ns; without those that could not be read.
pub type Places = BTreeMap<String, u64>;

/// The whole picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    /// Whoever asks.
    pub you: You,
    /// In the order in which they were made.
    pub containers: Vec<Shown>,
    /// Which of them share more than the user namespace that all of a user's containers share.
    pub pods: Vec<Pod>,
}

/// Whoever asks: with whose namespaces the others' are compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct You {
    /// The login name, or the uid of who has none.
    pub user: String,
    /// The namespaces of this process, which are the shell's that started it.
    pub namespaces: Places,
}

/// A container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Podman's word for its status.
    pub status: String,
    /// Its first process, if it has one.
    pub pid: Option<i32>,
    /// All that belong to it: each after its parent, and siblings by age.
    pub processes: Vec<Member>,
}

/// A process that belongs to a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// As we number it.
    pub pid: i32,
    /// Its parent, which need not belong to the container.
    pub parent: i32,
    /// As its own pid namespace numbers it, if that is not ours.
    pub inside: Option<i32>,
    /// What it is for.
    pub role: Role,
    /// Its words, or its name in brackets if it has none.
    pub command: String,
    /// Where it lives. Nowhere, if it has ended and nobody has waited for it.
    pub namespaces: Places,
}

/// What a process is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It stays with the container, or with a session of `exec`.
    Monitor,
    /// It runs inside.
    Program,
    /// It carries the container's packets.
    Network,
}

/// Containers that share namespaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Their names.
    pub containers: Vec<String>,
    /// The kinds of which at least two of them have one together, by their names in /proc/PID/ns.
    pub shares: Vec<String>,
}

/// Looks at these containers' processes, and at everybody who belongs to them.
pub fn look(engine: &Engine, containers: &[Container]) -> Result<Tree> {
    let snapshot = snapshot()?;
    let you = You { user: login(engine), namespaces: places(Pid::this()) };
    let mut known = Known::default();
    for (index, container) in containers.iter().enumerate() {
        known.add_files(index, container);
    }
    known.add_entered(&snapshot, &you, containers);
    let mut members: Vec<Vec<i32>> = vec![Vec::new(); containers.len()];
    for &pid in snapshot.keys() {
        if let Some(index) = known.owner(&snapshot, pid) {
            members[index].push(pid);
        }
    }
    let containers: Vec<_> = containers
        .iter()
        .zip(members)
        .map(|(container, pids)| Shown {
            id: container.id().into(),
            name: container.name().into(),
            status: word(&container.status()),
            pid: container.process().map(|first| first.pid),
            processes: known.in_order(&snapshot, &pids),
        })
        .collect();
    Ok(Tree { pods: pods(&you, &containers), you, containers })
}

fn login(engine: &Engine) -> String {
    let uid = match engine.owner {
        Owner::Root => 0,
        Owner::User { uid, .. } => uid,
    };
    userns::login(uid).map_or_else(|| uid.to_string(), |login| login.name)
}

fn word(status: &Status) -> String {
    match status {
        Status::Exited(record) => format!("exited ({})", record.code),
        other => other.word().into(),
    }
}

/// Every process of the machine, once. What ends meanwhile is not there.
fn snapshot() -> Result<BTreeMap<i32, Stat>> {
    let entries = fs::read_dir("/proc").context("reading /proc")?;
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Ok(pids.filter_map(|pid| Some((pid, Stat::of(Pid::from_raw(pid)).ok()??))).collect())
}

/// The namespaces of a process.
fn places(pid: Pid) -> Places {
    let number = |kind: Namespace| Some((kind.file().to_string(), namespace::identity(pid, kind).ok()?.1));
    KINDS.into_iter().filter_map(number).collect()
}

/// The processes of which it is known whose they are, and for what.
#[derive(Default)]
struct Known(BTreeMap<i32, (usize, Role)>);

impl Known {
    /// Those that the container's files name. A number is believed only with its start time, which all of these check.
    fn add_files(&mut self, index: usize, container: &Container) {
        let sessions = fs::read_dir(container.run.join("exec")).into_iter().flatten().flatten();
        let monitors = sessions.filter_map(|session| monitor_in(&session.path())).chain(container.monitor());
        let named = monitors.map(|it| (it, Role::Monitor));
        let named = named.chain(container.process().map(|it| (it, Role::Program)));
        let named = named.chain(pasta::helper(&container.run).map(|it| (it, Role::Network)));
        self.0.extend(named.map(|(Process { pid, .. }, role)| (pid, (index, role))));
    }

    /// Those in a container's own pid namespace that no process of it has made. Its own is one where it is process 1:
    /// several containers may be in one.
    fn add_entered(&mut self, snapshot: &BTreeMap<i32, Stat>, you: &You, containers: &[Container]) {
        let home = |pid: i32| namespace::identity(Pid::from_raw(pid), Namespace::Pid).ok().map(|(_, inode)| inode);
        let firsts = containers.iter().enumerate().filter_map(|(index, it)| Some((index, it.process()?.pid)));
        let homes: BTreeMap<u64, usize> = firsts
            .filter(|&(_, pid)| inside(pid) == Some(1))
            .filter_map(|(index, pid)| Some((home(pid)?, index)))
            .filter(|(inode, _)| you.namespaces.get(Namespace::Pid.file()) != Some(inode))
            .collect();
        for &pid in snapshot.keys() {
            if self.owner(snapshot, pid).is_none()
                && let Some(&index) = home(pid).and_then(|inode| homes.get(&inode))
            {
                self.0.insert(pid, (index, Role::Program));
            }
        }
    }

    /// Whose a process is: that of the nearest ancestor of whom it is known.
    fn owner(&self, snapshot: &BTreeMap<i32, Stat>, mut pid: i32) -> Option<usize> {
        // Numbers are given away again: a chain read while that happened could be a ring.
        for _ in 0..=snapshot.len() {
            if let Some(&(index, _)) = self.0.get(&pid) {
                return Some(index);
            }
            pid = snapshot.get(&pid)?.parent;
        }
        None
    }

    /// One container's processes: each after its parent, siblings by what they are for, then by age.
    fn in_order(&self, snapshot: &BTreeMap<i32, Stat>, pids: &[i32]) -> Vec<Member> {
        let role = |pid: i32| self.0.get(&pid).map_or(Role::Program, |&(_, role)| role);
        let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        for &pid in pids {
            let parent = snapshot[&pid].parent;
            children.entry(if pids.contains(&parent) { parent } else { 0 }).or_default().push(pid);
        }
        for siblings in children.values_mut() {
            siblings.sort_by_key(|pid| (role(*pid), snapshot[pid].start_time, *pid));
        }
        let mut members = Vec::new();
        let mut next: Vec<i32> = children.remove(&0).unwrap_or_default();
        next.reverse();
        while let Some(pid) = next.pop() {
            members.extend(member(pid, snapshot[&pid], role(pid)));
            next.extend(children.remove(&pid).unwrap_or_default().into_iter().rev());
        }
        members
    }
}

/// Reads the rest about a process; none if the number means another one by now.
fn member(pid: i32, stat: Stat, role: Role) -> Option<Member> {
    let member = Member {
        pid,
        parent: stat.parent,
        inside: inside(pid),
        role,
        command: command(pid, stat)?,
        namespaces: places(Pid::from_raw(pid)),
    };
    let now = Stat::of(Pid::from_raw(pid)).ok()??;
    (now.start_time == stat.start_time).then_some(member)
}

/// The number that a process has in its own pid namespace: the last of its numbers, if it has more than ours.
fn inside(pid: i32) -> Option<i32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    numbers.split_ascii_whitespace().skip(1).last()?.parse().ok()
}

/// A process's words, as it has them now; it may have made them as long as it likes.
fn command(pid: i32, stat: Stat) -> Option<String> {
    let mut words = Vec::new();
    File::open(format!("/proc/{pid}/cmdline")).ok()?.take(4096).read_to_end(&mut words).ok()?;
    let words = String::from_utf8_lossy(&words).trim_end_matches('\0').replace('\0', " ");
    if !words.is_empty() {
        return Some(words);
    }
    let name = fs::read(format!("/proc/{pid}/comm")).ok()?;
    let name = String::from_utf8_lossy(&name).trim_end_matches('\n').to_owned();
    Some(if stat.lives() { format!("[{name}]") } else { format!("[{name}] zombie") })
}

/// Containers that share what they need not: everything that is not yours but their user namespace, which they share
/// because they have one user.
fn pods(you: &You, containers: &[Shown]) -> Vec<Pod> {
    let mut groups: BTreeMap<(&str, u64), Vec<usize>> = BTreeMap::new();
    for (index, container) in containers.iter().enumerate() {
        let Some(first) = container.processes.iter().find(|it| Some(it.pid) == container.pid) else { continue };
        for kind in KINDS.map(Namespace::file) {
            if let Some(&inode) = first.namespaces.get(kind)
                && kind != Namespace::User.file()
                && you.namespaces.get(kind) != Some(&inode)
            {
                groups.entry((kind, inode)).or_default().push(index);
            }
        }
    }
    // Whoever shares with one of a pod belongs to it.
    let mut pod_of: Vec<usize> = (0..containers.len()).collect();
    for together in groups.values() {
        let pods: Vec<usize> = together.iter().map(|&index| pod_of[index]).collect();
        let pod = pods.iter().copied().min().unwrap_or_default();
        pod_of.iter_mut().filter(|it| pods.contains(it)).for_each(|it| *it = pod);
    }
    let of = |pod: usize| {
        let members: Vec<usize> = (0..containers.len()).filter(|&index| pod_of[index] == pod).collect();
        let shared = |kind: &&str| {
            groups.iter().any(|((it, _), together)| it == kind && together.len() > 1 && members.contains(&together[0]))
        };
        Pod {
            shares: KINDS.map(Namespace::file).into_iter().filter(shared).map(String::from).collect(),
            containers: members.into_iter().map(|index| containers[index].name.clone()).collect(),
        }
    };
    let all = (0..containers.len()).filter(|&pod| pod_of[pod] == pod).map(of);
    all.filter(|pod| pod.containers.len() > 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(name: &str, namespaces: &[(&str, u64)]) -> Shown {
        let namespaces = namespaces.iter().map(|(kind, inode)| ((*kind).to_string(), *inode)).collect();
        let command = "sh".to_string();
        let first = Member { pid: 7, parent: 1, inside: Some(1), role: Role::Program, command, namespaces };
        Shown { id: String::new(), name: name.into(), status: "running".into(), pid: Some(7), processes: vec![first] }
    }

    #[test]
    fn a_pod_is_whoever_shares_more_than_the_user_namespace() {
        let you = You { user: "you".into(), namespaces: [("net".to_string(), 1), ("user".to_string(), 2)].into() };
        let all = [
            container("a", &[("user", 9), ("net", 10), ("ipc", 20)]),
            container("host", &[("user", 9), ("net", 1)]),
            container("b", &[("user", 9), ("net", 11), ("ipc", 20)]),
            container("alone", &[("user", 9), ("net", 12), ("ipc", 21)]),
            container("c", &[("user", 9), ("net", 11), ("ipc", 22)]),
        ];
        let found = pods(&you, &all);
        let expected = Pod {
            containers: ["a", "b", "c"].map(String::from).into(),
            shares: ["ipc", "net"].map(String::from).into(),
        };
        assert_eq!(found, [expected], "a and b share ipc, b and c share net, and nobody a pod with the host");
    }
}
