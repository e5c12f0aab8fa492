//! `ps`: the containers, as a table, as JSON, by a template.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cli::filter::{Filters, network};
use crate::cli::format::{self, Listing, human};
use crate::cli::{Context, Verb, failure};
use crate::engine::Engine;
use crate::engine::container::{Container, ContainerConfig, MountSource, Root, Started, Status};
use crate::engine::settings::{PortMapping, Protocol};

/// podling ps
#[derive(Debug, Args)]
pub struct Ps {
    /// All containers, not only those that run
    #[arg(long, short)]
    all: bool,
    /// Those to which this applies, such as name=web or status=exited (repeatable)
    #[arg(long, short, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// json, a Go template, or `table` and a template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// The last N made, whatever their state
    #[arg(long, short = 'n', value_name = "N", default_value_t = -1, hide_default_value = true)]
    last: i64,
    /// The one made last
    #[arg(long, short)]
    latest: bool,
    /// Ids and commands in full
    #[arg(long)]
    no_trunc: bool,
    /// No headings
    #[arg(long)]
    noheading: bool,
    /// Namespaces instead of the usual columns
    #[arg(long)]
    ns: bool,
    /// Pods too
    #[arg(long, short)]
    pod: bool,
    /// Ids only
    #[arg(long, short)]
    quiet: bool,
    /// Sizes too
    #[arg(long, short)]
    size: bool,
    /// Order: command, created, id, image, names, runningfor, size, status
    #[arg(long, value_name = "FIELD", default_value = "created", hide_default_value = true,
          value_parser = ["command", "created", "id", "image", "names", "runningfor", "size", "status"], hide_possible_values = true)]
    sort: String,
    /// Show it again every so many seconds
    #[arg(long, short, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    watch: Option<u64>,
    /// Podman's; there is nothing to do.
    #[arg(long, hide = true)]
    external: bool,
    #[arg(long, hide = true)]
    sync: bool,
}

impl Verb for Ps {
    fn run(self, context: &Context) -> Result<i32> {
        if self.last >= 0 && self.latest {
            return Err(failure::misuse("last and latest are mutually exclusive", "ps"));
        }
        if self.quiet && (self.ns || self.size && self.format.is_none()) {
            bail!("--quiet cannot be used with --size or --ns");
        }
        let engine = context.engine()?;
        if self.size || self.sort == "size" {
            // The files that a user's container made belong to ids that only his user namespace has.
            engine.enter(None)?;
        }
        loop {
            let containers = self.containers(&engine)?;
            self.show(&engine, &containers)?;
            let Some(seconds) = self.watch else { return Ok(0) };
            std::thread::sleep(Duration::from_secs(seconds));
            failure::print("\x1b[2J\x1b[H")?;
        }
    }
}

impl Ps {
    fn containers(&self, engine: &Engine) -> Result<Vec<Container>> {
        let filters = Filters::parse(&self.filter)?;
        let mut all = engine.sound_containers()?;
        if !self.all && self.last < 0 && !self.latest && !filters.about_status() {
            all.retain(|it| it.status().is_running());
        }
        filters.retain(engine, &mut all)?;
        all.sort_by(|one, other| one.config.created.cmp(&other.config.created));
        let last = if self.latest { 1 } else { usize::try_from(self.last).unwrap_or(usize::MAX) };
        all.drain(..all.len().saturating_sub(last));
        match self.sort.as_str() {
            "command" => all.sort_by_key(|it| it.config.arguments()),
            "id" => all.sort_by_key(|it| it.config.id.clone()),
            "image" => all.sort_by_key(image),
            "names" => all.sort_by_key(|it| it.config.name.clone()),
            "runningfor" => all.sort_by_key(|it| it.started().map(|started| started.at)),
            "size" => all.sort_by_key(|it| size(engine, it).0),
            "status" => all.sort_by_key(|it| it.status().word()),
            _ => {}
        }
        Ok(all)
    }

    fn show(&self, engine: &Engine, containers: &[Container]) -> Result<i32> {
        let format = self.format.as_deref();
        if self.quiet && format.is_none_or(|format| !format::is_json(format)) {
            let ids = containers.iter().map(|it| if self.no_trunc { it.id() } else { it.short_id() });
            return failure::print(&ids.map(|id| format!("{id}\n")).collect::<String>());
        }
        let mut default =
            "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.CreatedHuman}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}"
                .to_owned();
        if self.ns {
            default = "table {{.ID}}\t{{.Names}}\t{{.Pid}}\t{{.CGROUPNS}}\t{{.IPC}}\t{{.MNT}}\t{{.NET}}\t{{.PIDNS}}\t{{.USERNS}}\t{{.UTS}}".into();
        }
        if self.pod {
            default += "\t{{.Pod}}\t{{.PodName}}";
        }
        if self.size {
            default += "\t{{.Size}}";
        }
        // Sizes cost a walk through the container's files: only for those who ask.
        let sized = self.size || format.is_some_and(|format| format.contains(".Size"));
        let listing = Listing {
            format,
            default: &default,
            headings: &[
                ("ID", "CONTAINER ID"),
                ("CreatedHuman", "CREATED"),
                ("RunningFor", "CREATED"),
                ("PIDNS", "PIDNS"),
                ("Pod", "POD ID"),
                ("PodName", "PODNAME"),
                ("ImageID", "IMAGE ID"),
                ("CreatedAt", "CREATED"),
            ],
            no_heading: self.noheading,
        };
        if format.is_some_and(format::is_json) {
            return listing.print(&[], || containers.iter().map(|it| document(engine, it, self.size)).collect());
        }
        let rows: Vec<_> = containers.iter().map(|it| self.row(engine, it, sized)).collect();
        listing.print(&rows, || Value::Null)
    }

    /// A container's fields, as a template names them.
    fn row(&self, engine: &Engine, it: &Container, sized: bool) -> Value {
        let config = &it.config;
        let (status, started) = (it.status(), it.started());
        let mut command = config.arguments().join(" ");
        if !self.no_trunc && command.chars().count() > 17 {
            command = command.chars().take(17).collect::<String>() + "...";
        }
        let created = config.created.parse::<Timestamp>().unwrap_or_default();
        let ago = human::ago(created);
        let exited = match &status {
            Status::Exited(record) => record.finished.parse::<Timestamp>().map_or(0, Timestamp::as_second),
            _ => 0,
        };
        let pid = status.process().map_or(0, |process| process.pid);
        let namespace = |kind: &str| namespace(pid, kind);
        json!({
            "ID": if self.no_trunc { it.id() } else { it.short_id() },
            "Image": image(it),
            "ImageID": image_id(it),
            "Command": command,
            "Created": ago, "CreatedHuman": ago, "RunningFor": ago,
            "CreatedAt": human::go_time(created),
            "StartedAt": started.as_ref().and_then(|started| started.at.parse::<Timestamp>().ok()).map_or(0, Timestamp::as_second),
            "Status": sentence(&status, started.as_ref()),
            "State": status.word(),
            "Exited": matches!(status, Status::Exited(_)),
            "ExitedAt": exited,
            "ExitCode": if let Status::Exited(record) = &status { record.code } else { 0 },
            "Restarts": started.map_or(0, |started| started.restarts),
            "Ports": all_ports(config),
            "Names": config.name,
            "Labels": config.labels,
            "Mounts": mounts(it).join(","),
            "Networks": network(&config.network),
            "Pid": pid,
            "Pod": "", "PodName": "", "IsInfra": false,
            "AutoRemove": config.remove,
            "Size": if sized { let (own, all) = size(engine, it); format!("{} (virtual {})", human::size(own), human::size(all)) } else { String::new() },
            "CGROUPNS": namespace("cgroup"), "IPC": namespace("ipc"), "MNT": namespace("mnt"), "NET": namespace("net"),
            "PIDNS": namespace("pid"), "USERNS": namespace("user"), "UTS": namespace("uts"),
        })
    }
}

/// A container in `--format json`, as Podman has it.
fn document(engine: &Engine, it: &Container, sized: bool) -> Value {
    let config = &it.config;
    let (status, started) = (it.status(), it.started());
    let second = |text: &str| text.parse::<Timestamp>().map_or(-62_135_596_800, Timestamp::as_second);
    let (exit_code, exited_at) = match &status {
        Status::Exited(record) => (record.code, second(&record.finished)),
        _ => (0, second("")),
    };
    let pid = status.process().map_or(0, |process| process.pid);
    let namespace = |kind: &str| namespace(pid, kind);
    let created = config.created.parse::<Timestamp>().unwrap_or_default();
    json!({
        "AutoRemove": config.remove,
        "Command": config.arguments(),
        "CreatedAt": human::ago(created),
        "Created": created.as_second(),
        "Exited": matches!(status, Status::Exited(_)),
        "ExitedAt": exited_at,
        "ExitCode": exit_code,
        "Id": it.id(),
        "Image": image(it),
        "ImageID": image_id(it),
        "IsInfra": false,
        "Labels": if config.labels.is_empty() { Value::Null } else { json!(config.labels) },
        "Mounts": mounts(it),
        "Names": [config.name],
        "Namespaces": if pid == 0 { json!({}) } else {
            json!({"Cgroup": namespace("cgroup"), "Ipc": namespace("ipc"), "Mnt": namespace("mnt"), "Net": namespace("net"),
                   "Pidns": namespace("pid"), "User": namespace("user"), "Uts": namespace("uts")})
        },
        "Networks": [network(&config.network)],
        "Pid": pid,
        "Pod": "", "PodName": "",
        "Ports": if config.ports.is_empty() { Value::Null } else {
            config.ports.iter().map(|it| json!({
                "host_ip": it.host_ip.map(|ip| ip.to_string()).unwrap_or_default(),
                "container_port": it.container_port, "host_port": it.host_port, "range": it.range,
                "protocol": protocol(it.protocol),
            })).collect()
        },
        "Restarts": started.as_ref().map_or(0, |started| started.restarts),
        "Size": if sized { let (own, all) = size(engine, it); json!({"rootFsSize": all, "rwSize": own}) } else { Value::Null },
        "StartedAt": second(started.as_ref().map_or("", |started| &started.at)),
        "State": status.word(),
        "Status": sentence(&status, started.as_ref()),
    })
}

/// The status as a person reads it: `Up 3 seconds`, `Exited (0) 5 minutes ago`.
fn sentence(status: &Status, started: Option<&Started>) -> String {
    match status {
        Status::Created => "Created".into(),
        Status::Initialized(_) => "Initialized".into(),
        Status::Paused(_) => "Paused".into(),
        Status::Running(_) => {
            let started = started.and_then(|started| started.at.parse().ok());
            format!("Up {}", human::duration(started.map_or(0, human::since)))
        }
        Status::Exited(record) => {
            let ago = record.finished.parse().map_or_else(|_| "some time ago".into(), human::ago);
            format!("Exited ({}) {ago}", record.code)
        }
    }
}

fn image(it: &Container) -> String {
    match &it.config.root {
        Root::Image { name, .. } => name.clone(),
        Root::Directory(path) => path.display().to_string(),
    }
}

fn image_id(it: &Container) -> &str {
    match &it.config.root {
        Root::Image { id, .. } => id,
        Root::Directory(_) => "",
    }
}

fn mounts(it: &Container) -> Vec<&str> {
    let user =
        it.config.mounts.iter().filter(|mount| !matches!(mount.source, MountSource::Tmpfs | MountSource::Special(_)));
    user.map(|mount| mount.target.as_str()).collect()
}

/// The published ports, then those that are only exposed: `0.0.0.0:8080->80/tcp, 443/tcp`.
fn all_ports(config: &ContainerConfig) -> String {
    let published = |exposed: &&String| {
        config.ports.iter().any(|it| format!("{}/{}", it.container_port, protocol(it.protocol)) == **exposed)
    };
    let exposed = config.exposed.iter().filter(|it| !published(it)).cloned();
    let all = Some(ports(&config.ports)).filter(|it| !it.is_empty()).into_iter().chain(exposed);
    all.collect::<Vec<_>>().join(", ")
}

/// `0.0.0.0:8080->80/tcp`, as Docker and Podman write it.
pub fn ports(ports: &[PortMapping]) -> String {
    let one = |port: &PortMapping| {
        let span = |first: u16| match port.range {
            0 | 1 => first.to_string(),
            count => format!("{first}-{}", first.saturating_add(count - 1)),
        };
        let address = port.host_ip.map_or_else(|| "0.0.0.0".to_owned(), |ip| ip.to_string());
        format!("{address}:{}->{}/{}", span(port.host_port), span(port.container_port), protocol(port.protocol))
    };
    ports.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

/// The number of a namespace of the container's process; 0: there is none.
fn namespace(pid: i32, kind: &str) -> String {
    if pid == 0 {
        return String::new();
    }
    let link = std::fs::read_link(format!("/proc/{pid}/ns/{kind}"));
    let text = link.map(|link| link.to_string_lossy().into_owned()).unwrap_or_default();
    text.split_once('[').map_or(String::new(), |(_, number)| number.trim_end_matches(']').to_owned())
}

/// Bytes of the container's own files, and those together with its image's.
fn size(engine: &Engine, it: &Container) -> (u64, u64) {
    let own = files(&it.upper());
    let image = engine.layout().and_then(|layout| Ok(layout.unpacked_size(&layout.find(image_id(it))?)));
    (own, own + image.unwrap_or(0))
}

fn files(directory: &std::path::Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(it) if it.is_dir() => files(&entry.path()),
            Ok(it) => it.len(),
            Err(_) => 0,
        })
        .sum()
}
