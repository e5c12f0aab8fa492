//! The engine: an in-process library. It decides, writes files, and starts the monitor; no daemon holds its state.
//!
//! [`Engine`] is little more than two directories and the names of two programs. Whoever opens it may do everything at
//! once with whoever else has it open: each object has its lock (a `flock`), each file appears whole, and a container's
//! status is asked of the kernel, not of a database.
//!
//! Read [`launch`] first (from `podling run` to the kernel, in order), then [`container`] and [`store`].

// Verbs read as the engine's own, also where a container is all they look at.
#![allow(clippy::unused_self)]

pub mod attach;
pub mod broken;
mod changes;
pub mod cleanup;
pub mod commit;
mod config;
pub mod container;
pub mod copy;
mod create;
mod decide;
pub mod detach;
mod discard;
pub mod doctor;
mod environment;
pub mod events;
pub mod exec;
pub mod failure;
pub mod follow;
pub mod image;
pub mod info;
pub mod inspect;
mod launch;
pub mod lifecycle;
pub mod logs;
mod mapping;
pub mod names;
pub mod network;
mod partial;
pub mod request;
pub mod room;
mod rootfs;
mod service;
pub mod settings;
mod shifted;
pub mod spec;
pub mod stats;
pub mod store;
pub mod top;
pub mod tree;
mod update;
pub mod usage;
pub mod userns;
pub mod volume;
mod volume_fill;
mod wait;
pub mod when;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::unistd::{geteuid, getuid};

use self::container::Container;
use self::failure::Failure;
use self::store::{Paths, make_private};
use crate::hint::hinted;
use crate::linux::cgroup::systemd::Instance;
pub(crate) use crate::linux::process::in_path;

/// Who makes a container's cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupManager {
    /// systemd, as a transient scope.
    Systemd,
    /// We, by mkdir.
    Cgroupfs,
    /// Nobody.
    Disabled,
}

/// What the global options may say; nothing need be said.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `--root`.
    pub data: Option<PathBuf>,
    /// `--runroot`.
    pub run: Option<PathBuf>,
    /// `--runtime`: a name or a path.
    pub runtime: Option<String>,
    /// `--runtime-flag`: without the dashes, as Podman has it.
    pub runtime_flags: Vec<String>,
    /// `--monitor`: a name or a path.
    pub monitor: Option<PathBuf>,
    /// `--cgroup-manager`.
    pub cgroup_manager: Option<CgroupManager>,
}

/// Everything a command needs to know before it does anything.
#[derive(Debug, Clone)]
pub struct Engine {
    /// The store.
    pub paths: Paths,
    /// Whose containers they are, and how much of the machine is his.
    pub owner: Owner,
    /// What was asked; see [`Engine::runtime`] and [`Engine::cgroup_manager`].
    pub options: Options,
}

/// Root on the machine, or an ordinary user (also one who is already root of a user namespace, as the monitor's exit
/// command is).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// uid 0 in the first user namespace, or in one that maps no other user to it.
    Root,
    /// An ordinary user, with his uid and gid outside any user namespace we made.
    User {
        /// uid.
        uid: u32,
        /// gid.
        gid: u32,
    },
}

impl Engine {
    /// Finds the directories and makes them. Touches no container.
    pub fn open(options: Options) -> Result<Self> {
        let owner = Owner::of_this_process();
        let data = match options.data.clone().or_else(|| std::env::var_os("PODLING_ROOT").map(PathBuf::from)) {
            Some(said) => std::path::absolute(said)?,
            None => owner.default_data()?,
        };
        let run = match options.run.clone().or_else(|| std::env::var_os("PODLING_RUNROOT").map(PathBuf::from)) {
            Some(said) => std::path::absolute(said)?,
            None => owner.default_run()?,
        };
        take(&data, "name another place: podling --root DIR, or export PODLING_ROOT=DIR")?;
        take(&run, run_elsewhere(&run))?;
        let paths = Paths { data, run };
        room::remember(&paths);
        Ok(Self { paths, owner, options })
    }

    /// All containers. Fails if one is broken: for who must know what all of them use. See [`Engine::sound_containers`].
    pub fn containers(&self) -> Result<Vec<Container>> {
        let mut all = Vec::new();
        for id in self.ids()? {
            all.extend(Container::read(&self.paths, &id)?);
        }
        Ok(all)
    }

    /// The container with this name, id, or unambiguous beginning of an id. Fails with [`Failure::NoSuchContainer`].
    pub fn container(&self, name: &str) -> Result<Container> {
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            bail!(Failure::NoSuchContainer(name.into()));
        }
        if let Ok(target) = fs::read_link(self.paths.names().join(name))
            && let Some(id) = target.file_name().and_then(|id| id.to_str())
            && let Some(container) = Container::read(&self.paths, id)?
            && container.name() == name
        {
            return Ok(container);
        }
        if name.len() == 64
            && let Some(container) = Container::read(&self.paths, name)?
        {
            return Ok(container);
        }
        if !name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            bail!(Failure::NoSuchContainer(name.into()));
        }
        let mut found = None;
        for id in self.ids()? {
            if id.starts_with(name)
                && let Some(container) = Container::read(&self.paths, &id)?
            {
                if found.is_some() {
                    bail!(Failure::Ambiguous(name.into()));
                }
                found = Some(container);
            }
        }
        found.with_context(|| Failure::NoSuchContainer(name.into()))
    }

    fn ids(&self) -> Result<Vec<String>> {
        let directory = self.paths.containers();
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(|| format!("reading {}", directory.display())),
        };
        Ok(entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
    }

    /// Whether an ordinary user owns the containers.
    pub fn rootless(&self) -> bool {
        matches!(self.owner, Owner::User { .. })
    }

    /// The OCI runtime's program: `asked` (a container's own), else `--runtime`, else `$PODLING_RUNTIME`, else ours.
    pub fn runtime(&self, asked: &str) -> Result<PathBuf> {
        let said = Some(asked).filter(|asked| !asked.is_empty()).or(self.options.runtime.as_deref());
        match said {
            Some(path) if path.contains('/') => {
                let path = std::path::absolute(path)?;
                if path.is_file() { Ok(path) } else { bail!("no OCI runtime at {}", path.display()) }
            }
            Some(name) if name != "podling-runtime" => {
                in_path(name).with_context(|| format!("no OCI runtime \"{name}\" in $PATH"))
            }
            _ => companion("podling-runtime", "PODLING_RUNTIME"),
        }
    }

    /// Who makes cgroups: as asked; systemd where it runs and can be asked; else we.
    pub fn cgroup_manager(&self) -> CgroupManager {
        if let Some(asked) = self.options.cgroup_manager {
            return asked;
        }
        let systemd = match self.owner {
            Owner::Root => Instance::System,
            Owner::User { .. } => Instance::User,
        };
        if systemd.runs() { CgroupManager::Systemd } else { CgroupManager::Cgroupfs }
    }

    /// The monitor's program: `--monitor`, else `$PODLING_MONITOR`, else ours.
    pub fn monitor_program(&self) -> Result<PathBuf> {
        let Some(said) = &self.options.monitor else { return companion("podling-monitor", "PODLING_MONITOR") };
        let path = match said.to_str() {
            Some(name) if !name.contains('/') => {
                in_path(name).with_context(|| format!("no monitor \"{name}\" in $PATH"))?
            }
            _ => std::path::absolute(said)?,
        };
        let version = Command::new(&path).arg("--version").stdin(Stdio::null()).output();
        let version = version.with_context(|| format!("running the monitor {}", path.display()))?;
        if !String::from_utf8_lossy(&version.stdout).lines().any(|line| line.starts_with("podling-monitor ")) {
            bail!(Failure::Invalid(format!(
                "{} is no podling-monitor, and podling speaks to no other (conmon included): without --monitor it \
                 takes its own",
                path.display()
            )));
        }
        Ok(path)
    }
}

impl Owner {
    fn of_this_process() -> Self {
        if !geteuid().is_root() {
            return Self::User { uid: getuid().as_raw(), gid: nix::unistd::getgid().as_raw() };
        }
        let outside = |map: &str| {
            let map = fs::read_to_string(map).ok()?;
            let mut words = map.split_ascii_whitespace();
            (words.next()? == "0").then(|| words.next()?.parse::<u32>().ok()).flatten()
        };
        match (outside("/proc/self/uid_map"), outside("/proc/self/gid_map")) {
            (Some(uid), Some(gid)) if uid != 0 => Self::User { uid, gid },
            _ => Self::Root,
        }
    }

    fn default_data(self) -> Result<PathBuf> {
        if self == Self::Root {
            return Ok("/var/lib/podling".into());
        }
        let data = match directory_variable("XDG_DATA_HOME") {
            Some(data) => data,
            None => self.home()?.join(".local/share"),
        };
        Ok(data.join("podling"))
    }

    /// The home directory: what cron and system services do not tell, /etc/passwd does.
    fn home(self) -> Result<PathBuf> {
        let Self::User { uid, .. } = self else { return Ok("/root".into()) };
        let known = || userns::login(uid).map(|login| PathBuf::from(login.home)).filter(|home| home.is_absolute());
        directory_variable("HOME").or_else(known).ok_or_else(|| {
            let cure = "export HOME=DIR, or name a place for the store: podling --root DIR";
            hinted("neither HOME nor XDG_DATA_HOME is set, and /etc/passwd knows no home of yours", cure)
        })
    }

    /// Where what a reboot may remove is kept. Without XDG_RUNTIME_DIR (a login without a session): /run/user/UID if it
    /// is there and ours, else a directory in /tmp, which anybody could have made before us; so its owner is checked.
    fn default_run(self) -> Result<PathBuf> {
        let Self::User { uid, .. } = self else { return Ok("/run/podling".into()) };
        if let Some(run) = directory_variable("XDG_RUNTIME_DIR") {
            return Ok(run.join("podling"));
        }
        let ours = |directory: &Path| {
            fs::symlink_metadata(directory).is_ok_and(|it| it.is_dir() && (it.uid() == getuid().as_raw()))
        };
        let session = PathBuf::from(format!("/run/user/{uid}"));
        if ours(&session) {
            return Ok(session.join("podling"));
        }
        let fallback = fallback_run(uid);
        let there = fs::symlink_metadata(&fallback);
        if there.is_err() {
            let why = if std::env::var_os("XDG_RUNTIME_DIR").is_some() { "no absolute path" } else { "not set" };
            eprintln!("podling: XDG_RUNTIME_DIR is {why}; using {}", fallback.display());
            make_private(&fallback)?;
        }
        if !ours(&fallback) || fs::symlink_metadata(&fallback)?.mode() & 0o077 != 0 {
            return Err(hinted(
                format!("{} belongs to somebody else, or is open to others", fallback.display()),
                "name another place: podling --runroot DIR, or export XDG_RUNTIME_DIR=DIR",
            ));
        }
        Ok(fallback)
    }
}

/// The run directory of a user who has none of his own.
fn fallback_run(uid: u32) -> PathBuf {
    format!("/tmp/podling-run-{uid}").into()
}

/// Makes a directory of ours, or finds it. It must be ours: whoever owns it could do with our containers what he likes.
/// (Root may look after anybody's.)
fn take(directory: &Path, cure: &str) -> Result<()> {
    match make_private(directory) {
        Err(_) if directory.exists() => return Err(hinted(format!("{} is no directory", directory.display()), cure)),
        Err(error) => return Err(hinted(format!("{error:#}"), cure)),
        Ok(()) => {}
    }
    let owner = fs::metadata(directory).with_context(|| format!("looking at {}", directory.display()))?.uid();
    if geteuid().is_root() || owner == geteuid().as_raw() {
        return Ok(());
    }
    let who = userns::login(owner).map(|login| format!("{}, ", login.name)).unwrap_or_default();
    Err(hinted(format!("{} belongs to another user ({who}uid {owner})", directory.display()), cure))
}

/// What to do when the run directory cannot be had. After `su` the variable is often still another user's.
fn run_elsewhere(run: &Path) -> &'static str {
    let followed = directory_variable("XDG_RUNTIME_DIR").is_some_and(|said| run == said.join("podling"));
    if followed {
        "'unset XDG_RUNTIME_DIR' lets podling find a place; or name one: podling --runroot DIR"
    } else {
        "name another place: podling --runroot DIR, or export PODLING_RUNROOT=DIR"
    }
}

fn directory_variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// One of our other programs: where `variable` says, else beside this one, else in $PATH, else where distributions keep
/// programs that no person calls.
fn companion(name: &str, variable: &str) -> Result<PathBuf> {
    if let Some(said) = std::env::var_os(variable) {
        return Ok(std::path::absolute(PathBuf::from(said))?);
    }
    let beside = std::env::current_exe().ok().map(|exe| exe.with_file_name(name));
    let distribution = ["/usr/libexec/podling", "/usr/local/libexec/podling"].map(|dir| Path::new(dir).join(name));
    beside
        .into_iter()
        .chain(in_path(name))
        .chain(distribution)
        .find(|path| path.is_file())
        .with_context(|| format!("{name} is neither beside this program nor in $PATH (set {variable})"))
}

/// The time, as files and people have it.
pub(crate) fn now() -> String {
    jiff::Timestamp::now().to_string()
}
