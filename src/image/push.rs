//! Pushing: an image from the layout to a registry, blob for blob as it is stored.
//!
//! Nothing is compressed anew unless somebody wishes it ([`Wishes`]), so the image keeps its digests; an image that came
//! from a registry goes to another as the same image. Layers made here are gzip already.

use anyhow::{Context, Result};

use super::convert::{Shipment, Wishes};
use super::digest::Digest;
use super::layer::in_threads;
use super::layout::{Layout, LoadedImage};
use super::progress::{Event, Progress, What};
use super::reference::Reference;
use super::registry::{Access, Purpose, Remote, hint_login};

const TRANSFERS: usize = 3;

/// Pushes an image under a name, and returns the digest it has there.
pub fn push(
    layout: &Layout,
    image: &LoadedImage,
    name: &Reference,
    wishes: Wishes,
    access: &Access,
    progress: &dyn Progress,
) -> Result<Digest> {
    let insecure = access.tls_verify.map(|verify| !verify);
    // Never to a mirror: the last endpoint is the registry itself.
    let endpoint = access.registries.endpoints(name, insecure)?.pop().context("no endpoint")?;
    // The registry may have the layers in a repository that the image was pulled from.
    let same_registry = |other: &&Reference| other.registry == name.registry && other.repository != name.repository;
    let elsewhere = image.names.iter().find(same_registry).map(|other| other.repository.as_str());
    let sent = Remote::connect(&endpoint, name, access, Purpose::Push { taking_from: elsewhere }).and_then(|remote| {
        // Nobody collects meanwhile what is not an image's here.
        let adding = layout.adding()?;
        let shipment = if wishes == Wishes::default() {
            Shipment::of(&adding, image)?
        } else {
            Shipment::wanted(&adding, image, wishes)?
        };
        let sent = send(&remote, layout, &shipment, name, elsewhere, progress);
        // What was compressed for this journey only.
        layout.let_go(shipment.layers.iter().filter(|layer| !image.manifest.layers().contains(layer)));
        sent
    });
    if wishes != Wishes::default() {
        layout.collect()?;
    }
    sent.map_err(|error| hint_login(error, name)).with_context(|| format!("pushing {name}"))
}

fn send(
    remote: &Remote,
    layout: &Layout,
    shipment: &Shipment,
    name: &Reference,
    elsewhere: Option<&str>,
    progress: &dyn Progress,
) -> Result<Digest> {
    let mut blobs: Vec<_> = shipment.layers.iter().map(|layer| (layer, What::Layer)).collect();
    blobs.dedup_by_key(|(layer, _)| layer.digest().clone());
    blobs.push((&shipment.config, What::Config));
    in_threads(TRANSFERS.min(blobs.len()), &blobs, |(blob, what)| {
        let mut file = layout.open_blob(Digest::try_from(blob.digest())?)?;
        remote.send(blob, *what, &mut file, elsewhere, progress)
    })?;
    progress.event(Event::Writing);
    remote.put_manifest(&name.version(), &shipment.manifest, &shipment.kind)?;
    Ok(Digest::of(&shipment.manifest))
}
