//! The container as far as the chapters have built it, out of the hardened mechanisms of `podling::linux`. A chapter
//! uses from here what earlier ones taught, so that its own file is about its own mechanism.
//!
//! Each function speaks for the first process of a container, which is in its new namespaces already.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use podling::hint::cured;
use podling::linux::mount::{self, Attributes, Propagation, Reach};
use podling::linux::{namespace, resolve, rootfs};

/// What programs expect in /dev. Nobody makes devices in a user namespace: the machine's are bound.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Makes `tree` the root, with a /proc that shows our pid namespace, and a /dev of its own: in the machine's an ordinary
/// user makes no directories (chapters 3 and 4).
pub fn enter(tree: &OwnedFd) -> Result<()> {
    mount::isolate(Propagation::Private)?;
    stack_with_proc(tree)?;
    put(tree, "tmpfs", &[("mode", "755")], "/dev")?;
    for device in DEVICES.map(|name| Path::new("/dev").join(name)) {
        let copy = mount::copy(&device, Reach::One).with_context(|| device.display().to_string())?;
        mount::attach(copy, resolve::file_in_root(tree, &device)?, &device)?;
    }
    rootfs::pivot(tree)
}

/// Mounts `tree` over the present root, and in it a proc, while the machine's is still in sight: without, the kernel gives a
/// user namespace none (mount_namespaces(7)).
pub fn stack_with_proc(tree: &OwnedFd) -> Result<()> {
    rootfs::stack(tree)?;
    put(tree, "proc", &[], "/proc")
}

/// Names the host, and mounts what shows our IPC namespace: POSIX message queues and shared memory (chapter 6).
pub fn furnish(hostname: &str) -> Result<()> {
    namespace::name_host(hostname)?;
    show_ipc()
}

/// The mounts alone, where the host has its name already.
pub fn show_ipc() -> Result<()> {
    let root = open("/", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    put(&root, "mqueue", &[], "/dev/mqueue")?;
    put(&root, "tmpfs", &[("mode", "1777")], "/dev/shm")
}

/// Mounts a new file system on a directory inside the root, which is made if it is missing.
fn put(root: impl AsFd, kind: &str, settings: &[(&str, &str)], place: &str) -> Result<()> {
    let settings: Vec<_> = settings.iter().map(|(name, value)| ((*name).into(), Some((*value).into()))).collect();
    let made = || -> Result<()> {
        let made = mount::create(kind, kind, &settings, Attributes::DATA_ONLY)?;
        let target = resolve::directory_in_root(root, Path::new(place))?;
        Ok(mount::attach(made, target, Path::new(place))?)
    };
    made().with_context(|| format!("mounting {place}"))
}

/// Where programs are looked for, if the image does not say.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Becomes the user that an image names: `name`, `uid`, `name:group`, `uid:gid`, or nothing, which is root.
pub fn become_user(user: &str) -> Result<()> {
    let (name, group) = user.split_once(':').map_or((user, None), |(name, group)| (name, Some(group)));
    if name.is_empty() {
        return Ok(());
    }
    let uid = name.parse().ok().or_else(|| field("/etc/passwd", name, 2));
    let gid = match group {
        Some(group) => group.parse().ok().or_else(|| field("/etc/group", group, 2)),
        None => field("/etc/passwd", name, 3).or(Some(0)),
    };
    let (uid, gid) = uid.zip(gid).with_context(|| format!("the image has no user {name}, or no such group"))?;
    // It may be denied where only one id exists inside; then there is no group to lose either.
    let _ = setgroups(&[]);
    let (user, group) = (Uid::from_raw(uid), Gid::from_raw(gid));
    // The group first: as an ordinary user we may not change it any more.
    setresgid(group, group, group).and_then(|()| setresuid(user, user, user)).map_err(|error| {
        let cure = "inside there are only the ids that root has lent you; 'podling doctor' says how";
        cured(error, format!("becoming user {uid}, group {gid}"), cure)
    })
}

/// A number in the line of `file` that is about `who`, a name or an id.
fn field(file: &str, who: &str, field: usize) -> Option<u32> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let mut lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    lines.find(|line| line[0] == who || line.get(2) == Some(&who))?.get(field)?.parse().ok()
}
