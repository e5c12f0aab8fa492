//! Pulling: from a name to an image in the layout.
//!
//! ```text
//! name ─▶ manifest (an index: the one for our platform) ─▶ configuration ─▶ layers, several at once ─▶ name in index.json
//! ```
//!
//! Names come last, so an interrupted pull leaves no half image, only blobs that the next attempt finds. Everything is
//! checked against the digest that named it, from the manifest down; what is fetched by a tag rests on TLS alone.

use anyhow::{Context, Result, bail, ensure};
use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest, MediaType};

use super::digest::Digest;
use super::layer::in_threads;
use super::layout::{Adding, Layout, LoadedImage, MANIFEST_MAX, NotFound, is_index};
use super::platform::Platform;
use super::progress::{Event, Progress, What};
use super::reference::Reference;
use super::registries::{self, Asking};
use super::registry::{Access, ManifestUnknown, Purpose, RawManifest, Remote, hint_login};

/// Transfers at once. They wait for the network more than they compute.
const TRANSFERS: usize = 4;
/// More layers than any engine can stack.
const LAYERS_MAX: usize = 500;

/// Pulls the image that a person typed, trying the registries that a short name may mean.
pub fn pull(
    layout: &Layout,
    typed: &str,
    platform: &Platform,
    access: &Access,
    progress: &dyn Progress,
) -> Result<LoadedImage> {
    let mut candidates = access.registries.candidates(typed)?;
    let chosen = if candidates.len() > 1 { chosen(typed, &candidates, access, progress)? } else { None };
    if let Some(at) = chosen {
        candidates = vec![candidates.swap_remove(at)];
    }
    let mut errors = Vec::new();
    for name in &candidates {
        progress.event(Event::Trying(&name.to_string()));
        match pull_name(layout, name, platform, access, progress) {
            Ok(image) => {
                if chosen.is_some() {
                    registries::remember(typed, name)?;
                }
                return Ok(image);
            }
            Err(error) => errors.push(error),
        }
    }
    if errors.len() > 1 {
        let all: Vec<String> = errors.iter().map(|error| format!("{error:#}")).collect();
        bail!("{typed} is in none of {} registries: {}", all.len(), all.join("; "));
    }
    Err(errors.pop().unwrap_or_else(|| anyhow::anyhow!("{typed}: no registry to look in")))
}

/// Which of the registries a person means by a short name, if registries.conf wants him to be asked and he is there.
fn chosen(typed: &str, candidates: &[Reference], access: &Access, progress: &dyn Progress) -> Result<Option<usize>> {
    let asking = access.registries.asking();
    if asking == Asking::Never {
        return Ok(None);
    }
    let chosen = progress.choose(typed, candidates)?;
    if asking == Asking::Always && chosen.is_none() {
        let names: Vec<String> = candidates.iter().map(ToString::to_string).collect();
        bail!("short name {typed:?} may be any of {}, and there is no terminal to ask on; type one", names.join(", "));
    }
    Ok(chosen)
}

/// Pulls an image by its full name, from a mirror if there is one.
pub fn pull_name(
    layout: &Layout,
    name: &Reference,
    platform: &Platform,
    access: &Access,
    progress: &dyn Progress,
) -> Result<LoadedImage> {
    let insecure = access.tls_verify.map(|verify| !verify);
    let endpoints = access.registries.endpoints(name, insecure)?;
    let mut last = None;
    for endpoint in &endpoints {
        let attempt = Remote::connect(endpoint, name, access, Purpose::Pull)
            .and_then(|remote| from_remote(layout, &remote, name, platform, progress))
            .map_err(|error| hint_login(error, name));
        match attempt {
            Ok(image) => return Ok(image),
            Err(error) => {
                if endpoints.len() > 1 {
                    progress.event(Event::Note(&format!("{}: {error:#}", endpoint.host)));
                }
                last = Some(error);
            }
        }
    }
    Err(last.context("no endpoint")?).with_context(|| format!("pulling {name}"))
}

/// All names that a registry has under one without a tag (`pull --all-tags`).
pub fn tags(typed: &str, access: &Access) -> Result<Vec<String>> {
    let last = typed.rsplit('/').next().unwrap_or(typed);
    ensure!(!last.contains([':', '@']), "{typed} names one image: --all-tags needs a name without tag or digest");
    let insecure = access.tls_verify.map(|verify| !verify);
    let mut failed = None;
    for name in access.registries.candidates(typed)? {
        let asked = (|| {
            let endpoint = access.registries.endpoints(&name, insecure)?.pop().context("no endpoint")?;
            Remote::connect(&endpoint, &name, access, Purpose::Pull)?.tags()
        })();
        match asked.map_err(|error| hint_login(error, &name)) {
            Ok(tags) => return Ok(tags.iter().map(|tag| format!("{}:{tag}", name.name())).collect()),
            Err(error) => failed = Some(error.context(format!("asking for the tags of {}", name.name()))),
        }
    }
    Err(failed.context("no registry to look in")?)
}

fn from_remote(
    layout: &Layout,
    remote: &Remote,
    name: &Reference,
    platform: &Platform,
    progress: &dyn Progress,
) -> Result<LoadedImage> {
    let adding = layout.adding()?;
    let top = remote.manifest(&name.version())?;
    let index = is_index(&top.kind).then_some(top.digest);
    let manifest = choose(remote, top, platform)?;
    let parsed = parse(&manifest)?;
    let descriptor = adding.put_manifest(&manifest.bytes, manifest.kind)?;
    fetch_blobs(remote, &parsed, &adding, progress)?;
    progress.event(Event::Writing);
    let image = layout.load(&descriptor)?;
    ensure!(
        *image.config.os() == platform.os && *image.config.architecture() == platform.architecture || index.is_none(),
        "the image for {platform} says it is for {}/{}",
        image.config.os(),
        image.config.architecture()
    );
    if *image.config.architecture() != platform.architecture {
        let own = format!("{}/{}", image.config.os(), image.config.architecture());
        progress
            .event(Event::Note(&format!("image platform ({own}) does not match the expected platform ({platform})")));
    }
    adding.name(&descriptor, Some(name), index)?;
    match layout.find(&image.id) {
        // Somebody has taken the name away again. What was pulled is here as long as it is held.
        Err(error) if error.is::<NotFound>() => Ok(LoadedImage { names: vec![name.clone()], ..image }),
        found => found,
    }
}

/// From an index to the manifest for a platform.
fn choose(remote: &Remote, top: RawManifest, platform: &Platform) -> Result<RawManifest> {
    if !is_index(&top.kind) {
        return Ok(top);
    }
    let index: ImageIndex = serde_json::from_slice(&top.bytes).context("the registry's image index is not valid")?;
    let chosen = platform.choose(index.manifests())?;
    let manifest = remote.manifest(chosen.digest().as_ref()).map_err(|error| {
        let unknown = error.is::<ManifestUnknown>();
        if unknown { error.context("the index names a manifest that the registry does not have") } else { error }
    })?;
    ensure!(manifest.bytes.len() as u64 == chosen.size(), "a manifest's size is not what the index says");
    ensure!(!is_index(&manifest.kind), "an index names another index");
    Ok(manifest)
}

/// Reads a manifest and checks what can be checked before anything is fetched.
fn parse(manifest: &RawManifest) -> Result<ImageManifest> {
    let parsed: ImageManifest =
        serde_json::from_slice(&manifest.bytes).context("the registry's image manifest is not valid")?;
    ensure!(parsed.layers().len() <= LAYERS_MAX, "the image has {} layers", parsed.layers().len());
    ensure!(parsed.config().size() <= MANIFEST_MAX, "the image's configuration is too large");
    let config = parsed.config().media_type();
    let is_image =
        *config == MediaType::ImageConfig || config.as_ref() == "application/vnd.docker.container.image.v1+json";
    ensure!(is_image, "this is no image but an artifact of type {config}");
    Ok(parsed)
}

/// Fetches configuration and layers. A layer that occurs twice is fetched once.
fn fetch_blobs(remote: &Remote, manifest: &ImageManifest, adding: &Adding, progress: &dyn Progress) -> Result<()> {
    // The configuration first: if it is no image's, the layers need not come.
    remote.fetch(manifest.config(), What::Config, adding, progress)?;
    let bytes = adding.layout().read_blob(Digest::try_from(manifest.config().digest())?)?;
    let config: ImageConfiguration =
        serde_json::from_slice(&bytes).context("the image's configuration is not valid")?;
    ensure!(
        config.rootfs().diff_ids().len() == manifest.layers().len(),
        "the image's configuration and manifest disagree about its layers"
    );
    let mut layers: Vec<&Descriptor> = Vec::new();
    for layer in manifest.layers() {
        if layers.iter().all(|known| known.digest() != layer.digest()) {
            layers.push(layer);
        }
    }
    in_threads(TRANSFERS.min(layers.len()), &layers, |layer| {
        remote
            .fetch(layer, What::Layer, adding, progress)
            .with_context(|| format!("layer {}", &layer.digest().digest()[..12.min(layer.digest().digest().len())]))
    })
}
