//! What the container shares with the machine and with others, and what it may do.

use anyhow::{Result, bail};
use clap::Args;

use crate::engine::request::ContainerRequest;
use crate::engine::settings::{NamespaceMode, Seccomp, Security, UsernsMode};

#[derive(Debug, Args)]
#[command(next_help_heading = "Isolation")]
pub struct Isolation {
    /// User namespace: host, keep-id[:uid=N,gid=N], nomap, auto[:size=N], container:NAME, ns:PATH (an image's first
    /// container with a new map waits for its files' owners to be shifted)
    #[arg(long, value_name = "MODE", value_parser = userns)]
    userns: Option<UsernsMode>,
    /// Map uids: CONTAINER:HOST:SIZE (repeatable)
    #[arg(long, value_name = "MAP", value_delimiter = ',', value_parser = map, conflicts_with = "userns")]
    uidmap: Vec<Map>,
    /// Map gids: CONTAINER:HOST:SIZE (repeatable)
    #[arg(long, value_name = "MAP", value_delimiter = ',', value_parser = map, conflicts_with = "userns")]
    gidmap: Vec<Map>,
    /// Pid namespace: private, host, container:NAME, ns:PATH
    #[arg(long, value_name = "MODE", value_parser = namespace)]
    pid: Option<NamespaceMode>,
    /// IPC namespace: private, shareable, host, container:NAME, ns:PATH
    #[arg(long, value_name = "MODE", value_parser = ipc)]
    ipc: Option<NamespaceMode>,
    /// UTS namespace (host name): private, host, container:NAME, ns:PATH
    #[arg(long, value_name = "MODE", value_parser = namespace)]
    uts: Option<NamespaceMode>,
    /// Cgroup namespace: private, host, container:NAME, ns:PATH
    #[arg(long, value_name = "MODE", value_parser = namespace)]
    cgroupns: Option<NamespaceMode>,
    /// Take the walls down: all capabilities and devices, nothing masked, no seccomp
    #[arg(long)]
    privileged: bool,
    /// Add a capability, or all (repeatable)
    #[arg(long, value_name = "CAP", value_delimiter = ',')]
    cap_add: Vec<String>,
    /// Drop a capability, or all (repeatable)
    #[arg(long, value_name = "CAP", value_delimiter = ',')]
    cap_drop: Vec<String>,
    /// no-new-privileges, seccomp=FILE|unconfined, mask=PATHS, unmask=PATHS|ALL, proc-opts=OPTIONS (repeatable)
    #[arg(long, value_name = "OPTION", value_parser = option)]
    security_opt: Vec<SecurityOption>,
    /// Set a kernel parameter of its namespaces (repeatable)
    #[arg(long, value_name = "NAME=VALUE", value_delimiter = ',', value_parser = super::pair)]
    sysctl: Vec<(String, String)>,
}

type Map = (u32, u32, u32);

#[derive(Debug, Clone)]
enum SecurityOption {
    NoNewPrivileges(bool),
    Seccomp(Seccomp),
    Mask(Vec<String>),
    Unmask(Vec<String>),
    ProcOptions(Vec<String>),
    Other(String),
}

impl Isolation {
    pub fn ask(self, request: &mut ContainerRequest) -> Result<()> {
        let namespaces = &mut request.namespaces;
        namespaces.user = self.userns.unwrap_or_default();
        if !self.uidmap.is_empty() || !self.gidmap.is_empty() {
            // As in Podman: one map said is both maps.
            let gids = if self.gidmap.is_empty() { self.uidmap.clone() } else { self.gidmap.clone() };
            let uids = if self.uidmap.is_empty() { self.gidmap } else { self.uidmap };
            namespaces.user = UsernsMode::Maps { uids, gids };
        }
        namespaces.pid = self.pid.unwrap_or_default();
        namespaces.ipc = self.ipc.unwrap_or_default();
        namespaces.uts = self.uts.unwrap_or_default();
        namespaces.cgroup = self.cgroupns.unwrap_or_default();
        let mut security = Security {
            privileged: self.privileged,
            cap_add: self.cap_add,
            cap_drop: self.cap_drop,
            ..Security::default()
        };
        for option in self.security_opt {
            match option {
                SecurityOption::NoNewPrivileges(on) => security.no_new_privileges = on,
                SecurityOption::Seccomp(profile) => security.seccomp = profile,
                SecurityOption::Mask(paths) => security.mask.extend(paths),
                SecurityOption::Unmask(paths) => security.unmask.extend(paths),
                SecurityOption::ProcOptions(options) => security.proc_options.extend(options),
                SecurityOption::Other(text) => security.other.push(text),
            }
        }
        for capability in security.cap_add.iter().chain(&security.cap_drop) {
            let known =
                capability.eq_ignore_ascii_case("all") || capability.parse::<crate::linux::caps::Capability>().is_ok();
            if !known {
                bail!("invalid value {capability:?} for --cap-add or --cap-drop: no such capability");
            }
        }
        request.security = security;
        request.sysctls = self.sysctl.into_iter().collect();
        Ok(())
    }
}

fn namespace(text: &str) -> Result<NamespaceMode, String> {
    match text.split_once(':') {
        None if matches!(text, "" | "private") => Ok(NamespaceMode::Private),
        None if text == "host" => Ok(NamespaceMode::Host),
        Some(("container", name)) if !name.is_empty() => Ok(NamespaceMode::Container(name.to_owned())),
        Some(("ns", path)) if path.starts_with('/') => Ok(NamespaceMode::Path(path.into())),
        _ => Err("expected private, host, container:NAME or ns:/PATH".into()),
    }
}

/// Any IPC namespace of ours may be shared, and /dev/shm with it: Docker's further words mean `private`.
fn ipc(text: &str) -> Result<NamespaceMode, String> {
    if matches!(text, "shareable" | "none") { Ok(NamespaceMode::Private) } else { namespace(text) }
}

fn userns(text: &str) -> Result<UsernsMode, String> {
    let (mode, rest) = text.split_once(':').map_or((text, None), |(mode, rest)| (mode, Some(rest)));
    let mut options = Vec::new();
    if matches!(mode, "keep-id" | "auto") {
        for option in rest.unwrap_or_default().split(',').filter(|option| !option.is_empty()) {
            let (key, value) = option.split_once('=').ok_or_else(|| format!("{option:?} is not KEY=NUMBER"))?;
            let number: u32 = value.parse().map_err(|_| format!("{value:?} is not a number"))?;
            let known = if mode == "auto" { &["size"][..] } else { &["uid", "gid"][..] };
            if !known.contains(&key) {
                return Err(format!("unknown option {key:?} of {mode}"));
            }
            options.push((key, number));
        }
    }
    let number = |wanted: &str| options.iter().find(|(key, _)| *key == wanted).map(|(_, number)| *number);
    match (mode, rest) {
        ("" | "host", None) => Ok(UsernsMode::Host),
        ("keep-id", _) => Ok(UsernsMode::KeepId { uid: number("uid"), gid: number("gid") }),
        ("nomap", None) => Ok(UsernsMode::Nomap),
        ("auto", _) => Ok(UsernsMode::Auto { size: number("size"), first: 0 }),
        ("container", Some(name)) if !name.is_empty() => Ok(UsernsMode::Container(name.to_owned())),
        ("ns", Some(path)) if path.starts_with('/') => Ok(UsernsMode::Path(path.into())),
        _ => Err("expected host, keep-id[:uid=N,gid=N], nomap, auto[:size=N], container:NAME or ns:/PATH".into()),
    }
}

fn map(text: &str) -> Result<Map, String> {
    let numbers: Vec<u32> = text.split(':').map(str::parse).collect::<Result<_, _>>().map_err(|_| EXPECTED_MAP)?;
    match numbers[..] {
        [container, host, size] => Ok((container, host, size)),
        _ => Err(EXPECTED_MAP.into()),
    }
}

const EXPECTED_MAP: &str = "expected CONTAINER:HOST:SIZE, three numbers";

fn option(text: &str) -> Result<SecurityOption, String> {
    // Docker allows a colon where Podman writes `=`.
    let (key, value) = text.split_once(['=', ':']).map_or((text, None), |(key, value)| (key, Some(value)));
    let paths = || match value {
        Some(value) if !value.is_empty() => Ok(value.split(':').map(str::to_owned).collect()),
        _ => Err(format!("{key} needs paths")),
    };
    match (key, value) {
        ("no-new-privileges", None | Some("true")) => Ok(SecurityOption::NoNewPrivileges(true)),
        ("no-new-privileges", Some("false")) => Ok(SecurityOption::NoNewPrivileges(false)),
        ("seccomp", Some("unconfined")) => Ok(SecurityOption::Seccomp(Seccomp::Unconfined)),
        ("seccomp", Some(path)) if !path.is_empty() => {
            let path = std::path::absolute(path).map_err(|error| error.to_string())?;
            Ok(SecurityOption::Seccomp(Seccomp::Profile(path)))
        }
        ("mask", _) => Ok(SecurityOption::Mask(paths()?)),
        ("unmask", _) => Ok(SecurityOption::Unmask(paths()?)),
        // Docker's word for the same.
        ("systempaths", Some("unconfined")) => Ok(SecurityOption::Unmask(vec!["ALL".into()])),
        ("proc-opts", Some(options)) if !options.is_empty() => {
            Ok(SecurityOption::ProcOptions(options.split(',').map(str::to_owned).collect()))
        }
        ("label" | "apparmor", Some(_)) => Ok(SecurityOption::Other(text.to_owned())),
        _ => Err("expected no-new-privileges, seccomp=, mask=, unmask=, proc-opts=, label= or apparmor=".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_namespaces_are_read() {
        for (text, expected) in [
            ("host", UsernsMode::Host),
            ("keep-id", UsernsMode::KeepId { uid: None, gid: None }),
            ("keep-id:uid=5,gid=6", UsernsMode::KeepId { uid: Some(5), gid: Some(6) }),
            ("auto:size=1000", UsernsMode::Auto { size: Some(1000), first: 0 }),
            ("container:web", UsernsMode::Container("web".into())),
        ] {
            assert_eq!(userns(text), Ok(expected), "{text}");
        }
    }
}
