//! The verbs about images.

pub mod archive;
pub mod list;
pub mod names;
pub mod registry;
pub mod remove;
pub mod tell;

use anyhow::Result;

use crate::engine::Engine;
use crate::engine::container::Root;
use crate::image::LoadedImage;
use crate::image::layout::NotFound;
use crate::image::platform::Platform;

/// Whether an error says that there is no such image.
pub fn is_missing(error: &anyhow::Error) -> bool {
    error.downcast_ref::<NotFound>().is_some()
}

/// The names of the containers that an image is the root of.
pub fn used_by(engine: &Engine, image: &LoadedImage) -> Result<Vec<String>> {
    let all = engine.containers()?;
    let uses = |root: &Root| matches!(root, Root::Image { id, .. } if *id == image.id);
    Ok(all.into_iter().filter(|it| uses(&it.config.root)).map(|it| it.config.id).collect())
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
