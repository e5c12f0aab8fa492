//! What may be asked of a new container: every flag of `run` and `create`, parsed.
//!
//! A [`ContainerRequest`] is what was *asked* (optional where a person may be silent). The engine turns it into a
//! [`super::container::ContainerConfig`], what was *decided*; what both say in the same words is in `settings`. How the
//! words of the command line become these types is in `cli::request`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::settings::{
    CgroupsMode, Device, DeviceRule, Dns, Namespaces, NetworkMode, Notify, Passwd, PortMapping, Resources,
    RestartPolicy, Security, Ulimit,
};
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
    /// `--env-merge`: values in which `$NAME` and `${NAME}` stand for what the container would have there.
    pub merged_env: Vec<(String, String)>,
    /// `--unsetenv`.
    pub unset_env: Vec<String>,
    /// `--unsetenv-all`: neither the image's variables nor our own.
    pub unset_all_env: bool,
    /// `-u`, as written: `user[:group]`, names or numbers.
    pub user: Option<String>,
    /// `--group-add`.
    pub groups: Vec<String>,
    /// What is done to /etc/passwd.
    pub passwd: Passwd,
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
    /// `--image-volume`.
    pub image_volumes: ImageVolumes,
    /// `--volumes-from`: container and options.
    pub volumes_from: Vec<String>,
    /// `--read-only`.
    pub read_only: bool,
    /// `--read-only-tmpfs` (on unless said).
    pub no_read_only_tmpfs: bool,
    /// `--device`.
    pub devices: Vec<Device>,
    /// `--device-cgroup-rule`.
    pub device_rules: Vec<DeviceRule>,
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
    /// `--sdnotify`.
    pub notify: Notify,
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

/// What becomes of the volumes that the image wants (`--image-volume`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ImageVolumes {
    /// They are anonymous volumes.
    #[default]
    Anonymous,
    /// They are in memory.
    Tmpfs,
    /// Nothing is mounted there.
    Ignore,
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
