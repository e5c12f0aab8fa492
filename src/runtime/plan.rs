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
use oci_spec::runtime::Spec;
use serde::de::DeserializeOwned;

use super::netdevices::NetDevices;
use crate::handover::{INIT_ANNOTATION, KEEP_GROUPS_ANNOTATION};
use crate::linux::idmap;
use crate::linux::mount::{self, Propagation, Reach};
use crate::linux::namespace::Namespace;
use crate::linux::userns;

pub mod devices;
pub mod labels;
pub mod mounts;
pub mod namespaces;
pub mod process;
pub mod properties;
pub mod resources;
pub mod scheduling;
pub mod seccomp;

use devices::{Device, devices};
use mounts::{MappedIds, Mount, Source, propagation};
use namespaces::{Namespaces, namespaces, sysctls, time_offsets};
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
    /// Network devices of the machine that it gets; its parent moves them.
    pub net_devices: NetDevices,
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
    /// SELinux's label for what is mounted anew.
    pub label: Option<String>,
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

/// Reads OCI's JSON. oci-spec knows two flags of the scheduler by names that the specification does not have; hardly a
/// bundle has either, so they are looked for only after it has refused the text.
pub fn parse<T: DeserializeOwned>(text: &[u8]) -> serde_json::Result<T> {
    const NAMES: [(&str, &str); 2] = [
        ("\"SCHED_FLAG_RESET_ON_FORK\"", "\"SCHED_RESET_ON_FORK\""),
        ("\"SCHED_FLAG_DL_OVERRUN\"", "\"SCHED_FLAG_D_L_OVERRUN\""),
    ];
    serde_json::from_slice(text).or_else(|error| match std::str::from_utf8(text) {
        Ok(text) if NAMES.iter().any(|(name, _)| text.contains(name)) => {
            let text = NAMES.iter().fold(text.to_string(), |text, (name, theirs)| text.replace(name, theirs));
            serde_json::from_str(&text)
        }
        _ => Err(error),
    })
}

/// Reads a bundle's plan.
pub fn plan(id: &str, bundle: &Path, spec: &Spec, choices: &Choices) -> Result<InitPlan> {
    refuse_unknown(spec)?;
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
        label: labels::selinux("linux.mountLabel", linux.mount_label().as_deref())?,
        devices: if host_dev { None } else { Some(devices(spec)?) },
        masked: linux.masked_paths().iter().flatten().map(PathBuf::from).collect(),
        read_only_paths: linux.readonly_paths().iter().flatten().map(PathBuf::from).collect(),
        own_pids: own(Namespace::Pid),
        own_cgroups: own(Namespace::Cgroup),
        in_user_namespace,
        mounts: open_sources(mounts, &namespaces)?,
    };

    let mut process = process::plan(process, spec, choices.preserve_fds)?;
    process.keep_groups = annotation(spec, KEEP_GROUPS_ANNOTATION) == Some("1");
    process.below_init = wants_init(spec, &namespaces)?;
    if process.below_init && (process.apparmor.is_some() || process.selinux.is_some()) {
        // A label is for the process that asked for it, which here would be pid 1.
        bail!("the annotation {INIT_ANNOTATION} cannot be used with a security label");
    }
    if process.below_init && process.agent.is_some() {
        // Pid 1 would be asked for, too, or be the one whom nobody watches.
        bail!("the annotation {INIT_ANNOTATION} cannot be used with SCMP_ACT_NOTIFY");
    }
    let plan = InitPlan {
        id: id.into(),
        net_devices: NetDevices::of(linux, &namespaces)?,
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
    Ok(plan)
}

fn annotation<'a>(spec: &'a Spec, name: &str) -> Option<&'a str> {
    spec.annotations().as_ref()?.get(name).map(String::as_str)
}

fn wants_init(spec: &Spec, namespaces: &Namespaces) -> Result<bool> {
    let asked = annotation(spec, INIT_ANNOTATION);
    if asked.is_none_or(|value| value != "true") {
        return Ok(false);
    }
    if !namespaces.new.contains(&Namespace::Pid) {
        bail!("the annotation {INIT_ANNOTATION} needs a new pid namespace: nobody else is pid 1");
    }
    Ok(true)
}

/// What OCI allows and we do not do is refused, never silently ignored.
#[allow(deprecated)] // The library says of two fields that they never were; a bundle that has them means others.
fn refuse_unknown(spec: &Spec) -> Result<()> {
    let (linux, process) = (spec.linux().as_ref(), spec.process().as_ref());
    let asked = [
        ("linux.intelRdt", linux.is_some_and(|linux| linux.intel_rdt().is_some())),
        ("uidMappings", spec.uid_mappings().is_some()),
        ("gidMappings", spec.gid_mappings().is_some()),
        // Of other systems than Linux.
        ("process.commandLine", process.is_some_and(|process| process.command_line().is_some())),
        ("process.user.username", process.is_some_and(|process| process.user().username().is_some())),
        ("solaris", spec.solaris().is_some()),
        ("vm", spec.vm().is_some()),
        ("windows", spec.windows().is_some()),
        ("zos", spec.zos().is_some()),
    ];
    for (name, is_asked) in asked {
        if is_asked {
            bail!("{name} is not supported by this runtime");
        }
    }
    Ok(())
}

/// A detached copy of what is mounted at `path`, or `None` if making one is not ours to do.
fn copy_if_allowed(path: &Path, reach: Reach) -> Result<Option<OwnedFd>> {
    match mount::copy(path, reach) {
        Ok(tree) => Ok(Some(tree)),
        Err(Errno::EPERM) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn open_sources(mut mounts: Vec<Mount>, namespaces: &Namespaces) -> Result<Vec<Mount>> {
    let mut allowed = true;
    for mount in &mut mounts {
        let Source::Bind { path, reach, tree, .. } = &mut mount.source else { continue };
        let told = || format!("mounting {} on {}", path.display(), mount.target.display());
        if allowed {
            *tree = copy_if_allowed(path, *reach).with_context(told)?;
            allowed = tree.is_some();
        }
        if let Some(ids) = &mount.id_map {
            map_ids(tree.as_ref(), ids, namespaces).with_context(told)?;
        }
    }
    Ok(mounts)
}

/// Here, and not in the child: it takes `CAP_SYS_ADMIN` in the user namespace that the file system belongs to, which a
/// child in a namespace of its own has lost.
fn map_ids(tree: Option<&OwnedFd>, ids: &MappedIds, namespaces: &Namespaces) -> Result<()> {
    let tree = tree.context("only root may map the ids of a mount")?;
    let of_container = namespaces.joined.iter().find(|(kind, _)| *kind == Namespace::User);
    let userns = match (ids.maps.as_ref().or(namespaces.maps.as_ref()), of_container) {
        (Some(maps), _) => userns::without_people(maps).context("a user namespace for the mount's ids")?,
        (None, Some((_, file))) => file.try_clone()?,
        (None, None) => {
            bail!("idmap: there are neither uidMappings and gidMappings nor a user namespace of the container's")
        }
    };
    mount::map_ids(tree, userns, ids.reach).map_err(|error| {
        let why = match error {
            Errno::EINVAL => "mapping the mount's ids: this file system cannot",
            Errno::EPERM => "mapping the mount's ids: this file system is another user namespace's, or mapped already",
            _ => "mapping the mount's ids",
        };
        anyhow::Error::new(error).context(why)
    })
}
