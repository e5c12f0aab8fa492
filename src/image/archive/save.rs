//! Saving: images from the layout into one archive or directory.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use oci_spec::image::Descriptor;
use serde_json::{Value, json};

use crate::image::digest::Digest;
use crate::image::layer::{Writer, decompress};
use crate::image::layout::{Layout, LoadedImage, REF_NAME};
use crate::image::reference::Reference;

/// The formats of `save --format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// What `docker load` reads.
    DockerArchive,
    /// An OCI image layout as a tar file.
    OciArchive,
    /// An OCI image layout as a directory.
    OciDir,
}

impl std::str::FromStr for Format {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "docker-archive" => Self::DockerArchive,
            "oci-archive" => Self::OciArchive,
            "oci-dir" => Self::OciDir,
            _ => bail!("unknown format {text:?}: it is one of docker-archive, oci-archive, oci-dir"),
        })
    }
}

/// An image, and the names that it shall have in the archive.
pub type Wanted = (LoadedImage, Vec<Reference>);

/// Where files go: a tar file, or a directory.
trait Sink {
    fn directory(&mut self, name: &str) -> Result<()>;
    fn put(&mut self, name: &str, size: u64, data: &mut dyn Read) -> Result<()>;
}

impl<W: Write> Sink for Writer<W> {
    fn directory(&mut self, name: &str) -> Result<()> {
        self.directory(name)
    }

    fn put(&mut self, name: &str, size: u64, data: &mut dyn Read) -> Result<()> {
        self.stream(name, size, data)
    }
}

impl Sink for &Path {
    fn directory(&mut self, name: &str) -> Result<()> {
        let path = self.join(name);
        fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))
    }

    fn put(&mut self, name: &str, _: u64, data: &mut dyn Read) -> Result<()> {
        let path = self.join(name);
        io::copy(data, &mut File::create(&path)?).map(drop).with_context(|| format!("writing {}", path.display()))
    }
}

/// Saves images to a file or stream.
pub fn save(layout: &Layout, images: &[Wanted], format: Format, out: impl Write) -> Result<()> {
    let mut writer = Writer::new(out);
    match format {
        Format::DockerArchive => docker(layout, images, &mut writer)?,
        Format::OciArchive => oci(layout, images, &mut writer)?,
        Format::OciDir => bail!("oci-dir is a directory, not a stream"),
    }
    writer.finish().map(drop)
}

/// Saves images to a new directory.
pub fn save_directory(layout: &Layout, images: &[Wanted], directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
    oci(layout, images, &mut { directory })
}

fn put_bytes(sink: &mut impl Sink, name: &str, bytes: &[u8]) -> Result<()> {
    sink.put(name, bytes.len() as u64, &mut &bytes[..])
}

fn oci(layout: &Layout, images: &[Wanted], sink: &mut impl Sink) -> Result<()> {
    let mut written = HashSet::new();
    let mut entries: Vec<Descriptor> = Vec::new();
    // By themselves and first: for a file whose directory is not in the archive skopeo makes one, and gives it to root, which
    // fails where somebody else is asking.
    sink.directory("blobs")?;
    sink.directory("blobs/sha256")?;
    for (image, names) in images {
        let parts = image.manifest.layers().iter().chain([image.manifest.config(), &image.descriptor]);
        for part in parts {
            let digest = Digest::try_from(part.digest())?;
            if written.insert(digest) {
                let mut blob = layout.open_blob(digest)?;
                let size = blob.metadata()?.len();
                sink.put(&format!("blobs/sha256/{}", digest.hex()), size, &mut blob)?;
            }
        }
        let bare = Descriptor::new(image.descriptor.media_type().clone(), image.descriptor.size(), image.digest());
        for name in names {
            let mut entry = bare.clone();
            entry.set_annotations(Some([(REF_NAME.to_owned(), name.to_string())].into()));
            entries.push(entry);
        }
        if names.is_empty() {
            entries.push(bare);
        }
    }
    put_bytes(sink, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let index = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries,
    });
    put_bytes(sink, "index.json", &serde_json::to_vec(&index)?)
}

/// Docker's archive has layers as they are unpacked, named by their diff ids.
fn docker(layout: &Layout, images: &[Wanted], sink: &mut impl Sink) -> Result<()> {
    let mut written = HashSet::new();
    let mut manifest: Vec<Value> = Vec::new();
    let mut repositories: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for (image, names) in images {
        let mut files = Vec::new();
        for layer in &image.layers {
            let name = format!("{}.tar", layer.diff_id.hex());
            if written.insert(layer.diff_id) {
                // A tar header wants the size first, which only unpacking tells.
                let mut first = decompress(layout.open_blob(layer.blob)?)?;
                let size = io::copy(&mut first, &mut io::sink())?;
                sink.put(&name, size, &mut decompress(layout.open_blob(layer.blob)?)?)?;
            }
            files.push(name);
        }
        let config = format!("{}.json", image.id);
        let id = Digest::from_hex(&image.id)?;
        if written.insert(id) {
            put_bytes(sink, &config, &layout.read_blob(id)?)?;
        }
        let tags: Vec<String> = names.iter().filter(|name| name.tag.is_some()).map(ToString::to_string).collect();
        for name in names {
            if let (Some(tag), Some(top)) = (&name.tag, image.layers.last()) {
                repositories.entry(name.name()).or_default().insert(tag.clone(), top.diff_id.hex());
            }
        }
        manifest.push(json!({"Config": config, "RepoTags": tags, "Layers": files}));
    }
    put_bytes(sink, "manifest.json", &serde_json::to_vec(&manifest)?)?;
    put_bytes(sink, "repositories", &serde_json::to_vec(&repositories)?)
}
