//! When a process runs, where, how soon the disk serves it, and from which nodes its memory comes.
//!
//! All of it belongs to one thread, passes to those that it makes, and outlives execve. Urgency above the ordinary takes
//! `CAP_SYS_NICE` in the machine's first user namespace (sched(7), ioprio_set(2)): nobody inside a user namespace has
//! that, so it is asked for from outside, by pid. Memory's policy and the personality can only be one's own.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use super::ranges;
use crate::sys;
pub use crate::sys::Scheduling;
use crate::trace::{self, Topic};

/// How soon the disk serves a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskPriority {
    /// Before everybody else; 0 is first of 8.
    RealTime(u8),
    /// As everybody; 0 is first of 8.
    BestEffort(u8),
    /// When nobody else wants anything.
    Idle,
}

/// Sets how the kernel chooses when process `pid` runs.
pub fn set(pid: Pid, scheduling: &Scheduling) -> Result<()> {
    trace::ask(Topic::Process, "sched_setattr", format_args!("{pid} policy {}", scheduling.policy), || {
        sys::sched_setattr(pid, scheduling)
    })
    .context("setting the scheduling policy")
}

/// Sets how soon the disk serves process `pid`.
pub fn set_disk_priority(pid: Pid, priority: DiskPriority) -> Result<()> {
    let (class, level) = match priority {
        DiskPriority::RealTime(level) => (1, level),
        DiskPriority::BestEffort(level) => (2, level),
        DiskPriority::Idle => (3, 0),
    };
    trace::ask(Topic::Process, "ioprio_set", format_args!("{pid} class {class} level {level}"), || {
        sys::ioprio_set(pid, class << 13 | i32::from(level))
    })
    .context("setting the disk priority")
}

/// Sets the processors that process `pid` may run on.
pub fn set_processors(pid: Pid, processors: &BTreeSet<usize>) -> Result<()> {
    let told = || format!("running on the processors {processors:?}");
    let mut set = CpuSet::new();
    for processor in processors {
        set.set(*processor).with_context(told)?;
    }
    trace::ask(Topic::Process, "sched_setaffinity", format_args!("{pid} {processors:?}"), || {
        sched_setaffinity(pid, &set)
    })
    .with_context(told)
}

/// From which nodes this process's memory comes (set_mempolicy(2)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryPolicy {
    /// `MPOL_*`.
    pub mode: i32,
    /// `MPOL_F_*`.
    pub flags: i32,
    /// The nodes.
    pub nodes: BTreeSet<usize>,
}

impl MemoryPolicy {
    /// Sets it for this process.
    pub fn set(&self) -> Result<()> {
        let (mode, nodes) = (self.mode | self.flags, &self.nodes);
        trace::ask(Topic::Process, "set_mempolicy", format_args!("{mode:#x} {nodes:?}"), || {
            sys::set_mempolicy(mode, &ranges::words(nodes))
        })
        .context("setting the memory policy")
    }
}

/// What `uname` tells this process of the machine, and other old habits (personality(2)).
pub fn set_personality(personality: u32) -> Result<()> {
    trace::ask(Topic::Process, "personality", format_args!("{personality:#x}"), || sys::set_personality(personality))
        .context("setting the personality")
}
