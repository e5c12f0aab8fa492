//! A container's settings: namespaces, network, privileges, limits, in the words of the flags.
//!
//! They are both asked and kept: a request has them as the person said them, and they go into `container.json` with what
//! was left open decided. So all of them can be written and read again, and a name in them must not change its meaning.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

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

/// One `--device-cgroup-rule 'c 10:200 rwm'`; `None` is any.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRule {
    /// a, b or c.
    pub kind: String,
    /// The major number.
    pub major: Option<i64>,
    /// The minor number.
    pub minor: Option<i64>,
    /// Some of r, w, m.
    pub access: String,
}

/// What is done to the container's /etc/passwd and /etc/group, so that its user has a name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Passwd {
    /// `--passwd=false`: nothing.
    pub leave: bool,
    /// `--passwd-entry`: the line, where `$USERNAME`, `$UID`, `$GID`, `$NAME` and `$HOME` are the user's.
    pub entry: Option<String>,
    /// `--group-entry`: the line, where `$GROUPNAME` and `$GID` are the group's.
    pub group_entry: Option<String>,
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
        /// The first of them, in the engine's user namespace; decided at create.
        #[serde(default)]
        first: u32,
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

/// Who tells the service manager that started us that the container is ready.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notify {
    /// A program inside, on a socket that it finds there.
    #[default]
    Container,
    /// We, when it is started.
    Monitor,
    /// Nobody, and nothing else is said either.
    Ignore,
}

impl Notify {
    /// The word of `--sdnotify`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Monitor => "conmon",
            Self::Ignore => "ignore",
        }
    }
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
    /// `--no-hostname`: no /etc/hostname of ours.
    pub no_hostname: bool,
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
    /// `--security-opt proc-opts=`: further options of /proc's mount.
    pub proc_options: Vec<String>,
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
    /// `--device-read-bps` and its kin.
    pub throttles: Vec<Throttle>,
    /// `--cgroup-conf`: files of the cgroup.
    pub unified: BTreeMap<String, String>,
    /// `--oom-score-adj`.
    pub oom_score_adj: Option<i32>,
    /// `--shm-size`.
    pub shm_size: Option<i64>,
}

/// How much may go to and from a device in a second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttle {
    /// What is counted.
    pub kind: ThrottleKind,
    /// The block device.
    pub device: PathBuf,
    /// How much of it in a second.
    pub rate: u64,
}

/// What a [`Throttle`] counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ThrottleKind {
    /// Bytes read.
    ReadBps,
    /// Bytes written.
    WriteBps,
    /// Reads.
    ReadIops,
    /// Writes.
    WriteIops,
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
