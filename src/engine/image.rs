//! Images as the engine uses them: found by name, pulled as the policy says, unpacked into `layers/`.
//!
//! Must run inside the user namespace: the files of a layer get the owners that the container will see.

use anyhow::{Context, Result, bail};
use oci_spec::image::Config;

use super::Engine;
use super::events::Type;
use super::failure::Failure;
use super::request::{PullPolicy, PullRequest};
use crate::image::layer::InUse;
use crate::image::layout::NotFound;
use crate::image::platform::Platform;
use crate::image::reference::Reference;
use crate::image::{Layers, Layout, LoadedImage, host_tools, pull};
pub use crate::image::{Progress, progress::Silent};

/// An image that is here, unpacked.
pub struct Resolved {
    /// Hex of its config's digest.
    pub id: String,
    /// The name it was asked by, in full; the id if it was asked by id.
    pub name: String,
    /// Chain ids, the top layer first.
    pub layers: Vec<String>,
    /// What it says about running it.
    pub config: Config,
    /// Nobody removes its layers while this lives.
    pub in_use: InUse,
}

impl Engine {
    /// The images.
    pub fn layout(&self) -> Result<Layout> {
        Layout::open(&self.paths.images())
    }

    /// The unpacked layers.
    pub fn layers(&self) -> Result<Layers> {
        Layers::open(&self.paths.layers())
    }

    /// Finds an image, pulls it if the policy says so, and unpacks what of it is not unpacked yet.
    pub fn resolve(&self, name: &str, request: &PullRequest, progress: &dyn Progress) -> Result<Resolved> {
        let layout = self.layout()?;
        // An image that is removed in this moment keeps its blobs until its layers are unpacked.
        let _kept = layout.adding()?;
        let image = self.find_or_pull(&layout, name, request, progress)?;
        let layers = self.layers()?;
        let in_use = layers.ensure(&layout, &image, progress)?;
        let known = image.names.iter().find(|known| known.fits(name).is_some()).map(ToString::to_string);
        let config = image.config.config().clone().unwrap_or_default();
        let chain_ids = image.layers.iter().rev().map(|layer| layer.chain_id.hex()).collect();
        let name = known.or_else(|| image.names.first().map(ToString::to_string)).unwrap_or_else(|| image.id.clone());
        Ok(Resolved { name, id: image.id, layers: chain_ids, config, in_use })
    }

    fn find_or_pull(
        &self,
        layout: &Layout,
        name: &str,
        request: &PullRequest,
        progress: &dyn Progress,
    ) -> Result<LoadedImage> {
        let here = match layout.find(name) {
            Ok(image) => Some(image),
            Err(error) if error.downcast_ref::<NotFound>().is_some() => None,
            Err(error) => return Err(error),
        };
        if here.is_none() {
            warn_of_broken(layout, |known| known.fits(name).is_some())?;
        }
        // Asked by id, there is nothing a registry could be asked for.
        let by_id = here.as_ref().is_some_and(|image| !image.names.iter().any(|known| known.fits(name).is_some()));
        // One for another machine than was asked for is not the one that is meant.
        let here = match (&request.platform, here) {
            (Some(said), Some(image)) if request.policy == PullPolicy::Missing && !by_id => {
                platform(said)?.is_of(&image.config).then_some(image)
            }
            (_, here) => here,
        };
        match (request.policy, here) {
            (PullPolicy::Missing | PullPolicy::Never, Some(image)) => return Ok(image),
            (_, Some(image)) if by_id => return Ok(image),
            // Not in any registry: put together from what is on this machine.
            (PullPolicy::Always | PullPolicy::Newer, _) if host_tools::is_meant_by(name) => {
                return host_tools::make(layout, progress);
            }
            _ if host_tools::is_meant_by(name) => return host_tools::ensure(layout, progress),
            (PullPolicy::Never, None) => bail!(Failure::NoSuchImage(name.into())),
            (PullPolicy::Newer, Some(image)) => {
                return Ok(self.pull(layout, name, request, progress).unwrap_or(image));
            }
            _ => {}
        }
        self.pull(layout, name, request, progress)
    }

    fn pull(&self, layout: &Layout, name: &str, request: &PullRequest, progress: &dyn Progress) -> Result<LoadedImage> {
        let platform = request.platform.as_deref().map_or_else(|| Ok(Platform::of_this_machine()), platform)?;
        let image = pull::pull(layout, name, &platform, &request.access.clone().with_files()?, progress)?;
        self.record_other(Type::Image, "pull", &image.id, name);
        Ok(image)
    }
}

fn platform(said: &str) -> Result<Platform> {
    said.parse().with_context(|| format!("--platform {said}"))
}

/// Warns of the images that cannot be read, those whose name `asked` accepts.
pub fn warn_of_broken(layout: &Layout, asked: impl Fn(&Reference) -> bool) -> Result<()> {
    for (name, why) in layout.broken()?.into_iter().filter(|(name, _)| asked(name)) {
        let why = crate::hint::without_numbers(&format!("{why:#}"));
        eprintln!("podling: warning: image {name} is broken: {why}; pull or load it again");
    }
    Ok(())
}
