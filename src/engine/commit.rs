//! `commit`: a container's own layer, kept as the top layer of a new image.
//!
//! The layer is the overlay's upper directory as it lies on disk, so nothing needs to be mounted. While the container
//! runs its files may change under our hands; `--pause` freezes it meanwhile.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::Engine;
use super::container::{Container, Root, Status};
use super::failure::Failure;
use crate::image::Reference;
use crate::image::compose::{Composition, layer_of};
use crate::image::layer::Source;

/// What the runtime makes in the container's layer only to mount something there.
pub(super) const MOUNT_POINTS: [&str; 8] =
    ["dev", "etc/hostname", "etc/hosts", "etc/resolv.conf", "proc", "run/.containerenv", "run/podling-init", "sys"];

/// What `commit` may be told.
#[derive(Debug, Clone, Default)]
pub struct CommitRequest {
    /// The new image's name.
    pub name: Option<String>,
    /// `--author`.
    pub author: Option<String>,
    /// `--message`.
    pub message: Option<String>,
    /// `--change`: Containerfile lines.
    pub changes: Vec<String>,
    /// `--pause`.
    pub pause: bool,
}

impl Engine {
    /// Makes an image of a container's changes; its id.
    pub fn commit(&self, container: &Container, request: &CommitRequest) -> Result<String> {
        self.enter(Some(container))?;
        let Root::Image { id, .. } = &container.config.root else {
            bail!(Failure::Invalid(format!("{} has no image to build on (--rootfs): use export", container.name())))
        };
        let name = request.name.as_deref().map(str::parse::<Reference>).transpose()?;
        let layout = self.layout()?;
        let mut composition = Composition::of(&layout.find(id)?);
        let adding = layout.adding()?;

        let frozen = request.pause && matches!(container.status(), Status::Running(_));
        if frozen {
            self.pause(container)?;
        }
        let upper = std::fs::File::open(container.upper()).context("opening the container's layer");
        let owners = self.owners(&container.config)?;
        let skip = MOUNT_POINTS.map(PathBuf::from);
        let layer = upper.and_then(|upper| layer_of(&adding, upper.into(), Source::Upper, &skip, owners.as_ref()));
        if frozen {
            self.unpause(container)?;
        }
        composition.add_layer(layer.context("packing the container's layer")?);
        for instruction in &request.changes {
            composition.change(instruction)?;
        }
        let message = request.message.as_deref().unwrap_or_default();
        let words = container.config.arguments().join(" ");
        composition.note(&super::now(), &words, message, request.author.as_deref(), false);
        let image = composition.store(&adding, name.as_ref())?;
        self.record(container, "commit", &[]);
        Ok(image.id)
    }
}
