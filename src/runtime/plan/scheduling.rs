//! The bundle's words for when a process runs, where, how soon the disk serves it and where its memory comes from.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::Pid;
use oci_spec::runtime::{
    ExecCPUAffinity, IOPriorityClass, Linux, LinuxIOPriority, LinuxMemoryPolicy, LinuxPersonality,
    LinuxPersonalityDomain, LinuxSchedulerFlag, LinuxSchedulerPolicy, MemoryPolicyFlagType, MemoryPolicyModeType,
    Process, Scheduler,
};

use crate::linux::ranges;
use crate::linux::scheduling::{self, DiskPriority, MemoryPolicy, Scheduling};
use crate::trace::{self, Topic};

/// What is asked for from outside, by the process's number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Urgency {
    scheduling: Option<Scheduling>,
    disk: Option<DiskPriority>,
    oom_score: Option<i32>,
}

impl Urgency {
    /// Reads it. `with_oom_score`: how gladly the kernel kills it for want of memory belongs to it too.
    pub fn of(process: &Process, with_oom_score: bool) -> Result<Self> {
        Ok(Self {
            oom_score: process.oom_score_adj().filter(|_| with_oom_score),
            scheduling: process.scheduler().as_ref().map(scheduler).transpose().context("process.scheduler")?,
            disk: process.io_priority().as_ref().map(disk).transpose().context("process.ioPriority")?,
        })
    }

    /// Gives it to a process.
    pub fn set(&self, pid: Pid) -> Result<()> {
        if let Some(wanted) = &self.scheduling {
            scheduling::set(pid, wanted)?;
        }
        if let Some(wanted) = self.disk {
            scheduling::set_disk_priority(pid, wanted)?;
        }
        if let Some(score) = self.oom_score {
            let path = format!("/proc/{pid}/oom_score_adj");
            trace::ask(Topic::Process, "write", format_args!("{path} {score}"), || {
                std::fs::write(&path, score.to_string())
            })
            .with_context(|| format!("setting oom_score_adj to {score}"))?;
        }
        Ok(())
    }
}

fn scheduler(asked: &Scheduler) -> Result<Scheduling> {
    let (policy, is_ordinary, is_real_time) = match asked.policy() {
        LinuxSchedulerPolicy::SchedOther => (0, true, false),
        LinuxSchedulerPolicy::SchedFifo => (1, false, true),
        LinuxSchedulerPolicy::SchedRr => (2, false, true),
        LinuxSchedulerPolicy::SchedBatch => (3, true, false),
        LinuxSchedulerPolicy::SchedIdle => (5, true, false),
        LinuxSchedulerPolicy::SchedDeadline => (6, false, false),
        LinuxSchedulerPolicy::SchedIso => bail!("no kernel has the policy SCHED_ISO"),
    };
    let nice = asked.nice().unwrap_or(0);
    let priority = u32::try_from(asked.priority().unwrap_or(0)).context("priority")?;
    let times = [asked.runtime(), asked.deadline(), asked.period()].map(|time| time.unwrap_or(0));
    // What a policy has no use for the kernel would not look at.
    ensure!(is_ordinary || nice == 0, "{} has no nice value", asked.policy());
    ensure!(is_real_time || priority == 0, "{} has no priority", asked.policy());
    ensure!(policy == 6 || times == [0; 3], "{} has no runtime, deadline or period", asked.policy());
    let flag = |flag: &LinuxSchedulerFlag| match flag {
        LinuxSchedulerFlag::SchedResetOnFork => 0x01,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    };
    let flags = asked.flags().iter().flatten().fold(0, |all, one| all | flag(one));
    ensure!(flags & 0x60 == 0, "a bundle has no words for the bounds that SCHED_FLAG_UTIL_CLAMP_MIN and _MAX need");
    let [runtime, deadline, period] = times;
    Ok(Scheduling { policy, flags, nice, priority, runtime, deadline, period, ..Scheduling::default() })
}

fn disk(asked: &LinuxIOPriority) -> Result<DiskPriority> {
    let level = u8::try_from(asked.priority()).ok().filter(|level| *level < 8);
    let level = level.with_context(|| format!("priority {} is not 0 to 7", asked.priority()))?;
    Ok(match asked.class() {
        IOPriorityClass::IoprioClassRt => DiskPriority::RealTime(level),
        IOPriorityClass::IoprioClassBe => DiskPriority::BestEffort(level),
        IOPriorityClass::IoprioClassIdle => DiskPriority::Idle,
    })
}

/// The processors of an exec: those that the runtime itself runs on before the process is born in its cgroup, and those
/// that it runs on then.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Processors {
    /// Before.
    pub first: Option<BTreeSet<usize>>,
    /// After.
    pub then: Option<BTreeSet<usize>>,
}

impl Processors {
    /// Reads them. They are for exec alone: a container's first process has its cgroup's cpuset.
    pub fn of(asked: Option<&ExecCPUAffinity>) -> Result<Self> {
        let list = |text: &Option<String>| {
            let text = text.as_deref().filter(|text| !text.is_empty());
            text.map(|text| ranges::parse(text).with_context(|| format!("process.execCPUAffinity: {text:?}")))
                .transpose()
        };
        let Some(asked) = asked else { return Ok(Self::default()) };
        Ok(Self { first: list(asked.initial())?, then: list(asked.cpu_affinity_final())? })
    }
}

/// `linux.memoryPolicy`.
pub fn memory_policy(linux: &Linux) -> Result<Option<MemoryPolicy>> {
    linux.memory_policy().as_ref().map(policy).transpose().context("linux.memoryPolicy")
}

fn policy(asked: &LinuxMemoryPolicy) -> Result<MemoryPolicy> {
    let mode = match asked.mode() {
        MemoryPolicyModeType::MpolDefault => 0,
        MemoryPolicyModeType::MpolPreferred => 1,
        MemoryPolicyModeType::MpolBind => 2,
        MemoryPolicyModeType::MpolInterleave => 3,
        MemoryPolicyModeType::MpolLocal => 4,
        MemoryPolicyModeType::MpolPreferredMany => 5,
        MemoryPolicyModeType::MpolWeightedInterleave => 6,
    };
    let flag = |flag: &MemoryPolicyFlagType| match flag {
        MemoryPolicyFlagType::MpolFNumaBalancing => 1 << 13,
        MemoryPolicyFlagType::MpolFRelativeNodes => 1 << 14,
        MemoryPolicyFlagType::MpolFStaticNodes => 1 << 15,
    };
    let list = asked.nodes().as_deref().unwrap_or_default();
    Ok(MemoryPolicy {
        mode,
        flags: asked.flags().iter().flatten().fold(0, |all, one| all | flag(one)),
        nodes: ranges::parse(list).with_context(|| format!("{list:?} is no list of nodes"))?,
    })
}

/// `linux.personality`, as personality(2) takes it.
pub fn personality(linux: &Linux) -> Result<Option<u32>> {
    let read = |asked: &LinuxPersonality| {
        if let Some(flag) = asked.flags().iter().flatten().next() {
            bail!("linux.personality: the specification has no flags yet, and this asks for {flag:?}");
        }
        Ok(match asked.domain() {
            LinuxPersonalityDomain::PerLinux => 0,
            LinuxPersonalityDomain::PerLinux32 => 8,
        })
    };
    linux.personality().as_ref().map(read).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: serde_json::Value) -> Result<Urgency> {
        let mut whole = serde_json::json!({ "user": { "uid": 0, "gid": 0 }, "cwd": "/" });
        for (key, value) in json.as_object().expect("an object") {
            whole[key] = value.clone();
        }
        Urgency::of(&serde_json::from_value(whole).expect("OCI's JSON"), false)
    }

    #[test]
    fn what_a_policy_has_no_use_for_is_refused() {
        let scheduler = |json: serde_json::Value| read(serde_json::json!({ "scheduler": json }));
        let found = scheduler(serde_json::json!({ "policy": "SCHED_BATCH", "nice": 5 })).expect("sound").scheduling;
        assert_eq!(found, Some(Scheduling { policy: 3, nice: 5, ..Scheduling::default() }));
        for json in [
            serde_json::json!({ "policy": "SCHED_FIFO", "nice": 5 }),
            serde_json::json!({ "policy": "SCHED_OTHER", "priority": 5 }),
            serde_json::json!({ "policy": "SCHED_RR", "runtime": 5 }),
            serde_json::json!({ "policy": "SCHED_ISO" }),
            serde_json::json!({ "policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_UTIL_CLAMP_MIN"] }),
        ] {
            assert!(scheduler(json.clone()).is_err(), "{json}");
        }
    }

    #[test]
    fn a_disk_has_eight_levels() {
        let disk = |class: &str, level: i64| {
            read(serde_json::json!({ "ioPriority": { "class": class, "priority": level } })).map(|found| found.disk)
        };
        assert_eq!(disk("IOPRIO_CLASS_RT", 7).expect("sound"), Some(DiskPriority::RealTime(7)));
        assert!(disk("IOPRIO_CLASS_BE", 8).is_err());
    }
}
