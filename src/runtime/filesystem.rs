//! The container's files: root, mounts, devices, masks; built by its first process before it changes roots.
//!
//! It all happens while the host's tree is still there: the paths of bind mounts must be walked (if the parent could not
//! open them), and a new proc may be mounted in a user namespace only while an unmasked one is visible
//! (user_namespaces(7)). Each target is found inside the root by one `openat2` and mounted on through that descriptor.
//!
//! The subtlety: the image decides what lies at `/proc`, `/sys` and `/dev`. If one of them is a symlink, a mount that
//! follows it lands elsewhere, and what is then written "to /proc" or made "in /dev" too (CVE-2019-19921, CVE-2023-27561,
//! CVE-2026-41579). There no symlink is followed at all.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::MsFlags;
use nix::sys::stat::{Mode, SFlag, fstat, makedev, umask};
use nix::unistd::symlinkat;

use super::plan::FilesystemPlan;
use super::plan::mounts::{Mount, Source};
use crate::linux::mount::{self, Attributes, Propagation, Reach, Setting};
use crate::linux::stat::is;
use crate::linux::{resolve, rootfs};
use crate::trace::{self, Topic};

mod copyup;
mod devices;

use devices::make_devices;
pub use devices::make_terminal;

/// A root that is built but not yet entered.
#[derive(Debug)]
pub struct Root {
    /// Its uppermost directory.
    pub tree: OwnedFd,
    /// A proc file system of our own making, if the bundle has one.
    pub proc: Option<OwnedFd>,
}

/// `PROC_SUPER_MAGIC`.
const PROC: i64 = 0x9fa0;
/// `SYSFS_MAGIC`.
const SYSFS: i64 = 0x6265_6572;

/// Builds everything but the terminal.
pub fn build(plan: &mut FilesystemPlan) -> Result<Root> {
    // Modes are what the bundle says, not what our caller's umask leaves of it.
    umask(Mode::empty());
    trace::say(Topic::Process, "umask", format_args!("0"), "ok");
    // Nothing mounted from here on may appear on the host, or pivot_root would refuse.
    let travels = match plan.propagation {
        Some((Propagation::Slave | Propagation::Shared, _)) => Propagation::Slave,
        _ => Propagation::Private,
    };
    mount::isolate(travels)?;

    let tree = match plan.tree.take() {
        Some(tree) => tree,
        None => mount::copy(&plan.root, Reach::Tree).with_context(|| format!("root {}", plan.root.display()))?,
    };
    mount::set_propagation(&tree, travels, Reach::Tree).context("the root's propagation")?;
    rootfs::stack(&tree)?;

    let mut root = Root { tree, proc: None };
    for mount in std::mem::take(&mut plan.mounts) {
        let target = mount.target.clone();
        trace::stage(format_args!("{}: {}", target.display(), mount.source.told()));
        put(&mut root, mount, plan).with_context(|| format!("mounting {}", target.display()))?;
    }
    if let Some(devices) = &plan.devices {
        trace::stage(format_args!("/dev: the devices that every container has"));
        make_devices(&root, devices, plan.in_user_namespace)?;
    }
    Ok(root)
}

/// What must come after all that still makes files: covers, and what is to be read-only.
pub fn finish(root: &Root, plan: &FilesystemPlan) -> Result<()> {
    trace::stage(format_args!("covered with nothing: what of /proc and /sys it shall not see"));
    mask(root, plan)?;
    trace::stage(format_args!("read-only: what it shall see and not change"));
    for path in &plan.read_only_paths {
        make_read_only(root, path).with_context(|| format!("making {} read-only", path.display()))?;
    }
    if plan.read_only {
        mount::set_attributes(&root.tree, Attributes::READ_ONLY, Reach::One).context("making the root read-only")?;
    }
    Ok(())
}

// ------------------------------------------------------------------------------------------------- mounts

fn put(root: &mut Root, mount: Mount, plan: &FilesystemPlan) -> Result<()> {
    if let Source::Bind { path, copy_symlink: true, .. } = &mount.source
        && let Ok(target) = std::fs::read_link(path)
    {
        return copy_symlink(root, &mount.target, &target);
    }
    let is_proc = matches!(&mount.source, Source::New { kind, .. } if kind == "proc");
    let (made, is_directory) = make(&mount, plan)?;
    if mount.is_bind() && mount.propagation.is_empty() {
        // Unless it is asked for, a bind mount neither tells the host of mounts nor hears of any.
        mount::set_propagation(&made, Propagation::Private, Reach::Tree)?;
    }
    for (propagation, reach) in &mount.propagation {
        mount::set_propagation(&made, *propagation, *reach)?;
    }

    // Looked for before the place is made: what is made for the mount is nobody's example.
    let to_copy_up =
        mount.copy_up && resolve::open_in_root(&root.tree, &mount.target, OFlag::O_PATH | OFlag::O_DIRECTORY).is_ok();
    let target = if !is_directory {
        resolve::file_in_root(&root.tree, &mount.target)?
    } else if must_be_real(&mount) {
        real_directory(root, &mount.target)?
    } else {
        resolve::directory_in_root(&root.tree, &mount.target)?
    };
    if !is_directory && is(&fstat(&target)?, SFlag::S_IFDIR) {
        bail!("a file cannot be mounted on a directory");
    }
    refuse_detour(root, &target, &mount.target)?;
    if to_copy_up {
        copyup::copy(&root.tree, &target, &made, &mount)?;
    }
    change_attributes(&made, &mount)?;
    mount::attach(&made, &target, &mount.target)?;
    if is_proc {
        root.proc = Some(made);
    }
    Ok(())
}

/// Whether the mount lets the container speak with the kernel: then a symlink in its way is an attack.
fn must_be_real(mount: &Mount) -> bool {
    let by_kind = match &mount.source {
        Source::New { kind, .. } => matches!(kind.as_str(), "proc" | "sysfs"),
        _ => false,
    };
    by_kind || ["/proc", "/sys", "/dev"].iter().any(|name| mount.target == Path::new(name))
}

/// Refuses a place in the kernel's own files to which only a symlink has led: a volume of the image's would then cover what
/// the container, and we ourselves, are about to ask the kernel (CVE-2019-16884). Who wants it there may say so.
fn refuse_detour(root: &Root, target: &OwnedFd, path: &Path) -> Result<()> {
    let kind = nix::sys::statfs::fstatfs(target)?.filesystem_type().0 as i64;
    let (PROC | SYSFS) = kind else { return Ok(()) };
    match resolve::open_without_symlinks(&root.tree, path, OFlag::O_PATH) {
        Err(Errno::ELOOP) => {
            let place = if kind == PROC { "/proc" } else { "/sys" };
            bail!("a symlink in the container's root leads it into {place}")
        }
        _ => Ok(()),
    }
}

fn real_directory(root: &Root, path: &Path) -> Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
    match resolve::open_without_symlinks(&root.tree, path, flags) {
        Err(Errno::ENOENT) => {
            resolve::directory_in_root(&root.tree, path)?;
            // Found again without following anything: what was made may have been made behind a symlink.
            Ok(resolve::open_without_symlinks(&root.tree, path, flags)?)
        }
        Err(Errno::ELOOP) => bail!("it is a symlink in the container's root; it must be a directory"),
        Err(Errno::ENOTDIR) => bail!("it is not a directory in the container's root"),
        result => Ok(result?),
    }
}

/// Makes the detached mount; says whether it is a directory.
fn make(mount: &Mount, plan: &FilesystemPlan) -> Result<(OwnedFd, bool)> {
    match &mount.source {
        Source::Bind { path, reach, tree, .. } => {
            let tree = match tree {
                Some(tree) => tree.try_clone()?,
                None => mount::copy(path, *reach).with_context(|| path.display().to_string())?,
            };
            let is_directory = is(&fstat(&tree)?, SFlag::S_IFDIR);
            Ok((tree, is_directory))
        }
        Source::New { kind, source, settings } => {
            // Of these two each mount is a file system of its own. In the others all containers look at the same files.
            let label = plan.label.as_ref().filter(|_| matches!(kind.as_str(), "tmpfs" | "devpts"));
            let label = label.map(|label| ("context".to_string(), Some(label.clone())));
            let settings: Vec<Setting> = settings.iter().cloned().chain(label).collect();
            Ok((make_new(kind, source, &settings, mount, plan)?, true))
        }
        Source::Cgroup => Ok((make_cgroup(mount, plan)?, true)),
        Source::Other { kind, source, options, flags } => Ok((make_other(kind, source, options, *flags)?, true)),
    }
}

/// A new file system, or where the kernel refuses one to whoever does not own the namespace that it shows, what the host
/// has at that place.
fn make_new(kind: &str, source: &str, settings: &[Setting], mount: &Mount, plan: &FilesystemPlan) -> Result<OwnedFd> {
    // A read-only tmpfs cannot be filled: `copy_up` comes first, the attributes later.
    let at_once = if mount.copy_up { Attributes::default() } else { mount.attributes };
    let error = match mount::create(kind, source, settings, at_once) {
        Ok(made) => return Ok(made),
        Err(error) => error,
    };
    let errno = error.downcast_ref::<Errno>().copied();
    let fallback = match (kind, errno) {
        // Without a network namespace of its own: the host's devices in /sys.
        ("sysfs", Some(Errno::EPERM)) => "/sys",
        ("mqueue", Some(Errno::EPERM)) => "/dev/mqueue",
        ("proc", Some(Errno::EPERM)) if !plan.own_pids => "/proc",
        // The group tty (5) may not be in our map: then the terminals belong to the group of whoever opens them.
        ("devpts", Some(Errno::EINVAL)) if settings.iter().any(|(name, _)| name == "gid") => {
            let without: Vec<_> = settings.iter().filter(|(name, _)| name != "gid").cloned().collect();
            return mount::create(kind, source, &without, at_once);
        }
        ("proc", Some(Errno::EPERM)) => {
            return Err(error.context("a new proc is refused while the one around us has masked parts"));
        }
        _ => return Err(error),
    };
    let told = || format!("{fallback} in place of a new {kind}");
    let tree = mount::copy(Path::new(fallback), Reach::Tree).with_context(told)?;
    mount::set_attributes(&tree, Attributes { clear: 0, ..mount.attributes }, Reach::Tree).with_context(told)?;
    Ok(tree)
}

/// The cgroup tree from our own group down, if we have a cgroup namespace; else as the host has it.
fn make_cgroup(mount: &Mount, plan: &FilesystemPlan) -> Result<OwnedFd> {
    if plan.own_cgroups
        && let Ok(made) = mount::create("cgroup2", "cgroup", &[], mount.attributes)
    {
        return Ok(made);
    }
    let tree = mount::copy(Path::new("/sys/fs/cgroup"), Reach::Tree).context("/sys/fs/cgroup")?;
    mount::set_attributes(&tree, Attributes { clear: 0, ..mount.attributes }, Reach::Tree)?;
    Ok(tree)
}

/// mount(2) onto a directory of our own in a scratch tmpfs, then copied off it as a detached mount.
fn make_other(kind: &str, source: &str, options: &str, flags: MsFlags) -> Result<OwnedFd> {
    let scratch = mount::create("tmpfs", "tmpfs", &[], Attributes::DATA_ONLY)?;
    // Only what is attached can be mounted on. On top of our own root it is in nobody's way.
    rootfs::stack(&scratch)?;
    let place = resolve::directory_in_root(&scratch, Path::new("/place"))?;
    mount::mount_on(&place, kind, source, flags, options).with_context(|| format!("{kind} {options}"))?;
    // The name now leads to what is mounted there, where the descriptor still holds the directory below it.
    let made = resolve::directory_in_root(&scratch, Path::new("/place"))?;
    let copy = mount::copy_of(&made, Reach::Tree)?;
    mount::detach(&mount::descriptor_path(scratch.as_fd()))?;
    Ok(copy)
}

/// The attributes that a mount did not get when it was made.
fn change_attributes(made: &OwnedFd, mount: &Mount) -> Result<()> {
    let is_new = matches!(mount.source, Source::New { .. }) && !mount.copy_up;
    for (attributes, reach) in [(mount.attributes, Reach::One), (mount.tree_attributes, Reach::Tree)] {
        if attributes.is_empty() || (is_new && reach == Reach::One && attributes.clear == 0) {
            continue;
        }
        match mount::set_attributes(made, attributes, reach) {
            // What the host has set on a mount it lent us is locked, and stays (mount_namespaces(7)): `rw`, `exec`, …
            // then ask for too much.
            Err(Errno::EPERM) if attributes.clear != 0 => {
                mount::set_attributes(made, Attributes { clear: 0, ..attributes }, reach)?;
            }
            result => result?,
        }
    }
    Ok(())
}

fn copy_symlink(root: &Root, path: &Path, link: &Path) -> Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { bail!("no place for a symlink") };
    let inside = resolve::directory_in_root(&root.tree, parent)?;
    match symlinkat(link, &inside, name) {
        Ok(()) => Ok(()),
        Err(Errno::EEXIST) if nix::fcntl::readlinkat(&inside, name).is_ok_and(|found| found == link.as_os_str()) => {
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

// ------------------------------------------------------------------------------------------------- masks

/// Covers paths with nothing: files with the host's /dev/null, directories with one empty read-only tmpfs, shared by all.
fn mask(root: &Root, plan: &FilesystemPlan) -> Result<()> {
    let mut empty: Option<OwnedFd> = None;
    for path in &plan.masked {
        let target = match resolve::open_in_root(&root.tree, path, OFlag::O_PATH) {
            Ok(target) => target,
            Err(Errno::ENOENT | Errno::ENOTDIR) => continue,
            Err(error) => return Err(error).with_context(|| format!("masking {}", path.display())),
        };
        let cover = if !is(&fstat(&target)?, SFlag::S_IFDIR) {
            null_of_the_host()?
        } else if let Some(made) = &empty {
            // It is attached already, and so may be copied.
            mount::copy_of(made, Reach::One)?
        } else {
            let attributes = Attributes { set: Attributes::DATA_ONLY.set | libc::MOUNT_ATTR_RDONLY, clear: 0 };
            let made = mount::create("tmpfs", "tmpfs", &[("size".into(), Some("0k".into()))], attributes)?;
            empty.insert(made).try_clone()?
        };
        mount::attach(cover, target, path).with_context(|| format!("masking {}", path.display()))?;
    }
    Ok(())
}

/// The host's null device: never the image's, which may be anything (CVE-2025-31133).
fn null_of_the_host() -> Result<OwnedFd> {
    let null = mount::copy(Path::new("/dev/null"), Reach::One).context("the host's /dev/null")?;
    let found = fstat(&null)?;
    if !is(&found, SFlag::S_IFCHR) || found.st_rdev != makedev(1, 3) {
        bail!("the host's /dev/null is not the null device");
    }
    Ok(null)
}

fn make_read_only(root: &Root, path: &Path) -> Result<()> {
    let held = match resolve::open_in_root(&root.tree, path, OFlag::O_PATH) {
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
        result => result?,
    };
    let copy = mount::copy_of(&held, Reach::Tree)?;
    mount::set_attributes(&copy, Attributes::READ_ONLY, Reach::Tree)?;
    Ok(mount::attach(copy, held, path)?)
}

/// Opens a file below /proc for writing, in the proc that we made ourselves if the container has one, else in the host's;
/// never by a path the image could have put something into (CVE-2019-16884, CVE-2025-52881).
pub fn open_proc(root: Option<&Root>, path: &Path) -> Result<File> {
    let host;
    let proc = match root.and_then(|root| root.proc.as_ref()) {
        Some(proc) => proc,
        None => {
            host =
                open("/proc", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()).context("/proc")?;
            mount::check_type(&host, PROC, "/proc")?;
            &host
        }
    };
    // `self` is a symlink of the kernel's own making. No other is followed, and no mount is entered: an image's volume may
    // lie on a part of /proc and hold links, and what was meant for one of its files would be written to another.
    let own;
    let path = match path.strip_prefix("self") {
        Ok(rest) => {
            own = Path::new(&nix::fcntl::readlinkat(proc, "self")?).join(rest);
            &own
        }
        Err(_) => path,
    };
    let file = resolve::open_in_place(proc, path, OFlag::O_WRONLY).map_err(|errno| match errno {
        Errno::ELOOP | Errno::EXDEV => anyhow!("something lies over it that is not the kernel's"),
        errno => errno.into(),
    });
    let file = file.with_context(|| format!("/proc/{}", path.display()))?;
    mount::check_type(&file, PROC, "/proc")?;
    Ok(file.into())
}
