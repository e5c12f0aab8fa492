//! Groups of systemd's making: a transient scope, asked for over D-Bus.
//!
//! Where systemd runs, the tree is its own; who wants a part of it asks. A *scope* is a unit whose processes systemd did
//! not start: we name a pid, systemd makes the group, moves the process there, sets the limits that we list as
//! properties, and with `Delegate=yes` promises to leave all below alone. When the last process has left, the scope is
//! gone by itself.
//!
//! This is also how an ordinary user comes out of the group of his login session, which is root's: he may not move a
//! process from there to where he may make groups, since he would need the right to write in the group above both. His
//! own systemd is in the same plight, and asks the system's for it.
//!
//! The subtlety is that systemd answers before the work is done: it returns a *job*, and tells the end of it in a signal.
//! systemd's private socket (the one that systemctl uses) sends that signal to all who are connected; a message bus only
//! to those who have asked for it, and so we ask there first.

use anyhow::{Context, Result, anyhow, bail};
use nix::unistd::Pid;

use self::instance::Door;
pub use self::instance::Instance;
use super::{Cgroup, Hierarchy, Limit, Resources};
use crate::linux::dbus::{Address, Body, Connection, Message, Refusal, Variant};
use crate::linux::ranges;
use crate::trace::{self, Topic};

mod instance;

const DESTINATION: &str = "org.freedesktop.systemd1";
const OBJECT: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// A connection to one systemd.
#[derive(Debug)]
pub struct Systemd {
    connection: Connection,
}

/// A scope to be made.
#[derive(Debug)]
pub struct Scope<'a> {
    /// `something.scope`.
    pub unit: &'a str,
    /// The slice that it belongs to.
    pub slice: &'a str,
    /// One line for `systemctl status`.
    pub description: &'a str,
    /// Its first process.
    pub pid: Pid,
    /// Its limits.
    pub resources: &'a Resources,
    /// Whatever else is to be said of the unit, in systemd's words.
    pub properties: &'a [(String, Variant)],
}

impl Systemd {
    /// Connects.
    pub fn connect(instance: Instance) -> Result<Self> {
        let mut answer = Err(anyhow!("no socket is known"));
        for door in instance.doors() {
            answer = match door {
                Door::Private(address) => Connection::open(&address).map(|connection| Self { connection }),
                Door::Bus(address) => Self::meet_on(&address),
            };
            if answer.is_ok() {
                break;
            }
        }
        answer.context(match instance {
            Instance::System => "reaching systemd",
            Instance::User => "reaching the user's systemd (is there a login session, or lingering?)",
        })
    }

    /// On a bus there is no systemd for sure: it may be one that somebody started apart (dbus-run-session).
    fn meet_on(bus: &Address) -> Result<Self> {
        let mut connection = Connection::open(bus)?;
        let this = "org.freedesktop.DBus";
        let rule = format!("type='signal',interface='{MANAGER}',member='JobRemoved'");
        connection.call(this, "/org/freedesktop/DBus", this, "Hello", Body::default())?;
        connection.call(this, "/org/freedesktop/DBus", this, "AddMatch", Body::default().text(&rule))?;
        let mut systemd = Self { connection };
        systemd.call("Subscribe", Body::default()).with_context(|| format!("asking on the bus {bus}"))?;
        Ok(systemd)
    }

    fn call(&mut self, member: &str, body: Body) -> Result<Message> {
        self.connection.call(DESTINATION, OBJECT, MANAGER, member, body)
    }

    /// Makes a scope around a process, waits until the process is in it, and returns its group.
    pub fn start(&mut self, hierarchy: &Hierarchy, scope: &Scope) -> Result<Cgroup> {
        let mut properties = vec![
            ("Description", Variant::Text(scope.description.into())),
            ("Slice", Variant::Text(scope.slice.into())),
            ("PIDs", Variant::Numbers(vec![scope.pid.as_raw() as u32])),
            ("Delegate", Variant::Bool(true)),
            // Or the scope would be stopped early in a shutdown, in no order with what its processes need.
            ("DefaultDependencies", Variant::Bool(false)),
            ("MemoryAccounting", Variant::Bool(true)),
            ("CPUAccounting", Variant::Bool(true)),
            ("TasksAccounting", Variant::Bool(true)),
            ("IOAccounting", Variant::Bool(true)),
            // Else a scope that ended badly stays in systemd's list until somebody says reset-failed.
            ("CollectMode", Variant::Text("inactive-or-failed".into())),
        ];
        properties.extend(self::properties(scope.resources));
        // What somebody says himself takes the place of what we would say.
        properties.retain(|(name, _)| scope.properties.iter().all(|(other, _)| name != other));
        properties.extend(scope.properties.iter().map(|(name, value)| (name.as_str(), value.clone())));
        let told = properties.iter().map(|(name, value)| format!("{name}={value:?}")).collect::<Vec<_>>().join(" ");
        let call = || {
            let body = Body::default().text(scope.unit).text("replace").properties(&properties).nothing("(sa(sv))");
            let job = self.call("StartTransientUnit", body)?.reader().text()?;
            self.finish(&job)
        };
        trace::ask(Topic::Systemd, "StartTransientUnit", format_args!("{} {told}", scope.unit), call)
            .with_context(|| format!("asking systemd for the scope {}", scope.unit))?;
        let path = hierarchy.path_of(&scope.pid.to_string())?;
        // Believed only when seen: limits written to another group would hold somebody else.
        if path.file_name().is_none_or(|name| name != scope.unit) {
            bail!("systemd says that {} has started, but its process is in {}", scope.unit, path.display());
        }
        Cgroup::open(hierarchy, &path)?.with_context(|| format!("the scope {} is gone again", scope.unit))
    }

    /// Changes a unit's limits, until it ends.
    pub fn update(&mut self, unit: &str, resources: &Resources) -> Result<()> {
        let properties = properties(resources);
        let body = Body::default().text(unit).flag(true).properties(&properties);
        trace::ask(Topic::Systemd, "SetUnitProperties", format_args!("{unit}"), || self.call("SetUnitProperties", body))
            .map(drop)
            .with_context(|| format!("asking systemd to change {unit}"))
    }

    /// Moves a process of ours into a unit of ours, also out of a group where we have no say.
    pub fn attach(&mut self, unit: &str, pid: Pid) -> Result<()> {
        let body = Body::default().text(unit).text("").numbers(&[pid.as_raw() as u32]);
        let call = || self.call("AttachProcessesToUnit", body);
        trace::ask(Topic::Systemd, "AttachProcessesToUnit", format_args!("{unit} {pid}"), call)
            .map(drop)
            .with_context(|| format!("asking systemd to put process {pid} into {unit}"))
    }

    /// Stops a unit, if it is there, waits for it, and has systemd forget how it ended.
    pub fn stop(&mut self, unit: &str) -> Result<()> {
        let call = || {
            let job = self.call("StopUnit", Body::default().text(unit).text("replace"))?.reader().text()?;
            self.finish(&job)
        };
        match trace::ask(Topic::Systemd, "StopUnit", format_args!("{unit}"), call) {
            Err(error) if is_unknown(&error) => {}
            result => result.with_context(|| format!("asking systemd to stop {unit}"))?,
        }
        // Unknown by now, as a rule: nothing to forget.
        let _ = self.call("ResetFailedUnit", Body::default().text(unit));
        Ok(())
    }

    /// Waits for the end of a job.
    fn finish(&mut self, job: &str) -> Result<()> {
        loop {
            let signal = self.connection.signal()?;
            if signal.member != "JobRemoved" {
                continue;
            }
            // JobRemoved(u id, o job, s unit, s result)
            let mut reader = signal.reader();
            let (_, ended, _, result) = (reader.number()?, reader.text()?, reader.text()?, reader.text()?);
            if ended == job {
                return if result == "done" { Ok(()) } else { bail!("the job's result is {result:?}") };
            }
        }
    }
}

fn is_unknown(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Refusal>().is_some_and(|refusal| refusal.name == "org.freedesktop.systemd1.NoSuchUnit")
}

/// Limits in systemd's words. What it has no word for is written to the group's files afterwards, and so is all the rest:
/// systemd must know the limits, or its next reload would reset them.
fn properties(resources: &Resources) -> Vec<(&'static str, Variant)> {
    let number = |limit: Limit| match limit {
        Limit::Max => Variant::Number(u64::MAX),
        Limit::At(value) => Variant::Number(value),
    };
    let mut properties = Vec::new();
    let mut add = |name, value: Option<Variant>| properties.extend(value.map(|value| (name, value)));
    add("MemoryMax", resources.memory_max.map(number));
    add("MemoryLow", resources.memory_low.map(Variant::Number));
    add("MemorySwapMax", resources.swap_max.map(number));
    add("TasksMax", resources.pids_max.map(number));
    add("CPUWeight", resources.cpu_weight.map(Variant::Number));
    if let Some((quota, period)) = resources.cpu_max {
        let period = period.unwrap_or(100_000).max(1);
        let per_second = match quota {
            Limit::Max => u64::MAX,
            // systemd knows hundredths of a processor; rounded up, as runc does, never to nothing.
            Limit::At(quota) => (quota.saturating_mul(1_000_000) / period).next_multiple_of(10_000),
        };
        add("CPUQuotaPerSecUSec", Some(Variant::Number(per_second)));
        add("CPUQuotaPeriodUSec", Some(Variant::Number(period)));
    }
    add("AllowedCPUs", resources.cpuset_cpus.as_deref().and_then(bits).map(Variant::Bytes));
    add("AllowedMemoryNodes", resources.cpuset_mems.as_deref().and_then(bits).map(Variant::Bytes));
    add("IOWeight", resources.io_weight.map(Variant::Number));
    properties
}

/// `0-2,5` as a bit mask, lowest byte first. What cannot be read is left to the kernel to refuse.
fn bits(list: &str) -> Option<Vec<u8>> {
    let numbers = ranges::parse(list)?;
    let mut mask = vec![0; numbers.last().map_or(0, |last| last / 8 + 1)];
    for bit in numbers {
        mask[bit / 8] |= 1 << (bit % 8);
    }
    Some(mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_processors_becomes_a_mask() {
        assert_eq!(bits("0-2,5"), Some(vec![0b10_0111]));
        assert_eq!(bits("9"), Some(vec![0, 2]));
        assert_eq!(bits("a"), None);
        assert_eq!(bits("0-99999999"), None);
    }

    #[test]
    fn limits_are_told_in_systemds_words() {
        let resources = Resources {
            memory_max: Some(Limit::At(64 << 20)),
            pids_max: Some(Limit::Max),
            cpu_max: Some((Limit::At(1), Some(1000))),
            ..Resources::default()
        };
        assert_eq!(
            properties(&resources),
            [
                ("MemoryMax", Variant::Number(64 << 20)),
                ("TasksMax", Variant::Number(u64::MAX)),
                ("CPUQuotaPerSecUSec", Variant::Number(10_000)),
                ("CPUQuotaPeriodUSec", Variant::Number(1000)),
            ]
        );
    }
}
