//! What is mounted: the kernel's own file systems, what was asked for, the files of /etc; and devices.
//!
//! Order is by depth of the destination, so that a mount on /data does not hide one on /data/cache.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::init::INSIDE;
use super::user::User;
use crate::engine::Engine;
use crate::engine::container::{Container, ContainerConfig, MountConfig, MountSource};
use crate::engine::failure::Failure;
use crate::engine::rootfs::remove_tree;
use crate::engine::settings::{NamespaceMode, NetworkMode, UsernsMode};
use crate::engine::store::make_private;
use crate::engine::volume_fill;
use crate::linux::overlay::{self, Durability, Lowers, Writable};

/// Which of the container's namespaces belong to its user namespace: only those may be shown by a mount of its own.
#[derive(Debug, Clone, Copy)]
pub struct Owned {
    pid: bool,
    ipc: bool,
    network: bool,
}

impl Owned {
    /// What was decided, seen so.
    pub fn of(engine: &Engine, config: &ContainerConfig) -> Self {
        let nested = config.namespaces.user != UsernsMode::Host;
        if !engine.rootless() && !nested {
            return Self { pid: true, ipc: true, network: true };
        }
        let owned = |mode: &NamespaceMode| match mode {
            NamespaceMode::Private => true,
            NamespaceMode::Container(_) => !nested,
            NamespaceMode::Host | NamespaceMode::Path(_) => false,
        };
        let network = match config.network {
            NetworkMode::Host | NetworkMode::Path(_) => false,
            NetworkMode::Container(_) => !nested,
            _ => true,
        };
        Self { pid: owned(&config.namespaces.pid), ipc: owned(&config.namespaces.ipc), network }
    }
}

fn mount(target: &str, kind: &str, source: impl AsRef<Path>, options: &[&str]) -> Value {
    json!({ "destination": target, "type": kind, "source": source.as_ref(), "options": options })
}

/// All mounts, in the order they are to be made.
pub fn all(
    engine: &Engine,
    container: &Container,
    user: &User,
    owned: Owned,
    files: &[(PathBuf, &'static str)],
    init: Option<&Path>,
) -> Result<Value> {
    let config = &container.config;
    let mut asked = Vec::new();
    for (number, mount) in config.mounts.iter().enumerate() {
        asked.push(one(engine, container, user, mount, number)?);
    }
    let mut in_memory = Vec::new();
    if config.read_only_tmpfs {
        in_memory.extend(["/run", "/tmp", "/var/tmp"]);
    }
    if config.systemd {
        in_memory.extend(["/run", "/run/lock", "/tmp", "/var/log/journal"]);
    }
    for target in in_memory {
        asked.push(mount(target, "tmpfs", "tmpfs", &["rw", "rprivate", "nosuid", "nodev", "tmpcopyup"]));
    }
    for (path, target) in files {
        asked.push(mount(target, "bind", path, &["bind", "rprivate", "nosuid", "noexec", "nodev"]));
    }
    if let Some(init) = init {
        asked.push(mount(INSIDE, "bind", init, &["bind", "rprivate", "ro"]));
    }
    if let Some(zone) = &config.timezone {
        let file = if zone == "local" { "/etc/localtime".into() } else { Path::new("/usr/share/zoneinfo").join(zone) };
        let file = fs::canonicalize(&file).with_context(|| format!("the time zone {zone}"))?;
        asked.push(mount("/etc/localtime", "bind", file, &["bind", "rprivate", "ro"]));
    }
    if engine.rootless() {
        asked.extend(bound_devices(config));
    }
    // What was asked for comes first in the list, and so wins over a default of the same place.
    let mut taken = HashSet::new();
    asked.retain(|mount| taken.insert(mount["destination"].clone()));
    let mut all: Vec<Value> = defaults(engine, container, owned)?;
    all.retain(|mount| !taken.contains(&mount["destination"]));
    asked.sort_by_key(|mount| Path::new(mount["destination"].as_str().unwrap_or("/")).components().count());
    all.extend(asked);
    Ok(json!(all))
}

/// The kernel's file systems.
fn defaults(engine: &Engine, container: &Container, owned: Owned) -> Result<Vec<Value>> {
    let config = &container.config;
    let privileged = config.security.privileged;
    let access = if privileged { "rw" } else { "ro" };
    let mut all = Vec::new();
    all.push(if owned.pid {
        let mut options = vec!["nosuid", "noexec", "nodev"];
        options.extend(config.security.proc_options.iter().map(String::as_str));
        mount("/proc", "proc", "proc", &options)
    } else {
        mount("/proc", "bind", "/proc", &["rbind", "rprivate", "nosuid", "noexec", "nodev"])
    });
    all.push(mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]));
    let mut pts = vec!["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    // Group tty owns terminals, where there is such a group.
    if engine.has_gid(5) {
        pts.push("gid=5");
    }
    all.push(mount("/dev/pts", "devpts", "devpts", &pts));
    let ipc_host = config.namespaces.ipc == NamespaceMode::Host;
    if owned.ipc && !ipc_host {
        all.push(mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]));
    } else if Path::new("/dev/mqueue").is_dir() {
        // A host need not have it mounted; its queues can be used without.
        all.push(mount("/dev/mqueue", "bind", "/dev/mqueue", &["rbind", "rprivate", "nosuid", "noexec", "nodev"]));
    }
    all.push(match &config.namespaces.ipc {
        NamespaceMode::Host => {
            mount("/dev/shm", "bind", "/dev/shm", &["rbind", "rprivate", "nosuid", "noexec", "nodev"])
        }
        NamespaceMode::Container(id) => {
            let shared = container.bundle().join("shm");
            engine.borrow_mount(engine.process_of(id)?, Path::new("/dev/shm"), &shared)?;
            mount("/dev/shm", "bind", shared, &["bind", "rprivate", "nosuid", "noexec", "nodev"])
        }
        _ => {
            // 0 is tmpfs's own word for no limit.
            let size = format!("size={}", config.resources.shm_size.unwrap_or(65_536_000));
            mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", &size])
        }
    });
    all.push(if owned.network {
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", access])
    } else {
        mount("/sys", "bind", "/sys", &["rbind", "rprivate", "nosuid", "noexec", "nodev", access])
    });
    // systemd makes groups of its own in the container's.
    let access = if config.systemd { "rw" } else { access };
    let cgroup = ["rprivate", "nosuid", "noexec", "nodev", "relatime", access];
    if owned.network {
        all.push(mount("/sys/fs/cgroup", "cgroup", "cgroup", &cgroup));
    }
    Ok(all)
}

/// One mount that was asked for.
fn one(engine: &Engine, container: &Container, user: &User, asked: &MountConfig, number: usize) -> Result<Value> {
    let mut options: Vec<String> = asked.options.iter().filter(|word| *word != "nocopy").cloned().collect();
    let said = |options: &[String], words: &[&str]| options.iter().any(|option| words.contains(&option.as_str()));
    let bound = |options: &mut Vec<String>| {
        if !said(options, &["bind", "rbind"]) {
            options.push("rbind".into());
        }
        let propagation = ["shared", "rshared", "slave", "rslave", "private", "rprivate", "unbindable", "runbindable"];
        if !said(options, &propagation) {
            options.push("rprivate".into());
        }
    };
    let (kind, source) = match &asked.source {
        MountSource::Bind(source) => {
            bound(&mut options);
            ("bind", source.clone())
        }
        MountSource::Volume { name, .. } => {
            bound(&mut options);
            let data = engine.volume_data(name)?;
            if !said(&asked.options, &["nocopy"]) {
                volume_fill::fill(container, &asked.target, &data)?;
            }
            if engine.volume(name)?.options.is_empty() {
                let owner = engine.on_disk(&container.config, (user.uid, user.gid))?;
                volume_fill::give_new(container, &asked.target, &data, owner)?;
            }
            ("bind", data)
        }
        MountSource::Tmpfs => {
            for (default, opposites) in [("rprivate", "shared"), ("nosuid", "suid"), ("nodev", "dev"), ("rw", "ro")] {
                if !said(&options, &[default, opposites]) {
                    options.push(default.into());
                }
            }
            if !said(&options, &["tmpcopyup", "notmpcopyup"]) {
                options.push("tmpcopyup".into());
            }
            options.retain(|option| option != "notmpcopyup");
            ("tmpfs", "tmpfs".into())
        }
        MountSource::Image { layers, .. } => {
            let target = container.bundle().join(format!("image{number}"));
            engine.mount_layers(layers, engine.owners(&container.config)?.as_ref(), None, &target)?;
            options.extend(["rbind", "rprivate", "ro", "nosuid", "nodev"].map(Into::into));
            ("bind", target)
        }
        MountSource::Special(kind) => (kind.as_str(), kind.into()),
    };
    let source = if kind == "bind" && said(&options, &["O"]) {
        options.retain(|option| option != "O");
        overlaid(container, &source, number)?
    } else {
        source
    };
    if asked.chown && kind == "bind" {
        let (uid, gid) = engine.on_disk(&container.config, (user.uid, user.gid))?;
        volume_fill::give(&source, uid, gid)?;
    }
    options.retain(|option| !matches!(option.as_str(), "z" | "Z" | "copy" | "U"));
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    Ok(mount(&asked.target, kind, source, &options))
}

/// `:O`: the directory with an overlay above it, which takes what the container writes and forgets it at the next start.
fn overlaid(container: &Container, source: &Path, number: usize) -> Result<PathBuf> {
    let it = fs::metadata(source).with_context(|| source.display().to_string())?;
    if !it.is_dir() {
        bail!(Failure::Invalid(format!("{} is not a directory: O puts an overlay above one", source.display())));
    }
    let name = format!("overlay{number}");
    let place = container.data.join(&name);
    remove_tree(&place)?;
    let (upper, work) = (place.join("upper"), place.join("work"));
    for directory in [&upper, &work] {
        fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
    }
    // The overlay's own "/" is the upper directory's.
    chown(&upper, Some(it.uid()), Some(it.gid())).with_context(|| upper.display().to_string())?;
    fs::set_permissions(&upper, it.permissions())?;
    let target = container.bundle().join(name);
    make_private(&target)?;
    let lowers = Lowers { layers: vec![source.to_owned()], data: None };
    let writable = Writable { upper: &upper, work: &work, durability: Durability::Volatile };
    overlay::mount(&lowers, Some(writable), &target)?;
    Ok(target)
}

/// Device nodes and who may use them, as root: nodes of its own, and rules for the cgroup. An ordinary user can neither
/// make nodes nor rules; he binds the host's.
pub fn devices(engine: &Engine, config: &ContainerConfig) -> (Value, Value) {
    if engine.rootless() {
        return (json!([]), json!([]));
    }
    if config.security.privileged {
        let nodes: Vec<Value> =
            host_devices().into_iter().filter_map(|path| node(&path, &path).map(|it| it.0)).collect();
        return (json!(nodes), json!([{ "allow": true, "access": "rwm" }]));
    }
    let mut nodes = Vec::new();
    let mut rules = vec![json!({ "allow": false, "access": "rwm" })];
    for device in &config.devices {
        let Some((node, kind, major, minor)) = node(&device.host, &device.container) else { continue };
        nodes.push(node);
        rules.push(json!({ "allow": true, "type": kind, "major": major, "minor": minor, "access": device.access }));
    }
    for rule in &config.device_rules {
        let mut json = json!({ "allow": true, "type": rule.kind, "access": rule.access });
        for (name, number) in [("major", rule.major), ("minor", rule.minor)] {
            if let Some(number) = number {
                json[name] = number.into();
            }
        }
        rules.push(json);
    }
    (json!(nodes), json!(rules))
}

pub fn node(host: &Path, inside: &Path) -> Option<(Value, &'static str, u64, u64)> {
    let it = fs::metadata(host).ok()?;
    let kind = match it.file_type() {
        kind if kind.is_char_device() => "c",
        kind if kind.is_block_device() => "b",
        _ => return None,
    };
    let (major, minor) = (nix::sys::stat::major(it.rdev()), nix::sys::stat::minor(it.rdev()));
    let node = json!({
        "path": inside, "type": kind, "major": major, "minor": minor, "fileMode": it.mode() & 0o777,
        "uid": it.uid(), "gid": it.gid(),
    });
    Some((node, kind, major, minor))
}

fn bound_devices(config: &ContainerConfig) -> Vec<Value> {
    let bind = |host: &Path, inside: &Path| {
        mount(&inside.display().to_string(), "bind", host, &["bind", "rprivate", "nosuid", "noexec"])
    };
    let mut all: Vec<Value> = config.devices.iter().map(|device| bind(&device.host, &device.container)).collect();
    if config.security.privileged {
        all.extend(host_devices().iter().map(|path| bind(path, path)));
    }
    all
}

/// The host's device nodes, but for those that a container has of its own.
fn host_devices() -> Vec<PathBuf> {
    const OWN: [&str; 9] = ["null", "zero", "full", "random", "urandom", "tty", "console", "ptmx", "core"];
    let Ok(entries) = fs::read_dir("/dev") else { return Vec::new() };
    let node = |entry: &fs::DirEntry| {
        entry.file_type().is_ok_and(|kind| kind.is_char_device() || kind.is_block_device())
            && entry.file_name().to_str().is_some_and(|name| !OWN.contains(&name))
    };
    entries.flatten().filter(node).map(|entry| entry.path()).collect()
}
