//! What was decided about a container: `container.json`, written once when it is created.
//!
//! Nothing here changes with what the container does (only `rename` and `update` write it anew), and nothing is optional
//! that need not be: whoever reads it has no default left to think of.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::settings::{
    CgroupsMode, Device, DeviceRule, Dns, Namespaces, NetworkMode, Notify, Passwd, PortMapping, Resources,
    RestartPolicy, Security, Ulimit,
};
use crate::handover::LogConfig;

/// What was decided about a container: `container.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ContainerConfig {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name; `names/<name>` leads here.
    pub name: String,
    /// When it was created, RFC 3339.
    pub created: String,
    /// Where its root file system comes from.
    pub root: Root,
    /// The image's entrypoint or `--entrypoint`; kept apart from `command` for inspect.
    pub entrypoint: Vec<String>,
    /// The arguments after the entrypoint.
    pub command: Vec<String>,
    /// The environment, complete but for HOME and TERM (`NAME=value`).
    pub env: Vec<String>,
    /// `user[:group]` as asked or as the image says; empty is root.
    pub user: String,
    /// Further groups, as asked.
    pub groups: Vec<String>,
    /// What is done to /etc/passwd.
    #[serde(default)]
    pub passwd: Passwd,
    /// The working directory.
    pub working_dir: String,
    /// It is the image's own wish, and is made if it is missing.
    #[serde(default = "always")]
    pub make_working_dir: bool,
    /// The host name; empty where the UTS namespace is not its own.
    pub hostname: String,
    /// A terminal.
    pub terminal: bool,
    /// Standard input stays open.
    pub interactive: bool,
    /// Labels: the image's and the person's.
    pub labels: BTreeMap<String, String>,
    /// Annotations for the runtime.
    pub annotations: BTreeMap<String, String>,
    /// What is mounted beside the defaults.
    pub mounts: Vec<MountConfig>,
    /// Devices.
    pub devices: Vec<Device>,
    /// Which devices it may use beside those.
    #[serde(default)]
    pub device_rules: Vec<DeviceRule>,
    /// It is made ready for systemd as its program.
    #[serde(default)]
    pub systemd: bool,
    /// The root file system is read-only.
    pub read_only: bool,
    /// … but /tmp, /run and /var/tmp are tmpfs.
    pub read_only_tmpfs: bool,
    /// Namespaces; containers in them are ids.
    pub namespaces: Namespaces,
    /// The network; never `Default`.
    pub network: NetworkMode,
    /// Published ports, host ports decided.
    pub ports: Vec<PortMapping>,
    /// Exposed ports, as `80/tcp`.
    pub exposed: Vec<String>,
    /// Names and addresses.
    pub dns: Dns,
    /// What it may do.
    pub security: Security,
    /// How much it may have.
    pub resources: Resources,
    /// Resource limits of its processes.
    pub ulimits: Vec<Ulimit>,
    /// Kernel parameters.
    pub sysctls: BTreeMap<String, String>,
    /// An init runs as pid 1 before the container's own program.
    pub init: Option<Init>,
    /// The signal that asks it to stop, as a name (SIGTERM).
    pub stop_signal: String,
    /// Seconds until stop kills.
    pub stop_timeout: u64,
    /// Kill it after so many seconds.
    pub timeout: Option<u64>,
    /// What to do when it ends.
    pub restart: RestartPolicy,
    /// `--rm`.
    pub remove: bool,
    /// Where output goes.
    pub log: LogConfig,
    /// Write the pid here too.
    pub pid_file: Option<PathBuf>,
    /// The id was written here; removed with the container.
    pub cid_file: Option<PathBuf>,
    /// Write the monitor's pid here too.
    pub monitor_pid_file: Option<PathBuf>,
    /// The OCI runtime's program as asked with `--runtime` (name or path); empty: podling-runtime.
    pub runtime: String,
    /// Whether it gets a cgroup.
    pub cgroups: CgroupsMode,
    /// Below which group.
    pub cgroup_parent: Option<String>,
    /// umask, octal.
    pub umask: u32,
    /// Zone of `/etc/localtime`.
    pub timezone: Option<String>,
    /// Descriptors after 2 that go on to the container.
    pub preserve_fds: u32,
    /// Who says that it is ready, if it is a service.
    #[serde(default)]
    pub notify: Notify,
    /// The words as typed.
    pub create_command: Vec<String>,
}

/// The init that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// Whichever there is.
    Any,
    /// `--init-path`.
    Program(PathBuf),
}

/// Where a root file system comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Root {
    /// Layers of an image below the container's own.
    Image {
        /// The image's id (hex of its config's digest).
        id: String,
        /// The name it was asked by, in full.
        name: String,
        /// Chain ids, the top layer first: directories of `layers/`.
        layers: Vec<String>,
    },
    /// A directory used as it is.
    Directory(PathBuf),
}

/// One mount, decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountConfig {
    /// What.
    pub source: MountSource,
    /// Where, inside; absolute.
    pub target: String,
    /// Options as mount(8) writes them.
    pub options: Vec<String>,
    /// Give it to the container's user before each start.
    pub chown: bool,
}

/// What is mounted, decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountSource {
    /// A file or directory of the host.
    Bind(PathBuf),
    /// A volume.
    Volume {
        /// Its name.
        name: String,
        /// It belongs to this container and goes with it (`--rm`, `rm -v`).
        anonymous: bool,
    },
    /// Memory.
    Tmpfs,
    /// Layers of an image, the top first, read-only.
    Image {
        /// Its id.
        id: String,
        /// Chain ids.
        layers: Vec<String>,
    },
    /// devpts, mqueue.
    Special(String),
}

/// What podling did before it asked whose wish a working directory was.
fn always() -> bool {
    true
}

impl ContainerConfig {
    /// The process's words: entrypoint, then command.
    pub fn arguments(&self) -> Vec<String> {
        self.entrypoint.iter().chain(&self.command).cloned().collect()
    }
}
