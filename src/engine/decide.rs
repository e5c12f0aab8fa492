//! From what was asked to what is decided: a [`ContainerRequest`] and an image's wishes become a [`ContainerConfig`].
//!
//! Nothing is optional any more when this is done: names of other containers have become ids, ports have numbers, paths
//! are absolute. Where request and image differ, Docker's rules say who is heard.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use oci_spec::image::Config as ImageConfig;

use super::container::{ContainerConfig, Init, MountConfig, MountSource, Root};
use super::environment::environment;
use super::failure::Failure;
use super::image::Silent;
use super::mapping::AUTO_SIZE;
use super::request::{ContainerRequest, ImageVolumes, MountKind, MountRequest, PullRequest};
use super::settings::{NamespaceMode, NetworkMode, PortMapping, UsernsMode};
use super::{Engine, Owner, names, network};
use crate::handover::{LogConfig, LogDriver};
use crate::linux::process::Signal;
use crate::linux::resolve;

impl Engine {
    /// Everything about a new container but its name.
    pub fn decide(
        &self,
        request: &ContainerRequest,
        id: &str,
        root: Root,
        image: &ImageConfig,
    ) -> Result<ContainerConfig> {
        let (entrypoint, command) = words(request, image)?;
        let systemd = wants_systemd(request, entrypoint.iter().chain(&command).next());
        let namespaces = self.resolve_namespaces(request)?;
        let (network, ports) = self.decide_network(request)?;
        let mounts = self.decide_mounts(request, image, id)?;
        let own_uts = namespaces.uts == NamespaceMode::Private;
        let hostname = match &request.hostname {
            Some(name) => name.clone(),
            None if own_uts && network != NetworkMode::Host => id[..12].into(),
            None if own_uts => nix::unistd::gethostname()?.to_string_lossy().into_owned(),
            None => String::new(),
        };
        let mut labels: BTreeMap<String, String> =
            image.labels().iter().flatten().map(|(name, value)| (name.clone(), value.clone())).collect();
        labels.extend(request.labels.clone());
        let stop_signal = request.stop_signal.clone().or_else(|| image.stop_signal().clone());
        let asks = if systemd { "SIGRTMIN+3" } else { "SIGTERM" };
        let stop_signal = stop_signal.as_deref().unwrap_or(asks).parse::<Signal>()?.to_string();
        let mut env = environment(request, image);
        if systemd {
            env.push(format!("container_uuid={}", &id[..32]));
        }
        let mut exposed: Vec<String> = image.exposed_ports().clone().unwrap_or_default();
        exposed.extend(request.expose.iter().cloned());
        exposed.sort();
        exposed.dedup();
        Ok(ContainerConfig {
            id: id.into(),
            name: String::new(),
            created: super::now(),
            root,
            entrypoint,
            command,
            env,
            user: self.decide_user(request, image),
            groups: request.groups.clone(),
            passwd: request.passwd.clone(),
            working_dir: request
                .working_dir
                .clone()
                .or_else(|| image.working_dir().clone())
                .filter(|directory| !directory.is_empty())
                .unwrap_or_else(|| "/".into()),
            make_working_dir: request.working_dir.as_ref().is_none_or(String::is_empty),
            hostname,
            terminal: request.terminal,
            interactive: request.interactive,
            labels,
            annotations: request.annotations.clone(),
            mounts,
            devices: request.devices.clone(),
            device_rules: request.device_rules.clone(),
            systemd,
            read_only: request.read_only,
            read_only_tmpfs: request.read_only && !request.no_read_only_tmpfs,
            namespaces,
            network,
            ports,
            exposed,
            dns: request.dns.clone(),
            security: request.security.clone(),
            resources: request.resources.clone(),
            ulimits: request.ulimits.clone(),
            sysctls: request.sysctls.clone(),
            init: init(request)?,
            stop_signal,
            stop_timeout: request.stop_timeout.unwrap_or(10),
            timeout: request.timeout.filter(|seconds| *seconds > 0),
            restart: request.restart,
            remove: request.remove,
            log: self.log(request, id)?,
            pid_file: absolute(request.pid_file.as_deref())?,
            cid_file: absolute(request.cid_file.as_deref())?,
            monitor_pid_file: absolute(request.monitor_pid_file.as_deref())?,
            runtime: self.options.runtime.clone().unwrap_or_default(),
            cgroups: request.cgroups,
            cgroup_parent: request.cgroup_parent.clone(),
            umask: request.umask.unwrap_or(0o022),
            timezone: request.timezone.clone(),
            preserve_fds: request.preserve_fds,
            notify: request.notify,
            create_command: request.create_command.clone(),
        })
    }

    /// Who is said, else who the image says; but with keep-id the caller himself, whose number was kept for that.
    fn decide_user(&self, request: &ContainerRequest, image: &ImageConfig) -> String {
        let kept = match (&request.namespaces.user, self.owner) {
            (UsernsMode::KeepId { uid, gid }, Owner::User { uid: own_uid, gid: own_gid }) => {
                Some(format!("{}:{}", uid.unwrap_or(own_uid), gid.unwrap_or(own_gid)))
            }
            _ => None,
        };
        request.user.clone().or(kept).or_else(|| image.user().clone()).unwrap_or_default()
    }

    /// Other containers' names become ids, and must be there.
    fn resolve_namespaces(&self, request: &ContainerRequest) -> Result<super::settings::Namespaces> {
        let mut namespaces = request.namespaces.clone();
        let all = [&mut namespaces.pid, &mut namespaces.ipc, &mut namespaces.uts, &mut namespaces.cgroup];
        for mode in all {
            if let NamespaceMode::Container(name) = mode {
                *name = self.container(name)?.config.id;
            }
        }
        match &mut namespaces.user {
            UsernsMode::Container(name) => *name = self.container(name)?.config.id,
            UsernsMode::Auto { size, first } => *first = self.free_range(*size.get_or_insert(AUTO_SIZE))?,
            _ => {}
        }
        Ok(namespaces)
    }

    fn decide_network(&self, request: &ContainerRequest) -> Result<(NetworkMode, Vec<PortMapping>)> {
        let mut asked = request.network.clone();
        if let NetworkMode::Container(name) = &mut asked {
            *name = self.container(name)?.config.id;
        }
        let (mode, remark) = network::decide(self, &asked, &request.ports)?;
        if let Some(remark) = remark {
            eprintln!("podling: {remark}");
        }
        let ports =
            if matches!(mode, NetworkMode::Pasta(_)) { network::ports::decide(&request.ports)? } else { Vec::new() };
        Ok((mode, ports))
    }

    fn log(&self, request: &ContainerRequest, id: &str) -> Result<LogConfig> {
        let driver = request.log_driver.unwrap_or(LogDriver::K8sFile);
        let option = |name: &str| request.log_options.get(name);
        let path = match option("path") {
            Some(path) => std::path::absolute(path)?,
            None => self.paths.container(id).join("log"),
        };
        let max_size = option("max-size").map(|size| bytes(size)).transpose()?;
        Ok(LogConfig { driver, path, max_size, tag: option("tag").cloned() })
    }

    /// The mounts asked for, then other containers' volumes, then the volumes that the image wants, each target once.
    fn decide_mounts(&self, request: &ContainerRequest, image: &ImageConfig, id: &str) -> Result<Vec<MountConfig>> {
        let mut mounts: Vec<MountConfig> = Vec::new();
        for asked in &request.mounts {
            let mount = self.decide_mount(asked, mounts.len(), id)?;
            if mounts.iter().any(|other| other.target == mount.target) {
                bail!(Failure::Invalid(format!("{}: duplicate mount destination", mount.target)));
            }
            mounts.push(mount);
        }
        let mut more = Vec::new();
        for asked in &request.volumes_from {
            let (name, options) = asked.split_once(':').unwrap_or((asked, ""));
            for mut mount in self.container(name)?.config.mounts {
                if !matches!(mount.source, MountSource::Bind(_) | MountSource::Volume { .. }) {
                    continue;
                }
                if let MountSource::Volume { anonymous, .. } = &mut mount.source {
                    *anonymous = false;
                }
                mount.options.extend(options.split(',').filter(|word| matches!(*word, "ro" | "rw")).map(Into::into));
                more.push(mount);
            }
        }
        let kind = match request.image_volumes {
            ImageVolumes::Anonymous => Some(MountKind::Volume { name: None }),
            ImageVolumes::Tmpfs => Some(MountKind::Tmpfs),
            ImageVolumes::Ignore => None,
        };
        let wanted = |kind| image.volumes().iter().flatten().map(move |target| (kind, target));
        for (kind, target) in kind.iter().flat_map(wanted) {
            if resolve::clean(Path::new(target)).starts_with("/proc") {
                bail!(Failure::Invalid(format!(
                    "the image wants a volume at {target}, over what the kernel says there: refused (--image-volume=ignore \
                     goes without)"
                )));
            }
            let asked = MountRequest {
                kind: kind.clone(),
                target: target.clone(),
                options: Vec::new(),
                chown: false,
                copy: true,
            };
            more.push(self.decide_mount(&asked, mounts.len() + more.len(), id)?);
        }
        for mount in more {
            if !mounts.iter().any(|other| other.target == mount.target) {
                mounts.push(mount);
            }
        }
        Ok(mounts)
    }

    fn decide_mount(&self, asked: &MountRequest, number: usize, id: &str) -> Result<MountConfig> {
        if !asked.target.starts_with('/') {
            bail!(Failure::Invalid(format!("{}: a mount's destination must be an absolute path", asked.target)));
        }
        let target = resolve::clean(Path::new(&asked.target));
        if target == Path::new("/") {
            bail!(Failure::Invalid(format!("{}: the root itself cannot be mounted on", asked.target)));
        }
        let mut options = asked.options.clone();
        let source = match &asked.kind {
            MountKind::Bind { source, create } => {
                let source = std::path::absolute(source)?;
                if *create && !source.exists() {
                    fs::create_dir_all(&source).with_context(|| format!("making {}", source.display()))?;
                }
                fs::metadata(&source).with_context(|| format!("the source of a mount, {}", source.display()))?;
                MountSource::Bind(source)
            }
            MountKind::Volume { name } => {
                if !asked.copy {
                    options.push("nocopy".into());
                }
                // What containers leave in a volume is no program with its owner's rights and no device, unless that was
                // asked for.
                for (default, opposite) in [("nosuid", "suid"), ("nodev", "dev")] {
                    if !options.iter().any(|option| option == default || option == opposite) {
                        options.push(default.into());
                    }
                }
                // An anonymous volume is named after what nobody else has: its container's id and its number.
                let own = || format!("{}{number:02x}", &id[..62]);
                if let Some(name) = name {
                    names::check(name)?;
                }
                MountSource::Volume { name: name.clone().unwrap_or_else(own), anonymous: name.is_none() }
            }
            MountKind::Tmpfs => MountSource::Tmpfs,
            MountKind::Special { kind } => MountSource::Special(kind.clone()),
            MountKind::Image { name } => {
                let image = self.resolve(name, &PullRequest::default(), &Silent)?;
                MountSource::Image { id: image.id, layers: image.layers }
            }
        };
        Ok(MountConfig { source, target: target.display().to_string(), options, chown: asked.chown })
    }
}

/// Entrypoint and command, by Docker's rules: what is said replaces what the image says, and a new entrypoint drops the
/// image's command, whose words were meant for the old one.
fn words(request: &ContainerRequest, image: &ImageConfig) -> Result<(Vec<String>, Vec<String>)> {
    let entrypoint = request.entrypoint.clone().unwrap_or_else(|| image.entrypoint().clone().unwrap_or_default());
    let command = if !request.command.is_empty() || request.entrypoint.is_some() {
        request.command.clone()
    } else {
        image.cmd().clone().unwrap_or_default()
    };
    if entrypoint.iter().chain(&command).next().is_none() {
        bail!(Failure::Invalid("no command or entrypoint provided, and no CMD or ENTRYPOINT from image".into()));
    }
    Ok((entrypoint, command))
}

/// Whether the container is made ready for systemd as its first process: on request, or because the program is one.
fn wants_systemd(request: &ContainerRequest, program: Option<&String>) -> bool {
    match request.systemd.as_deref() {
        Some("always") => true,
        Some("false") => false,
        _ => program.is_some_and(|program| {
            let inits = ["/usr/sbin/init", "/usr/local/sbin/init", "/sbin/init", "init"];
            inits.contains(&program.as_str()) || Path::new(program).file_name().is_some_and(|name| name == "systemd")
        }),
    }
}

/// What will be pid 1 with `--init`.
fn init(request: &ContainerRequest) -> Result<Option<Init>> {
    if !request.init {
        return Ok(None);
    }
    let Some(path) = &request.init_path else { return Ok(Some(Init::Any)) };
    fs::metadata(path).with_context(|| format!("the init {}", path.display()))?;
    Ok(Some(Init::Program(std::path::absolute(path)?)))
}

fn absolute(path: Option<&Path>) -> Result<Option<PathBuf>> {
    path.map(std::path::absolute).transpose().map_err(Into::into)
}

/// `10m` → bytes; units of 1024.
fn bytes(text: &str) -> Result<u64> {
    let lower = text.to_ascii_lowercase();
    let number = lower.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match &lower[number.len()..] {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        other => bail!(Failure::Invalid(format!("{text:?}: no such unit: {other}"))),
    };
    let number: f64 = number.parse().map_err(|_| Failure::Invalid(format!("{text:?} is not a size")))?;
    Ok((number * f64::from(unit)) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(entrypoint: Option<&[&str]>, command: &[&str]) -> ContainerRequest {
        let list = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        ContainerRequest { entrypoint: entrypoint.map(list), command: list(command), ..ContainerRequest::default() }
    }

    #[test]
    fn a_new_entrypoint_drops_the_image_s_command() {
        let mut image = ImageConfig::default();
        image.set_entrypoint(Some(vec!["enter".into()]));
        image.set_cmd(Some(vec!["default".into()]));
        let told = |request| words(&request, &image).expect("words").0.join(" ");
        let rest = |request| words(&request, &image).expect("words").1.join(" ");
        assert_eq!(rest(asked(None, &[])), "default");
        assert_eq!(rest(asked(None, &["other"])), "other");
        assert_eq!(told(asked(Some(&["mine"]), &[])), "mine");
        assert_eq!(rest(asked(Some(&["mine"]), &[])), "");
        assert!(words(&asked(Some(&[]), &[]), &image).is_err());
    }

    #[test]
    fn sizes_have_units_of_1024() {
        assert_eq!(bytes("10k").expect("size"), 10240);
        assert_eq!(bytes("1.5MB").expect("size"), 1_572_864);
        assert!(bytes("ten").is_err());
    }
}
