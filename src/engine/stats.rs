//! `stats`: what a container uses of the machine, at one moment.
//!
//! Nothing keeps these numbers for us: its cgroup counts processor time, memory, disk and tasks, its network namespace
//! counts bytes, and a percentage of a processor is what was used between two looks. Without a look before, it is that
//! since the start.
//!
//! The subtlety is which group. The first process may have moved itself into one below the container's (a systemd in a
//! container does), so we look on its way up for the group that is named after the container. If there is none, the
//! container is counted with whoever started it, and no number would be its own.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use jiff::Timestamp;

use super::Engine;
use super::container::{Container, Process};
use super::settings::NetworkMode;
use crate::hint::hinted;
use crate::linux::cgroup::{Cgroup, Hierarchy, Limit, Stats};

/// What was used until one moment. A number that nobody counts here is none; a container that does not run uses nothing.
#[derive(Debug, Clone)]
pub struct Sample {
    /// When: nanoseconds since 1970.
    pub at: u64,
    /// Processor time: nanoseconds.
    pub cpu: u64,
    /// Those of them in the kernel.
    pub cpu_system: u64,
    /// Percent of one processor since the look before.
    pub cpu_percent: f64,
    /// Percent of one processor since the start.
    pub cpu_average: f64,
    /// Bytes, and the bound: its own, else the machine's.
    pub memory: Option<(u64, u64)>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Bytes received and sent.
    pub network: Option<(u64, u64)>,
    /// Bytes read from and written to disks.
    pub disk: Option<(u64, u64)>,
}

impl Sample {
    fn of_nothing() -> Self {
        let nothing = Some((0, 0));
        let at = nanoseconds(Timestamp::now());
        let (cpu, cpu_system, cpu_percent, cpu_average) = (0, 0, 0.0, 0.0);
        Self {
            at,
            cpu,
            cpu_system,
            cpu_percent,
            cpu_average,
            memory: nothing,
            pids: Some(0),
            network: nothing,
            disk: nothing,
        }
    }

    /// Memory in percent of its bound.
    #[allow(clippy::cast_precision_loss)] // a percentage
    pub fn memory_percent(&self) -> Option<f64> {
        self.memory.map(|(used, bound)| if bound == 0 { 0.0 } else { used as f64 / bound as f64 * 100.0 })
    }
}

impl Engine {
    /// What a container has used until now; `before`: the last look.
    ///
    /// None, if the container has no cgroup of its own.
    pub fn sample(&self, container: &Container, before: Option<&Sample>) -> Result<Option<Sample>> {
        let status = container.status();
        let Some(process) = status.process().filter(|_| status.is_running()) else {
            return Ok(Some(Sample::of_nothing()));
        };
        let found = group(container, process);
        if !process.lives() {
            return Ok(Some(Sample::of_nothing()));
        }
        let Some(group) = found? else { return Ok(None) };
        let stats = group.stats();
        let at = nanoseconds(Timestamp::now());
        let cpu = stats.cpu("usage_usec") * 1000;
        let started = container.started().and_then(|started| started.at.parse().ok()).map_or(at, nanoseconds);
        let (cpu_before, at_before) = before.map_or((0, started), |before| (before.cpu, before.at));
        Ok(Some(Sample {
            at,
            cpu,
            cpu_system: stats.cpu("system_usec") * 1000,
            // Started anew since the last look, it has used less than then.
            cpu_percent: percent(cpu.saturating_sub(cpu_before), at.saturating_sub(at_before)),
            cpu_average: percent(cpu, at.saturating_sub(started)),
            memory: stats.memory_in_use().map(|used| (used, bound(&stats))),
            pids: stats.pids,
            network: network(container, process),
            disk: stats.io_sum("rbytes").zip(stats.io_sum("wbytes")),
        }))
    }

    /// Why there is no [`Sample`] of a container that runs.
    pub fn uncounted(&self, container: &Container) -> anyhow::Error {
        let name = container.name();
        let message = format!("nothing counts what {name} uses: it has no cgroup of its own");
        match Hierarchy::find() {
            Some(hierarchy) if self.rootless() && hierarchy.is_hybrid() => hinted(
                format!("{message} (stats are not supported in rootless mode without cgroups v2)"),
                "boot with systemd.unified_cgroup_hierarchy=1",
            ),
            _ if self.rootless() => hinted(
                message,
                "make it from a login with a systemd of the user's own, or from a unit with Delegate=yes",
            ),
            _ => anyhow::anyhow!(message),
        }
    }
}

/// The container's group, if it has one of its own.
fn group(container: &Container, process: Process) -> Result<Option<Cgroup>> {
    let Some(hierarchy) = Hierarchy::find() else { return Ok(None) };
    let path = hierarchy.path_of(&process.pid.to_string())?;
    named_after(&path, container.id()).map_or(Ok(None), |path| Cgroup::open(&hierarchy, &path))
}

/// The uppermost group on the way to `path` that has the container's id in its name.
fn named_after(path: &Path, id: &str) -> Option<PathBuf> {
    let names = |path: &&Path| path.file_name().is_some_and(|name| name.to_string_lossy().contains(id));
    path.ancestors().filter(names).last().map(Path::to_owned)
}

fn nanoseconds(time: Timestamp) -> u64 {
    u64::try_from(time.as_nanosecond()).unwrap_or_default()
}

#[allow(clippy::cast_precision_loss)] // a percentage
fn percent(used: u64, passed: u64) -> f64 {
    if passed == 0 { 0.0 } else { used as f64 / passed as f64 * 100.0 }
}

/// A bound above what the machine has bounds nothing.
fn bound(stats: &Stats) -> u64 {
    let machine = machine_memory().unwrap_or(u64::MAX);
    match stats.memory_max {
        Some(Limit::At(bytes)) => bytes.min(machine),
        _ => machine,
    }
}

fn machine_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let kibibytes = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.trim().strip_suffix("kB")?;
    Some(kibibytes.trim().parse::<u64>().ok()? << 10)
}

/// Bytes received and sent by the container's devices, but its loopback. The host's own network is nobody's to count.
fn network(container: &Container, process: Process) -> Option<(u64, u64)> {
    if container.config.network == NetworkMode::Host {
        return None;
    }
    Some(bytes(&fs::read_to_string(format!("/proc/{}/net/dev", process.pid)).ok()?))
}

/// The sums of a `net/dev`: after the device's name eight numbers of what came in, then eight of what went out.
fn bytes(text: &str) -> (u64, u64) {
    let devices = text.lines().filter_map(|line| line.split_once(':')).filter(|(name, _)| name.trim() != "lo");
    devices.fold((0, 0), |sum, (_, numbers)| {
        let numbers: Vec<u64> = numbers.split_ascii_whitespace().map(|it| it.parse().unwrap_or(0)).collect();
        let number = |at: usize| numbers.get(at).copied().unwrap_or(0);
        (sum.0 + number(0), sum.1 + number(8))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_is_the_uppermost_that_is_named_after_the_container() {
        let find = |path: &str| named_after(Path::new(path), "abc").map(|path| path.display().to_string());
        assert_eq!(find("/podling/abc").as_deref(), Some("/podling/abc"));
        assert_eq!(find("/m.slice/podling-abc.scope/init.scope").as_deref(), Some("/m.slice/podling-abc.scope"));
        assert_eq!(find("/user.slice/session-1.scope"), None);
    }

    #[test]
    fn the_loopback_does_not_count() {
        let text = "Inter-| Receive\n face |bytes\n    lo: 9 1 0 0 0 0 0 0 9 1 0 0 0 0 0 0\n  eth0: 100 1 0 0 0 0 0 0 20 1 0 0 0 0 0 0\n";
        assert_eq!(bytes(text), (100, 20));
    }

    #[test]
    fn half_a_second_in_two_is_a_quarter() {
        assert!((percent(500, 2000) - 25.0).abs() < 1e-9);
        assert!(percent(1, 0).abs() < 1e-9);
    }
}
