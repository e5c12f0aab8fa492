//! Loading: one pass over an archive, which may come through a pipe.
//!
//! What the files mean is said in manifest.json or index.json, which may come last. So every other file is stored as a
//! blob on sight (it is one, or it will be collected as garbage), those two are remembered, and the meaning is made out at
//! the end.
//!
//! The subtlety is that an archive may hold more than it seems: a few kilobytes of zstd are a million files. Only names are
//! kept in memory, and of those no more than any sound archive has.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use oci_spec::image::{Descriptor, ImageIndex, MediaType};
use serde::Deserialize;
use serde_json::json;

use crate::image::compose::StoredLayer;
use crate::image::digest::{Digest, Hashing};
use crate::image::layer::{Compression, Kind, Reader, decompress};
use crate::image::layout::{Adding, LoadedImage, MANIFEST_MAX, REF_NAME, is_index, is_manifest};
use crate::image::reference::{LOCALHOST, Reference};

/// The files that say what the others are.
const MEANINGS: [&str; 2] = ["index.json", "manifest.json"];
/// What else only describes the archive, and need not become a blob.
const DESCRIPTIONS: [&str; 2] = ["oci-layout", "repositories"];
/// More bytes than the names of any archive's files take, and what we note about each.
const NAMES_MAX: usize = 32 << 20;
const NOTE: usize = 100;
/// containerd's annotation with the full name.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// What an archive holds, stored.
#[derive(Default)]
struct Contents {
    /// By name in the archive.
    files: HashMap<PathBuf, (Digest, u64)>,
    /// Index and manifest.
    meanings: HashMap<PathBuf, Vec<u8>>,
    /// Old archives of Docker's have links between layers.
    links: HashMap<PathBuf, PathBuf>,
    /// How much memory the names take.
    names: usize,
}

/// One image of a docker-archive's manifest.json.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: PathBuf,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<PathBuf>,
}

/// Loads the images of an archive into the layout that `adding` adds to. An archive that holds one image without a name
/// gets `default_name`.
pub fn load(adding: &Adding, archive: impl Read + Send, default_name: Option<&Reference>) -> Result<Vec<LoadedImage>> {
    let mut contents = Contents::default();
    let loaded = contents.read(adding, archive).and_then(|()| contents.images(adding, default_name));
    contents.or_let_go(adding, loaded)
}

/// The same from a directory in either format.
pub fn load_directory(adding: &Adding, directory: &Path, default_name: Option<&Reference>) -> Result<Vec<LoadedImage>> {
    let mut contents = Contents::default();
    let loaded = contents.read_directory(adding, directory).and_then(|()| contents.images(adding, default_name));
    contents.or_let_go(adding, loaded)
}

/// The current entry's bytes.
struct EntryReader<'a, R>(&'a mut Reader<R>);

impl<R: io::BufRead> Read for EntryReader<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_data(buffer).map_err(|error| io::Error::other(format!("{error:#}")))
    }
}

impl Contents {
    fn read(&mut self, adding: &Adding, archive: impl Read + Send) -> Result<()> {
        let mut reader = Reader::new(BufReader::with_capacity(512 << 10, decompress(archive)?));
        while let Some(entry) = reader.next_entry().context("reading the archive")? {
            let path = plain(&entry.path);
            match entry.kind {
                Kind::File(size) => self.take(adding, path, size, &mut EntryReader(&mut reader))?,
                Kind::Symlink(target) => {
                    let target = path.parent().unwrap_or(Path::new("")).join(target);
                    self.link(path, plain(&target))?;
                }
                Kind::HardLink(target) => self.link(path, plain(&target))?,
                _ => {}
            }
        }
        Ok(())
    }

    fn read_directory(&mut self, adding: &Adding, directory: &Path) -> Result<()> {
        let mut open = vec![directory.to_owned()];
        while let Some(dir) = open.pop() {
            for entry in fs::read_dir(&dir).with_context(|| format!("reading {}", dir.display()))? {
                let entry = entry?;
                let (path, kind) = (entry.path(), entry.file_type()?);
                if kind.is_dir() {
                    open.push(path);
                } else if kind.is_file() {
                    let mut file = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
                    let name = path.strip_prefix(directory)?.to_owned();
                    self.take(adding, name, file.metadata()?.len(), &mut file)?;
                }
            }
        }
        Ok(())
    }

    fn note(&mut self, bytes: usize) -> Result<()> {
        self.names += bytes + NOTE;
        ensure!(self.names <= NAMES_MAX, "the archive has more files than any image");
        Ok(())
    }

    fn link(&mut self, path: PathBuf, target: PathBuf) -> Result<()> {
        self.note(path.as_os_str().len() + target.as_os_str().len())?;
        self.links.insert(path, target);
        Ok(())
    }

    fn take(&mut self, adding: &Adding, path: PathBuf, size: u64, data: &mut dyn Read) -> Result<()> {
        self.note(path.as_os_str().len())?;
        let name = path.to_str().unwrap_or_default();
        if MEANINGS.contains(&name) {
            let bytes = crate::image::digest::read_at_most(data, MANIFEST_MAX, name)?;
            self.meanings.insert(path, bytes);
        } else if !DESCRIPTIONS.contains(&name) {
            let blob = path.strip_prefix("blobs/sha256").ok().and_then(|name| Digest::from_hex(name.to_str()?).ok());
            let stored = store(adding, blob, &path, size, data)?;
            self.files.insert(path, stored);
        }
        Ok(())
    }

    /// What was loaded; or, if that failed, lets go of what was stored on the way.
    fn or_let_go<T>(&self, adding: &Adding, loaded: Result<T>) -> Result<T> {
        if loaded.is_err() {
            let blobs =
                self.files.values().map(|(digest, size)| Descriptor::new(MediaType::ImageLayer, *size, *digest));
            adding.layout().let_go(&blobs.collect::<Vec<_>>());
        }
        loaded
    }

    /// What a name in the archive leads to, through links.
    fn file(&self, path: &Path) -> Result<(Digest, u64)> {
        let mut path = plain(path);
        for _ in 0..8 {
            match self.links.get(&path) {
                Some(target) => path.clone_from(target),
                None => break,
            }
        }
        self.files.get(&path).copied().with_context(|| format!("the archive lacks {}", path.display()))
    }

    /// containerd, and Docker from its version 25 on, write archives that are both. There the index counts: it has the names
    /// in full (manifest.json says `busybox:1` for `docker.io/library/busybox:1`) and the manifests as they were.
    fn images(&self, adding: &Adding, default_name: Option<&Reference>) -> Result<Vec<LoadedImage>> {
        if let Some(index) = self.meanings.get(Path::new("index.json")) {
            let index: ImageIndex = serde_json::from_slice(index).context("index.json is not valid")?;
            let is_image = |entry: &&Descriptor| is_manifest(entry.media_type()) || is_index(entry.media_type());
            let only = index.manifests().len() == 1;
            let entries = index.manifests().iter().filter(is_image);
            let images: Result<Vec<_>> =
                entries.map(|entry| oci(adding, entry, default_name.filter(|_| only))).collect();
            return images.and_then(some);
        }
        let Some(manifest) = self.meanings.get(Path::new("manifest.json")) else {
            bail!(
                "the archive holds no image: it has neither manifest.json (docker-archive) nor index.json (oci-archive)"
            );
        };
        let images: Vec<DockerImage> = serde_json::from_slice(manifest).context("manifest.json is not valid")?;
        let only = images.len() == 1;
        let images: Result<Vec<_>> =
            images.iter().map(|image| self.docker(adding, image, default_name.filter(|_| only))).collect();
        images.and_then(some)
    }

    /// An image of a docker-archive: its manifest must be made, from its configuration and its layers' files.
    fn docker(&self, adding: &Adding, image: &DockerImage, default_name: Option<&Reference>) -> Result<LoadedImage> {
        let (config, size) = self.file(&image.config)?;
        let text = adding.layout().read_blob(config).context("the image's configuration")?;
        let parsed: serde_json::Value =
            serde_json::from_slice(&text).context("the image's configuration is not valid")?;
        let diff_ids = parsed["rootfs"]["diff_ids"].as_array().map_or(&[][..], Vec::as_slice);
        ensure!(
            diff_ids.len() == image.layers.len(),
            "the archive has {} layers, but the image's configuration {}",
            image.layers.len(),
            diff_ids.len()
        );
        let mut layers = Vec::new();
        for (path, diff_id) in image.layers.iter().zip(diff_ids) {
            let diff_id: Digest = diff_id.as_str().unwrap_or_default().parse().context("a diff id")?;
            layers.push(self.layer(adding, path, diff_id)?.descriptor);
        }
        let config = Descriptor::new(MediaType::ImageConfig, size, config);
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MediaType::ImageManifest.to_string(), "config": config, "layers": layers,
        });
        let manifest = adding.put_manifest(&serde_json::to_vec(&manifest)?, MediaType::ImageManifest)?;
        let mut names = Vec::new();
        for name in image.repo_tags.iter().flatten() {
            names.push(full_name(name)?);
        }
        names.extend(default_name.filter(|_| names.is_empty()).cloned());
        store_names(adding, &manifest, &names)
    }

    /// A layer of a docker-archive: mostly not compressed, and then its digest is the diff id.
    fn layer(&self, adding: &Adding, path: &Path, diff_id: Digest) -> Result<StoredLayer> {
        let (blob, size) = self.file(path)?;
        let mut file = adding.layout().open_blob(blob)?;
        let mut first = [0; 8];
        let have = file.read(&mut first)?;
        let kind = match Compression::of(&first[..have])? {
            Compression::None => MediaType::ImageLayer,
            Compression::Gzip => MediaType::ImageLayerGzip,
            Compression::Zstd => MediaType::ImageLayerZstd,
        };
        let found = if kind == MediaType::ImageLayer {
            blob
        } else {
            let mut reader = Hashing::new(decompress(adding.layout().open_blob(blob)?)?);
            io::copy(&mut reader, &mut io::sink())?;
            reader.finish().0
        };
        ensure!(found == diff_id, "{}: its digest is {found}, but the image says {diff_id}", path.display());
        Ok(StoredLayer { descriptor: Descriptor::new(kind, size, blob), diff_id })
    }
}

/// Stores a file of the archive as a blob; `blob` is the digest that its name promises, if it does.
fn store(adding: &Adding, blob: Option<Digest>, path: &Path, size: u64, data: &mut dyn Read) -> Result<(Digest, u64)> {
    let context = || format!("storing {}", path.display());
    if size > MANIFEST_MAX {
        return adding.put_stream(data, blob).with_context(context);
    }
    let bytes = crate::image::digest::read_at_most(data, MANIFEST_MAX, &path.display().to_string())?;
    let digest = Digest::of(&bytes);
    ensure!(blob.is_none_or(|promised| promised == digest), "{}: its digest is {digest}", path.display());
    adding.put(&bytes).with_context(context)?;
    Ok((digest, size))
}

/// An archive without any image is broken, whatever it is.
fn some(images: Vec<LoadedImage>) -> Result<Vec<LoadedImage>> {
    ensure!(!images.is_empty(), "the archive holds no image");
    Ok(images)
}

/// An image of an OCI layout: all is there, and has been checked by digest; only completeness is left to be seen.
fn oci(adding: &Adding, entry: &Descriptor, default_name: Option<&Reference>) -> Result<LoadedImage> {
    let annotations = entry.annotations().clone().unwrap_or_default();
    let name = match annotations.get(CONTAINERD_NAME).or_else(|| annotations.get(REF_NAME)) {
        Some(name) => Some(full_name(name)?),
        None => default_name.cloned(),
    };
    let image = adding.layout().load(entry)?;
    for layer in &image.layers {
        let size = adding.layout().open_blob(layer.blob)?.metadata()?.len();
        ensure!(
            size == layer.descriptor.size(),
            "layer {} has {size} bytes instead of {}",
            layer.blob,
            layer.descriptor.size()
        );
    }
    store_names(adding, &image.descriptor, name.as_slice())
}

fn store_names(adding: &Adding, manifest: &Descriptor, names: &[Reference]) -> Result<LoadedImage> {
    if names.is_empty() {
        adding.name(manifest, None, None)?;
    }
    for name in names {
        adding.name(manifest, Some(name), None)?;
    }
    let image = adding.layout().load(manifest)?;
    adding.layout().find(&image.id)
}

/// A name in an archive; without a registry it is one of ours.
fn full_name(name: &str) -> Result<Reference> {
    Reference::in_registry(LOCALHOST, name)
}

/// Without `./`, and with `..` resolved as text: only ever a key, never opened.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            std::path::Component::Normal(name) => plain.push(name),
            std::path::Component::ParentDir => drop(plain.pop()),
            _ => {}
        }
    }
    plain
}
