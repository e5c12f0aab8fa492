//! The `process` section of a bundle, or of `exec --process`, in the kernel's numbers.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::sys::resource::Resource;
use oci_spec::runtime::{Capabilities as Names, Linux, PosixRlimitType, Process, Spec};

use super::labels;
use super::scheduling::{self, Urgency};
use super::seccomp::{self, Agent, RECEIVER_ANNOTATION};
use crate::linux::caps::{self, Capabilities, Capability};
use crate::linux::idmap;
use crate::linux::scheduling::MemoryPolicy;
use crate::linux::seccomp::Program;

/// A program and what it may.
#[derive(Debug)]
pub struct ProcessPlan {
    /// Its arguments; the first is its name or path.
    pub arguments: Vec<CString>,
    /// `NAME=value`.
    pub environment: Vec<CString>,
    /// Where it starts.
    pub directory: PathBuf,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
    /// It keeps the groups that we have, whatever `groups` says.
    pub keep_groups: bool,
    /// Mode bits its new files do not get.
    pub umask: u32,
    /// Capability sets; `None` leaves what we have.
    pub capabilities: Option<Capabilities>,
    /// No set-uid program may give it more.
    pub no_new_privileges: bool,
    /// Limits: kind, its name, soft, hard.
    pub limits: Vec<(Resource, String, u64, u64)>,
    /// How gladly the kernel kills it for want of memory, -1000 to 1000, if it sets that itself.
    pub oom_score: Option<i32>,
    /// AppArmor's profile.
    pub apparmor: Option<String>,
    /// SELinux's label.
    pub selinux: Option<String>,
    /// The seccomp filter, compiled.
    pub filter: Option<Program>,
    /// Who is asked about some calls, and the filter that asks him.
    pub agent: Option<Agent>,
    /// How soon the processor and the disk serve it; its parent sees to that.
    pub urgency: Urgency,
    /// From which nodes its memory comes.
    pub memory_policy: Option<MemoryPolicy>,
    /// What it is told of the machine.
    pub personality: Option<u32>,
    /// Whether it gets a terminal, and of which size (rows, columns).
    pub terminal: Option<(u16, u16)>,
    /// It is not pid 1 itself, but the child of one that we are (`--init`).
    pub below_init: bool,
    /// How many descriptors from 3 on are passed to it.
    pub passed_descriptors: i32,
}

/// Checks and converts. `spec` is the container's; `process` its own, or that of an exec.
pub fn plan(process: &Process, spec: &Spec, preserve_fds: i32) -> Result<ProcessPlan> {
    let linux = spec.linux().as_ref();
    let words = process.args().clone().unwrap_or_default();
    if words.first().is_none_or(String::is_empty) {
        bail!("process.args: there is no program to run");
    }
    if !process.cwd().is_absolute() {
        bail!("process.cwd: {:?} is not an absolute path", process.cwd().display());
    }
    let user = process.user();
    let mut environment = c_strings("process.env", process.env().clone().unwrap_or_default())?;
    let mut passed = preserve_fds;
    // Sockets that a service manager opened for us (sd_listen_fds(3)) are the container's.
    if let Some(count) = std::env::var("LISTEN_FDS").ok().and_then(|count| count.parse::<i32>().ok())
        && std::env::var("LISTEN_PID").ok() == Some(std::process::id().to_string())
    {
        passed += count.clamp(0, 1024);
        environment.extend([CString::new(format!("LISTEN_FDS={count}"))?, CString::new("LISTEN_PID=1")?]);
    }
    let size = process.console_size().map_or((0, 0), |size| (size.height() as u16, size.width() as u16));

    // Root sets it from outside, where a lower one than its own takes no capability that a child may have lost; a user
    // keeps what he has if he may not (as with runc), since many a bundle asks without need.
    let by_parent = process.oom_score_adj().is_some()
        && nix::unistd::geteuid().is_root()
        && idmap::is_initial(&idmap::current(idmap::Kind::Uid)?);
    let (filter, agent) = linux.map(|linux| filters(linux, spec)).transpose()?.unwrap_or_default();
    // Asked here, where /proc is the machine's own: the container's may be anything.
    caps::last()?;
    Ok(ProcessPlan {
        arguments: c_strings("process.args", words)?,
        environment,
        directory: process.cwd().clone(),
        uid: user.uid(),
        gid: user.gid(),
        groups: user.additional_gids().clone().unwrap_or_default(),
        keep_groups: false,
        umask: user.umask().unwrap_or(0o022),
        capabilities: process.capabilities().as_ref().map(capabilities).transpose()?,
        no_new_privileges: process.no_new_privileges().unwrap_or(false),
        limits: limits(process)?,
        oom_score: process.oom_score_adj().filter(|_| !by_parent),
        apparmor: labels::apparmor(process.apparmor_profile().as_deref())?,
        selinux: labels::selinux("process.selinuxLabel", process.selinux_label().as_deref())?,
        filter,
        agent,
        urgency: Urgency::of(process, by_parent)?,
        memory_policy: linux.map(scheduling::memory_policy).transpose()?.flatten(),
        personality: linux.map(scheduling::personality).transpose()?.flatten(),
        terminal: process.terminal().unwrap_or(false).then_some(size),
        below_init: false,
        passed_descriptors: passed,
    })
}

fn filters(linux: &Linux, spec: &Spec) -> Result<(Option<Program>, Option<Agent>)> {
    let Some(asked) = linux.seccomp() else { return Ok((None, None)) };
    let receiver = spec.annotations().as_ref().and_then(|all| all.get(RECEIVER_ANNOTATION));
    Ok((seccomp::compile(asked)?, Agent::of(asked, receiver.map(Path::new))?))
}

fn c_strings(what: &str, texts: Vec<String>) -> Result<Vec<CString>> {
    texts.into_iter().map(|text| CString::new(text).with_context(|| format!("{what}: a zero byte"))).collect()
}

/// Inheritable capabilities are honoured if a bundle names them, but never filled in (CVE-2022-29162).
fn capabilities(asked: &oci_spec::runtime::LinuxCapabilities) -> Result<Capabilities> {
    let set = |names: &Option<Names>| -> Result<u64> {
        names.iter().flatten().try_fold(0, |set, name| {
            let capability: Capability = name.to_string().parse()?;
            Ok(set | capability.bit())
        })
    };
    Ok(Capabilities {
        bounding: set(asked.bounding())?,
        effective: set(asked.effective())?,
        permitted: set(asked.permitted())?,
        inheritable: set(asked.inheritable())?,
        ambient: set(asked.ambient())?,
    })
}

fn limits(process: &Process) -> Result<Vec<(Resource, String, u64, u64)>> {
    let mut limits = Vec::new();
    for limit in process.rlimits().iter().flatten() {
        let kind = match limit.typ() {
            PosixRlimitType::RlimitCpu => Resource::RLIMIT_CPU,
            PosixRlimitType::RlimitFsize => Resource::RLIMIT_FSIZE,
            PosixRlimitType::RlimitData => Resource::RLIMIT_DATA,
            PosixRlimitType::RlimitStack => Resource::RLIMIT_STACK,
            PosixRlimitType::RlimitCore => Resource::RLIMIT_CORE,
            PosixRlimitType::RlimitRss => Resource::RLIMIT_RSS,
            PosixRlimitType::RlimitNproc => Resource::RLIMIT_NPROC,
            PosixRlimitType::RlimitNofile => Resource::RLIMIT_NOFILE,
            PosixRlimitType::RlimitMemlock => Resource::RLIMIT_MEMLOCK,
            PosixRlimitType::RlimitAs => Resource::RLIMIT_AS,
            PosixRlimitType::RlimitLocks => Resource::RLIMIT_LOCKS,
            PosixRlimitType::RlimitSigpending => Resource::RLIMIT_SIGPENDING,
            PosixRlimitType::RlimitMsgqueue => Resource::RLIMIT_MSGQUEUE,
            PosixRlimitType::RlimitNice => Resource::RLIMIT_NICE,
            PosixRlimitType::RlimitRtprio => Resource::RLIMIT_RTPRIO,
            PosixRlimitType::RlimitRttime => Resource::RLIMIT_RTTIME,
        };
        let name = limit.typ().to_string();
        if limits.iter().any(|(_, known, _, _)| *known == name) {
            bail!("process.rlimits: {name} is given twice");
        }
        if limit.soft() > limit.hard() {
            bail!("process.rlimits: {name}: soft {} is above hard {}", limit.soft(), limit.hard());
        }
        limits.push((kind, name, limit.soft(), limit.hard()));
    }
    Ok(limits)
}

impl ProcessPlan {
    /// A variable of its environment; the last one given counts.
    pub fn variable(&self, name: &str) -> Option<&str> {
        let value = |text: &'_ CString| text.to_str().ok()?.strip_prefix(name)?.strip_prefix('=').map(str::len);
        let found = self.environment.iter().rev().find(|text| value(text).is_some())?;
        found.to_str().ok()?.get(name.len() + 1..)
    }

    /// The program's name or path as asked for.
    pub fn program(&self) -> &Path {
        use std::os::unix::ffi::OsStrExt;
        Path::new(std::ffi::OsStr::from_bytes(self.arguments.first().map_or(b"", |name| name.as_bytes())))
    }
}
