//! What `podling info` and `podling version` tell: the machine, the store, the programs, in Podman's shape, so that
//! scripts which ask Podman (`podman info --format '{{.Store.GraphRoot}}'`) get their answer.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use nix::sys::statvfs::statvfs;
use nix::unistd::{User, getuid};
use serde_json::{Value, json};

use crate::engine::container::Status;
use crate::engine::{Engine, in_path};
use crate::image::layout::Layout;
use crate::image::registries::Registries;
use crate::linux::idmap::{self, Kind};

/// The version of podling's own interface; Podman calls it the API version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Everything, as Podman shapes it.
pub fn info(engine: &Engine) -> Result<Value> {
    Ok(json!({
        "host": host(engine)?,
        "store": store(engine)?,
        "registries": { "search": Registries::load().map(|it| it.search().to_vec()).unwrap_or_default() },
        "version": version(),
    }))
}

/// The version, and what it was built from.
pub fn version() -> Value {
    json!({
        "APIVersion": VERSION,
        "Version": VERSION,
        "OsArch": format!("linux/{}", architecture()),
        "Os": "linux",
    })
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// The architecture by Go's name for it, as images have it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

fn host(engine: &Engine) -> Result<Value> {
    let memory = |field: &str| memory(&read("/proc/meminfo"), field);
    let unified = statfs("/sys/fs/cgroup").is_ok_and(|fs| fs.filesystem_type() == CGROUP2_SUPER_MAGIC);
    let runtime = engine.runtime("")?;
    let monitor = engine.monitor_program()?;
    let uptime = read("/proc/uptime").split('.').next().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    Ok(json!({
        "arch": architecture(),
        "cgroupControllers": controllers(),
        "cgroupManager": engine.cgroup_manager().word(),
        "cgroupVersion": if unified { "v2" } else { "v1" },
        "conmon": { "path": monitor, "package": "podling", "version": format!("podling-monitor {VERSION}") },
        "eventLogger": "file",
        "cpus": std::thread::available_parallelism().map_or(1, usize::from),
        "distribution": distribution(),
        "hostname": nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        "idMappings": { "uidmap": id_map(engine, Kind::Uid), "gidmap": id_map(engine, Kind::Gid) },
        "kernel": read("/proc/sys/kernel/osrelease"),
        "logDriver": "k8s-file",
        "memFree": memory("MemFree"),
        "memTotal": memory("MemTotal"),
        "networkBackend": "pasta",
        "ociRuntime": {
            "name": runtime.file_name().map(|name| name.to_string_lossy().into_owned()),
            "path": &runtime,
            "version": program_version(&runtime),
        },
        "os": "linux",
        "pasta": in_path("pasta").map(|path| json!({ "executable": &path, "version": program_version(&path) })),
        "security": {
            "apparmorEnabled": Path::new("/sys/kernel/security/apparmor").exists(),
            "rootless": engine.rootless(),
            "seccompEnabled": Path::new("/proc/sys/kernel/seccomp/actions_avail").exists(),
            "selinuxEnabled": Path::new("/sys/fs/selinux/enforce").exists(),
        },
        "swapFree": memory("SwapFree"),
        "swapTotal": memory("SwapTotal"),
        "uptime": format!("{}h {}m {}s", uptime / 3600, uptime / 60 % 60, uptime % 60),
    }))
}

/// A field of /proc/meminfo, in bytes.
fn memory(text: &str, field: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kibibytes = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}

/// The controllers of cgroup v2 that this process's group has.
fn controllers() -> Vec<String> {
    let text = read("/proc/self/cgroup");
    let own = text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let list = read(&format!("/sys/fs/cgroup{}/cgroup.controllers", own.trim_end_matches('/')));
    list.split_whitespace().map(str::to_owned).collect()
}

/// `ID` and `VERSION_ID` of os-release(5).
fn distribution() -> Value {
    let text = read("/etc/os-release");
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or("unknown").trim_matches('"').to_owned()
    };
    json!({ "distribution": field("ID"), "version": field("VERSION_ID"), "codename": field("VERSION_CODENAME") })
}

/// The map that this user's containers get.
fn id_map(engine: &Engine, kind: Kind) -> Value {
    if !engine.rootless() {
        return Value::Null;
    }
    let uid = getuid();
    let own = if kind == Kind::Uid { uid.as_raw() } else { nix::unistd::getgid().as_raw() };
    let name = User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name);
    let lent = idmap::subordinate(kind, &name, uid.as_raw()).unwrap_or_default();
    let map = idmap::with_subordinates(own, &lent);
    map.iter().map(|it| json!({ "container_id": it.container, "host_id": it.host, "size": it.size })).collect()
}

/// The first line of what a program says to `--version`.
fn program_version(program: &Path) -> String {
    let output = Command::new(program).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

fn store(engine: &Engine) -> Result<Value> {
    let data = &engine.paths.data;
    let containers = engine.sound_containers()?;
    let count = |wanted: fn(&Status) -> bool| containers.iter().filter(|it| wanted(&it.status())).count();
    let running = count(|status| status.is_running() && status.word() != "paused");
    let paused = count(|status| status.word() == "paused");
    let space = statvfs(data).with_context(|| format!("asking for the space of {}", data.display()))?;
    let images = if engine.paths.images().exists() { Layout::open(&engine.paths.images())?.images()?.len() } else { 0 };
    Ok(json!({
        "containerStore": {
            "number": containers.len(),
            "paused": paused,
            "running": running,
            "stopped": containers.len() - running - paused,
        },
        "graphDriverName": "overlay",
        "graphOptions": {},
        "graphRoot": data,
        "graphRootAllocated": space.blocks() * space.fragment_size(),
        "graphRootUsed": (space.blocks() - space.blocks_free()) * space.fragment_size(),
        "imageStore": { "number": images },
        "runRoot": engine.paths.run,
        "volumePath": engine.paths.volumes(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_read_in_bytes() {
        assert_eq!(memory("MemTotal:       16 kB\nMemFree:        4 kB\n", "MemFree"), 4096);
        assert_eq!(memory("", "MemFree"), 0);
    }
}
