//! Limits, and the files that they are written to.
//!
//! The subtlety is who may set them. A file such as `memory.max` exists in a group only if the group above passes the
//! controller on, and that one's above, up to the root; each step is a right that systemd or root must have given. A
//! limit that cannot be set is an error that says where the way ends and what opens it: a container that was to be held
//! to 64 MiB and silently is not would be worse than none.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;

use super::Cgroup;

/// An upper bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// None: the kernel's word is `max`.
    Max,
    /// So many bytes, processes, microseconds.
    At(u64),
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Max => f.write_str("max"),
            Self::At(value) => value.fmt(f),
        }
    }
}

/// What a group may use. What is `None` stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources {
    /// Bytes; above it the kernel reclaims, then kills.
    pub memory_max: Option<Limit>,
    /// Bytes that are not reclaimed while others have any to give.
    pub memory_low: Option<u64>,
    /// Bytes of swap, apart from memory.
    pub swap_max: Option<Limit>,
    /// When memory runs out, kill the whole group and not only its largest process.
    pub oom_group: Option<bool>,
    /// Processor time in microseconds (quota) of every so many (period). Without a period the kernel keeps the old one.
    pub cpu_max: Option<(Limit, Option<u64>)>,
    /// Microseconds that may be saved up from quiet periods.
    pub cpu_burst: Option<u64>,
    /// The share of a busy processor, 1 to 10000, usually 100.
    pub cpu_weight: Option<u64>,
    /// Run only when nobody else wants to.
    pub cpu_idle: Option<bool>,
    /// Processes and threads.
    pub pids_max: Option<Limit>,
    /// Which processors, as `0-3,5`.
    pub cpuset_cpus: Option<String>,
    /// Which memory nodes.
    pub cpuset_mems: Option<String>,
    /// The share of a busy disk, 1 to 10000.
    pub io_weight: Option<u64>,
    /// The same for single disks, by their numbers: `8:0`.
    pub io_weights: Vec<(String, u64)>,
    /// Bounds of single disks: `8:0 rbps` or `8:0 wiops`, and how much a second.
    pub io_max: Vec<(String, Limit)>,
    /// Bytes of huge pages, by page size as the kernel writes it (`2MB`).
    pub hugetlb_max: BTreeMap<String, Limit>,
    /// Lines of `rdma.max`: `mlx4_0 hca_handle=2 hca_object=2000`.
    pub rdma_max: Vec<String>,
    /// Any other file of the group, as it is.
    pub unified: BTreeMap<String, String>,
}

/// What a group weighs that nobody has given a weight.
const USUAL_WEIGHT: u64 = 100;

/// A file of the group and what to write there.
struct Setting {
    file: String,
    value: String,
    /// It asks for what every group has anyway, or only takes a limit away: without the controller there is none to take.
    lifts: bool,
}

impl Resources {
    /// The files to write, in order. (`unified` comes last: it was asked for by its very name.)
    fn settings(&self) -> Vec<Setting> {
        let mut settings: Vec<Setting> = Vec::new();
        let mut add = |file: &str, value: Option<String>, lifts: bool| {
            settings.extend(value.map(|value| Setting { file: file.into(), value, lifts }));
        };
        let flag = |flag: bool| u8::from(flag).to_string();
        let lifts = |limit: Option<Limit>| limit == Some(Limit::Max);
        add("cpuset.cpus", self.cpuset_cpus.clone(), false);
        add("cpuset.mems", self.cpuset_mems.clone(), false);
        // containerd's `ctr` asks every container's cgroup for version 1's 1024 shares: the same as everybody's.
        add("cpu.weight", self.cpu_weight.map(|weight| weight.to_string()), self.cpu_weight == Some(USUAL_WEIGHT));
        add("cpu.idle", self.cpu_idle.map(flag), self.cpu_idle == Some(false));
        let maximum = self.cpu_max.map(|(quota, period)| match period {
            Some(period) => format!("{quota} {period}"),
            None => quota.to_string(),
        });
        add("cpu.max", maximum, lifts(self.cpu_max.map(|(quota, _)| quota)));
        add("cpu.max.burst", self.cpu_burst.map(|burst| burst.to_string()), self.cpu_burst == Some(0));
        add("pids.max", self.pids_max.map(|limit| limit.to_string()), lifts(self.pids_max));
        add("memory.low", self.memory_low.map(|bytes| bytes.to_string()), false);
        add("memory.max", self.memory_max.map(|limit| limit.to_string()), lifts(self.memory_max));
        add("memory.swap.max", self.swap_max.map(|limit| limit.to_string()), lifts(self.swap_max));
        add("memory.oom.group", self.oom_group.map(flag), self.oom_group == Some(false));
        add("io.weight", self.io_weight.map(|weight| format!("default {weight}")), false);
        for (disk, weight) in &self.io_weights {
            add("io.weight", Some(format!("{disk} {weight}")), false);
        }
        for (line, limit) in &self.io_max {
            add("io.max", Some(format!("{line}={limit}")), *limit == Limit::Max);
        }
        for (size, limit) in &self.hugetlb_max {
            add(&format!("hugetlb.{size}.max"), Some(limit.to_string()), *limit == Limit::Max);
        }
        for line in &self.rdma_max {
            add("rdma.max", Some(line.clone()), false);
        }
        for (file, value) in &self.unified {
            add(file, Some(value.clone()), false);
        }
        settings
    }

    /// The controllers that these need: not for what only takes a limit away.
    pub fn controllers(&self) -> BTreeSet<String> {
        let name = |setting: &Setting| setting.file.split('.').next().unwrap_or_default().to_string();
        let needed = self.settings().into_iter().filter(|setting| !setting.lifts);
        needed.map(|setting| name(&setting)).filter(|name| name != "cgroup").collect()
    }

    /// Whether nothing is asked for that a group would be needed for.
    pub fn limit_nothing(&self) -> bool {
        self.settings().iter().all(|setting| setting.lifts)
    }
}

impl Cgroup {
    /// Says outright what `resources` leave as it is though they change its fellow: the period of a new quota. The kernel
    /// would keep it by itself; systemd would take its own default.
    pub fn complete(&self, resources: &mut Resources) {
        if let Some((_, period @ None)) = &mut resources.cpu_max {
            let present = self.read("cpu.max").unwrap_or_default();
            *period = present.split_whitespace().nth(1).and_then(|period| period.parse().ok());
        }
    }

    /// Sets these limits, after opening the way for the controllers that they need.
    ///
    /// Errors: [`Unavailable`] if a controller cannot be had here; else what the kernel said of which file.
    pub fn set(&self, resources: &Resources) -> Result<()> {
        for file in resources.unified.keys() {
            // A file of this very group: a slash would lead to another's.
            if file.contains('/') || !file.contains('.') {
                bail!("{file:?} is not a file of a cgroup");
            }
        }
        let needed = resources.controllers();
        let missing: BTreeSet<String> = if needed.is_empty() {
            needed
        } else {
            let present = self.words("cgroup.controllers");
            needed.difference(&present).cloned().collect()
        };
        if !missing.is_empty() {
            self.pass_on(&missing)?;
        }
        for Setting { file, value, lifts } in resources.settings() {
            match self.write(&file, &value) {
                Ok(()) => {}
                Err(Errno::ENOENT) if lifts => {}
                // A kernel that accounts no swap has none to give.
                Err(Errno::ENOENT) if file == "memory.swap.max" => {}
                // The disk scheduler BFQ has weights of its own, and without either none is weighed against another.
                Err(Errno::ENOENT) if file == "io.weight" => {
                    self.write("io.bfq.weight", &for_bfq(&value))
                        .context("setting a disk weight: no scheduler here weighs disks")?;
                }
                Err(errno) => return Err(errno).with_context(|| format!("setting {file} to {value:?}")),
            }
        }
        Ok(())
    }
}

/// A line of `io.weight` (1 to 10000) as `io.bfq.weight` takes it (1 to 1000).
pub(super) fn for_bfq(line: &str) -> String {
    let (whose, weight) = line.rsplit_once(' ').unwrap_or(("default", line));
    let weight = weight.parse().unwrap_or(100u64).div_ceil(10);
    if whose == "default" { weight.to_string() } else { format!("{whose} {weight}") }
}

/// A controller cannot be had in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unavailable {
    /// Its name.
    pub controller: String,
    /// The group that has it not to give.
    pub group: String,
    /// What would help.
    pub cure: String,
}

impl Unavailable {
    /// `target` was to get the controller, and `group` above it cannot pass it on: because the kernel said `errno`, or
    /// because it has not got it itself.
    pub(super) fn new(controller: &str, target: &Cgroup, group: &Cgroup, errno: Option<Errno>) -> Self {
        let path = group.path().to_string_lossy();
        let is_root = group.path().components().count() <= 1;
        let below = target.path().to_string_lossy();
        let user = below.split('/').find(|part| part.starts_with("user@"));
        let cure = if group.hierarchy.is_hybrid() {
            "this machine's controllers are bound to cgroup version 1; \
             boot it with systemd.unified_cgroup_hierarchy=1"
                .to_string()
        } else if is_root && errno.is_none() {
            format!("the kernel lacks it, or was booted with cgroup_disable={controller}")
        } else if errno == Some(Errno::EBUSY) {
            "processes live in that group; run podling from a unit with Delegate=yes, or use --cgroup-manager systemd"
                .to_string()
        } else if let Some(unit) = user {
            format!(
                "have it delegated: `systemctl edit {unit}` as root, with the lines \"[Service]\" and \
                 \"Delegate=cpu cpuset io memory pids\", then log in again"
            )
        } else {
            "have it delegated: run podling from a unit with Delegate=yes (systemd-run --user --scope -p Delegate=yes …), \
             or use --cgroup-manager systemd"
                .to_string()
        };
        Self { controller: controller.into(), group: path.into(), cure }
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { controller, group, cure } = self;
        write!(f, "the cgroup controller {controller:?} is not available in {group}: {cure}")
    }
}

impl std::error::Error for Unavailable {}

/// From version 1's `cpu.shares` (2 to 262144, usually 1024) to `cpu.weight` (1 to 10000, usually 100).
///
/// Both ends and the middle must meet: 2 → 1, 1024 → 100, 262144 → 10000. A straight line cannot (it gives 39 for 1024,
/// so an ordinary container got less than half of what an ordinary process gets); this curve, quadratic in the
/// logarithms, is what runc and crun have agreed on since 2025.
pub fn weight_from_shares(shares: u64) -> u64 {
    if shares <= 2 {
        return 1;
    }
    if shares >= 262_144 {
        return 10_000;
    }
    let log = f64::from(shares as u32).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    10f64.powf(exponent).ceil() as u64
}
