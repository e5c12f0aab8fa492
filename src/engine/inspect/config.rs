//! `Config` and `HostConfig` of a container.

use serde_json::{Map, Value, json};

use super::bindings;
use crate::engine::container::{Container, MountSource, Root};
use crate::engine::network::word;
use crate::engine::settings::{CgroupsMode, NamespaceMode, RestartPolicy, Seccomp, UsernsMode};
use crate::handover::LogDriver;
use crate::linux::caps::Capability;
use crate::linux::process::Signal;

/// `Config`: what would be the same on any host.
pub fn portable(container: &Container) -> Value {
    let config = &container.config;
    let (image, _) = match &config.root {
        Root::Image { name, id, .. } => (name.as_str(), id.as_str()),
        Root::Directory(_) => ("", ""),
    };
    let exposed: Map<String, Value> = config.exposed.iter().map(|port| (port.clone(), json!({}))).collect();
    let signal = config.stop_signal.parse::<Signal>().map_or(15, Signal::number);
    json!({
        "Hostname": config.hostname,
        "Domainname": "",
        "User": config.user,
        "AttachStdin": config.interactive,
        "AttachStdout": true,
        "AttachStderr": true,
        "Tty": config.terminal,
        "OpenStdin": config.interactive,
        "StdinOnce": false,
        "Env": config.env,
        "Cmd": config.command,
        "Image": image,
        "Volumes": null,
        "WorkingDir": config.working_dir,
        "Entrypoint": config.entrypoint,
        "OnBuild": null,
        "Labels": config.labels,
        "Annotations": config.annotations,
        "ExposedPorts": exposed,
        "StopSignal": format!("SIG{}", config.stop_signal.trim_start_matches("SIG")),
        "StopSignalNumber": signal,
        "CreateCommand": config.create_command,
        "sdNotifyMode": config.notify.word(),
        "Umask": format!("{:04o}", config.umask),
        "Timezone": config.timezone.clone().unwrap_or_default(),
        "Timeout": config.timeout.unwrap_or(0),
        "StopTimeout": config.stop_timeout,
        "Passwd": true,
    })
}

fn namespace(mode: &NamespaceMode) -> String {
    match mode {
        NamespaceMode::Private => "private".into(),
        NamespaceMode::Host => "host".into(),
        NamespaceMode::Container(id) => format!("container:{id}"),
        NamespaceMode::Path(path) => format!("ns:{}", path.display()),
    }
}

/// `HostConfig`: what binds it to this host.
pub fn host(container: &Container) -> Value {
    let config = &container.config;
    let (spaces, security, resources) = (&config.namespaces, &config.security, &config.resources);
    let (restart, retries) = match config.restart {
        RestartPolicy::No => ("no", 0),
        RestartPolicy::OnFailure(retries) => ("on-failure", retries.unwrap_or(0)),
        RestartPolicy::Always => ("always", 0),
        RestartPolicy::UnlessStopped => ("unless-stopped", 0),
    };
    let driver = match config.log.driver {
        LogDriver::K8sFile => "k8s-file",
        LogDriver::JsonFile => "json-file",
        LogDriver::Journald => "journald",
        LogDriver::None => "none",
        LogDriver::Passthrough => "passthrough",
    };
    let mut options = Vec::new();
    if security.no_new_privileges {
        options.push("no-new-privileges".to_string());
    }
    match &security.seccomp {
        Seccomp::Default => {}
        Seccomp::Unconfined => options.push("seccomp=unconfined".into()),
        Seccomp::Profile(path) => options.push(format!("seccomp={}", path.display())),
    }
    options.extend(security.other.iter().cloned());
    let binds: Vec<String> = config
        .mounts
        .iter()
        .filter_map(|mount| {
            let source = match &mount.source {
                MountSource::Bind(source) => source.display().to_string(),
                MountSource::Volume { name, .. } => name.clone(),
                _ => return None,
            };
            // As Podman: how it is mounted is said in full, also where nobody said it.
            let mut options: Vec<&str> = mount.options.iter().map(String::as_str).collect();
            if !options.contains(&"ro") && !options.contains(&"rw") {
                options.insert(0, "rw");
            }
            Some(format!("{source}:{}:{}", mount.target, options.join(",")))
        })
        .collect();
    let tmpfs: Map<String, Value> = config
        .mounts
        .iter()
        .filter(|mount| mount.source == MountSource::Tmpfs)
        .map(|mount| (mount.target.clone(), json!(mount.options.join(","))))
        .collect();
    let mut all = json!({
        "Binds": binds,
        "CgroupManager": "",
        "CgroupMode": namespace(&spaces.cgroup),
        "ContainerIDFile": config.cid_file.clone().unwrap_or_default(),
        "LogConfig": {
            "Type": driver,
            "Config": null,
            "Path": config.log.path,
            "Tag": config.log.tag.clone().unwrap_or_default(),
            "Size": config.log.max_size.map_or_else(|| "0B".into(), |size| format!("{size}B")),
        },
        "NetworkMode": word(&config.network),
        "PortBindings": bindings(&config.ports),
        "RestartPolicy": { "Name": restart, "MaximumRetryCount": retries },
        "AutoRemove": config.remove,
        "Annotations": config.annotations,
        "VolumeDriver": "",
        "VolumesFrom": null,
        "CapAdd": capabilities(&security.cap_add),
        "CapDrop": capabilities(&security.cap_drop),
        "Dns": config.dns.servers,
        "DnsOptions": config.dns.options,
        "DnsSearch": config.dns.search,
        "ExtraHosts": config.dns.hosts.iter().map(|(name, address)| format!("{name}:{address}")).collect::<Vec<_>>(),
        "GroupAdd": config.groups,
        // Whoever knows its name may join it.
        "IpcMode": if spaces.ipc == NamespaceMode::Private { "shareable".into() } else { namespace(&spaces.ipc) },
        "Cgroup": "",
        "Cgroups": if config.cgroups == CgroupsMode::Disabled { "disabled" } else { "default" },
        "Links": null,
        "OomScoreAdj": resources.oom_score_adj.unwrap_or(0),
        "PidMode": namespace(&spaces.pid),
        "Privileged": security.privileged,
        "PublishAllPorts": false,
        "ReadonlyRootfs": config.read_only,
        "SecurityOpt": options,
        "Tmpfs": tmpfs,
        "UTSMode": namespace(&spaces.uts),
        "UsernsMode": match &spaces.user {
            UsernsMode::Host => "",
            UsernsMode::KeepId { .. } => "keep-id",
            UsernsMode::Nomap => "nomap",
            UsernsMode::Auto { .. } => "auto",
            _ => "private",
        },
        "ShmSize": resources.shm_size.unwrap_or(65_536_000),
        "Runtime": "oci",
        "ConsoleSize": [0, 0],
        "Isolation": "",
    });
    // One macro call takes only so many fields.
    if let (Value::Object(all), Value::Object(more)) = (&mut all, limits(container)) {
        all.extend(more);
    }
    all
}

/// Capabilities by the kernel's names, however they were written.
fn capabilities(said: &[String]) -> Vec<String> {
    let name = |word: &String| word.parse::<Capability>().map_or_else(|_| word.to_uppercase(), |it| it.to_string());
    said.iter().map(name).collect()
}

/// The fields about how much it may have.
fn limits(container: &Container) -> Value {
    let config = &container.config;
    let resources = &config.resources;
    let ulimits: Vec<Value> = config
        .ulimits
        .iter()
        .map(|limit| json!({ "Name": format!("RLIMIT_{}", limit.name.to_uppercase()), "Soft": limit.soft, "Hard": limit.hard }))
        .collect();
    json!({
        "CpuShares": resources.cpu_shares.unwrap_or(0),
        "Memory": resources.memory.unwrap_or(0),
        "NanoCpus": resources.cpus.map_or(0, |cpus| (cpus * 1e9) as i64),
        "CgroupParent": config.cgroup_parent.clone().unwrap_or_default(),
        "BlkioWeight": resources.blkio_weight.unwrap_or(0),
        "CpuPeriod": resources.cpu_period.unwrap_or(0),
        "CpuQuota": resources.cpu_quota.unwrap_or(0),
        "CpusetCpus": resources.cpuset_cpus.clone().unwrap_or_default(),
        "CpusetMems": resources.cpuset_mems.clone().unwrap_or_default(),
        "Devices": config.devices.iter().map(|device| json!({
            "PathOnHost": device.host, "PathInContainer": device.container, "CgroupPermissions": device.access,
        })).collect::<Vec<_>>(),
        "MemoryReservation": resources.memory_reservation.unwrap_or(0),
        "MemorySwap": resources.memory_swap.unwrap_or(0),
        "OomKillDisable": false,
        "Init": config.init.is_some(),
        "PidsLimit": resources.pids.unwrap_or(0),
        "Ulimits": ulimits,
        "Sysctls": config.sysctls,
        "CgroupConf": resources.unified,
    })
}
