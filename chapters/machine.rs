//! The root of chapter 3, made with the mechanisms of `podling::linux`, for the chapters after it: files of the machine
//! that shine through, and above them a tmpfs, which takes what is written.

use std::fs::{File, create_dir, create_dir_all, read_dir, read_link};
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::unistd::chdir;
use podling::linux::mount::{self, Attributes, Propagation, Reach};
use podling::linux::overlay::{self, Durability, Lowers, Writable};

use crate::container;

/// Where the tmpfs is while the root is put together. Only in our mount namespace.
const SCRATCH: &str = "/tmp";
/// Directories of a machine that hold the kernel's files, or other disks, or what is gone after a boot.
const EMPTY: [&str; 9] = ["boot", "dev", "lost+found", "media", "mnt", "proc", "run", "sys", "tmp"];

/// The files below `directory`, or else the machine's own, as a new root: a detached tree, with the machine's /dev.
/// This process must be in a mount namespace of its own; no mount event leaves or enters it from now on.
pub fn root(directory: Option<&Path>) -> Result<OwnedFd> {
    let root = put_together(directory)?;
    let devices = mount::copy(Path::new("/dev"), Reach::Tree).context("/dev")?;
    // Nobody removes the machine's devices from here; but a device is written to on such a mount, too.
    mount::set_attributes(&devices, Attributes::READ_ONLY, Reach::One).context("/dev")?;
    mount::attach(devices, File::open(root.join("dev"))?, Path::new("/dev")).context("/dev")?;
    take(&root)
}

/// The same, mounted over the present root and with the /proc of chapter 4: what is left is `rootfs::pivot`. Whoever
/// calls is the first process of a pid namespace.
pub fn with_proc(directory: Option<&Path>) -> Result<OwnedFd> {
    let root = root(directory)?;
    container::stack_with_proc(&root)?;
    Ok(root)
}

/// The files alone, with an empty /dev, for who makes one of his own (chapter 6): what is only covered can be uncovered.
pub fn files(directory: Option<&Path>) -> Result<OwnedFd> {
    take(&put_together(directory)?)
}

fn put_together(directory: Option<&Path>) -> Result<PathBuf> {
    mount::isolate(Propagation::Private)?;
    let start = directory.unwrap_or(Path::new("/"));
    chdir(start).with_context(|| format!("entering {}", start.display()))?;
    tmpfs(Path::new(SCRATCH))?;
    let root = Path::new(SCRATCH).join("root");
    match directory {
        Some(_) => shine_through(Path::new(""))?,
        None => shine_through_the_machine(&root)?,
    }
    for needed in ["dev", "proc", "sys", "tmp"] {
        create_dir_all(root.join(needed)).with_context(|| format!("making /{needed}"))?;
    }
    Ok(root)
}

fn take(root: &Path) -> Result<OwnedFd> {
    let tree = mount::copy(root, Reach::Tree).context("the new root")?;
    mount::detach(Path::new(SCRATCH))?;
    Ok(tree)
}

fn tmpfs(place: &Path) -> Result<()> {
    let made = mount::create("tmpfs", "tmpfs", &[("mode".into(), Some("755".into()))], Attributes::default())?;
    let target = File::open(place).with_context(|| place.display().to_string())?;
    mount::attach(made, target, place).with_context(|| format!("mounting a tmpfs on {}", place.display()))
}

/// An overlay of the directory `name` below the working directory, at the same place in the new root.
fn shine_through(name: &Path) -> Result<()> {
    let [upper, work, root] = ["upper", "work", "root"].map(|top| Path::new(SCRATCH).join(top).join(name));
    for made in [&upper, &work, &root] {
        create_dir_all(made).with_context(|| made.display().to_string())?;
    }
    let lowers = Lowers { layers: vec![Path::new(".").join(name)], data: None };
    let writable = Writable { upper: &upper, work: &work, durability: Durability::Kept };
    overlay::mount(&lowers, Some(writable), &root)
}

/// Directory by directory: the machine's `/` has mounts upon it, under which a user namespace may not look. A directory
/// of which that is true, too, is left out; /usr must be there.
fn shine_through_the_machine(root: &Path) -> Result<()> {
    create_dir(root)?;
    tmpfs(root)?;
    for entry in read_dir(".").context("/")? {
        let name = entry.context("/")?.file_name();
        let name = Path::new(&name);
        match read_link(name) {
            Ok(target) => symlink(target, root.join(name))?,
            Err(_) if EMPTY.iter().any(|empty| name == Path::new(empty)) => create_dir(root.join(name))?,
            Err(_) if !name.is_dir() => {}
            Err(_) if name == Path::new("usr") => shine_through(name)?,
            Err(_) => drop(shine_through(name)),
        }
    }
    Ok(())
}
