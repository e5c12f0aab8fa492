//! The bundle's namespaces: which are made, which are joined, and what may be set because they are the container's own.
//!
//! A sysctl or a clock offset belongs to a namespace (namespaces(7)). In one of the container's own it is the container's
//! affair; in any other it would change what others see, the whole machine at worst. So each is allowed only together with
//! the namespace that confines it.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, Spec};

use crate::linux::idmap::IdMap;
use crate::linux::namespace::{self, Namespace};
use crate::linux::userns::Maps;

/// Which namespaces are made and which joined.
#[derive(Debug, Default)]
pub struct Namespaces {
    /// Made.
    pub new: Vec<Namespace>,
    /// Joined: whatever the file names.
    pub joined: Vec<(Namespace, OwnedFd)>,
    /// The id maps of a new user namespace.
    pub maps: Option<Maps>,
}

impl Namespaces {
    /// Whether the container has its own (new, or another container's) namespace of this kind.
    pub fn has(&self, kind: Namespace) -> bool {
        self.new.contains(&kind) || self.joins(kind)
    }

    /// Whether it joins one of this kind.
    pub fn joins(&self, kind: Namespace) -> bool {
        self.joined.iter().any(|(joined, _)| *joined == kind)
    }

    /// Whether a process in the middle must do the joining: one whose children are born in the pid namespace it joined,
    /// and which joins others while it still has the privilege over them that a child in a new user namespace has lost.
    pub fn need_middle(&self) -> bool {
        self.joins(Namespace::User)
            || self.joins(Namespace::Pid)
            || (self.new.contains(&Namespace::User) && !self.joined.is_empty())
    }

    /// The kinds that a later `exec` joins, by their names in /proc/PID/ns.
    pub fn names(&self) -> Vec<String> {
        Namespace::ALL.into_iter().filter(|kind| self.has(*kind)).map(|kind| kind.file().to_string()).collect()
    }
}

/// Reads `linux.namespaces` and the id maps. `in_user_namespace`: we are in one already.
pub fn namespaces(spec: &Spec, in_user_namespace: bool) -> Result<Namespaces> {
    let mut found = Namespaces::default();
    let linux = spec.linux().as_ref().context("config.json has no linux section")?;
    for asked in linux.namespaces().iter().flatten() {
        let kind = match asked.typ() {
            LinuxNamespaceType::User => Namespace::User,
            LinuxNamespaceType::Mount => Namespace::Mount,
            LinuxNamespaceType::Pid => Namespace::Pid,
            LinuxNamespaceType::Network => Namespace::Network,
            LinuxNamespaceType::Ipc => Namespace::Ipc,
            LinuxNamespaceType::Uts => Namespace::Uts,
            LinuxNamespaceType::Cgroup => Namespace::Cgroup,
            LinuxNamespaceType::Time => Namespace::Time,
        };
        if found.has(kind) {
            bail!("linux.namespaces: {} is asked for twice", kind.file());
        }
        match asked.path().as_ref().filter(|path| !path.as_os_str().is_empty()) {
            None => found.new.push(kind),
            Some(path) => {
                let file = open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
                    .with_context(|| format!("namespace {}", path.display()))?;
                // Joining the user namespace one is in already is refused by the kernel, and asks for nothing.
                let is_ours = kind == Namespace::User
                    && namespace::identity_of(path)? == namespace::identity(nix::unistd::Pid::this(), kind)?;
                if !is_ours {
                    found.joined.push((kind, file));
                }
            }
        }
    }
    if found.new.contains(&Namespace::User) {
        let maps = Maps { uids: maps(linux.uid_mappings().as_deref()), gids: maps(linux.gid_mappings().as_deref()) };
        if maps.uids.is_empty() || maps.gids.is_empty() {
            bail!("a new user namespace needs linux.uidMappings and linux.gidMappings");
        }
        found.maps = Some(maps);
    } else if !found.joins(Namespace::User) && !in_user_namespace && !nix::unistd::geteuid().is_root() {
        bail!("without root a container needs a user namespace (linux.namespaces)");
    }
    // The kernel makes the user namespace first whatever the order; joining one by one wants ours.
    found.joined.sort_by_key(|(kind, _)| *kind);
    Ok(found)
}

/// Id maps, as OCI writes them.
pub fn maps(asked: Option<&[LinuxIdMapping]>) -> Vec<IdMap> {
    let map = |map: &LinuxIdMapping| IdMap { container: map.container_id(), host: map.host_id(), size: map.size() };
    asked.unwrap_or_default().iter().map(map).collect()
}

/// Only settings that a namespace of the container's own confines; others would change the whole machine.
pub fn sysctls(spec: &Spec, namespaces: &Namespaces) -> Result<Vec<(PathBuf, String)>> {
    const IPC: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    let asked = spec.linux().as_ref().and_then(|linux| linux.sysctl().as_ref());
    let mut found = Vec::new();
    for (name, value) in asked.into_iter().flatten() {
        // Names of network devices may hold dots: then the whole name is written with slashes.
        let path = if name.contains('/') { name.clone() } else { name.replace('.', "/") };
        let dotted = path.replace('/', ".");
        let needed = if dotted.starts_with("net.") {
            Namespace::Network
        } else if IPC.contains(&dotted.as_str()) || dotted.starts_with("fs.mqueue.") {
            Namespace::Ipc
        } else if dotted == "kernel.hostname" || dotted == "kernel.domainname" {
            Namespace::Uts
        } else {
            bail!("sysctl {name}: no namespace confines it, it would change the whole machine");
        };
        if !namespaces.has(needed) {
            bail!("sysctl {name}: the container has no {} namespace of its own", needed.file());
        }
        if path.split('/').any(|part| part.is_empty() || part == "..") {
            bail!("sysctl {name}: not a name");
        }
        found.push((PathBuf::from(path), value.clone()));
    }
    found.sort();
    Ok(found)
}

/// The clocks' offsets, as /proc/PID/timens_offsets takes them (time_namespaces(7)).
pub fn time_offsets(spec: &Spec, namespaces: &Namespaces) -> Result<Option<String>> {
    let Some(offsets) = spec.linux().as_ref().and_then(|linux| linux.time_offsets().as_ref()) else { return Ok(None) };
    if offsets.is_empty() {
        return Ok(None);
    }
    if !namespaces.new.contains(&Namespace::Time) {
        bail!("linux.timeOffsets needs a new time namespace");
    }
    let mut text = String::new();
    for (clock, offset) in offsets {
        let nanoseconds = offset.nanosecs().unwrap_or(0);
        text.push_str(&format!("{clock} {} {nanoseconds}\n", offset.secs().unwrap_or(0)));
    }
    Ok(Some(text))
}
