//! From `config.json` to an [`InitPlan`]: everything is parsed, checked and opened before any process is made.
//!
//! A mistake in a bundle is then one clear line from a process that has changed nothing. And the child, which runs among
//! files that the image chose, decides as little as can be.
//!
//! The subtlety is which side opens the sources of bind mounts. Whoever may copy mounts (root, also the root of a user
//! namespace) does it here, where the paths can still be walked: a child in a user namespace of its own may not even
//! enter the home directory they lie in. An ordinary user may not copy mounts; his child, root of its own namespace, may.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, Spec};

use crate::handover::INIT_ANNOTATION;
use crate::linux::idmap::{self, IdMap};
use crate::linux::mount::{self, Propagation, Reach};
use crate::linux::namespace::Namespace;
use crate::linux::userns::Maps;

pub mod mounts;
pub mod process;
pub mod resources;
pub mod seccomp;

use mounts::{Mount, Source};
use process::ProcessPlan;

/// What the child will do, in words of the kernel.
#[derive(Debug)]
pub struct InitPlan {
    /// The container's id, which also names its session keyring.
    pub id: String,
    /// Namespaces.
    pub namespaces: Namespaces,
    /// Root, mounts, devices, masks.
    pub filesystem: FilesystemPlan,
    /// Host name, in a UTS namespace of its own.
    pub hostname: Option<String>,
    /// Domain name.
    pub domainname: Option<String>,
    /// Files below /proc/sys and what to write there.
    pub sysctls: Vec<(PathBuf, String)>,
    /// The clocks' offsets, ready to be written.
    pub time_offsets: Option<String>,
    /// The container's program.
    pub process: ProcessPlan,
    /// Join a session keyring of our own.
    pub new_keyring: bool,
    /// By pivot_root; else by the weaker way for initramfs.
    pub pivot: bool,
}

/// Which namespaces are made and which joined.
#[derive(Debug, Default)]
pub struct Namespaces {
    /// Made.
    pub new: Vec<Namespace>,
    /// Joined: whatever the file names.
    pub joined: Vec<(Namespace, OwnedFd)>,
    /// The id maps of a new user namespace.
    pub maps: Option<Maps>,
}

impl Namespaces {
    /// Whether the container has its own (new, or another container's) namespace of this kind.
    pub fn has(&self, kind: Namespace) -> bool {
        self.new.contains(&kind) || self.joins(kind)
    }

    /// Whether it joins one of this kind.
    pub fn joins(&self, kind: Namespace) -> bool {
        self.joined.iter().any(|(joined, _)| *joined == kind)
    }

    /// Whether a process in the middle must do the joining: one whose children are born in the pid namespace it joined,
    /// and which joins others while it still has the privilege over them that a child in a new user namespace has lost.
    pub fn need_middle(&self) -> bool {
        self.joins(Namespace::User)
            || self.joins(Namespace::Pid)
            || (self.new.contains(&Namespace::User) && !self.joined.is_empty())
    }

    /// The kinds that a later `exec` joins, by their names in /proc/PID/ns.
    pub fn names(&self) -> Vec<String> {
        Namespace::ALL.into_iter().filter(|kind| self.has(*kind)).map(|kind| kind.file().to_string()).collect()
    }
}

/// What the container sees as its files.
#[derive(Debug)]
pub struct FilesystemPlan {
    /// The root's path, for messages and for the child that must open it itself.
    pub root: PathBuf,
    /// A detached copy of the root's mounts, if we might make it.
    pub tree: Option<OwnedFd>,
    /// The root itself read-only.
    pub read_only: bool,
    /// How mount events travel from and to the container's mounts; made so at the end.
    pub propagation: Option<(Propagation, Reach)>,
    /// Mounts, in order.
    pub mounts: Vec<Mount>,
    /// Device files; `None` leaves /dev alone, because it is the host's.
    pub devices: Option<Vec<Device>>,
    /// Paths covered with nothing.
    pub masked: Vec<PathBuf>,
    /// Paths made read-only.
    pub read_only_paths: Vec<PathBuf>,
    /// The container has a pid namespace of its own.
    pub own_pids: bool,
    /// It has a cgroup namespace of its own.
    pub own_cgroups: bool,
    /// Files may be made only as ids of our map: device nodes are bound from the host.
    pub in_user_namespace: bool,
}

/// A device file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Where in the container.
    pub path: PathBuf,
    /// Character, block or fifo: `S_IFCHR`, `S_IFBLK`, `S_IFIFO`.
    pub kind: u32,
    /// Numbers.
    pub major: u64,
    /// …
    pub minor: u64,
    /// Permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// What the command line adds to the bundle.
#[derive(Debug, Clone)]
pub struct Choices {
    /// `--no-pivot` unset.
    pub pivot: bool,
    /// `--no-new-keyring` unset.
    pub new_keyring: bool,
    /// `--preserve-fds`.
    pub preserve_fds: i32,
}

/// Reads a bundle's plan.
pub fn plan(id: &str, bundle: &Path, spec: &Spec, choices: &Choices) -> Result<InitPlan> {
    let linux = spec.linux().as_ref().context("config.json has no linux section")?;
    let process = spec.process().as_ref().context("config.json has no process")?;

    let in_user_namespace = !idmap::is_initial(&idmap::current(idmap::Kind::Uid)?);
    let namespaces = namespaces(spec, in_user_namespace)?;
    if !namespaces.new.contains(&Namespace::Mount) {
        bail!("linux.namespaces: a new mount namespace is needed");
    }
    let own = |kind| namespaces.has(kind);
    let new_hostname = spec.hostname().clone().filter(|name| !name.is_empty());
    let new_domainname = spec.domainname().clone().filter(|name| !name.is_empty());
    if (new_hostname.is_some() || new_domainname.is_some()) && !own(Namespace::Uts) {
        bail!("hostname: without a UTS namespace of its own the container would rename the machine");
    }
    let in_user_namespace = in_user_namespace || namespaces.has(Namespace::User);

    let root = spec.root().as_ref().context("config.json has no root")?;
    let path = bundle.join(root.path());
    let path = path.canonicalize().with_context(|| format!("root {}", path.display()))?;
    if !path.is_dir() {
        bail!("root {} is not a directory", path.display());
    }

    let mounts =
        spec.mounts().iter().flatten().map(|mount| mounts::parse(mount, bundle)).collect::<Result<Vec<_>>>()?;
    let host_dev = mounts.iter().any(|mount| mount.target == Path::new("/dev") && mount.is_bind());
    let filesystem = FilesystemPlan {
        tree: copy_if_allowed(&path, Reach::Tree).with_context(|| format!("root {}", path.display()))?,
        root: path,
        read_only: root.readonly().unwrap_or(false),
        propagation: linux
            .rootfs_propagation()
            .as_deref()
            .filter(|name| !name.is_empty())
            .map(propagation)
            .transpose()?,
        devices: if host_dev { None } else { Some(devices(spec)?) },
        masked: linux.masked_paths().iter().flatten().map(PathBuf::from).collect(),
        read_only_paths: linux.readonly_paths().iter().flatten().map(PathBuf::from).collect(),
        own_pids: own(Namespace::Pid),
        own_cgroups: own(Namespace::Cgroup),
        in_user_namespace,
        mounts: open_sources(mounts)?,
    };

    let mut process = process::plan(process, linux.seccomp().as_ref(), choices.preserve_fds)?;
    process.below_init = wants_init(spec, &namespaces)?;
    if process.below_init && (process.apparmor.is_some() || process.selinux.is_some()) {
        // A label is for the process that asked for it, which here would be pid 1.
        bail!("the annotation {INIT_ANNOTATION} cannot be used with a security label");
    }
    let plan = InitPlan {
        id: id.into(),
        sysctls: sysctls(spec, &namespaces)?,
        time_offsets: time_offsets(spec, &namespaces)?,
        process,
        filesystem,
        hostname: new_hostname,
        domainname: new_domainname,
        new_keyring: choices.new_keyring,
        pivot: choices.pivot,
        namespaces,
    };
    refuse_unknown(spec)?;
    Ok(plan)
}

fn wants_init(spec: &Spec, namespaces: &Namespaces) -> Result<bool> {
    let asked = spec.annotations().as_ref().and_then(|all| all.get(INIT_ANNOTATION));
    if asked.is_none_or(|value| value != "true") {
        return Ok(false);
    }
    if !namespaces.new.contains(&Namespace::Pid) {
        bail!("the annotation {INIT_ANNOTATION} needs a new pid namespace: nobody else is pid 1");
    }
    Ok(true)
}

/// What OCI allows and we do not do is refused, never silently ignored.
fn refuse_unknown(spec: &Spec) -> Result<()> {
    let Some(linux) = spec.linux() else { return Ok(()) };
    let process = spec.process().as_ref();
    let asked = [
        ("linux.intelRdt", linux.intel_rdt().is_some()),
        ("linux.personality", linux.personality().is_some()),
        ("linux.memoryPolicy", linux.memory_policy().is_some()),
        ("linux.netDevices", linux.net_devices().as_ref().is_some_and(|devices| !devices.is_empty())),
        ("process.scheduler", process.is_some_and(|process| process.scheduler().is_some())),
        ("process.ioPriority", process.is_some_and(|process| process.io_priority().is_some())),
        ("process.execCPUAffinity", process.is_some_and(|process| process.exec_cpu_affinity().is_some())),
    ];
    for (name, is_asked) in asked {
        if is_asked {
            bail!("{name} is not supported by this runtime");
        }
    }
    Ok(())
}

fn namespaces(spec: &Spec, in_user_namespace: bool) -> Result<Namespaces> {
    let mut found = Namespaces::default();
    let linux = spec.linux().as_ref().context("config.json has no linux section")?;
    for asked in linux.namespaces().iter().flatten() {
        let kind = match asked.typ() {
            LinuxNamespaceType::User => Namespace::User,
            LinuxNamespaceType::Mount => Namespace::Mount,
            LinuxNamespaceType::Pid => Namespace::Pid,
            LinuxNamespaceType::Network => Namespace::Network,
            LinuxNamespaceType::Ipc => Namespace::Ipc,
            LinuxNamespaceType::Uts => Namespace::Uts,
            LinuxNamespaceType::Cgroup => Namespace::Cgroup,
            LinuxNamespaceType::Time => Namespace::Time,
        };
        if found.has(kind) {
            bail!("linux.namespaces: {} is asked for twice", kind.file());
        }
        match asked.path().as_ref().filter(|path| !path.as_os_str().is_empty()) {
            None => found.new.push(kind),
            Some(path) => {
                let file = open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
                    .with_context(|| format!("namespace {}", path.display()))?;
                // Joining the user namespace one is in already is refused by the kernel, and asks for nothing.
                let is_ours = kind == Namespace::User
                    && crate::linux::namespace::identity_of(path)?
                        == crate::linux::namespace::identity(nix::unistd::Pid::this(), kind)?;
                if !is_ours {
                    found.joined.push((kind, file));
                }
            }
        }
    }
    if found.new.contains(&Namespace::User) {
        let maps = Maps { uids: maps(linux.uid_mappings().as_deref()), gids: maps(linux.gid_mappings().as_deref()) };
        if maps.uids.is_empty() || maps.gids.is_empty() {
            bail!("a new user namespace needs linux.uidMappings and linux.gidMappings");
        }
        found.maps = Some(maps);
    } else if !found.joins(Namespace::User) && !in_user_namespace && !nix::unistd::geteuid().is_root() {
        bail!("without root a container needs a user namespace (linux.namespaces)");
    }
    // The kernel makes the user namespace first whatever the order; joining one by one wants ours.
    found.joined.sort_by_key(|(kind, _)| *kind);
    Ok(found)
}

fn maps(asked: Option<&[LinuxIdMapping]>) -> Vec<IdMap> {
    let map = |map: &LinuxIdMapping| IdMap { container: map.container_id(), host: map.host_id(), size: map.size() };
    asked.unwrap_or_default().iter().map(map).collect()
}

/// A detached copy of what is mounted at `path`, or `None` if making one is not ours to do.
fn copy_if_allowed(path: &Path, reach: Reach) -> Result<Option<OwnedFd>> {
    match mount::copy(path, reach) {
        Ok(tree) => Ok(Some(tree)),
        Err(Errno::EPERM) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn open_sources(mut mounts: Vec<Mount>) -> Result<Vec<Mount>> {
    let mut allowed = true;
    for mount in &mut mounts {
        let Source::Bind { path, reach, tree, .. } = &mut mount.source else { continue };
        if allowed {
            *tree = copy_if_allowed(path, *reach)
                .with_context(|| format!("mounting {} on {}", path.display(), mount.target.display()))?;
            allowed = tree.is_some();
        }
    }
    Ok(mounts)
}

pub(super) fn propagation(name: &str) -> Result<(Propagation, Reach)> {
    let (name, reach) = match name.strip_prefix('r') {
        Some(rest) => (rest, Reach::Tree),
        None => (name, Reach::One),
    };
    let kind = match name {
        "shared" => Propagation::Shared,
        "slave" => Propagation::Slave,
        "private" => Propagation::Private,
        "unbindable" => Propagation::Unbindable,
        _ => bail!("unknown mount propagation {name:?}"),
    };
    Ok((kind, reach))
}

/// The devices that every container has, and those the bundle adds or redefines.
fn devices(spec: &Spec) -> Result<Vec<Device>> {
    let always = [("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)];
    let character = |name: &str, major, minor| Device {
        path: Path::new("/dev").join(name),
        kind: libc::S_IFCHR,
        major,
        minor,
        mode: 0o666,
        uid: 0,
        gid: 0,
    };
    let mut devices: Vec<Device> = always.iter().map(|(name, minor)| character(name, 1, *minor)).collect();
    devices.push(character("tty", 5, 0));
    let asked = spec.linux().as_ref().and_then(|linux| linux.devices().as_ref());
    for device in asked.into_iter().flatten() {
        use oci_spec::runtime::LinuxDeviceType as Type;
        let kind = match device.typ() {
            Type::C | Type::U => libc::S_IFCHR,
            Type::B => libc::S_IFBLK,
            Type::P => libc::S_IFIFO,
            Type::A => bail!("device {}: type \"a\" is only for rules", device.path().display()),
        };
        let number = |number: i64| u64::try_from(number).with_context(|| format!("device {}", device.path().display()));
        let device = Device {
            path: mount::clean(device.path()),
            kind,
            major: number(device.major())?,
            minor: number(device.minor())?,
            mode: device.file_mode().unwrap_or(0o666) & 0o7777,
            uid: device.uid().unwrap_or(0),
            gid: device.gid().unwrap_or(0),
        };
        devices.retain(|known| known.path != device.path);
        devices.push(device);
    }
    Ok(devices)
}

/// Only settings that a namespace of the container's own confines; others would change the whole machine.
fn sysctls(spec: &Spec, namespaces: &Namespaces) -> Result<Vec<(PathBuf, String)>> {
    const IPC: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    let asked = spec.linux().as_ref().and_then(|linux| linux.sysctl().as_ref());
    let mut found = Vec::new();
    for (name, value) in asked.into_iter().flatten() {
        // Names of network devices may hold dots: then the whole name is written with slashes.
        let path = if name.contains('/') { name.clone() } else { name.replace('.', "/") };
        let dotted = path.replace('/', ".");
        let needed = if dotted.starts_with("net.") {
            Namespace::Network
        } else if IPC.contains(&dotted.as_str()) || dotted.starts_with("fs.mqueue.") {
            Namespace::Ipc
        } else if dotted == "kernel.hostname" || dotted == "kernel.domainname" {
            Namespace::Uts
        } else {
            bail!("sysctl {name}: no namespace confines it, it would change the whole machine");
        };
        if !namespaces.has(needed) {
            bail!("sysctl {name}: the container has no {} namespace of its own", needed.file());
        }
        if path.split('/').any(|part| part.is_empty() || part == "..") {
            bail!("sysctl {name}: not a name");
        }
        found.push((PathBuf::from(path), value.clone()));
    }
    found.sort();
    Ok(found)
}

fn time_offsets(spec: &Spec, namespaces: &Namespaces) -> Result<Option<String>> {
    let Some(offsets) = spec.linux().as_ref().and_then(|linux| linux.time_offsets().as_ref()) else { return Ok(None) };
    if offsets.is_empty() {
        return Ok(None);
    }
    if !namespaces.new.contains(&Namespace::Time) {
        bail!("linux.timeOffsets needs a new time namespace");
    }
    let mut text = String::new();
    for (clock, offset) in offsets {
        let nanoseconds = offset.nanosecs().unwrap_or(0);
        text.push_str(&format!("{clock} {} {nanoseconds}\n", offset.secs().unwrap_or(0)));
    }
    Ok(Some(text))
}
