//! The images of the layout: reading them, finding one by what a person typed, naming and un-naming them.
//!
//! An image's id is the digest of its configuration, as everywhere in the field; several manifests (the same layers
//! compressed in two ways) and several names can lead to one id. A person may type a name, short or long, with or without
//! its tag, a digest, or the first digits of an id.

use anyhow::{Context, Result, bail};
use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest, MediaType};

use super::{INDEX_DIGEST, Layout, REF_NAME};
use crate::image::digest::{Digest, chain_ids};
use crate::image::reference::{LOCALHOST, Reference, is_short};

/// Docker's media types for what OCI calls an image manifest and an image index.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's "manifest list".
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// Whether a descriptor is that of an image's manifest.
pub fn is_manifest(kind: &MediaType) -> bool {
    *kind == MediaType::ImageManifest || kind.as_ref() == DOCKER_MANIFEST
}

/// Whether a descriptor is that of an index of several platforms' manifests.
pub fn is_index(kind: &MediaType) -> bool {
    *kind == MediaType::ImageIndex || kind.as_ref() == DOCKER_LIST
}

/// An image in the store, with its small parts read.
#[derive(Debug, Clone)]
pub struct LoadedImage {
    /// The digest of the configuration, in hexadecimal: what `podman images --no-trunc` shows without `sha256:`.
    pub id: String,
    /// Its names, sorted; none if it dangles.
    pub names: Vec<Reference>,
    /// The digests under which registries knew it, of its manifest and of the index it was chosen from.
    pub digests: Vec<Digest>,
    /// The descriptor of its manifest.
    pub descriptor: Descriptor,
    /// Its manifest.
    pub manifest: ImageManifest,
    /// Its configuration.
    pub config: ImageConfiguration,
    /// The configuration as it was written, with what OCI's type has no field for (Docker's `Healthcheck`, `Shell`).
    pub raw_config: serde_json::Value,
    /// Its layers, lowest first.
    pub layers: Vec<LoadedLayer>,
}

/// One layer of an image.
#[derive(Debug, Clone)]
pub struct LoadedLayer {
    /// The compressed blob.
    pub descriptor: Descriptor,
    /// Its digest.
    pub blob: Digest,
    /// The digest of the tar file when unpacked.
    pub diff_id: Digest,
    /// The name of this layer on top of those below.
    pub chain_id: Digest,
}

impl LoadedImage {
    /// The digest of the manifest.
    pub fn digest(&self) -> Digest {
        self.digests[0]
    }

    /// The size of the blobs, in bytes: what a registry would send.
    pub fn compressed_size(&self) -> u64 {
        let sizes = self.manifest.layers().iter().chain([self.manifest.config()]).map(Descriptor::size);
        // A manifest may say any number.
        sizes.fold(0, u64::saturating_add)
    }

    /// `docker.io/library/busybox@sha256:…` for each name and digest, as Podman's `RepoDigests`.
    pub fn repository_digests(&self) -> Vec<String> {
        let mut all: Vec<String> =
            self.names.iter().flat_map(|name| self.digests.iter().map(|d| format!("{}@{d}", name.name()))).collect();
        all.sort();
        all.dedup();
        all
    }
}

/// Why no image was found, for callers that tell this from other failures (to pull it, to answer 404).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotFound(pub String);

impl std::fmt::Display for NotFound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: image not known", self.0)
    }
}

impl std::error::Error for NotFound {}

impl Layout {
    /// All images, in the order in which they came. One that is broken (a blob is missing) is left out; pulling it again
    /// mends it.
    pub fn images(&self) -> Result<Vec<LoadedImage>> {
        let mut images: Vec<LoadedImage> = Vec::new();
        for entry in self.index()?.manifests() {
            let Ok(image) = self.load(entry) else { continue };
            match images.iter_mut().find(|known| known.id == image.id) {
                None => images.push(image),
                Some(known) => {
                    known.names.extend(image.names);
                    known.names.sort();
                    known.names.dedup();
                    for digest in image.digests {
                        if !known.digests.contains(&digest) {
                            known.digests.push(digest);
                        }
                    }
                }
            }
        }
        Ok(images)
    }

    /// The names of images that cannot be read, and why. Pulling or loading one again mends it.
    pub fn broken(&self) -> Result<Vec<(Reference, anyhow::Error)>> {
        let index = self.index()?;
        let manifests = index.manifests().iter().filter(|entry| is_manifest(entry.media_type()));
        Ok(manifests.filter_map(|entry| Some((named(entry)?, self.load(entry).err()?))).collect())
    }

    /// The image that a person means by `typed`. Errors: [`NotFound`]; an id that several images begin with.
    pub fn find(&self, typed: &str) -> Result<LoadedImage> {
        let images = self.images()?;
        if let Some(best) = images.iter().min_by_key(|image| fit(image, typed)).filter(|i| fit(i, typed) < u8::MAX) {
            return Ok(best.clone());
        }
        let hex = typed.strip_prefix("sha256:").unwrap_or(typed);
        if hex.is_empty() || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(NotFound(typed.into()).into());
        }
        let mut by_id = images.iter().filter(|image| image.id.starts_with(hex));
        match (by_id.next(), by_id.next()) {
            (Some(_), Some(_)) => bail!("{typed}: several images have an id that begins so; type more of it"),
            (Some(image), None) => Ok(image.clone()),
            _ => Err(NotFound(typed.into()).into()),
        }
    }

    /// Reads an image by its manifest's descriptor. A descriptor of an index leads to the manifest for this machine.
    pub fn load(&self, entry: &Descriptor) -> Result<LoadedImage> {
        let descriptor = self.resolve(entry)?;
        let digest = Digest::try_from(descriptor.digest())?;
        let manifest: ImageManifest = self.read_json(digest, "manifest")?;
        let id = Digest::try_from(manifest.config().digest())?;
        let raw_config: serde_json::Value = self.read_json(id, "image configuration")?;
        let config: ImageConfiguration =
            serde_json::from_value(raw_config.clone()).with_context(|| format!("image configuration {id}"))?;
        let annotation = |name: &str| entry.annotations().as_ref().and_then(|all| all.get(name));
        let mut digests = vec![digest];
        digests.extend(annotation(INDEX_DIGEST).and_then(|digest| digest.parse::<Digest>().ok()));
        Ok(LoadedImage {
            id: id.hex(),
            names: annotation(REF_NAME).and_then(|name| stored_name(name)).into_iter().collect(),
            digests,
            layers: layers(&manifest, &config)?,
            descriptor,
            manifest,
            config,
            raw_config,
        })
    }

    /// From an index (another program may have put one here) to the manifest for this machine.
    fn resolve(&self, entry: &Descriptor) -> Result<Descriptor> {
        if !is_index(entry.media_type()) {
            return Ok(entry.clone());
        }
        let index: ImageIndex = self.read_json(Digest::try_from(entry.digest())?, "image index")?;
        let here = crate::image::platform::Platform::of_this_machine();
        Ok(here.choose(index.manifests())?.clone())
    }

    /// Gives an image one more name, taking it from any other image that has it.
    pub fn tag(&self, image: &LoadedImage, name: &Reference) -> Result<()> {
        self.change(|manifests| {
            let digest = image.descriptor.digest();
            let Some(known) = manifests.iter().find(|entry| entry.digest() == digest).cloned() else {
                return Err(NotFound(image.id.clone()).into());
            };
            let mut entry = known;
            let mut annotations = entry.annotations().clone().unwrap_or_default();
            annotations.insert(REF_NAME.to_owned(), name.to_string());
            entry.set_annotations(Some(annotations));
            place(manifests, entry, Some(name));
            Ok(())
        })
    }

    /// Takes a name away; the image stays, dangling if it was the last one. False: nothing had that name.
    pub fn untag(&self, name: &Reference) -> Result<bool> {
        self.change(|manifests| Ok(displace(manifests, name)))
    }

    /// Takes an image with all its names off the index. Its blobs go with the next [`Layout::collect`].
    pub fn remove(&self, image: &LoadedImage) -> Result<()> {
        self.change(|manifests| {
            let (gone, kept) = std::mem::take(manifests)
                .into_iter()
                .map(|entry| (self.load(&entry).ok().filter(|other| other.id == image.id), entry))
                .partition::<Vec<_>, _>(|(same, _)| same.is_some());
            manifests.extend(kept.into_iter().map(|(_, entry)| entry));
            // Before the index says so: if we are killed in between, the image is still there, and if after it, the next
            // collection knows that nobody waits for these blobs.
            for (same, entry) in &gone {
                let parts = same
                    .iter()
                    .flat_map(|it| it.manifest.layers().iter().chain([it.manifest.config(), &it.descriptor]));
                self.let_go(parts.chain([entry]));
            }
            Ok(())
        })
    }
}

/// How well what was typed fits any of an image's names or digests: the smaller the better, 255 not at all.
fn fit(image: &LoadedImage, typed: &str) -> u8 {
    let by_name = image.names.iter().filter_map(|name| name.fits(typed)).min();
    let by_digest = || {
        let (name, digest) = typed.split_once('@')?;
        let digest: Digest = digest.parse().ok()?;
        // A tag beside the digest only informs.
        let name = match name.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => repository,
            _ => name,
        };
        let same = |known: &&Reference| {
            let bare = Reference { tag: Some("latest".into()), digest: None, ..(*known).clone() };
            bare.fits(name).is_some()
        };
        (image.digests.contains(&digest) && image.names.iter().any(|known| same(&known))).then_some(4)
    };
    by_name.or_else(by_digest).unwrap_or(u8::MAX)
}

/// A name in index.json. Other programs may have written a short one there, which then is one of ours.
fn stored_name(name: &str) -> Option<Reference> {
    if is_short(name) { Reference::in_registry(LOCALHOST, name) } else { name.parse() }.ok()
}

/// Pairs a manifest's layers with the configuration's diff ids.
fn layers(manifest: &ImageManifest, config: &ImageConfiguration) -> Result<Vec<LoadedLayer>> {
    let diff_ids = config.rootfs().diff_ids().iter().map(|id| id.parse()).collect::<Result<Vec<Digest>>>()?;
    if diff_ids.len() != manifest.layers().len() {
        bail!("an image has {} layers but {} diff ids", manifest.layers().len(), diff_ids.len());
    }
    let pair = |((descriptor, diff_id), chain_id): ((&Descriptor, &Digest), Digest)| {
        let blob = Digest::try_from(descriptor.digest())?;
        Ok(LoadedLayer { descriptor: descriptor.clone(), blob, diff_id: *diff_id, chain_id })
    };
    manifest.layers().iter().zip(&diff_ids).zip(chain_ids(&diff_ids)).map(pair).collect()
}

/// The name of an entry.
pub(super) fn named(entry: &Descriptor) -> Option<Reference> {
    stored_name(entry.annotations().as_ref()?.get(REF_NAME)?)
}

/// Takes `name` from whichever entry has it, keeping the image: without its last name an entry becomes a dangling one.
fn displace(manifests: &mut Vec<Descriptor>, name: &Reference) -> bool {
    let Some(at) = manifests.iter().position(|entry| named(entry).as_ref() == Some(name)) else { return false };
    let digest = manifests[at].digest().clone();
    if manifests.iter().filter(|entry| *entry.digest() == digest).count() > 1 {
        manifests.remove(at);
    } else {
        let mut annotations = manifests[at].annotations().clone().unwrap_or_default();
        annotations.remove(REF_NAME);
        manifests[at].set_annotations((!annotations.is_empty()).then_some(annotations));
    }
    true
}

/// Puts an entry into the index: its name leaves the image that had it, and an image that has a name now no longer
/// dangles.
pub(super) fn place(manifests: &mut Vec<Descriptor>, entry: Descriptor, name: Option<&Reference>) {
    if let Some(name) = name {
        displace(manifests, name);
    }
    let same = |known: &Descriptor| known.digest() == entry.digest();
    if name.is_none() && manifests.iter().any(same) {
        return;
    }
    manifests.retain(|known| !(same(known) && named(known).is_none()));
    manifests.push(entry);
}
