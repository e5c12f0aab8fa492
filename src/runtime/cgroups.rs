//! A container's cgroup: where the bundle wants it, by the manager that the command line names.
//!
//! | manager  | `cgroupsPath`          | who makes it, and when                                       |
//! |----------|------------------------|--------------------------------------------------------------|
//! | cgroupfs | `/a/b`: from the root  | we, before the clone: the container is born into it          |
//! |          | `a/b`: below our own   |                                                              |
//! | systemd  | `slice:prefix:name`    | systemd, after the clone: a scope needs a process to be born |
//! | disabled | –                      | nobody: the container stays with us                          |
//!
//! The subtlety is when there may be none. An ordinary user whose group nobody delegated to him can make no cgroup. If
//! he asked for no limit he gets his container, counted with his own processes; if he asked for one, an error that says
//! how to get it. He is never told that a limit holds when it does not.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::unistd::Pid;
use oci_spec::runtime::{LinuxResources, Spec};
use serde::{Deserialize, Serialize};

use super::plan::{properties, resources};
use crate::linux::cgroup::devices::Rule;
use crate::linux::cgroup::systemd::{Instance, Scope, Systemd};
use crate::linux::cgroup::{Cgroup, Hierarchy, Limit, Resources, Stats};
use crate::linux::dbus::Variant;
use crate::linux::process::{Process, Signal};
use crate::trace::{self, Topic};

/// Who makes the cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    /// We, in the file system.
    Cgroupfs,
    /// systemd, asked over D-Bus.
    Systemd,
    /// Nobody: the container stays in ours.
    Disabled,
}

/// When a container that asks for no limit may do without a cgroup that cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scarcity {
    /// An ordinary user's, or that of root of a user namespace.
    OfUsers,
    /// Always.
    Allowed,
    /// Never.
    Refused,
}

impl Scarcity {
    fn is_allowed(self) -> Result<bool> {
        match self {
            Self::OfUsers => Ok(!is_root()?),
            Self::Allowed => Ok(true),
            Self::Refused => Ok(false),
        }
    }
}

/// Where a container's processes are counted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Place {
    /// The cgroup's path from the root of the hierarchy.
    pub path: PathBuf,
    /// systemd's unit, if it was systemd that made it.
    pub unit: Option<String>,
}

/// A cgroup before the container is born.
#[derive(Debug)]
pub enum Prepared {
    /// It is there: be born in it.
    Made(Place),
    /// It will be, when there is a process to put into it.
    Asked(Box<Asked>),
}

/// A scope that systemd will be asked for.
#[derive(Debug)]
pub struct Asked {
    systemd: Systemd,
    hierarchy: Hierarchy,
    unit: String,
    slice: String,
    description: String,
    resources: Resources,
    devices: Vec<Rule>,
    properties: Vec<(String, Variant)>,
}

/// Root, and not only of a user namespace.
fn is_root() -> Result<bool> {
    Ok(Instance::own()? == Instance::System)
}

/// Makes the container's cgroup, or gets ready to. All that can be wrong with the bundle's wishes is found here.
pub fn prepare(id: &str, spec: &Spec, manager: Manager, scarcity: Scarcity) -> Result<Option<Prepared>> {
    let linux = spec.linux().as_ref();
    let asked = linux.and_then(|linux| linux.resources().as_ref());
    let limits = asked.map(resources::resources).transpose()?.unwrap_or_default();
    let devices = asked.map(resources::devices).transpose()?.unwrap_or_default();
    let wanted = linux.and_then(|linux| linux.cgroups_path().clone()).unwrap_or_default();

    let hierarchy = match (manager, Hierarchy::find()) {
        (Manager::Disabled, _) | (_, None) if limits.limit_nothing() => return Ok(None),
        (Manager::Disabled, _) => {
            bail!("linux.resources: there is no limit without a cgroup, and cgroups are disabled")
        }
        (_, None) => bail!("linux.resources: no limit can be set: cgroup version 2 is not mounted on /sys/fs/cgroup"),
        (_, Some(hierarchy)) => hierarchy,
    };
    if manager == Manager::Systemd {
        let instance = Instance::own()?;
        let (slice, unit) = unit(&wanted.to_string_lossy(), id, instance)?;
        let systemd = Systemd::connect(instance)?;
        let description = format!("container {id}");
        let properties = spec.annotations().as_ref().map(properties::of).transpose()?.unwrap_or_default();
        let asked = Asked { systemd, hierarchy, unit, slice, description, resources: limits, devices, properties };
        return Ok(Some(Prepared::Asked(Box::new(asked))));
    }

    let path = path(&wanted, id, &hierarchy)?;
    let group = match Cgroup::create(&hierarchy, &path) {
        Ok(group) => group,
        Err(error) if limits.limit_nothing() && scarcity.is_allowed()? => {
            trace::say(Topic::Cgroup, "no cgroup", format_args!("{error:#}"), "the container stays in ours");
            return Ok(None);
        }
        Err(error) => {
            return Err(error.context(
                "this group is not ours to divide; run from a unit with Delegate=yes, or use --cgroup-manager systemd",
            ));
        }
    };
    let place = Place { path, unit: None };
    if let Err(error) = set(&group, &limits, &devices) {
        // Nobody is in it yet.
        let _ = group.remove();
        return Err(error);
    }
    Ok(Some(Prepared::Made(place)))
}

fn set(group: &Cgroup, limits: &Resources, devices: &[Rule]) -> Result<()> {
    group.set(limits)?;
    group.pass_on_what_there_is();
    // Only root may load the program; a user's container has no devices but those of the host that he may use anyway.
    if !devices.is_empty() && is_root()? {
        group.set_devices(devices)?;
    }
    Ok(())
}

/// The group for cgroupfs.
fn path(wanted: &Path, id: &str, hierarchy: &Hierarchy) -> Result<PathBuf> {
    if wanted.is_absolute() {
        return Ok(wanted.into());
    }
    if !wanted.as_os_str().is_empty() {
        return Ok(hierarchy.own_division()?.join(wanted));
    }
    if is_root()? {
        Ok(Path::new("/podling").join(id))
    } else {
        Ok(hierarchy.own_division()?.join(format!("podling-{id}")))
    }
}

/// Removes the group that [`prepare`] made by cgroupfs for a container whose state was never written, if nobody is in it:
/// a path may have been given that is not this container's alone. systemd's groups end by themselves.
pub fn remove_unrecorded(id: &str, spec: &Spec) {
    let wanted = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().clone()).unwrap_or_default();
    if let Some(hierarchy) = Hierarchy::find()
        && let Ok(path) = path(&wanted, id, &hierarchy)
    {
        let _ = Place { path, unit: None }.remove();
    }
}

/// Slice and unit from `slice:prefix:name`; of anything else (a path that was meant for cgroupfs) only that it was there.
fn unit(wanted: &str, id: &str, instance: Instance) -> Result<(String, String)> {
    let (slice, prefix, name) = match wanted.split(':').collect::<Vec<_>>()[..] {
        [slice, prefix, name] => (slice, prefix, name),
        _ => ("", "podling", id),
    };
    let slice = if slice.is_empty() { instance.default_slice() } else { slice };
    let unit = match prefix {
        "" => format!("{name}.scope"),
        prefix => format!("{prefix}-{name}.scope"),
    };
    let is_sound = |letter: char| letter.is_ascii_alphanumeric() || ":-_.\\@".contains(letter);
    if Path::new(slice).extension().is_none_or(|end| end != "slice")
        || ![slice, &unit].iter().all(|name| name.chars().all(is_sound))
    {
        bail!("linux.cgroupsPath {wanted:?}: systemd wants slice:prefix:name, the slice ending in .slice");
    }
    Ok((slice.into(), unit))
}

impl Prepared {
    /// The place, if it is there already.
    pub fn place(&self) -> Option<&Place> {
        match self {
            Self::Made(place) => Some(place),
            Self::Asked(_) => None,
        }
    }

    /// Whether the container must wait to be put there.
    pub fn comes_later(&self) -> bool {
        matches!(self, Self::Asked(_))
    }

    /// Puts the container's first process there, if it was not born there.
    pub fn settle(self, pid: Pid) -> Result<Place> {
        match self {
            Self::Made(place) => Ok(place),
            Self::Asked(asked) => {
                let Asked { mut systemd, hierarchy, unit, slice, description, resources, devices, properties } = *asked;
                let (unit_name, resources, properties) = (unit.as_str(), &resources, &properties);
                let scope =
                    Scope { unit: unit_name, slice: &slice, description: &description, pid, resources, properties };
                let group = systemd.start(&hierarchy, &scope)?;
                if let Err(error) = set(&group, resources, &devices) {
                    // Killed first: a first process of a pid namespace does not hear systemd's SIGTERM.
                    let _ = group.kill();
                    let _ = systemd.stop(&unit);
                    return Err(error);
                }
                Ok(Place { path: group.path().into(), unit: Some(unit) })
            }
        }
    }
}

impl Place {
    /// The group, if it is still there.
    fn find(&self) -> Result<Option<Cgroup>> {
        match Hierarchy::find() {
            Some(hierarchy) => Cgroup::open(&hierarchy, &self.path),
            None => Ok(None),
        }
    }

    fn group(&self) -> Result<Cgroup> {
        self.find()?.with_context(|| format!("the cgroup {} is gone", self.path.display()))
    }

    /// Whether it is frozen.
    pub fn is_frozen(&self) -> bool {
        self.find().ok().flatten().is_some_and(|group| group.frozen().unwrap_or(false))
    }

    /// Its directory, for clone3.
    pub fn open(&self) -> Result<OwnedFd> {
        Ok(self.group()?.fd().try_clone_to_owned()?)
    }

    /// The group, here or below, where this process is now.
    pub fn of(&self, pid: Pid) -> Result<Option<OwnedFd>> {
        let Some(hierarchy) = Hierarchy::find() else { return Ok(None) };
        let path = hierarchy.path_of(&pid.to_string())?;
        if !path.starts_with(&self.path) {
            return Ok(None);
        }
        Cgroup::open(&hierarchy, &path)?.map(|group| Ok(group.fd().try_clone_to_owned()?)).transpose()
    }

    /// Puts a process there that the kernel would not let be born there: we come from a group (a login session's) that
    /// has no group above it in common with this one where we may write. systemd may.
    pub fn adopt(&self, pid: Pid) -> Result<()> {
        match &self.unit {
            Some(unit) => Systemd::connect(Instance::own()?)?.attach(unit, pid),
            None => self.group()?.add(pid),
        }
    }

    /// A group below this one, for an exec that asks for it.
    pub fn below(&self, name: Option<&str>) -> Result<Place> {
        match name {
            None | Some("" | "/") => Ok(self.clone()),
            Some(name) => {
                let hierarchy = Hierarchy::find().context("cgroup version 2 is not mounted")?;
                let path = self.path.join(name.trim_start_matches('/'));
                Cgroup::create(&hierarchy, &path)?;
                Ok(Place { path, unit: None })
            }
        }
    }

    /// Sends a signal to every process in it.
    pub fn kill(&self, signal: Signal) -> Result<()> {
        let Some(group) = self.find()? else { return Ok(()) };
        if signal == Signal::KILL {
            return group.kill();
        }
        // Frozen, nobody forks away from us; the signal waits until they are thawed.
        let was_frozen = group.frozen()?;
        if !was_frozen {
            group.freeze(true)?;
        }
        for pid in group.processes()? {
            // Gone meanwhile: that is what was wanted.
            if let Some(process) = Process::open(pid)? {
                let _ = process.signal(signal);
            }
        }
        if was_frozen { Ok(()) } else { group.freeze(false) }
    }

    /// Freezes or thaws it.
    pub fn freeze(&self, frozen: bool) -> Result<()> {
        self.group()?.freeze(frozen)
    }

    /// Removes it; its processes are dead or dying. That it is gone is no error.
    pub fn remove(&self) -> Result<()> {
        // systemd's groups are systemd's to remove: it would not notice that one is gone, and keep its unit for ever.
        // The scope may have ended by itself with its last process.
        if let Some(unit) = &self.unit
            && let Ok(mut systemd) = Systemd::connect(Instance::own()?)
        {
            systemd.stop(unit)?;
        }
        match self.find()? {
            Some(group) => group.remove(),
            None => Ok(()),
        }
    }

    /// Changes its limits.
    pub fn limit(&self, asked: &LinuxResources) -> Result<()> {
        let mut limits = resources::resources(asked)?;
        let group = self.group()?;
        group.complete(&mut limits);
        if let Some(bound) = limits.memory_max
            && asked.memory().is_some_and(|memory| memory.check_before_update().unwrap_or(false))
        {
            refuse_below_usage(bound, &group.stats())?;
        }
        if let Some(unit) = &self.unit {
            Systemd::connect(Instance::own()?)?.update(unit, &limits)?;
        }
        group.set(&limits)?;
        let devices = resources::devices(asked)?;
        if !devices.is_empty() && is_root()? {
            group.set_devices(&devices)?;
        }
        Ok(())
    }

    /// The file that tells of its ends for want of memory, if there is one: its changes are exceptions for poll.
    pub fn memory_events(&self) -> Result<Option<File>> {
        Ok(self.find()?.and_then(|group| group.watch("memory.events").ok()))
    }

    /// Its processes.
    pub fn processes(&self) -> Result<Vec<i32>> {
        match self.find()? {
            Some(group) => Ok(group.processes()?.into_iter().map(Pid::as_raw).collect()),
            None => Ok(Vec::new()),
        }
    }

    /// What it has used.
    pub fn stats(&self) -> Result<Stats> {
        Ok(self.group()?.stats())
    }
}

fn refuse_below_usage(bound: Limit, stats: &Stats) -> Result<()> {
    match (bound, stats.memory) {
        (Limit::At(bound), Some(used)) if bound < used => {
            bail!("a memory limit of {bound} is below what the container uses now, {used}")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_named_as_the_bundle_says() {
        let read = |wanted: &str| unit(wanted, "abc", Instance::User).map_err(|error| error.to_string());
        let pair = |slice: &str, unit: &str| Ok((slice.to_string(), unit.to_string()));
        assert_eq!(read("user.slice:libpod:abc"), pair("user.slice", "libpod-abc.scope"));
        assert_eq!(read("machine.slice::abc"), pair("machine.slice", "abc.scope"));
        assert_eq!(read(":crun:abc"), pair("user.slice", "crun-abc.scope"));
        assert_eq!(read(""), pair("user.slice", "podling-abc.scope"));
        assert_eq!(read("/a/b"), pair("user.slice", "podling-abc.scope"));
        assert!(read("machine:a:b").is_err(), "no slice");
        assert!(read("a.slice:b:c/../d").is_err(), "no name");
    }
}
