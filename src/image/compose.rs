//! Composing an image: layers, a configuration, a history, and the manifest that binds them.
//!
//! `commit`, `import` and the image of the machine's own programs all end here. The configuration is kept as the JSON it
//! was, since Docker's has fields that OCI's type does not know and that an image made from it must not lose.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use flate2::write::GzEncoder;
use oci_spec::image::{Descriptor, MediaType};
use serde_json::{Map, Value, json};

use super::convert::oci_kind;
use super::digest::{Digest, Hashing};
use super::layer::{Ids, Source, pack};
use super::layout::{Adding, LoadedImage};
use super::platform::Platform;
use super::reference::Reference;

/// An image in the making.
#[derive(Debug, Clone)]
pub struct Composition {
    config: Value,
    layers: Vec<Descriptor>,
}

/// A layer that was stored.
#[derive(Debug, Clone)]
pub struct StoredLayer {
    /// Its blob.
    pub descriptor: Descriptor,
    /// The digest of the tar file in it.
    pub diff_id: Digest,
}

impl Composition {
    /// Nothing yet, for a platform.
    pub fn empty(platform: &Platform) -> Self {
        let mut config = json!({
            "os": platform.os.to_string(), "architecture": platform.architecture.to_string(),
            "config": {}, "rootfs": {"type": "layers", "diff_ids": []}, "history": [],
        });
        if let Some(variant) = &platform.variant {
            config["variant"] = variant.as_str().into();
        }
        Self { config, layers: vec![] }
    }

    /// Everything that an image has.
    pub fn of(image: &LoadedImage) -> Self {
        let layers = image.manifest.layers().iter().map(|layer| {
            let mut layer = layer.clone();
            layer.set_media_type(oci_kind(layer.media_type()));
            layer
        });
        Self { config: image.raw_config.clone(), layers: layers.collect() }
    }

    /// Puts a layer on top.
    pub fn add_layer(&mut self, layer: StoredLayer) {
        self.layers.push(layer.descriptor);
        let diff_id = layer.diff_id.to_string().into();
        match self.config["rootfs"]["diff_ids"].as_array_mut() {
            Some(diff_ids) => diff_ids.push(diff_id),
            None => self.config["rootfs"] = json!({"type": "layers", "diff_ids": [diff_id]}),
        }
    }

    /// Says in the history what was done, and when (RFC 3339; also the image's own date).
    pub fn note(&mut self, created: &str, created_by: &str, comment: &str, author: Option<&str>, empty_layer: bool) {
        let mut entry = Map::new();
        entry.insert("created".into(), created.into());
        entry.insert("created_by".into(), created_by.into());
        if !comment.is_empty() {
            entry.insert("comment".into(), comment.into());
        }
        if let Some(author) = author {
            entry.insert("author".into(), author.into());
            self.config["author"] = author.into();
        }
        if empty_layer {
            entry.insert("empty_layer".into(), true.into());
        }
        self.config["created"] = created.into();
        match self.config["history"].as_array_mut() {
            Some(history) => history.push(entry.into()),
            None => self.config["history"] = json!([entry]),
        }
    }

    /// Changes the configuration by an instruction of a Containerfile (`--change 'CMD ["sh"]'`).
    pub fn change(&mut self, instruction: &str) -> Result<()> {
        if !self.config["config"].is_object() {
            self.config["config"] = json!({});
        }
        change(&mut self.config["config"], instruction).with_context(|| format!("change {instruction:?}"))
    }

    /// Stores configuration and manifest, and names the image.
    pub fn store(self, adding: &Adding, name: Option<&Reference>) -> Result<LoadedImage> {
        let config = serde_json::to_vec(&self.config)?;
        let digest = adding.put(&config)?;
        let config = Descriptor::new(MediaType::ImageConfig, config.len() as u64, digest);
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MediaType::ImageManifest.to_string(), "config": config, "layers": self.layers,
        });
        let manifest = adding.put_manifest(&serde_json::to_vec(&manifest)?, MediaType::ImageManifest)?;
        adding.name(&manifest, name, None)?;
        adding.layout().find(&digest.hex())
    }
}

/// Packs a directory into a gzip-compressed layer.
pub fn layer_of(
    adding: &Adding,
    directory: OwnedFd,
    source: Source,
    skip: &[std::path::PathBuf],
    owners: Option<&Ids>,
) -> Result<StoredLayer> {
    store_layer(adding, Compressed::Gzip, |out| pack(directory, source, skip, owners, out).map(drop))
}

/// How a layer made here is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compressed {
    /// With gzip, which everybody reads.
    Gzip,
    /// Not: it will hardly travel.
    Not,
}

/// Stores a layer whose tar file `fill` writes.
pub fn store_layer(
    adding: &Adding,
    compressed: Compressed,
    fill: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<StoredLayer> {
    let blob = adding.writer()?;
    if compressed == Compressed::Not {
        let mut tar = std::io::BufWriter::with_capacity(256 << 10, blob);
        fill(&mut tar)?;
        let blob = tar.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        let (diff_id, size) = blob.finish(None)?;
        return Ok(StoredLayer { descriptor: Descriptor::new(MediaType::ImageLayer, size, diff_id), diff_id });
    }
    let gzip = GzEncoder::new(blob, flate2::Compression::new(5));
    let mut tar = Hashing::new(std::io::BufWriter::with_capacity(256 << 10, gzip));
    fill(&mut tar)?;
    let (diff_id, _, buffered) = tar.finish();
    let gzip = buffered.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    let (digest, size) = gzip.finish()?.finish(None)?;
    Ok(StoredLayer { descriptor: Descriptor::new(MediaType::ImageLayerGzip, size, digest), diff_id })
}

/// Makes an image of a tar file with a root file system (`podman import`), compressed in any way we read.
pub fn import(
    adding: &Adding,
    tarball: impl std::io::Read + Send,
    platform: &Platform,
    changes: &[String],
    message: &str,
    name: Option<&Reference>,
) -> Result<LoadedImage> {
    let mut input = super::layer::decompress(tarball)?;
    let layer = store_layer(adding, Compressed::Gzip, |out| {
        let mut first = [0; 512];
        let mut have = 0;
        while have < first.len() {
            match input.read(&mut first[have..])? {
                0 => break,
                read => have += read,
            }
        }
        ensure!(&first[257..262] == b"ustar" || first.iter().all(|b| *b == 0), "this is not a tar archive");
        out.write_all(&first[..have])?;
        std::io::copy(&mut input, out)?;
        Ok(())
    })?;
    let mut composition = Composition::empty(platform);
    composition.add_layer(layer);
    for instruction in changes {
        composition.change(instruction)?;
    }
    composition.note(&now(), "/bin/sh -c #(nop) ADD file in / ", message, None, false);
    composition.store(adding, name)
}

/// Opens a directory to be packed.
pub fn open_directory(path: &Path) -> Result<OwnedFd> {
    Ok(File::open(path).with_context(|| format!("opening {}", path.display()))?.into())
}

/// The time, as images have it.
pub fn now() -> String {
    jiff::Timestamp::now().to_string()
}

fn change(config: &mut Value, instruction: &str) -> Result<()> {
    // `podman commit --change CMD=sh` is accepted as well as `CMD sh`.
    let instruction = instruction.trim();
    let end = instruction.find([' ', '\t', '=']).unwrap_or(instruction.len());
    let (keyword, rest) = (instruction[..end].to_ascii_uppercase(), instruction[end..].get(1..).unwrap_or("").trim());
    ensure!(!rest.is_empty() || matches!(keyword.as_str(), "CMD" | "ENTRYPOINT"), "it has no value");
    match keyword.as_str() {
        "CMD" => config["Cmd"] = words(rest)?,
        "ENTRYPOINT" => config["Entrypoint"] = words(rest)?,
        "ENV" => {
            let mut env: Vec<String> = serde_json::from_value(config["Env"].take()).unwrap_or_default();
            for (key, value) in pairs(rest)? {
                env.retain(|known| known.split('=').next() != Some(&key));
                env.push(format!("{key}={value}"));
            }
            config["Env"] = json!(env);
        }
        "LABEL" => {
            for (key, value) in pairs(rest)? {
                config["Labels"][key] = value.into();
            }
        }
        "EXPOSE" => {
            for port in rest.split_whitespace() {
                let number = port.split('/').next().unwrap_or_default();
                ensure!(number.split('-').all(|n| n.parse::<u16>().is_ok()), "{port:?} is not a port");
                let port = if port.contains('/') { port.to_owned() } else { format!("{port}/tcp") };
                config["ExposedPorts"][port] = json!({});
            }
        }
        "VOLUME" => {
            let volumes =
                if rest.starts_with('[') { words(rest)? } else { json!(rest.split_whitespace().collect::<Vec<_>>()) };
            for volume in volumes.as_array().into_iter().flatten().filter_map(Value::as_str) {
                config["Volumes"][volume] = json!({});
            }
        }
        "USER" => config["User"] = rest.into(),
        "WORKDIR" => config["WorkingDir"] = rest.into(),
        "STOPSIGNAL" => config["StopSignal"] = rest.into(),
        "ONBUILD" => {
            let mut all: Vec<String> = serde_json::from_value(config["OnBuild"].take()).unwrap_or_default();
            all.push(rest.into());
            config["OnBuild"] = json!(all);
        }
        _ => bail!(
            "{keyword:?} is not one of CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR"
        ),
    }
    Ok(())
}

/// A JSON array of words, or a line for the shell.
fn words(text: &str) -> Result<Value> {
    if text.starts_with('[') {
        let words: Vec<String> = serde_json::from_str(text).context("a list is written [\"a\", \"b\"]")?;
        return Ok(json!(words));
    }
    Ok(if text.is_empty() { json!([]) } else { json!(["/bin/sh", "-c", text]) })
}

/// `KEY=value KEY2="two words"`, or the old `KEY the rest`.
fn pairs(text: &str) -> Result<Vec<(String, String)>> {
    let first = text.split_whitespace().next().unwrap_or_default();
    if !first.contains('=') {
        let (key, value) = text.split_once(char::is_whitespace).context("it wants KEY=VALUE")?;
        return Ok(vec![(key.into(), value.trim().into())]);
    }
    let mut words = vec![String::new()];
    let (mut quote, mut characters) = (None, text.chars());
    while let Some(c) = characters.next() {
        let word = words.last_mut().context("never empty")?;
        match (c, quote) {
            ('\\', _) => word.extend(characters.next()),
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => quote = Some(c),
            (c, None) if c.is_whitespace() => words.push(String::new()),
            (c, _) => word.push(c),
        }
    }
    ensure!(quote.is_none(), "a quote is not closed");
    words.retain(|word| !word.is_empty());
    let pair =
        |word: String| word.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned())).context("it wants KEY=VALUE");
    words.into_iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_change_the_configuration() {
        let mut config = json!({"Env": ["PATH=/bin", "A=0"]});
        for instruction in [
            "CMD [\"sh\", \"-c\", \"true\"]",
            "entrypoint run me",
            "ENV A=1 B=\"two words\"",
            "ENV C the rest",
            "EXPOSE 80 53/udp",
            "LABEL a=b",
            "VOLUME [\"/data\"]",
            "USER=1000",
            "WORKDIR /srv",
        ] {
            change(&mut config, instruction).expect(instruction);
        }
        let expected = json!({
            "Env": ["PATH=/bin", "A=1", "B=two words", "C=the rest"], "Cmd": ["sh", "-c", "true"],
            "Entrypoint": ["/bin/sh", "-c", "run me"], "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
            "Labels": {"a": "b"}, "Volumes": {"/data": {}}, "User": "1000", "WorkingDir": "/srv",
        });
        assert_eq!(config, expected);
        for bad in ["FROM x", "CMD [sh]", "ENV A", "EXPOSE web", "USER", "", "ENV A=\"x"] {
            assert!(change(&mut config, bad).is_err(), "{bad}");
        }
    }
}
