//! `diff`: what a container has changed in its image, or what an image's last layer changes in those below it.
//!
//! It is what lies in the overlay's upper directory, so nothing needs to be mounted, and a container may run meanwhile.

use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::Engine;
use super::commit::MOUNT_POINTS;
use super::container::{Container, Root};
use super::failure::Failure;
use super::image::Silent;
use super::request::{PullPolicy, PullRequest};
use crate::image::layer::{Change, changes};

impl Engine {
    /// What a container has changed.
    pub fn changes_of(&self, container: &Container) -> Result<Vec<Change>> {
        self.enter(Some(container))?;
        let Root::Image { layers, .. } = &container.config.root else {
            bail!(Failure::Invalid(format!("{} has no image to differ from (--rootfs)", container.name())))
        };
        let owners = self.owners(&container.config)?;
        let below = self.below(layers, owners.as_ref())?;
        differ(container.upper(), &below.lowers.layers)
    }

    /// What an image's last layer changes.
    pub fn changes_of_image(&self, name: &str) -> Result<Vec<Change>> {
        self.enter(None)?;
        let request = PullRequest { policy: PullPolicy::Never, ..PullRequest::default() };
        let image = self.resolve(name, &request, &Silent)?;
        let mut layers = image.layers.iter().map(|layer| self.paths.layers().join(layer));
        let Some(top) = layers.next() else { return Ok(Vec::new()) };
        differ(top, &layers.collect::<Vec<_>>())
    }
}

fn differ(upper: PathBuf, lower: &[PathBuf]) -> Result<Vec<Change>> {
    let open = |path: &PathBuf| Ok(File::open(path).with_context(|| format!("opening {}", path.display()))?.into());
    let lower = lower.iter().map(open).collect::<Result<_>>()?;
    let mut found = changes(open(&upper)?, lower, &MOUNT_POINTS.map(PathBuf::from)).context("comparing the layers")?;
    // It, too, was made only to mount something in it.
    if !found.iter().any(|it| it.path.starts_with("/run") && it.path.as_os_str() != "/run") {
        found.retain(|it| it.path.as_os_str() != "/run");
    }
    Ok(found)
}
