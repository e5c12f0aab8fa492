//! What a command that was killed left behind, found and finished by a later one.
//!
//! `containers/` and `volumes/` hold only what is whole: a container is made in `partial/<id>` and moved there by one
//! rename, and one that is removed is first moved back; so are volumes, under a number of their own. So a listing needs no
//! test of what it finds; and what is in `partial/` while nobody holds its lock is rubbish, whichever half of its life it
//! was in. Looking costs one `readdir` of a directory that is empty.
//!
//! What a *monitor* that was killed leaves behind is another thing: a container that ended and whose end nobody saw. Its
//! network's helper runs on, and keeps its ports, until somebody tears it down. Nobody is told of such an end, so every
//! command that is about to remove or clean up looks for others of that kind too ([`Engine::sweep`]).
//!
//! The subtlety is the locks. A maker holds the store's lock shared from before its directory is there; who sweeps takes
//! it exclusively, or else does nothing: so a directory that is seen without a held lock has no maker about to take it.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Engine;
use super::container::{Container, ContainerConfig, MountSource};
use super::lifecycle::RENAMING;
use super::store::{Lock, make_private, read_if_there};
use crate::trace::{self, Topic};

/// Where a container or a volume is being made.
pub(super) struct Place {
    /// `partial/<id>`, `partial/<number>.volume`.
    pub directory: PathBuf,
    id: String,
    _lock: Lock,
    _store: Lock,
}

/// What becomes of a container's anonymous volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Volumes {
    Kept,
    Removed,
}

/// At the end of the name of a directory in `partial/`: its container's anonymous volumes are not to go with it. Part of
/// the name, because a name changes whole.
const KEEP: &str = ".keep";

/// At the end of the name of a directory in `partial/` that is a volume. Its beginning is no volume's name but a number
/// that occurs once: a volume of the same name may be made and removed while an old one is still being swept.
const VOLUME: &str = ".volume";

impl Engine {
    /// A directory for container `id` to be made in.
    pub(super) fn begin(&self, id: &str) -> Result<Place> {
        self.sweep_partial();
        self.place(id)
    }

    fn place(&self, name: &str) -> Result<Place> {
        let store = Lock::shared(&self.paths.lock())?;
        let directory = self.paths.partial().join(name);
        trace::ask(Topic::Store, "mkdir", format_args!("partial/{name}"), || make_private(&directory))?;
        let lock = Lock::exclusive(&directory.join("lock"))?;
        Ok(Place { directory, id: name.into(), _lock: lock, _store: store })
    }

    /// It is whole: from now on there is a container.
    pub(super) fn finish(&self, place: &Place) -> Result<()> {
        let whole = self.paths.container(&place.id);
        make_private(&self.paths.containers())?;
        rename(&place.directory, &whole)
    }

    /// A directory for a volume to be made in. It may be made for a container whose place holds the store's lock already.
    pub(super) fn begin_volume(&self) -> Result<Place> {
        self.place(&format!("{}{VOLUME}", super::names::new_id()?))
    }

    /// It is whole: from now on there is a volume at `whole`. False if somebody else made one of that name meanwhile.
    pub(super) fn finish_volume(&self, place: Place, whole: &Path) -> Result<bool> {
        make_private(&self.paths.volumes())?;
        let Err(error) = rename(&place.directory, whole) else { return Ok(true) };
        self.abandon(place);
        let why = error.root_cause().downcast_ref().map(std::io::Error::kind);
        if matches!(why, Some(ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists)) {
            Ok(false)
        } else {
            Err(error)
        }
    }

    /// Removes a volume; `store` is the store's lock, held exclusively. From the rename on there is none, the rest is
    /// sweeping.
    pub(super) fn retire_volume(&self, directory: &Path, store: Lock) -> Result<()> {
        let rest = self.paths.partial().join(format!("{}{VOLUME}", super::names::new_id()?));
        make_private(&self.paths.partial())?;
        let _lock = Lock::exclusive(&directory.join("lock"))?;
        rename(directory, &rest)?;
        drop(store);
        remove_tree(&rest)
    }

    /// It will never be whole.
    pub(super) fn abandon(&self, place: Place) {
        let Place { directory, id, _lock: lock, _store: store } = place;
        // Removing a volume takes the store's lock.
        drop(store);
        let _ = self.clear(&directory, &id, Volumes::Removed);
        drop(lock);
    }

    /// Removes a container that does not run, under its lock: from the rename on there is none, the rest is sweeping.
    pub(super) fn retire(&self, container: &Container, volumes: Volumes) -> Result<()> {
        let directory = self.move_back(&container.data, container.id(), volumes)?;
        self.record(container, "remove", &[]);
        self.clear(&directory, container.id(), volumes)
    }

    /// The same for one of which only the directory and the id are known.
    pub(super) fn put_away(&self, data: &Path, id: &str) -> Result<()> {
        let directory = self.move_back(data, id, Volumes::Kept)?;
        self.clear(&directory, id, Volumes::Kept)
    }

    fn move_back(&self, data: &Path, id: &str, volumes: Volumes) -> Result<PathBuf> {
        let end = if volumes == Volumes::Kept { KEEP } else { "" };
        let directory = self.paths.partial().join(format!("{id}{end}"));
        make_private(&self.paths.partial())?;
        rename(data, &directory)?;
        Ok(directory)
    }

    /// Finishes what commands that were killed have begun. Whoever calls this has no container's lock, and nothing left to
    /// do for which it would matter which user namespace it is in.
    pub fn sweep(&self) -> Result<()> {
        let ended = self.ended_unseen();
        if ended.is_empty() && entries(&self.paths.partial()).next().is_none() {
            return Ok(());
        }
        self.enter(None)?;
        self.sweep_partial();
        self.sweep_ended(&ended);
        Ok(())
    }

    /// Sweeps `partial/`. Only what nobody works on is touched, and what cannot be removed now is left for another time.
    fn sweep_partial(&self) {
        if entries(&self.paths.partial()).next().is_none() {
            return;
        }
        let Ok(Some(store)) = Lock::if_free(&self.paths.lock()) else { return };
        let dead: Vec<(PathBuf, Lock)> = entries(&self.paths.partial())
            .filter_map(|directory| Some((directory.clone(), Lock::if_free(&directory.join("lock")).ok()??)))
            .collect();
        drop(store);
        for (directory, _lock) in dead {
            let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.ends_with(VOLUME) {
                let _ = remove_tree(&directory);
                continue;
            }
            let (id, volumes) = match name.strip_suffix(KEEP) {
                Some(id) => (id, Volumes::Kept),
                None => (name.as_str(), Volumes::Removed),
            };
            let _ = self.clear(&directory, id, volumes);
        }
    }

    /// Removes all that belongs to a container whose files are in `directory`: its names, the file with its id, its
    /// volumes if they go, and the directory. Its lock is held.
    fn clear(&self, directory: &Path, id: &str, volumes: Volumes) -> Result<()> {
        let config = read_if_there(&directory.join("container.json")).ok().flatten();
        let config = config.and_then(|json| serde_json::from_slice::<ContainerConfig>(&json).ok());
        match &config {
            Some(config) if !directory.join(RENAMING).exists() => self.release_name(&config.name, id),
            // Somebody was killed between the claim and the file.
            _ => self.release_names(id, None),
        }
        trace::point("nameless");
        if let Some(config) = &config {
            if let Some(file) = &config.cid_file
                && fs::read_to_string(file).is_ok_and(|said| said.trim() == id)
            {
                let _ = fs::remove_file(file);
            }
            for mount in config.mounts.iter().filter(|_| volumes == Volumes::Removed) {
                if let MountSource::Volume { name, anonymous: true } = &mount.source
                    && let Ok(volume) = self.volume(name)
                    && let Err(error) = self.remove_volume(&volume, false)
                {
                    eprintln!("podling: removing volume {name}: {error:#}");
                }
            }
        }
        remove_tree(directory)
    }

    /// Containers that ran, do not run, and have no monitor that could tell.
    fn ended_unseen(&self) -> Vec<Container> {
        let ids = entries(&self.paths.run.join("containers"));
        let ids = ids.filter_map(|directory| Some(directory.file_name()?.to_str()?.to_owned()));
        ids.filter_map(|id| Container::read(&self.paths, &id).ok()?).filter(ended_unseen).collect()
    }

    /// Tears down what has ended unseen. May be called with another container's lock held: it waits for none.
    pub(super) fn sweep_ended(&self, ended: &[Container]) {
        for container in ended {
            let Ok(Some(_lock)) = Lock::if_free(&container.lock_file()) else { continue };
            if ended_unseen(container) && container.data.join("container.json").exists() {
                self.tear_down_ended(container);
                if container.config.remove {
                    let _ = self.erase(container, Volumes::Removed);
                }
            }
        }
    }

    /// Frees what containers that ended unseen still hold, published ports above all.
    pub(super) fn free_ports(&self) {
        self.sweep_ended(&self.ended_unseen());
    }
}

fn remove_tree(directory: &Path) -> Result<()> {
    trace::ask(Topic::Store, "rmdir", format_args!("{}", directory.display()), || super::rootfs::remove_tree(directory))
}

fn ended_unseen(container: &Container) -> bool {
    container.ran() && container.monitor().is_none() && container.process().is_none()
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    trace::ask(Topic::Store, "rename", format_args!("{} {}", from.display(), to.display()), || fs::rename(from, to))
        .with_context(|| format!("moving {} to {}", from.display(), to.display()))
}

fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path())
}
