//! The verbs about images.

pub mod archive;
pub mod list;
pub mod names;
pub mod registry;
pub mod remove;
pub mod tell;

use anyhow::Result;

use crate::engine::container::{Container, Root};
use crate::image::LoadedImage;
use crate::image::layout::NotFound;
use crate::image::platform::Platform;

/// Whether an error says that there is no such image.
pub fn is_missing(error: &anyhow::Error) -> bool {
    error.downcast_ref::<NotFound>().is_some()
}

/// The ids of the containers, of these, that an image is the root of.
pub fn used_by(containers: &[Container], image: &LoadedImage) -> Vec<String> {
    let uses = |root: &Root| matches!(root, Root::Image { id, .. } if *id == image.id);
    containers.iter().filter(|it| uses(&it.config.root)).map(|it| it.config.id.clone()).collect()
}

/// The first digits of an image's id.
pub fn short(id: &str) -> &str {
    &id[..12.min(id.len())]
}

/// When an image was made.
pub fn created(image: &LoadedImage) -> jiff::Timestamp {
    image.config.created().as_ref().and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// The system that an image is chosen for: `OS/ARCH[/VARIANT]`, else this machine.
pub fn platform(said: Option<&str>) -> Result<Platform> {
    said.map_or_else(|| Ok(Platform::of_this_machine()), str::parse)
}
