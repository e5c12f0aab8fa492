//! The layout, and what skopeo makes of it.

use std::process::Command;

use super::*;
use crate::image::reference::Reference;

struct World {
    base: tempfile::TempDir,
    layout: Layout,
}

fn world() -> World {
    let base = tempfile::tempdir().expect("a directory");
    let layout = Layout::open(&base.path().join("images")).expect("opens");
    World { base, layout }
}

/// Stores a small image whose one layer is `content`, under some names.
fn store(layout: &Layout, content: &[u8], names: &[&str]) -> Descriptor {
    let adding = layout.adding().expect("adding");
    let layer = adding.put(content).expect("stored");
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["true"]},
        "rootfs": {"type": "layers", "diff_ids": [layer.to_string()]},
    });
    let config = serde_json::to_vec(&config).expect("json");
    let config_digest = adding.put(&config).expect("stored");
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "size": config.len(),
                   "digest": config_digest.to_string()},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "size": content.len(),
                    "digest": layer.to_string()}],
    });
    let manifest = serde_json::to_vec(&manifest).expect("json");
    let manifest = adding.put_manifest(&manifest, oci_spec::image::MediaType::ImageManifest).expect("stored");
    if names.is_empty() {
        adding.name(&manifest, None, None).expect("added");
    }
    for name in names {
        adding.name(&manifest, Some(&reference(name)), None).expect("named");
    }
    manifest
}

fn reference(name: &str) -> Reference {
    name.parse().expect(name)
}

fn names(layout: &Layout, typed: &str) -> Vec<String> {
    layout.find(typed).expect(typed).names.iter().map(ToString::to_string).collect()
}

#[test]
fn an_image_is_found_by_name_digest_and_id() {
    let World { layout, base: _base } = world();
    let manifest = store(&layout, b"one", &["busybox", "quay.io/team/app:2"]);
    let image = layout.find("busybox").expect("found");
    let digest = manifest.digest().to_string();
    let other = "docker.io/library/busybox@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    for typed in ["docker.io/library/busybox:latest", "app:2", "team/app:2", &image.id, &image.id[..4]] {
        assert_eq!(layout.find(typed).expect(typed).id, image.id, "{typed}");
    }
    for typed in [format!("busybox@{digest}"), format!("busybox:1@{digest}"), format!("sha256:{}", image.id)] {
        assert_eq!(layout.find(&typed).expect(&typed).id, image.id, "{typed}");
    }
    for typed in ["busybo", "app", "busybox:2", "zzz", "", "sha256:", other] {
        let error = layout.find(typed).expect_err(typed);
        assert_eq!(error.downcast::<NotFound>().expect("its type"), NotFound(typed.into()));
    }
    assert_eq!(image.repository_digests().len(), 2);
}

#[test]
fn a_name_moves_and_its_old_image_dangles() {
    let World { layout, base: _base } = world();
    store(&layout, b"one", &["app"]);
    let old = layout.find("app").expect("found");
    store(&layout, b"two", &["app"]);
    let new = layout.find("app").expect("found");
    assert_ne!(old.id, new.id);
    assert!(layout.find(&old.id).expect("still there").names.is_empty());
    layout.tag(&old, &reference("old:1")).expect("tagged");
    assert_eq!(names(&layout, &old.id), ["docker.io/library/old:1"], "it dangles no longer");
    assert!(layout.untag(&reference("app")).expect("untagged"));
    assert!(!layout.untag(&reference("app")).expect("untagged"), "nothing to take");
    assert_eq!(layout.images().expect("read").len(), 2);
}

#[test]
fn removal_collects_what_no_image_needs() {
    let World { layout, base: _base } = world();
    store(&layout, b"one", &["a", "b"]);
    store(&layout, b"two", &["c"]);
    let blobs = || fs::read_dir(layout.dir().join("blobs/sha256")).expect("read").count();
    assert_eq!(blobs(), 6);
    let image = layout.find("a").expect("found");
    layout.remove(&image).expect("removed");
    let adding = layout.adding().expect("adding");
    let fresh = adding.put(b"not yet named").expect("stored");
    assert_eq!(layout.collect().expect("asked"), None, "somebody adds blobs");
    drop(adding);
    assert_eq!(layout.collect().expect("collected").map(|c| c.files), Some(3));
    assert!(layout.has(fresh), "its image may be on the way: others add without a lock");
    let blob = Descriptor::new(oci_spec::image::MediaType::ImageLayer, 13, fresh);
    layout.let_go([&blob]);
    assert_eq!(layout.collect().expect("collected").map(|c| c.files), Some(1));
    assert_eq!(layout.collect().expect("collected"), Some(Collected::default()));
    assert_eq!((blobs(), layout.images().expect("read").len()), (3, 1));
}

#[test]
fn a_broken_download_is_resumed_and_a_wrong_one_forgotten() {
    let World { layout, base: _base } = world();
    let adding = layout.adding().expect("adding");
    let digest = Digest::of(b"hello world");
    let begin = || adding.partial(digest).expect("begun").expect("not there yet");
    let mut partial = begin();
    partial.append(b"hello ").expect("written");
    drop(partial);
    let mut partial = begin();
    assert_eq!(partial.have(), 6);
    partial.append(b"world").expect("written");
    partial.finish().expect("right");
    assert!(adding.partial(digest).expect("asked").is_none(), "it is there");
    let other = Digest::of(b"other");
    let mut partial = adding.partial(other).expect("begun").expect("not there");
    partial.append(b"wrong").expect("written");
    assert!(partial.finish().expect_err("wrong").to_string().contains("arrived with other bytes"));
    assert_eq!(adding.partial(other).expect("begun").expect("not there").have(), 0);
}

#[test]
fn many_writers_lose_no_name() {
    let World { layout, base: _base } = world();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let layout = &layout;
            scope.spawn(move || store(layout, format!("{number}").as_bytes(), &[&format!("app:{number}")]));
        }
    });
    assert_eq!(layout.images().expect("read").len(), 8);
}

#[test]
fn skopeo_reads_the_store_and_writes_to_it() {
    let World { layout, base } = world();
    store(&layout, &[0; 1024], &["busybox"]);
    let skopeo = |from: &str, to: &str| {
        let run = Command::new("skopeo").args(["copy", "--insecure-policy", from, to]).output().expect("skopeo runs");
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    };
    let store = format!("oci:{}", layout.dir().display());
    let copy = base.path().join("copy");
    skopeo(&format!("{store}:docker.io/library/busybox:latest"), &format!("oci:{}:x", copy.display()));
    skopeo(&format!("oci:{}:x", copy.display()), &format!("{store}:quay.io/from/skopeo:1"));
    let image = layout.find("quay.io/from/skopeo:1").expect("found");
    assert_eq!(image.id, layout.find("busybox").expect("still there").id);
    assert_eq!(image.names.len(), 2);
}

#[test]
fn what_others_overwrite_is_not_lost() {
    let World { layout, base: _base } = world();
    store(&layout, b"one", &["one"]);
    let index = layout.dir().join("index.json");
    let early = fs::read_to_string(&index).expect("read");
    store(&layout, b"two", &["two"]);
    store(&layout, b"three", &["three"]);
    let three = layout.find("three").expect("found");
    layout.remove(&three).expect("removed");
    // skopeo read the index before, and writes it now with one name more, which another image of ours has.
    let mut written: serde_json::Value = serde_json::from_str(&early).expect("json");
    let mut entry = written["manifests"][0].clone();
    entry["annotations"][REF_NAME] = "docker.io/library/two:latest".into();
    written["manifests"].as_array_mut().expect("a list").push(entry);
    fs::write(&index, written.to_string()).expect("written");
    let images = layout.images().expect("read");
    assert_eq!(images.len(), 2, "what we removed stays removed: {images:?}");
    assert_eq!(names(&layout, "one"), ["docker.io/library/one:latest", "docker.io/library/two:latest"]);
    assert!(images.iter().any(|image| image.names.is_empty()), "it lost its name, and is here");
    layout.collect().expect("collected");
    layout.tag(&layout.find("one").expect("found"), &reference("four")).expect("tagged");
    assert!(fs::read_to_string(&index).expect("read").contains(&images[1].digest().to_string()), "it is written again");
}

#[test]
fn half_an_index_is_waited_for() {
    let World { layout, base: _base } = world();
    store(&layout, b"one", &["one"]);
    let index = layout.dir().join("index.json");
    let whole = fs::read(&index).expect("read");
    fs::write(&index, b"").expect("written");
    let (reading, reads) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            reading.send(()).expect("heard");
            layout.images().map(|images| images.len())
        });
        reads.recv().expect("it reads");
        fs::write(&index, &whole[..whole.len() / 2]).expect("written");
        fs::write(&index, &whole).expect("written");
        assert_eq!(reader.join().expect("no panic").expect("read"), 1);
    });
    fs::write(&index, b"{]").expect("written");
    assert!(layout.images().is_err(), "what is broken is not waited for");
}

#[test]
fn what_others_add_while_we_write_is_kept() {
    let World { layout, base: _base } = world();
    store(&layout, b"one", &["one"]);
    let (mut ours, seen) = layout.index_and_bytes().expect("read");
    let entry = |name: &str| {
        let mut entry = ours.manifests()[0].clone();
        entry.set_annotations(Some([(REF_NAME.to_owned(), format!("docker.io/library/{name}:latest"))].into()));
        entry
    };
    let mut theirs = ours.clone();
    theirs.set_manifests(vec![entry("one"), entry("theirs")]);
    let manifests = vec![entry("one"), entry("ours")];
    ours.set_manifests(manifests);
    fs::write(layout.dir().join("index.json"), serde_json::to_vec(&theirs).expect("json")).expect("written");
    layout.write_index(ours, seen).expect("written");
    let expected = ["one", "ours", "theirs"].map(|name| format!("docker.io/library/{name}:latest"));
    assert_eq!(names(&layout, "one"), expected);
}
