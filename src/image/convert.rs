//! An image as somebody else wants it: its manifest in Docker's words or in OCI's, its layers compressed in another way.
//!
//! What is in the layers stays, and so do the configuration and the image's id. What changes is how they travel, and with
//! it the digests of blobs that are compressed anew, and of the manifest that names them.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use flate2::write::GzEncoder;
use oci_spec::image::{Descriptor, MediaType};
use serde_json::{Value, json};

use super::digest::Digest;
use super::layer::{Compression, decompress, in_parallel};
use super::layout::{Adding, DOCKER_MANIFEST, LoadedImage};

const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";

/// Whose words a manifest is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OCI's image manifest.
    Oci,
    /// Docker's, schema 2.
    Docker,
}

/// What is wanted of an image that travels; by default that it goes as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wishes {
    /// `--format`.
    pub format: Option<Format>,
    /// `--compression-format`.
    pub compression: Option<Compression>,
}

/// What travels: a manifest, and the blobs that it names.
#[derive(Debug, Clone)]
pub struct Shipment {
    /// The manifest, whose digest is its name.
    pub manifest: Vec<u8>,
    /// Its type.
    pub kind: MediaType,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
}

impl Shipment {
    /// The image as it is stored.
    pub fn of(adding: &Adding, image: &LoadedImage) -> Result<Self> {
        Ok(Self {
            manifest: adding.layout().read_blob(image.digest())?,
            kind: image.descriptor.media_type().clone(),
            config: image.manifest.config().clone(),
            layers: image.manifest.layers().clone(),
        })
    }

    /// The image as it is wanted. Blobs that this takes are stored, and garbage as soon as they have travelled.
    pub fn wanted(adding: &Adding, image: &LoadedImage, wishes: Wishes) -> Result<Self> {
        let own = if image.descriptor.media_type().as_ref() == DOCKER_MANIFEST { Format::Docker } else { Format::Oci };
        let format = wishes.format.unwrap_or(own);
        let compression = match (format, wishes.compression) {
            (Format::Docker, Some(Compression::Zstd)) => {
                bail!("Docker's format (v2s2) knows no zstd; say --format oci")
            }
            // Docker's own programs take nothing else.
            (Format::Docker, None) => Some(Compression::Gzip),
            (_, wanted) => wanted,
        };
        let done: Mutex<BTreeMap<usize, Descriptor>> = Mutex::default();
        let layers: Vec<_> = image.manifest.layers().iter().enumerate().collect();
        in_parallel(&layers, |(number, layer)| {
            let layer = convert(adding, layer, format, compression)
                .with_context(|| format!("compressing layer {}", layer.digest()))?;
            done.lock().unwrap_or_else(PoisonError::into_inner).insert(*number, layer);
            Ok(())
        })?;
        let layers: Vec<Descriptor> = done.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect();
        let (kind, config_kind) = match format {
            Format::Oci => (MediaType::ImageManifest, MediaType::ImageConfig),
            Format::Docker => (MediaType::from(DOCKER_MANIFEST), MediaType::from(DOCKER_CONFIG)),
        };
        let mut config = image.manifest.config().clone();
        config.set_media_type(config_kind);
        let mut manifest =
            json!({"schemaVersion": 2, "mediaType": kind.to_string(), "config": config, "layers": layers});
        if let Some(annotations) = image.manifest.annotations().as_ref().filter(|_| format == Format::Oci) {
            manifest["annotations"] = annotations.iter().map(|(k, v)| (k.clone(), Value::from(v.as_str()))).collect();
        }
        Ok(Self { manifest: serde_json::to_vec(&manifest)?, kind, config, layers })
    }
}

/// A layer in the words of `format`, compressed as wanted.
fn convert(adding: &Adding, layer: &Descriptor, format: Format, wanted: Option<Compression>) -> Result<Descriptor> {
    let digest = Digest::try_from(layer.digest())?;
    let mut first = Vec::new();
    adding.layout().open_blob(digest)?.take(8).read_to_end(&mut first)?;
    let is = Compression::of(&first)?;
    let wanted = wanted.unwrap_or(is);
    let kind = match (format, wanted) {
        (Format::Oci, Compression::None) => MediaType::ImageLayer,
        (Format::Oci, Compression::Gzip) => MediaType::ImageLayerGzip,
        (Format::Oci, Compression::Zstd) => MediaType::ImageLayerZstd,
        (Format::Docker, Compression::None) => MediaType::from(DOCKER_LAYER),
        (Format::Docker, Compression::Gzip) => MediaType::from(DOCKER_LAYER_GZIP),
        (Format::Docker, Compression::Zstd) => MediaType::from(DOCKER_LAYER_ZSTD),
    };
    if is == wanted {
        return Ok(Descriptor::new(kind, layer.size(), layer.digest().clone()));
    }
    let mut tar = decompress(adding.layout().open_blob(digest)?)?;
    let mut blob = adding.writer()?;
    match wanted {
        Compression::None => drop(io::copy(&mut tar, &mut blob)?),
        Compression::Gzip => {
            let mut out = GzEncoder::new(&mut blob, flate2::Compression::new(5));
            io::copy(&mut tar, &mut out)?;
            out.finish()?;
        }
        Compression::Zstd => {
            let mut out = zstd::Encoder::new(&mut blob, zstd::DEFAULT_COMPRESSION_LEVEL)?;
            io::copy(&mut tar, &mut out)?;
            out.finish()?;
        }
    }
    blob.flush()?;
    let (digest, size) = blob.finish(None)?;
    Ok(Descriptor::new(kind, size, digest))
}

/// What OCI calls a layer of Docker's.
pub fn oci_kind(kind: &MediaType) -> MediaType {
    match kind.as_ref() {
        DOCKER_LAYER_GZIP => MediaType::ImageLayerGzip,
        DOCKER_LAYER_ZSTD => MediaType::ImageLayerZstd,
        DOCKER_LAYER => MediaType::ImageLayer,
        _ => kind.clone(),
    }
}
