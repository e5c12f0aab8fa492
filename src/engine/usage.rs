//! What the store takes of the disk: `system df`, `ps --size`, and what a prune would give back.
//!
//! Sizes are of blocks, as du(1) counts them, so that a sparse file costs what it costs; a file with several names is
//! counted once. A layer that several images share is counted once, too; "reclaimable" is what goes when everything goes
//! that no container uses.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Result;

use super::Engine;
use super::container::{Container, MountSource, Root};
use crate::image::digest::chain_ids;
use crate::image::layout::{Layout, LoadedImage};

/// The bytes that a tree of files takes on its disk. What cannot be read counts nothing.
pub fn of_tree(path: &Path) -> u64 {
    let mut seen = HashSet::new();
    let mut left = vec![path.to_path_buf()];
    let mut bytes = 0;
    while let Some(path) = left.pop() {
        let Ok(about) = fs::symlink_metadata(&path) else { continue };
        if about.nlink() > 1 && !about.is_dir() && !seen.insert((about.dev(), about.ino())) {
            continue;
        }
        bytes += about.blocks() * 512;
        if about.is_dir()
            && let Ok(entries) = fs::read_dir(&path)
        {
            left.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
        }
    }
    bytes
}

/// The bytes of a container's own layer, and of all its layers.
pub fn of_container(engine: &Engine, container: &Container) -> Result<(u64, u64)> {
    engine.enter(None)?;
    let own = of_tree(&container.upper());
    let layers = match &container.config.root {
        Root::Image { layers, .. } => layers.iter().map(|layer| of_tree(&engine.paths.layers().join(layer))).sum(),
        Root::Directory(directory) => of_tree(directory),
    };
    Ok((own, own + layers))
}

/// One image's share.
#[derive(Debug, Clone)]
pub struct ImageUsage {
    /// The image.
    pub image: LoadedImage,
    /// Its blobs and its unpacked layers.
    pub size: u64,
    /// What it shares with other images.
    pub shared: u64,
    /// How many containers are made of it.
    pub containers: usize,
}

/// One container's share.
#[derive(Debug, Clone)]
pub struct ContainerUsage {
    /// The container.
    pub container: Container,
    /// Its own layer.
    pub size: u64,
}

/// One volume's share.
#[derive(Debug, Clone)]
pub struct VolumeUsage {
    /// Its name.
    pub name: String,
    /// Its files.
    pub size: u64,
    /// How many containers name it.
    pub containers: usize,
}

/// Everything.
#[derive(Debug, Clone)]
pub struct Usage {
    /// Images.
    pub images: Vec<ImageUsage>,
    /// What they take together.
    pub images_size: u64,
    /// What would go with the images that no container uses.
    pub images_reclaimable: u64,
    /// Containers.
    pub containers: Vec<ContainerUsage>,
    /// Volumes.
    pub volumes: Vec<VolumeUsage>,
}

/// Measures the store. The containers' files belong to any of the user's ids, so it is done as root of his namespace.
pub fn measure(engine: &Engine) -> Result<Usage> {
    engine.enter(None)?;
    let containers = engine.sound_containers()?;
    let layout = engine.layout()?;
    let images = layout.images()?;
    let mut sizes = BTreeMap::<String, u64>::new();
    let mut owners = BTreeMap::<String, usize>::new();
    let mut pieces = Vec::new();
    let stores = engine.layers()?.stores()?;
    for image in &images {
        let mut own = BTreeSet::new();
        for (blob, size) in blobs(&layout, image) {
            sizes.insert(blob.clone(), size);
            own.insert(blob);
        }
        let layers: Vec<_> = image.layers.iter().map(|layer| layer.diff_id).collect();
        for chain in chain_ids(&layers) {
            let key = format!("layer {}", chain.hex());
            if !sizes.contains_key(&key) {
                let copies = stores.iter().map(|store| of_tree(&store.join(chain.hex())));
                sizes.insert(key.clone(), copies.sum());
            }
            own.insert(key);
        }
        for piece in &own {
            *owners.entry(piece.clone()).or_default() += 1;
        }
        pieces.push(own);
    }
    let uses = |container: &Container, image: &LoadedImage| {
        let mounted = |mount: &MountSource| matches!(mount, MountSource::Image { id, .. } if *id == image.id);
        matches!(&container.config.root, Root::Image { id, .. } if *id == image.id)
            || container.config.mounts.iter().any(|mount| mounted(&mount.source))
    };
    let used: Vec<usize> =
        images.iter().map(|image| containers.iter().filter(|container| uses(container, image)).count()).collect();
    let kept: BTreeSet<&String> =
        pieces.iter().zip(&used).filter(|(_, users)| **users > 0).flat_map(|(own, _)| own).collect();
    let size_of = |piece: &String| sizes.get(piece).copied().unwrap_or(0);
    let images_size = sizes.values().sum();
    let images_reclaimable = sizes.keys().filter(|piece| !kept.contains(piece)).map(size_of).sum();
    let images = images
        .into_iter()
        .zip(&pieces)
        .zip(&used)
        .map(|((image, own), containers)| ImageUsage {
            image,
            size: own.iter().map(size_of).sum(),
            shared: own.iter().filter(|piece| owners.get(*piece).is_some_and(|count| *count > 1)).map(size_of).sum(),
            containers: *containers,
        })
        .collect();
    let volumes = engine
        .volumes()?
        .into_iter()
        .map(|volume| VolumeUsage {
            size: of_tree(&volume.data()),
            containers: containers.iter().filter(|container| super::volume::uses(container, &volume.name)).count(),
            name: volume.name,
        })
        .collect();
    let containers = containers
        .into_iter()
        .map(|container| ContainerUsage { size: of_tree(&container.upper()), container })
        .collect();
    Ok(Usage { images, images_size, images_reclaimable, containers, volumes })
}

fn blobs(layout: &Layout, image: &LoadedImage) -> Vec<(String, u64)> {
    let mut digests = vec![image.digest()];
    digests.extend(image.layers.iter().map(|layer| layer.blob));
    if let Ok(config) = image.manifest.config().digest().to_string().parse() {
        digests.push(config);
    }
    digests.into_iter().map(|digest| (format!("blob {}", digest.hex()), of_tree(&layout.blob_path(digest)))).collect()
}
