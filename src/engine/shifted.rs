//! Layers for a user namespace that maps ids in its own way: `shifted/<map>/<chain id>`.
//!
//! ```text
//! on the disk   an image's file of uid 0   is   id 0 of the shared namespace   =   you
//! keep-id       you are 2000 inside, 0 is your first subordinate id   →   that file would be 2000's
//! ```
//!
//! So a container whose namespace maps differently ([`UsernsMode`]) gets the image's layers with shifted owners: made at
//! its first start, kept beside the originals, shared by all containers with the same map, removed with the original
//! (`Layers::remove_unused`). `image::layer::shift` tells what a shifted layer is made of.
//!
//! What the container writes lies on the disk with the owners its map leads to; whoever shows it elsewhere (`commit`,
//! `export`, `cp`) translates back with [`Engine::owners`].

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Engine;
use super::container::ContainerConfig;
use super::settings::UsernsMode;
use super::store::write_whole;
use crate::image::digest::Digest;
use crate::image::layer::{Data, Ids, InUse};
use crate::linux::overlay::{self, Lowers};

/// Nobody waits longer than this without being told for what; and again after each such time.
const PATIENCE: Duration = Duration::from_secs(1);

/// A mount's layers, and what keeps them from being removed meanwhile.
pub(super) struct Below {
    pub lowers: Lowers,
    _in_use: Option<InUse>,
}

impl Engine {
    /// The map between a container's ids and the ids on the disk; none where they are the same.
    pub fn owners(&self, config: &ContainerConfig) -> Result<Option<Ids>> {
        self.owners_in(&config.namespaces.user)
    }

    fn owners_in(&self, mode: &UsernsMode) -> Result<Option<Ids>> {
        if let UsernsMode::Container(id) = mode {
            return self.owners(&self.container(id)?.config);
        }
        let ids = self.maps(mode)?.map(|(uids, gids)| Ids { uids, gids });
        Ok(ids.filter(|ids| !ids.change_nothing()))
    }

    /// What id `uid`:`gid` of a container is on the disk.
    pub(super) fn on_disk(&self, config: &ContainerConfig, (uid, gid): (u32, u32)) -> Result<(u32, u32)> {
        let Some(ids) = self.owners(config)? else { return Ok((uid, gid)) };
        let (disk_uid, disk_gid) = ids.outside(uid, gid);
        Ok((disk_uid.unwrap_or(uid), disk_gid.unwrap_or(gid)))
    }

    /// Layers as a container with these owners must find them, shifted now if they never were.
    pub(super) fn below(&self, layers: &[String], owners: Option<&Ids>) -> Result<Below> {
        let Some(ids) = owners else {
            let layers = layers.iter().map(|layer| self.paths.layers().join(layer)).collect();
            return Ok(Below { lowers: Lowers { layers, data: None }, _in_use: None });
        };
        let data = if self.follows_redirects()? { Data::Original } else { Data::Copied };
        let originals = self.layers()?;
        let top_first = layers.iter().map(|layer| Digest::from_hex(layer)).collect::<Result<Vec<_>>>()?;
        let told = Mutex::new((Instant::now(), PATIENCE));
        let in_use =
            originals.shifted(&map_name(ids, data)).ensure_shifted(&originals, &top_first, ids, data, |files| {
                let Ok(mut told) = told.lock() else { return };
                if told.0.elapsed() >= told.1 {
                    told.1 *= 2;
                    eprintln!(
                        "podling: shifting owners of the image's files for this user namespace, once: {files} so far"
                    );
                }
            })?;
        let data = (data == Data::Original).then(|| self.paths.layers());
        Ok(Below { lowers: Lowers { layers: in_use.directories.clone(), data }, _in_use: Some(in_use) })
    }

    /// Whether shifted layers need no bytes of their own. Found out once a boot: only another kernel answers otherwise.
    fn follows_redirects(&self) -> Result<bool> {
        let known = self.paths.run.join("overlay-redirects");
        if let Ok(answer) = fs::read_to_string(&known) {
            return Ok(answer == "yes");
        }
        let scratch = self.layers()?.scratch()?;
        let follows = overlay::follows_redirects(&scratch).context("trying what overlay can do");
        super::rootfs::remove_tree(&scratch)?;
        let follows = follows?;
        write_whole(&known, if follows { b"yes" } else { b"no" })?;
        Ok(follows)
    }
}

/// A name for a map: what is on the disk depends on nothing else.
fn map_name(ids: &Ids, data: Data) -> String {
    let words = format!("{:?} {:?}", ids.uids, ids.gids);
    let kind = if data == Data::Original { "light" } else { "full" };
    format!("{kind}-{}", &Digest::of(words.as_bytes()).hex()[..16])
}

/// Gives a file that the engine made for a container to the container's root, if it has one.
pub(super) fn give_to_root(engine: &Engine, config: &ContainerConfig, path: &Path) -> Result<()> {
    let (uid, gid) = engine.on_disk(config, (0, 0))?;
    if (uid, gid) != (0, 0) {
        std::os::unix::fs::lchown(path, Some(uid), Some(gid)).with_context(|| path.display().to_string())?;
    }
    Ok(())
}
