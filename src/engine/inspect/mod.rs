//! What is known of an object, as one JSON value in the shape that Docker's and Podman's users know.
//!
//! Scripts, compose tools and tests read these fields, so their names and nesting are theirs; fields for what podling
//! does not have are there with the value that means "none".
//!
//! The subtlety: nothing here is stored. The state is derived at the moment of asking, as everywhere.

mod config;

use serde_json::{Map, Value, json};

use super::Engine;
use super::container::{Container, MountSource, Root, Status, monitor_in};
use super::network::{ports, word};
use super::settings::{NamespaceMode, NetworkMode, PortMapping};
use super::volume::Volume;

/// Go's time that never was.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// A volume.
pub fn volume(volume: &Volume) -> Value {
    json!({
        "Name": volume.name,
        "Driver": volume.driver,
        "Mountpoint": volume.data(),
        "CreatedAt": volume.created,
        "Labels": volume.labels,
        "Scope": "local",
        "Options": volume.options,
        "Anonymous": volume.anonymous,
        "MountCount": 0,
        "NeedsCopyUp": std::fs::read_dir(volume.data()).is_ok_and(|mut entries| entries.next().is_none()),
    })
}

/// A container.
pub fn container(engine: &Engine, container: &Container) -> Value {
    let config = &container.config;
    let status = container.status();
    let words = config.arguments();
    let (image, image_name, layers) = match &config.root {
        Root::Image { id, name, layers } => (id.as_str(), name.as_str(), layers.as_slice()),
        Root::Directory(_) => ("", "", &[][..]),
    };
    let lower: Vec<String> =
        layers.iter().map(|layer| engine.paths.layers().join(layer).display().to_string()).collect();
    let capabilities = capabilities(container);
    let runtime = if config.runtime.is_empty() { "podling-runtime" } else { &config.runtime };
    json!({
        "Id": config.id,
        "Created": config.created,
        "Path": words.first().cloned().unwrap_or_default(),
        "Args": words.get(1..).unwrap_or_default(),
        "State": state(container, &status),
        "Image": image,
        "ImageName": image_name,
        "Rootfs": match &config.root { Root::Directory(directory) => directory.display().to_string(), Root::Image { .. } => String::new() },
        "Pod": "",
        "ResolvConfPath": container.bundle().join("resolv.conf"),
        "HostnamePath": container.bundle().join("hostname"),
        "HostsPath": container.bundle().join("hosts"),
        "StaticDir": container.data,
        "OCIConfigPath": container.bundle().join("config.json"),
        "OCIRuntime": runtime,
        "ConmonPidFile": container.run.join("monitor.pid"),
        "PidFile": container.run.join("pid"),
        "Name": config.name,
        "RestartCount": container.started().map_or(0, |started| started.restarts),
        "Driver": "overlay",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "EffectiveCaps": capabilities,
        "BoundingCaps": capabilities,
        "ExecIDs": exec_ids(container),
        "GraphDriver": {
            "Name": "overlay",
            "Data": match &config.root {
                Root::Image { .. } => json!({
                    "LowerDir": lower.join(":"),
                    "UpperDir": container.upper(),
                    "WorkDir": container.data.join("work"),
                    "MergedDir": container.rootfs(),
                }),
                Root::Directory(directory) => json!({ "MergedDir": directory }),
            },
        },
        "Mounts": mounts(engine, container),
        "Dependencies": dependencies(container),
        "NetworkSettings": network_settings(container),
        "Namespace": "",
        "IsInfra": false,
        "IsService": false,
        "lockNumber": 0,
        "Config": config::portable(container),
        "HostConfig": config::host(container),
    })
}

fn state(container: &Container, status: &Status) -> Value {
    let exit = container.exit();
    let started = container.started();
    let running = status.is_running();
    // A container that runs again has not finished, whatever it did before.
    let finished = match status {
        Status::Exited(record) => record.finished.clone(),
        _ => exit.as_ref().map_or_else(|| NEVER.into(), |record| record.finished.clone()),
    };
    let ended = match status {
        Status::Exited(record) => Some(record),
        _ => None,
    };
    json!({
        "OciVersion": "1.2.0",
        "Status": status.word(),
        "Running": running,
        "Paused": matches!(status, Status::Paused(_)),
        "Restarting": false,
        "OOMKilled": ended.is_some_and(|record| record.oom),
        "Dead": false,
        "Pid": status.process().map_or(0, |process| process.pid),
        "ConmonPid": container.monitor().map_or(0, |process| process.pid),
        "ExitCode": ended.map_or(0, |record| record.code),
        "Error": ended.filter(|record| record.timed_out).map_or("", |_| "it ran longer than --timeout allows"),
        "StartedAt": started.as_ref().map_or(NEVER, |started| &started.at),
        "FinishedAt": finished,
        "Health": { "Status": "", "FailingStreak": 0, "Log": null },
        "CgroupPath": status.process().and_then(|process| cgroup(process.pid)).unwrap_or_default(),
        "CheckpointedAt": NEVER,
        "RestoredAt": NEVER,
    })
}

fn cgroup(pid: i32) -> Option<String> {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    groups.lines().find_map(|line| line.strip_prefix("0::")).map(String::from)
}

/// What the first process is allowed: asked of the runtime's own words, for that is what was decided last.
fn capabilities(container: &Container) -> Value {
    let spec: Value = std::fs::read(container.bundle().join("config.json"))
        .ok()
        .and_then(|content| serde_json::from_slice(&content).ok())
        .unwrap_or_default();
    let bounding = spec.pointer("/process/capabilities/bounding").cloned();
    bounding.unwrap_or_else(|| json!([]))
}

/// The sessions that go on, of those that have a monitor.
fn exec_ids(container: &Container) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(container.run.join("exec")) else { return Vec::new() };
    let live = entries.flatten().filter(|entry| monitor_in(&entry.path()).is_some());
    live.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn dependencies(container: &Container) -> Vec<&str> {
    let spaces = &container.config.namespaces;
    let mut all: Vec<&str> = [&spaces.pid, &spaces.ipc, &spaces.uts, &spaces.cgroup]
        .into_iter()
        .filter_map(|mode| match mode {
            NamespaceMode::Container(id) => Some(id.as_str()),
            _ => None,
        })
        .collect();
    if let NetworkMode::Container(id) = &container.config.network {
        all.push(id);
    }
    all.sort_unstable();
    all.dedup();
    all
}

fn mounts(engine: &Engine, container: &Container) -> Vec<Value> {
    let mut all = Vec::new();
    for mount in &container.config.mounts {
        let (kind, name, source, driver) = match &mount.source {
            MountSource::Bind(source) => ("bind", None, source.display().to_string(), ""),
            MountSource::Volume { name, .. } => {
                let source = engine.volume(name).map(|volume| volume.data().display().to_string());
                ("volume", Some(name), source.unwrap_or_default(), "local")
            }
            MountSource::Image { id, .. } => ("image", None, id.clone(), ""),
            // Podman lists only what has a source.
            MountSource::Tmpfs | MountSource::Special(_) => continue,
        };
        let has = |option: &str| mount.options.iter().any(|word| word == option);
        let propagation =
            ["rprivate", "private", "rshared", "shared", "rslave", "slave"].into_iter().find(|word| has(word));
        let mut value = Map::from_iter([
            ("Type".to_string(), json!(kind)),
            ("Source".into(), json!(source)),
            ("Destination".into(), json!(mount.target)),
            ("Driver".into(), json!(driver)),
            ("Mode".into(), json!("")),
            ("Options".into(), json!(mount.options)),
            ("RW".into(), json!(!has("ro"))),
            ("Propagation".into(), json!(propagation.unwrap_or("rprivate"))),
        ]);
        if let Some(name) = name {
            value.insert("Name".into(), json!(name));
        }
        all.push(Value::Object(value));
    }
    all
}

/// `{"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}`.
fn bindings(mappings: &[PortMapping]) -> Map<String, Value> {
    let mut all = Map::new();
    for (port, protocol, address, host) in ports::single(mappings) {
        let address = address.map(|address| address.to_string()).unwrap_or_default();
        let one = json!({ "HostIp": address, "HostPort": host.to_string() });
        if let Value::Array(list) = all.entry(format!("{port}/{protocol}")).or_insert_with(|| json!([])) {
            list.push(one);
        }
    }
    all
}

fn network_settings(container: &Container) -> Value {
    let config = &container.config;
    let mut all = bindings(&config.ports);
    for port in &config.exposed {
        all.entry(port.clone()).or_insert(Value::Null);
    }
    let sandbox = container.process().map(|process| format!("/proc/{}/ns/net", process.pid)).unwrap_or_default();
    json!({
        "EndpointID": "",
        "Gateway": "",
        "IPAddress": "",
        "IPPrefixLen": 0,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "MacAddress": "",
        "Bridge": "",
        "SandboxID": "",
        "HairpinMode": false,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "Ports": all,
        "SandboxKey": sandbox,
        "Networks": match &config.network {
            NetworkMode::Host | NetworkMode::None | NetworkMode::Pasta(_) | NetworkMode::Default => {
                json!({ word(&config.network): { "NetworkID": word(&config.network), "Aliases": null } })
            }
            _ => json!({}),
        },
    })
}
