//! The container's root directory: layers below, its own on top, mounted where only those see it who must.
//!
//! The overlay is mounted in the mount namespace that this command made for itself. The monitor is born into it and keeps
//! it; when the monitor goes, the kernel unmounts. Nothing to clean up is the strongest answer to "who cleans up?".

use std::ffi::CString;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::PollTimeout;

use super::Engine;
use super::container::{Container, Process, Root, process_in};
use super::spec;
use super::store::{make_private, write_whole};
use crate::hint::hinted;
use crate::image::layer::{Ids, remove_all};
use crate::linux::caps::Capability;
use crate::linux::idmap::IdMap;
use crate::linux::mount::{self, Attributes, Reach};
use crate::linux::namespace::{self, Namespace};
use crate::linux::overlay::{self, Durability, Writable};

impl Engine {
    /// Mounts the container's root file system in this process's own mount namespace ([`Engine::enter`] first), and
    /// says where. Not for one that is mounted elsewhere: two overlays must not share an upper directory; see
    /// [`Engine::mount_once`].
    pub(super) fn mount(&self, container: &Container) -> Result<PathBuf> {
        let target = container.rootfs();
        if let Root::Image { layers, .. } = &container.config.root {
            let (upper, work) = (container.upper(), container.data.join("work"));
            let owners = self.owners(&container.config)?;
            // Nobody reads what a container that goes with its end has written; a disk need not hear of it.
            let durability = if container.config.remove { Durability::Volatile } else { Durability::Kept };
            if durability == Durability::Volatile {
                // It was mounted before, for a `cp` into it, say.
                overlay::forget_volatile(&work)?;
            }
            let writable = Writable { upper: &upper, work: &work, durability };
            self.mount_layers(layers, owners.as_ref(), Some(writable), &target)?;
            if !self.may_have_devices(container)? {
                let root = File::open(&target).with_context(|| format!("opening {}", target.display()))?;
                let attributes = Attributes { set: libc::MOUNT_ATTR_NODEV, clear: 0 };
                mount::set_attributes(root, attributes, Reach::One).context("no devices in the root file system")?;
            }
        }
        Ok(target)
    }

    /// Whether device nodes count in the container's root file system. Root unpacks those of images, and an image may have one
    /// of the disk; so they count only for who may make some himself. (A user's never do: user_namespaces(7).)
    fn may_have_devices(&self, container: &Container) -> Result<bool> {
        let makes_nodes = "MKNOD".parse::<Capability>()?.bit();
        Ok(self.rootless() || spec::capabilities(&container.config)? & makes_nodes != 0)
    }

    /// Where this process can reach the container's root file system: through its process if it runs, else mounted here.
    pub fn root_of(&self, container: &Container) -> Result<File> {
        self.enter(Some(container))?;
        match container.process() {
            Some(process) => process.root(),
            None => {
                let root = self.mount_once(container)?;
                File::open(&root).with_context(|| format!("opening {}", root.display()))
            }
        }
    }

    /// The root file system alone, without what a running container has mounted in it. If another command has it mounted
    /// already, that mount is borrowed: a second overlay of the same upper directory would be another file system, and each
    /// would pull the files from under the other. Whoever comes next can borrow from us, until this process ends.
    pub fn mount_once(&self, container: &Container) -> Result<PathBuf> {
        let target = container.rootfs();
        if matches!(container.config.root, Root::Directory(_)) {
            return Ok(target);
        }
        let me = Process::of(std::process::id() as i32).context("/proc does not show this process")?;
        let ours = container.holders().join(me.pid.to_string());
        // Before the lock: who has it may be waiting for our end.
        if process_in(&ours) == Some(me) {
            return Ok(target);
        }
        let _lock = self.hold(container)?;
        make_private(&container.holders())?;
        loop {
            // It may run by now, while we waited for the lock.
            let (from, path) = match (container.process(), container.holder()) {
                (Some(process), _) => (process, Path::new("/")),
                (None, Some(holder)) => (holder, target.as_path()),
                (None, None) => {
                    self.mount(container)?;
                    break;
                }
            };
            match self.borrow_mount(from, path, &target) {
                Ok(()) => break,
                // It is about to end, or has; or it is in another user namespace than we, since it was not to be found here
                // when we made ours: then its mount is not for us, and we wait for our turn.
                Err(_) if from.hold()?.is_none_or(|it| it.await_end(PollTimeout::from(5000_u16)).unwrap_or(false)) => {}
                Err(error) => return Err(error),
            }
        }
        write_whole(&ours, format!("{} {}", me.pid, me.start_time).as_bytes())?;
        Ok(target)
    }

    /// Waits until no other command has the root file system mounted: it is to be mounted for a container that runs.
    pub(super) fn await_holders(&self, container: &Container) -> Result<()> {
        while let Some(holder) = container.holder() {
            let Some(held) = holder.hold()? else { continue };
            if !held.await_end(PollTimeout::from(1000_u16))? {
                eprintln!("podling: waiting for process {}, which copies files of {}", holder.pid, container.name());
                held.await_end(PollTimeout::NONE)?;
            }
        }
        Ok(())
    }

    /// Undoes all that was mounted below the bundle in this process's mount namespace: the root file system, images,
    /// another container's /dev/shm.
    pub fn unmount(&self, container: &Container) {
        let Ok(entries) = fs::read_dir(container.bundle()) else { return };
        for directory in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
            if let Ok(path) = CString::new(directory.as_os_str().as_bytes()) {
                let _ = nix::mount::umount2(path.as_c_str(), nix::mount::MntFlags::MNT_DETACH);
            }
        }
    }

    /// Lets another runtime find the root directory. Ours opens it before it makes the container; runc and crun look for its
    /// path from inside, as the container's root, who in a user namespace without the caller's id may pass no directory that
    /// is closed to strangers. Podman opens all of them up to `/`. We open our own, and leave the rest to whom it belongs.
    pub(super) fn lead_to_root(&self, container: &Container) -> Result<()> {
        let runtime = self.runtime(&container.config.runtime)?;
        let Some((uids, gids)) = self.maps(&container.config.namespaces.user)? else { return Ok(()) };
        let holds_caller = |map: &Vec<IdMap>| map.iter().any(|range| range.host == 0 && range.size > 0);
        if runtime.ends_with("podling-runtime") || [uids, gids].iter().all(holds_caller) {
            return Ok(());
        }
        for directory in container.rootfs().ancestors().skip(1) {
            let mode = fs::metadata(directory).with_context(|| format!("looking at {}", directory.display()))?.mode();
            if mode & 0o001 != 0 {
                continue;
            }
            if !directory.starts_with(&self.paths.run) {
                let name = runtime.file_name().unwrap_or_default().display();
                return Err(hinted(
                    format!("{name} cannot pass {} on its way to the container's root", directory.display()),
                    format!("use podling-runtime, or say `chmod o+x {}`", directory.display()),
                ));
            }
            fs::set_permissions(directory, fs::Permissions::from_mode(mode | 0o011))
                .with_context(|| format!("opening {} to the container", directory.display()))?;
        }
        Ok(())
    }

    /// Brings the mount at `path` of another process's mount namespace here, onto `target`. A mount cannot be bound from
    /// another namespace; but there it can be copied, and the copy, which is in no namespace, can be carried.
    pub(super) fn borrow_mount(&self, from: Process, path: &Path, target: &Path) -> Result<()> {
        make_private(target)?;
        let what = || format!("sharing {} of process {}", path.display(), from.pid);
        let onto = fs::File::open(target)?;
        let (home, here) = (fs::File::open("/proc/self/ns/mnt")?, fs::File::open(".")?);
        let theirs = from.hold()?.with_context(what)?;
        namespace::join_process(&theirs, &[Namespace::Mount]).with_context(what)?;
        let copied = mount::copy(path, Reach::One);
        namespace::join(&home, Namespace::Mount).context("returning to our own mount namespace")?;
        nix::unistd::fchdir(&here)?;
        mount::attach(copied.with_context(what)?, onto, target).with_context(what)
    }

    /// Mounts an image's layers, for a container whose ids are those of the disk through `owners`.
    pub(super) fn mount_layers(
        &self,
        layers: &[String],
        owners: Option<&Ids>,
        writable: Option<Writable>,
        target: &Path,
    ) -> Result<()> {
        make_private(target)?;
        let below = self.below(layers, owners)?;
        match overlay::mount(&below.lowers, writable, target) {
            Err(error) if is_missing(&error) => {
                let gone = below.lowers.layers.iter().find(|lower| !lower.exists());
                Err(error).context(match gone {
                    Some(layer) => format!("layer {} is gone; pull the image again", layer.display()),
                    None => "mounting the root file system".into(),
                })
            }
            other => other.context("mounting the root file system"),
        }
    }
}

fn is_missing(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.downcast_ref::<Errno>() == Some(&Errno::ENOENT))
}

/// Removes a tree. Somebody whose end has begun (an exec session's monitor) may write his last file into it meanwhile.
pub(super) fn remove_tree(tree: &Path) -> Result<()> {
    let what = || format!("removing {}", tree.display());
    let parent = match fs::File::open(tree.parent().with_context(what)?) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        parent => parent.with_context(what)?,
    };
    let name = tree.file_name().with_context(what)?;
    let mut attempts = 10;
    loop {
        match remove_all(parent.as_fd(), name) {
            Err(error)
                if attempts > 0
                    && matches!(error.root_cause().downcast_ref(), Some(Errno::ENOTEMPTY | Errno::ENOENT)) =>
            {
                attempts -= 1;
            }
            result => return result.with_context(what),
        }
    }
}
