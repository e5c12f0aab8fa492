//! An image as a registry describes it: its index, its manifest and its configuration, each on a line, and what the engine
//! derives from them for a container, for `image inspect` and for a push.
//!
//! A configuration has the digest that the manifest gives it, whatever it is: blobs are believed once they are stored.

use std::fs;
use std::path::PathBuf;

use nix::unistd::geteuid;
use oci_spec::image::{ImageIndex, ImageManifest, MediaType};
use podling::cli::images::tell::describe;
use podling::engine::container::{ContainerConfig, Root};
use podling::engine::request::ContainerRequest;
use podling::engine::settings::NetworkMode;
use podling::engine::store::Paths;
use podling::engine::{Engine, Options, Owner};
use podling::image::convert::{Shipment, Wishes};
use podling::image::platform::Platform;
use podling::image::{Digest, Layout, LoadedImage, Reference};

use crate::Scratch;

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Three lines of JSON: index, manifest, configuration.
pub fn manifest(data: &[u8]) {
    let mut lines = data.splitn(3, |byte| *byte == b'\n');
    let [index, manifest, config] = [(); 3].map(|()| lines.next().unwrap_or_default());
    if let Ok(index) = serde_json::from_slice::<ImageIndex>(index) {
        for platform in ["linux/amd64", "linux/arm/v7"] {
            let platform = platform.parse::<Platform>().expect("it is one");
            if let Ok(chosen) = platform.choose(index.manifests()) {
                assert!(index.manifests().contains(chosen));
            }
        }
    }
    let Ok(parsed) = serde_json::from_slice::<ImageManifest>(manifest) else { return };
    let Ok(id) = Digest::try_from(parsed.config().digest()) else { return };

    let scratch = Scratch::new();
    let paths = Paths { data: scratch.0.join("data"), run: scratch.0.join("run") };
    let layout = Layout::open(&paths.images()).expect("our own directory");
    let adding = layout.adding().expect("nobody else is there");
    let descriptor = adding.put_manifest(manifest, MediaType::ImageManifest).expect("our own directory");
    if layout.has(id) {
        // It names itself.
        return;
    }
    fs::write(layout.blob_path(id), config).expect("our own directory");
    let Ok(image) = layout.load(&descriptor) else { return };
    let name: Reference = "quay.io/fuzz/fuzz".parse().expect("a name");
    adding.name(&descriptor, Some(&name), None).expect("our own directory");
    let found = layout.find("fuzz").expect("it was named, and can be read");
    assert_eq!((&found.id, found.layers.len()), (&image.id, image.manifest.layers().len()));
    assert!(layout.broken().expect("our own directory").is_empty());
    let owner = if geteuid().is_root() { Owner::Root } else { Owner::User { uid: 1000, gid: 1000 } };
    let engine = Engine { paths, owner, options: Options::default() };
    let _ = image.compressed_size();
    let _ = describe(&engine, &layout, &image);
    let _ = Shipment::wanted(&adding, &image, Wishes::default());
    decide(&engine, &image);
}

/// A container of it, which reads from disk as it was decided.
fn decide(engine: &Engine, image: &LoadedImage) {
    let config = image.config.config().clone().unwrap_or_default();
    let request = ContainerRequest { network: NetworkMode::None, ..ContainerRequest::default() };
    let Ok(decided) = engine.decide(&request, ID, Root::Directory(PathBuf::from("/")), &config) else { return };
    for mount in &decided.mounts {
        assert!(mount.target.starts_with('/') && mount.target.split('/').all(|name| name != ".."), "{}", mount.target);
    }
    let text = serde_json::to_vec(&decided).expect("a configuration is JSON");
    let again: ContainerConfig = serde_json::from_slice(&text).expect("our own file");
    assert_eq!(serde_json::to_vec(&again).expect("it was"), text);
}
