//! What may be asked of a new container: every flag of `run` and `create`, parsed.
//!
//! A [`ContainerRequest`] is what was *asked* (optional where a person may be silent). The engine turns it into a
//! [`super::container::ContainerConfig`], what was *decided*. How the words of the command line become these types is in
//! `parse`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::handover::LogDriver;
use crate::image::registry::Access;

/// Everything asked of a new container. `Default` asks for nothing.
#[derive(Debug, Clone, Default)]
pub struct ContainerRequest {
    /// An image's name, or a directory.
    pub source: Source,
    /// The words after the image.
    pub command: Vec<String>,
    /// `--entrypoint`; an empty list clears the image's.
    pub entrypoint: Option<Vec<String>>,
    /// `--name`.
    pub name: Option<String>,
    /// `--replace`: remove the container that has the name.
    pub replace: bool,
    /// Where its image comes from.
    pub pull: PullRequest,
    /// `-i`.
    pub interactive: bool,
    /// `-t`.
    pub terminal: bool,
    /// `--rm`.
    pub remove: bool,
    /// `-e`, `--env-file` and `--env-host`, resolved: later wins.
    pub env: Vec<(String, String)>,
    /// `--unsetenv`.
    pub unset_env: Vec<String>,
    /// `-u`, as written: `user[:group]`, names or numbers.
    pub user: Option<String>,
    /// `--group-add`.
    pub groups: Vec<String>,
    /// `-w`.
    pub working_dir: Option<String>,
    /// `--hostname`.
    pub hostname: Option<String>,
    /// `--label`, `--label-file`.
    pub labels: BTreeMap<String, String>,
    /// `--annotation`.
    pub annotations: BTreeMap<String, String>,
    /// `-v`, `--mount`, `--tmpfs`.
    pub mounts: Vec<MountRequest>,
    /// `--volumes-from`: container and options.
    pub volumes_from: Vec<String>,
    /// `--read-only`.
    pub read_only: bool,
    /// `--read-only-tmpfs` (on unless said).
    pub no_read_only_tmpfs: bool,
    /// `--device`.
    pub devices: Vec<Device>,
    /// Namespaces.
    pub namespaces: Namespaces,
    /// `--network`.
    pub network: NetworkMode,
    /// `-p`.
    pub ports: Vec<PortMapping>,
    /// `-P`: publish what the image exposes.
    pub publish_all: bool,
    /// `--expose`.
    pub expose: Vec<String>,
    /// Names and addresses.
    pub dns: Dns,
    /// What it may do.
    pub security: Security,
    /// How much it may have.
    pub resources: Resources,
    /// `--ulimit`.
    pub ulimits: Vec<Ulimit>,
    /// `--sysctl`.
    pub sysctls: BTreeMap<String, String>,
    /// `--init`.
    pub init: bool,
    /// `--init-path`.
    pub init_path: Option<PathBuf>,
    /// `--systemd`: false, true, always.
    pub systemd: Option<String>,
    /// `--stop-signal`.
    pub stop_signal: Option<String>,
    /// `--stop-timeout`, seconds.
    pub stop_timeout: Option<u64>,
    /// `--timeout`, seconds.
    pub timeout: Option<u64>,
    /// `--restart`.
    pub restart: RestartPolicy,
    /// `--log-driver`.
    pub log_driver: Option<LogDriver>,
    /// `--log-opt`: path, max-size, tag.
    pub log_options: BTreeMap<String, String>,
    /// `--pidfile`.
    pub pid_file: Option<PathBuf>,
    /// `--cidfile`.
    pub cid_file: Option<PathBuf>,
    /// `--conmon-pidfile`.
    pub monitor_pid_file: Option<PathBuf>,
    /// `--cgroups`.
    pub cgroups: CgroupsMode,
    /// `--cgroup-parent`.
    pub cgroup_parent: Option<String>,
    /// `--umask`, octal.
    pub umask: Option<u32>,
    /// `--tz`: a zone, or `local`.
    pub timezone: Option<String>,
    /// `--preserve-fds`: so many descriptors after 2 go on to the container.
    pub preserve_fds: u32,
    /// The words as typed, for inspect's `CreateCommand`.
    pub create_command: Vec<String>,
}

/// Where the root file system comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// An image, by name or id.
    Image(String),
    /// `--rootfs DIR`: a directory used as it is.
    Rootfs(PathBuf),
}

impl Default for Source {
    fn default() -> Self {
        Self::Image(String::new())
    }
}

/// How an image that is asked for is to be got.
#[derive(Debug, Clone, Default)]
pub struct PullRequest {
    /// `--pull`.
    pub policy: PullPolicy,
    /// `--platform` (os/arch[/variant]).
    pub platform: Option<String>,
    /// `--authfile`, `--creds`, `--tls-verify`, `--cert-dir`; what the machine's files say is not in it yet.
    pub access: Access,
}

/// When to pull.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PullPolicy {
    /// Always.
    Always,
    /// If it is not here.
    #[default]
    Missing,
    /// Never.
    Never,
    /// If the registry has a newer one.
    Newer,
}

/// One `-v`, `--mount` or `--tmpfs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountRequest {
    /// What is mounted.
    pub kind: MountKind,
    /// Where, inside.
    pub target: String,
    /// Options as mount(8) writes them: ro, rw, nosuid, nodev, noexec, rbind, rprivate, size=…
    pub options: Vec<String>,
    /// `U`: give what is mounted to the container's user.
    pub chown: bool,
    /// A new volume is filled with what the image has there (not with `nocopy`).
    pub copy: bool,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountKind {
    /// A file or directory of the host.
    Bind {
        /// Its path; relative ones are of the caller's directory.
        source: PathBuf,
        /// Make a missing directory (`-v` does not in Podman; `--mount` never).
        create: bool,
    },
    /// A volume; without a name, one that belongs to this container.
    Volume {
        /// The name.
        name: Option<String>,
    },
    /// An empty file system in memory.
    Tmpfs,
    /// Another image's files, read-only.
    Image {
        /// Its name.
        name: String,
    },
    /// A new devpts or mqueue.
    Special {
        /// The file system's type.
        kind: String,
    },
}

/// One `--device HOST[:CONTAINER[:rwm]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// The path on the host.
    pub host: PathBuf,
    /// The path inside.
    pub container: PathBuf,
    /// Some of r, w, m.
    pub access: String,
}

/// The namespaces asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    /// `--userns`.
    pub user: UsernsMode,
    /// `--pid`.
    pub pid: NamespaceMode,
    /// `--ipc`.
    pub ipc: NamespaceMode,
    /// `--uts`.
    pub uts: NamespaceMode,
    /// `--cgroupns`.
    pub cgroup: NamespaceMode,
}

/// One namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamespaceMode {
    /// Its own.
    #[default]
    Private,
    /// The caller's.
    Host,
    /// Another container's (name or id; the id once decided).
    Container(String),
    /// What this file of /proc or a bind mount of one names (`ns:PATH`).
    Path(PathBuf),
}

/// The user namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsernsMode {
    /// The engine's: root's own, or the one that all of a user's containers share.
    #[default]
    Host,
    /// The caller has the same uid and gid inside (or those given).
    KeepId {
        /// The uid inside.
        uid: Option<u32>,
        /// The gid inside.
        gid: Option<u32>,
    },
    /// The caller's own ids do not exist inside.
    Nomap,
    /// A range of its own (`size=`).
    Auto {
        /// How many ids.
        size: Option<u32>,
    },
    /// `--uidmap`, `--gidmap`: container, host (in the engine's user namespace), size.
    Maps {
        /// uids.
        uids: Vec<(u32, u32, u32)>,
        /// gids.
        gids: Vec<(u32, u32, u32)>,
    },
    /// Another container's.
    Container(String),
    /// A file that names one.
    Path(PathBuf),
}

/// The network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkMode {
    /// Nothing was said: pasta for a user.
    #[default]
    Default,
    /// Its own namespace with a loopback only.
    None,
    /// The caller's.
    Host,
    /// Another container's.
    Container(String),
    /// What a file names (`ns:PATH`).
    Path(PathBuf),
    /// pasta, with its options.
    Pasta(Vec<String>),
    /// Bridges, by network name.
    Bridge(Vec<String>),
}

/// One published port, or a range of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// The host's address; none: all.
    pub host_ip: Option<IpAddr>,
    /// The host's port; 0: any free one (decided at create).
    pub host_port: u16,
    /// The container's.
    pub container_port: u16,
    /// How many in a row.
    pub range: u16,
    /// tcp, udp, sctp.
    pub protocol: Protocol,
}

/// A transport.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// Names and addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// `--dns`.
    pub servers: Vec<IpAddr>,
    /// `--dns none`: leave the image's resolv.conf alone.
    pub leave: bool,
    /// `--dns-search`.
    pub search: Vec<String>,
    /// `--dns-option`.
    pub options: Vec<String>,
    /// `--add-host NAME:ADDRESS`; the address may be `host-gateway`.
    pub hosts: Vec<(String, String)>,
    /// `--no-hosts`.
    pub no_hosts: bool,
}

/// What a container may do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Security {
    /// `--privileged`.
    pub privileged: bool,
    /// `--cap-add`, as written (`all` too).
    pub cap_add: Vec<String>,
    /// `--cap-drop`.
    pub cap_drop: Vec<String>,
    /// `--security-opt no-new-privileges`.
    pub no_new_privileges: bool,
    /// `--security-opt seccomp=`.
    pub seccomp: Seccomp,
    /// `--security-opt mask=A:B`.
    pub mask: Vec<String>,
    /// `--security-opt unmask=A:B` (`ALL` too).
    pub unmask: Vec<String>,
    /// Options that mean nothing here (label=, apparmor=), kept for inspect.
    pub other: Vec<String>,
}

/// The system calls it may make.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seccomp {
    /// The field's default profile.
    #[default]
    Default,
    /// All.
    Unconfined,
    /// A profile in Docker's JSON.
    Profile(PathBuf),
}

/// How much it may have; sizes in bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// `--memory`.
    pub memory: Option<i64>,
    /// `--memory-reservation`.
    pub memory_reservation: Option<i64>,
    /// `--memory-swap`: memory and swap together; -1 unlimited.
    pub memory_swap: Option<i64>,
    /// `--cpus`.
    pub cpus: Option<f64>,
    /// `--cpu-period`, microseconds.
    pub cpu_period: Option<u64>,
    /// `--cpu-quota`, microseconds.
    pub cpu_quota: Option<i64>,
    /// `--cpu-shares`.
    pub cpu_shares: Option<u64>,
    /// `--cpuset-cpus`.
    pub cpuset_cpus: Option<String>,
    /// `--cpuset-mems`.
    pub cpuset_mems: Option<String>,
    /// `--pids-limit`; -1 and 0 unlimited.
    pub pids: Option<i64>,
    /// `--blkio-weight`.
    pub blkio_weight: Option<u16>,
    /// `--cgroup-conf`: files of the cgroup.
    pub unified: BTreeMap<String, String>,
    /// `--oom-score-adj`.
    pub oom_score_adj: Option<i32>,
    /// `--shm-size`.
    pub shm_size: Option<i64>,
}

/// One `--ulimit NAME=SOFT[:HARD]`; -1 is unlimited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// nofile, core, …
    pub name: String,
    /// The soft limit.
    pub soft: i64,
    /// The hard limit.
    pub hard: i64,
}

/// What to do when the container ends by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Nothing.
    #[default]
    No,
    /// Start it again if it failed, at most so many times (none: always).
    OnFailure(Option<u32>),
    /// Start it again.
    Always,
    /// Start it again; after a boot only if it had not been stopped.
    UnlessStopped,
}

/// Whether it gets a cgroup.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CgroupsMode {
    /// Yes, where the host lets us.
    #[default]
    Enabled,
    /// No.
    Disabled,
    /// For the container, not for the monitor.
    NoConmon,
    /// As `no-conmon`; one group for all.
    Split,
}

/// What may be asked of `exec`.
#[derive(Debug, Clone, Default)]
pub struct ExecRequest {
    /// The words.
    pub command: Vec<String>,
    /// `-i`.
    pub interactive: bool,
    /// `-t`.
    pub terminal: bool,
    /// `-d`.
    pub detach: bool,
    /// `-e`, `--env-file`.
    pub env: Vec<(String, String)>,
    /// `-u`.
    pub user: Option<String>,
    /// `-w`.
    pub working_dir: Option<String>,
    /// `--privileged`.
    pub privileged: bool,
    /// `--preserve-fds`.
    pub preserve_fds: u32,
    /// `--detach-keys`, as written.
    pub detach_keys: Option<String>,
}
