//! From what was decided to what the runtime is told: [`ContainerConfig`] becomes the bundle's `config.json`.
//!
//! The OCI runtime specification has no defaults: it names each mount, each capability, each masked path. The defaults are
//! the engine's, and are here; they are the field's (what Podman writes). The JSON is written as it will be read, so that
//! this file and a bundle can be laid side by side; a test holds it against the specification's own types.
//!
//! The subtlety is what an ordinary user may not mount. A new proc, sysfs or mqueue belongs to the namespace it shows
//! (pid, network, ipc), and only its owner may mount one; where that namespace is the host's or somebody else's, the
//! host's own mount is bound instead.

mod files;
mod init;
mod kept;
mod mounts;
mod place;
mod process;
pub mod user;

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::container::{Container, ContainerConfig};
use super::failure::Failure;
use super::settings::{CgroupsMode, NamespaceMode, NetworkMode, Resources, Seccomp, ThrottleKind};
use super::{CgroupManager, Engine, service};
use crate::handover::{CONFIG_VERSION, INIT_ANNOTATION, KEEP_GROUPS_ANNOTATION};
use crate::linux::cgroup::Hierarchy;
use crate::linux::process::Signal;
use crate::linux::seccomp::{Circumstances, Filter, profile};
pub use init::{Pid1, pid1};
pub use mounts::Owned;
pub use process::{capabilities, further};

const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/dev/block",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
const READ_ONLY: [&str; 6] = ["/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Everything the runtime is told. The root file system is mounted already: users are looked up in it.
pub fn write(engine: &Engine, container: &Container) -> Result<Value> {
    let config = &container.config;
    let root = File::open(container.rootfs()).context("opening the root directory")?;
    kept::introduce(engine, config, &root)?;
    let user = user::resolve(&root, &config.user, &config.groups)?;
    place::working_directory(engine, container, &root, &user)?;
    let namespaces = namespaces(engine, config)?;
    let owned = Owned::of(engine, config);
    let mut linux = json!({
        "namespaces": namespaces,
        "resources": resources(&config.resources)?,
        "sysctl": config.sysctls,
        "rootfsPropagation": "private",
    });
    if let Some((uids, gids)) = engine.id_maps(config)? {
        linux["uidMappings"] = uids;
        linux["gidMappings"] = gids;
    }
    if let Some(path) = cgroups_path(engine, config)? {
        linux["cgroupsPath"] = path.into();
    }
    let security = &config.security;
    if !security.privileged {
        let unmasked = |path: &&str| {
            !security.unmask.iter().flat_map(|list| list.split(':')).any(|it| {
                it.eq_ignore_ascii_case("all")
                    || it == *path
                    || it.strip_suffix("/*").is_some_and(|it| path.starts_with(it))
            })
        };
        let mut masked: Vec<&str> = MASKED.iter().copied().filter(unmasked).collect();
        masked.extend(security.mask.iter().flat_map(|list| list.split(':')));
        linux["maskedPaths"] = json!(masked);
        linux["readonlyPaths"] = json!(READ_ONLY.iter().copied().filter(unmasked).collect::<Vec<_>>());
    }
    let bounding = capabilities(config)?;
    if let Some(filter) = seccomp(config, bounding)? {
        linux["seccomp"] = filter;
    }
    let (devices, device_rules) = mounts::devices(engine, config);
    linux["devices"] = devices;
    linux["resources"]["devices"] = device_rules;
    let files = files::write(engine, container)?;
    let pid1 = init::pid1(engine, config)?;
    let mut spec = json!({
        "ociVersion": CONFIG_VERSION,
        "process": process::process(config, &user, bounding, &pid1)?,
        "root": { "path": container.rootfs(), "readonly": config.read_only },
        "mounts": mounts::all(engine, container, &user, owned, &files, pid1.bound())?,
        "annotations": annotations(config, &pid1),
        "linux": linux,
    });
    if config.namespaces.uts == NamespaceMode::Private {
        spec["hostname"] = config.hostname.clone().into();
    }
    service::introduce(container, &mut spec)?;
    Ok(spec)
}

fn annotations(config: &ContainerConfig, pid1: &Pid1) -> Value {
    let mut all = config.annotations.clone();
    if let Pid1::Runtime = pid1 {
        all.insert(INIT_ANNOTATION.into(), "true".into());
    }
    if config.groups.iter().any(|group| group == user::KEEP_GROUPS) {
        all.insert(KEEP_GROUPS_ANNOTATION.into(), "1".into());
    }
    all.entry("io.container.manager".into()).or_insert_with(|| "podling".into());
    all.entry("org.opencontainers.image.stopSignal".into())
        .or_insert_with(|| config.stop_signal.parse::<Signal>().map_or(15, Signal::number).to_string());
    json!(all)
}

/// A namespace without a path is a new one.
fn namespaces(engine: &Engine, config: &ContainerConfig) -> Result<Value> {
    let mut all = vec![json!({ "type": "mount" })];
    let asked = &config.namespaces;
    let kinds = [("pid", "pid", &asked.pid), ("ipc", "ipc", &asked.ipc), ("uts", "uts", &asked.uts)];
    for (kind, file, mode) in kinds.into_iter().chain([("cgroup", "cgroup", &asked.cgroup)]) {
        match mode {
            NamespaceMode::Private => all.push(json!({ "type": kind })),
            NamespaceMode::Host => {}
            NamespaceMode::Path(path) => all.push(json!({ "type": kind, "path": path })),
            NamespaceMode::Container(id) => all.push(json!({ "type": kind, "path": engine.namespace_of(id, file)? })),
        }
    }
    match &config.network {
        NetworkMode::Host => {}
        NetworkMode::Path(path) => all.push(json!({ "type": "network", "path": path })),
        NetworkMode::Container(id) => all.push(json!({ "type": "network", "path": engine.namespace_of(id, "net")? })),
        _ => all.push(json!({ "type": "network" })),
    }
    if let Some(user) = engine.user_namespace(config)? {
        all.push(user);
    }
    Ok(json!(all))
}

/// The limits, in the specification's words. Nothing asked for is nothing said: where the host lets us limit nothing, only
/// who asked for a limit hears of it.
pub fn resources(asked: &Resources) -> Result<Value> {
    let mut memory = json!({});
    for (name, value) in
        [("limit", asked.memory), ("reservation", asked.memory_reservation), ("swap", asked.memory_swap)]
    {
        if let Some(value) = value.filter(|value| *value != 0) {
            memory[name] = value.into();
        }
    }
    let mut cpu = json!({});
    if let Some(cpus) = asked.cpus.filter(|cpus| *cpus > 0.0) {
        let period = asked.cpu_period.unwrap_or(100_000);
        cpu["period"] = period.into();
        // A period is at most a second, in microseconds.
        cpu["quota"] = ((cpus * f64::from(period as u32)) as i64).into();
    }
    let numbers = [("shares", asked.cpu_shares.map(Value::from)), ("period", asked.cpu_period.map(Value::from))];
    let more = [
        ("quota", asked.cpu_quota.map(Value::from)),
        ("cpus", asked.cpuset_cpus.clone().map(Value::from)),
        ("mems", asked.cpuset_mems.clone().map(Value::from)),
    ];
    for (name, value) in numbers.into_iter().chain(more) {
        if let Some(value) = value.filter(|value| *value != json!(0)) {
            cpu[name] = value;
        }
    }
    let mut all = json!({ "unified": asked.unified });
    if memory != json!({}) {
        all["memory"] = memory;
    }
    if cpu != json!({}) {
        all["cpu"] = cpu;
    }
    if let Some(limit) = asked.pids.filter(|limit| *limit > 0) {
        all["pids"] = json!({ "limit": limit });
    }
    let mut disks = throttles(asked)?;
    if let Some(weight) = asked.blkio_weight.filter(|weight| *weight > 0) {
        disks["weight"] = weight.into();
    }
    if disks != json!({}) {
        all["blockIO"] = disks;
    }
    Ok(all)
}

fn throttles(asked: &Resources) -> Result<Value> {
    let mut disks = json!({});
    for throttle in &asked.throttles {
        let name = match throttle.kind {
            ThrottleKind::ReadBps => "throttleReadBpsDevice",
            ThrottleKind::WriteBps => "throttleWriteBpsDevice",
            ThrottleKind::ReadIops => "throttleReadIOPSDevice",
            ThrottleKind::WriteIops => "throttleWriteIOPSDevice",
        };
        let (_, kind, major, minor) = mounts::node(&throttle.device, &throttle.device)
            .with_context(|| Failure::Invalid(format!("{} is not a device", throttle.device.display())))?;
        if kind != "b" {
            bail!(Failure::Invalid(format!("{} is not a block device", throttle.device.display())));
        }
        let device = json!({ "major": major, "minor": minor, "rate": throttle.rate });
        match disks[name].as_array_mut() {
            Some(all) => all.push(device),
            None => disks[name] = json!([device]),
        }
    }
    Ok(disks)
}

/// Where its cgroup is: for systemd `slice:prefix:name`, else a path from the root of the hierarchy. (What a path without
/// a slash at the beginning is below, each runtime says differently.)
fn cgroups_path(engine: &Engine, config: &ContainerConfig) -> Result<Option<String>> {
    if config.cgroups == CgroupsMode::Disabled {
        return Ok(None);
    }
    match engine.cgroup_manager() {
        CgroupManager::Disabled => Ok(None),
        CgroupManager::Systemd => {
            let slice = if engine.rootless() { "user.slice" } else { "machine.slice" };
            let slice = config.cgroup_parent.as_deref().unwrap_or(slice);
            Ok(Some(format!("{slice}:podling:{}", config.id)))
        }
        CgroupManager::Cgroupfs => {
            let parent = config.cgroup_parent.as_deref().map(Path::new);
            let group = match (parent, Hierarchy::find()) {
                (Some(parent), Some(hierarchy)) => hierarchy.own_division()?.join(parent).join(config.id.as_str()),
                (Some(parent), None) => Path::new("/").join(parent).join(config.id.as_str()),
                (None, _) if !engine.rootless() => Path::new("/podling").join(config.id.as_str()),
                (None, Some(hierarchy)) => {
                    let own = hierarchy.own_division()?;
                    // Told of no group, a runtime knows that it may do without one.
                    if !hierarchy.may_divide(&own) {
                        return Ok(None);
                    }
                    own.join(format!("podling-{}", config.id))
                }
                (None, None) => return Ok(None),
            };
            Ok(Some(group.to_string_lossy().into_owned()))
        }
    }
}

fn seccomp(config: &ContainerConfig, bounding: u64) -> Result<Option<Value>> {
    match &config.security.seccomp {
        Seccomp::Unconfined => Ok(None),
        _ if config.security.privileged => Ok(None),
        Seccomp::Default => Ok(Some(profile(bounding).to_json())),
        Seccomp::Profile(path) => profile_file(path, bounding).map(Some),
    }
}

fn profile_file(path: &Path, bounding: u64) -> Result<Value> {
    let what = || format!("the seccomp profile {}", path.display());
    let text = std::fs::read(path).with_context(what)?;
    let json: Value =
        serde_json::from_slice(&text).map_err(|error| Failure::Invalid(format!("{}: {error}", what())))?;
    Ok(Filter::from_json(&json, &Circumstances::here(bounding)?).with_context(what)?.to_json())
}
