//! Archives to and fro, and through skopeo's hands.

use std::process::Command;

use super::*;
use crate::image::compose::{Composition, Compressed, import, store_layer};
use crate::image::layer::Writer;
use crate::image::platform::Platform;
use crate::image::{Layout, LoadedImage, Reference};

struct World {
    dir: tempfile::TempDir,
    layout: Layout,
}

fn world() -> World {
    let dir = tempfile::tempdir().expect("a directory");
    let layout = Layout::open(&dir.path().join("images")).expect("opens");
    World { dir, layout }
}

fn name(text: &str) -> Reference {
    text.parse().expect(text)
}

fn make(layout: &Layout) -> LoadedImage {
    let adding = layout.adding().expect("adding");
    let mut composition = Composition::empty(&Platform::of_this_machine());
    for file in ["one", "two"] {
        let layer = store_layer(&adding, Compressed::Gzip, |out| {
            let mut writer = Writer::new(out);
            writer.file(file, file.as_bytes())?;
            writer.finish().map(drop)
        });
        composition.add_layer(layer.expect("stored"));
        composition.note("2026-01-02T03:04:05Z", file, "", None, false);
    }
    composition.change("CMD [\"true\"]").expect("changed");
    composition.store(&adding, Some(&name("localhost/app:1"))).expect("stored")
}

#[test]
fn both_formats_come_back_as_the_same_image() {
    let from = world();
    let image = make(&from.layout);
    assert_eq!(image.config.history().as_ref().map(Vec::len), Some(2));
    let wanted = [(image.clone(), image.names.clone())];
    for format in [Format::DockerArchive, Format::OciArchive] {
        let mut bytes = Vec::new();
        save(&from.layout, &wanted, format, &mut bytes).expect("saved");
        let compressed = zstd::encode_all(&bytes[..], 1).expect("compresses");
        for bytes in [bytes, compressed] {
            let to = world();
            let loaded = load(&to.layout.adding().expect("adding"), &bytes[..], None).expect("loaded");
            assert_eq!(loaded[0].id, image.id);
            assert_eq!(loaded[0].names, image.names);
            assert_eq!(loaded[0].layers.len(), 2);
            let ids = |image: &LoadedImage| image.layers.iter().map(|layer| layer.chain_id).collect::<Vec<_>>();
            assert_eq!(ids(&loaded[0]), ids(&image));
            let collected = to.layout.collect().expect("collected").expect("nobody adds");
            assert_eq!(collected.files, 0, "an archive leaves no garbage");
        }
    }
    let directory = from.dir.path().join("dir");
    save_directory(&from.layout, &wanted, &directory).expect("saved");
    let to = world();
    let loaded = load_directory(&to.layout.adding().expect("adding"), &directory, None).expect("loaded");
    assert_eq!(loaded[0].digest(), image.digest());
}

#[test]
fn skopeo_reads_what_we_save_and_we_load_what_it_writes() {
    let from = world();
    let image = make(&from.layout);
    let skopeo = |source: &str, target: &str| {
        let run =
            Command::new("skopeo").args(["copy", "--insecure-policy", source, target]).output().expect("skopeo runs");
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    };
    for (format, kind) in [(Format::DockerArchive, "docker-archive"), (Format::OciArchive, "oci-archive")] {
        let path = from.dir.path().join(kind);
        let wanted = [(image.clone(), image.names.clone())];
        save(&from.layout, &wanted, format, std::fs::File::create(&path).expect("made")).expect("saved");
        let source = format!("{kind}:{}", path.display());
        for target in ["docker-archive", "oci-archive"] {
            let copy = from.dir.path().join(format!("{kind}-to-{target}"));
            skopeo(&source, &format!("{target}:{}:localhost/copy:2", copy.display()));
            let to = world();
            let file = std::fs::File::open(&copy).expect("there");
            let loaded = load(&to.layout.adding().expect("adding"), file, None).expect("loaded");
            assert_eq!(loaded[0].names, [name("localhost/copy:2")], "{kind} {target}");
            assert_eq!(loaded[0].layers[1].chain_id, image.layers[1].chain_id);
        }
    }
}

#[test]
fn what_is_no_archive_is_called_so() {
    let to = world();
    let archive = |files: &[(&str, &[u8])]| {
        let mut writer = Writer::new(Vec::new());
        for (name, bytes) in files {
            writer.file(name, bytes).expect("written");
        }
        writer.finish().expect("finished")
    };
    let digest = crate::image::Digest::of(b"{}").hex();
    let cases: [(&str, Vec<u8>); 6] = [
        ("this is not a tar archive", vec![b'x'; 2000]),
        ("neither manifest.json (docker-archive) nor index.json", archive(&[("a", b"x")])),
        ("manifest.json is not valid", archive(&[("manifest.json", b"[")])),
        ("the archive lacks c.json", archive(&[("manifest.json", br#"[{"Config":"c.json","Layers":[]}]"#)])),
        ("its digest is", archive(&[(&format!("blobs/sha256/{digest}"), b"other")])),
        ("holds no image", archive(&[("index.json", br#"{"schemaVersion":2,"manifests":[]}"#)])),
    ];
    for (message, bytes) in cases {
        let error = load(&to.layout.adding().expect("adding"), &bytes[..], None).map(drop).expect_err(message);
        let text = format!("{error:#}");
        assert!(text.contains(message) && !text.contains('\n'), "{text}");
    }
    assert!(to.layout.images().expect("read").is_empty());
}

#[test]
fn a_tar_file_becomes_an_image() {
    let to = world();
    let mut writer = Writer::new(Vec::new());
    writer.file("hello", b"world").expect("written");
    let bytes = writer.finish().expect("finished");
    let adding = to.layout.adding().expect("adding");
    let platform = Platform::of_this_machine();
    let changes = ["ENV A=1".to_owned()];
    let image = import(&adding, &bytes[..], &platform, &changes, "hi", Some(&name("localhost/in"))).expect("imported");
    assert_eq!(image.layers[0].diff_id, crate::image::Digest::of(&bytes));
    assert_eq!(image.raw_config["config"]["Env"][0], "A=1");
    assert!(import(&adding, &[b'x'; 2000][..], &platform, &[], "", None).is_err());
}
