//! An image store that a power cut, a failing disk or an editor has damaged.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::setup::setup;
use crate::world::{Who, World};

fn json(path: &Path) -> Value {
    let text = fs::read(path).unwrap_or_else(|error| panic!("reading {}: {error}", path.display()));
    serde_json::from_slice(&text).expect("JSON")
}

both!(an_index_that_is_broken_is_named_and_its_cure_works, |world| {
    let image = world.image("witness");
    world.podling(["create", "--network=none", "--name=keep", image, "exit", "7"]).ok();
    let archive = setup().archive("witness").to_str().expect("plain ASCII").to_owned();
    let index = world.data().join("images/index.json");
    for ruin in ["[]", "{}"] {
        fs::write(&index, ruin).expect("it was made");
        for words in
            [&["images"][..], &["run", image], &["rmi", image], &["tag", image, "x"], &["load", "-i", &archive]]
        {
            let output = world.podling(words);
            let lines: Vec<&str> = output.fails(125).lines().collect();
            assert_eq!(lines.len(), 2, "{output}");
            assert!(lines[0].starts_with("Error: ") && lines[0].contains("/images/index.json is broken: "), "{output}");
            assert!(lines[1].starts_with("hint: 'mv "), "{output}");
        }
        // What is made of images does not need them.
        assert_eq!(world.podling(["ps", "-aq"]).ok().lines().count(), 1);
        assert_eq!(world.podling(["start", "-a", "keep"]).status, 7);
        let output = world.podling(["images"]);
        let cure = output.stderr.split('\'').nth(1).expect("a command in quotes");
        world.program("sh", ["-c", cure]).ok();
        assert_eq!(world.podling(["images", "-q"]).ok().lines().count(), 1, "what podling knew is there again");
        assert_eq!(world.podling(["run", "--rm", "--network=none", image, "exit", "7"]).status, 7);
    }
});

/// The blobs of the only image: its manifest, configuration, layer.
fn blobs(world: &World) -> [PathBuf; 3] {
    let images = world.data().join("images");
    let file = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().expect("a digest");
        images.join("blobs").join(digest.replace(':', "/"))
    };
    let manifest = file(&json(&images.join("index.json"))["manifests"][0]);
    let parts = json(&manifest);
    [manifest, file(&parts["config"]), file(&parts["layers"][0])]
}

/// Forgets what is unpacked, so that blobs count.
fn forget_layers(world: &World) {
    let layers = world.data().join("layers");
    match world.who {
        Who::Root => drop(fs::remove_dir_all(layers)),
        Who::User => drop(world.podling(["unshare", "rm", "-rf", &layers.display().to_string()]).ok().len()),
    }
}

both!(a_damaged_blob_is_told_and_mended_by_pulling_or_loading_again, |world| {
    let registry = format!("{}/witness", world.registry());
    let archive = setup().archive("witness").to_str().expect("plain ASCII").to_owned();
    let loaded = "localhost/witness:latest".to_owned();
    let pull = vec!["pull".to_owned(), "-q".into(), registry.clone()];
    let load = vec!["load".to_owned(), "-q".into(), "-i".into(), archive];
    for (name, again) in [(registry, pull), (loaded, load)] {
        world.podling(&again).ok();
        for (place, sound) in blobs(world).into_iter().enumerate() {
            let bytes = fs::read(&sound).expect("a blob");
            let mut changed = bytes.clone();
            // Not in the head of a compressed layer, where a time may be anything.
            changed[if place == 2 { bytes.len() / 2 } else { 5 }] ^= 0x55;
            for ruin in [Some(&bytes[..bytes.len() / 2]), Some(&changed), None] {
                forget_layers(world);
                match ruin {
                    Some(ruin) => fs::write(&sound, ruin).expect("our own"),
                    None => fs::remove_file(&sound).expect("our own"),
                }
                let listed = world.podling(["images"]);
                listed.ok();
                let run = world.podling(["run", "--pull=never", "--network=none", &name]);
                let said = run.fails(125);
                if place == 2 {
                    let why =
                        [": its blob in the image store is damaged; pull", " is missing from the image store; pull"];
                    assert!(why.iter().any(|why| said.contains(why)) && said.lines().count() == 1, "{run}");
                } else {
                    let warning = format!("podling: warning: image {}", name.trim_end_matches(":latest"));
                    assert!(listed.stderr.starts_with(&warning) && said.starts_with(&warning), "{run}{listed}");
                    assert!(listed.stderr.ends_with("; pull or load it again\n"), "{listed}");
                }
                world.podling(&again).ok();
                let mended = world.podling(["run", "--rm", "--network=none", &name, "exit", "7"]);
                assert_eq!((mended.status, mended.stderr.as_str()), (7, ""), "{mended}");
                assert_eq!(fs::read(&sound).ok().as_ref(), Some(&bytes));
            }
        }
        world.podling(["rmi", "-a"]).ok();
    }
});

/// Other runtimes have other words.
mod only_ours {
    use super::*;

    both!(a_bundle_whose_configuration_is_broken_is_refused_and_leaves_nothing, |world| {
        let bundle = world.directory("bundle").display().to_string();
        let cases = [
            ("", "EOF while parsing a value at line 1 column 0"),
            ("{", "EOF while parsing an object at line 1 column 1"),
            (r#"{"ociVersion": "9"}"#, "ociVersion \"9\" is not 1.x"),
        ];
        for (config, why) in cases {
            world.file("bundle/config.json", config);
            let output = world.runtime(["create", "--bundle", &bundle, "x"]);
            assert_eq!(output.fails(1), format!("podling-runtime: {bundle}/config.json: {why}"));
            world.runtime(["state", "x"]).fails(1);
        }
        fs::remove_file(world.dir.join("bundle/config.json")).expect("it was written");
        let output = world.runtime(["run", "--bundle", &bundle, "x"]);
        assert_eq!(output.fails(1), format!("podling-runtime: {bundle}/config.json: No such file or directory"));
    });
}
