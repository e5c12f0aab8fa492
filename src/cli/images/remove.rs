//! `rmi` and `image prune`.
//!
//! Removing an image takes its entry off the index; its blobs and unpacked layers go if nothing else needs them, now if
//! nobody is adding any, else with a later removal.

use std::collections::HashSet;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use super::{is_missing, used_by};
use crate::cli::remove::Pruning;
use crate::cli::{Context, Verb, failure};
use crate::engine::Engine;
use crate::engine::container::{MountSource, Root};
use crate::engine::events::Type;
use crate::engine::lifecycle::Removal;
use crate::image::{Digest, Layout, LoadedImage};

/// podling rmi
#[derive(Debug, Args)]
pub struct Remove {
    /// All images
    #[arg(long, short)]
    all: bool,
    /// Also with its names and the containers made of it
    #[arg(long, short)]
    force: bool,
    /// Say nothing of images that are not there
    #[arg(long, short)]
    ignore: bool,
    /// Keep the images it was built on (there are none)
    #[arg(long, hide = true)]
    no_prune: bool,
    /// Images, by name or by the beginning of their id
    #[arg(value_name = "IMAGE", required_unless_present = "all", conflicts_with = "all")]
    images: Vec<String>,
}

impl Verb for Remove {
    fn run(self, context: &Context) -> Result<i32> {
        let engine = context.engine()?;
        // A user's layers belong to ids that only his user namespace has.
        engine.enter(None)?;
        let layout = engine.layout()?;
        let mut removal = Work { engine: &engine, layout: &layout, force: self.force, said: String::new() };
        let mut status = 0;
        let mut note = |result: Result<()>, ignore: bool| match result {
            Ok(()) => {}
            Err(error) if is_missing(&error) && ignore => {}
            Err(error) => {
                let missing = is_missing(&error);
                let own = failure::report(&error);
                // Podman's manual: 1 if an image is not there, 2 if it is in use.
                status = if missing {
                    1
                } else if error.downcast_ref::<InUse>().is_some() {
                    2
                } else {
                    own
                };
            }
        };
        if self.all {
            for image in layout.images()? {
                note(removal.whole(&image), false);
            }
        }
        for typed in &self.images {
            note(layout.find(typed).and_then(|image| removal.one(&image, typed)), self.ignore || self.force);
        }
        let said = removal.said;
        let swept = sweep(&engine, &layout);
        failure::print(&said)?;
        // What kept the first from working is seldom worth a second line.
        if status == 0 {
            swept?;
        }
        Ok(status)
    }
}

/// An image that containers are made of.
#[derive(Debug)]
struct InUse(String);

impl std::fmt::Display for InUse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InUse {}

struct Work<'a> {
    engine: &'a Engine,
    layout: &'a Layout,
    force: bool,
    said: String,
}

impl Work<'_> {
    /// Takes the name that was typed away, and the image with its last name.
    fn one(&mut self, image: &LoadedImage, typed: &str) -> Result<()> {
        let name = image.names.iter().find(|name| name.fits(typed).is_some());
        match name {
            Some(name) if image.names.len() > 1 => {
                self.layout.untag(name)?;
                self.engine.record_other(Type::Image, "untag", &image.id, &name.to_string());
                self.said.push_str(&format!("Untagged: {name}\n"));
                Ok(())
            }
            None if image.names.len() > 1 && !self.force => {
                bail!(
                    "unable to delete image {:?} by ID with more than one tag ([{}]): please force removal",
                    image.id,
                    image.names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
                )
            }
            _ => self.whole(image),
        }
    }

    fn whole(&mut self, image: &LoadedImage) -> Result<()> {
        let name = image.names.first().map_or_else(|| image.id.clone(), ToString::to_string);
        // One that cannot be read may be made of it.
        let all = self.engine.containers().with_context(|| format!("finding out who uses {name}"))?;
        let containers = used_by(&all, image);
        if !containers.is_empty() && !self.force {
            return Err(InUse(format!(
                "image {name} is used by container {}: consider removing it first, or --force",
                super::short(&containers[0])
            ))
            .into());
        }
        for id in containers {
            let removal = Removal { force: true, volumes: false, timeout: None };
            self.engine.remove(&self.engine.container(&id)?, removal)?;
        }
        self.layout.remove(image)?;
        for name in &image.names {
            self.engine.record_other(Type::Image, "untag", &image.id, &name.to_string());
            self.said.push_str(&format!("Untagged: {name}\n"));
        }
        self.engine.record_other(Type::Image, "remove", &image.id, "");
        self.said.push_str(&format!("Deleted: {}\n", image.id));
        Ok(())
    }
}

/// Removes blobs and layers that nothing needs any more.
pub fn sweep(engine: &Engine, layout: &Layout) -> Result<()> {
    layout.collect()?;
    let directory = engine.paths.layers();
    if !directory.exists() {
        return Ok(());
    }
    let mut keep: HashSet<Digest> =
        layout.images()?.iter().flat_map(|image| image.layers.iter().map(|layer| layer.chain_id)).collect();
    // Which layers a container holds that cannot be read, nobody knows: all stay until it is gone.
    let (sound, broken) = engine.sound_and_broken()?;
    if !broken.is_empty() {
        return Ok(());
    }
    let mut hold = |layers: &[String]| keep.extend(layers.iter().filter_map(|id| Digest::from_hex(id).ok()));
    for container in sound {
        if let Root::Image { layers, .. } = &container.config.root {
            hold(layers);
        }
        for mount in &container.config.mounts {
            if let MountSource::Image { layers, .. } = &mount.source {
                hold(layers);
            }
        }
    }
    engine.layers()?.remove_unused(&keep)?;
    Ok(())
}

/// podling image prune
#[derive(Debug, Args)]
pub struct Prune {
    /// All images that no container is made of, not only those without a name
    #[arg(long, short)]
    all: bool,
    #[command(flatten)]
    pruning: Pruning,
    #[arg(long, hide = true)]
    external: bool,
}

impl Verb for Prune {
    fn run(self, context: &Context) -> Result<i32> {
        let what = if self.all {
            "all images without at least one container associated with them"
        } else {
            "all dangling images"
        };
        if !self.pruning.agreed(&format!("This command removes {what}."))? {
            return Ok(0);
        }
        let removed = prune(&context.engine()?, self.all, &self.pruning.filter)?;
        failure::print(&removed.iter().map(|id| format!("{id}\n")).collect::<String>())
    }
}

/// Removes images without a name, with `all` also those that no container is made of; and tells their ids.
pub fn prune(engine: &Engine, all: bool, filters: &[String]) -> Result<Vec<String>> {
    // A user's layers belong to ids that only his user namespace has.
    engine.enter(None)?;
    let layout = engine.layout()?;
    let mut images = layout.images()?;
    super::list::retain(&layout, &mut images, filters)?;
    let mut removal = Work { engine, layout: &layout, force: false, said: String::new() };
    let mut removed = Vec::new();
    let containers = engine.containers().context("finding out what nobody uses")?;
    for image in images {
        if (all || image.names.is_empty()) && used_by(&containers, &image).is_empty() {
            removal.whole(&image)?;
            removed.push(image.id);
        }
    }
    sweep(engine, &layout)?;
    Ok(removed)
}
