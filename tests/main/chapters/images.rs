//! Chapter 7: an image is run as the engine runs it; what a stranger wrote into it stays inside, and what somebody changed
//! is refused.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::images::{Layer, Layout, architecture};
use crate::running::Output;
use crate::setup::setup;
use crate::world::{Who, World};

use super::forbid_user_namespaces;

const CHAPTER: &str = "chapter07_images";

/// Runs words in an image of the set-up's.
fn run(world: &World, image: &str, words: &[&str]) -> Output {
    let archive = setup().archive(image);
    world.chapter(CHAPTER, [&[archive.to_str().expect("plain ASCII")], words].concat())
}

/// An archive of these layers over busybox's place: the witness is in the lowest.
fn archive(world: &World, name: &str, layers: Vec<Layer>, config: &serde_json::Value) -> PathBuf {
    let path = world.dir.join(format!("tmp/.{name}.tar"));
    Layout::new(layers, config).write_archive(&path, &format!("localhost/{name}:latest"));
    path
}

fn witness() -> Layer {
    let program = fs::read(setup().bin("witness")).expect("the set-up made it");
    Layer::new().dir("etc", 0o755).file("witness", 0o755, program)
}

/// An entry whose name no sound program would write.
fn wild(layer: Layer, name: &str, kind: tar::EntryType, target: &str, content: &[u8]) -> Layer {
    let mut header = tar::Header::new_gnu();
    let fields = header.as_gnu_mut().expect("it is one");
    fields.name[..name.len()].copy_from_slice(name.as_bytes());
    fields.linkname[..target.len()].copy_from_slice(target.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    header.set_uid(0);
    header.set_gid(0);
    header.set_cksum();
    layer.raw(&header, content)
}

both!(a_real_image_runs_that_skopeo_or_podling_has_written, |world| {
    let script = "busybox | head -n 1; cat /etc/passwd; hostname; echo $$";
    let expected =
        world.podling(["run", "--rm", "--network=none", "--hostname=box", world.image("busybox"), "sh", "-c", script]);
    let expected = expected.ok();
    assert!(expected.contains("BusyBox") && expected.ends_with("box\n1"), "{expected}");
    let (directory, saved) = (world.dir.join("tmp/.layout"), world.dir.join("tmp/.saved.tar"));
    let from = format!("oci-archive:{}", setup().archive("busybox").display());
    let to = format!("oci:{}:busybox", directory.display());
    world.program("skopeo", ["--insecure-policy", "copy", "-q", &from, &to]).ok();
    let save = ["save", "-q", "--format=oci-archive", "-o", saved.to_str().expect("plain ASCII"), "busybox"];
    world.podling(save).ok();
    for image in [setup().archive("busybox"), directory, saved] {
        let said = world.chapter(CHAPTER, [image.to_str().expect("plain ASCII"), "sh", "-c", script]);
        assert_eq!(said.ok(), expected, "{}", image.display());
    }
});

both!(the_machines_own_programs_run_as_an_image, |world| {
    world.podling(["run", "--rm", "--network=none", "host-tools", "true"]).ok();
    let saved = world.dir.join("tmp/.tools.tar");
    let path = saved.to_str().expect("plain ASCII");
    world.podling(["save", "-q", "--format=oci-archive", "-o", path, "host-tools"]).ok();
    assert_eq!(world.chapter(CHAPTER, [path, "id", "-u"]).ok(), "0");
});

both!(layers_lie_over_one_another_as_the_engine_lays_them, |world| {
    let words: [&[&str]; 6] = [
        &["ls", "/replaced"],
        &["ls", "/merged"],
        &["cat", "/changed", "/link"],
        &["stat", "/top", "/link", "/witness", "/etc/passwd"],
        &["ls", "/"],
        &["cat", "/gone"],
    ];
    for words in words {
        let image = world.image("layers");
        let engine = world.podling([&["run", "--rm", "--network=none", image], words].concat());
        let chapter = run(world, "layers", &[&["/witness"], words].concat()[1..]);
        if words[0] == "cat" && words[1] == "/gone" {
            assert_eq!((chapter.status, engine.status), (1, 1), "{chapter}{engine}");
        } else if words == ["ls", "/"] {
            // The engine mounts more.
            let of = |said: &Output| {
                said.ok().lines().filter(|name| !["run", "sys"].contains(name)).map(str::to_owned).collect::<Vec<_>>()
            };
            assert_eq!(of(&chapter), of(&engine));
        } else {
            assert_eq!(chapter.ok(), engine.ok(), "{words:?}");
        }
    }
});

as_user!(owners_modes_and_whiteouts_are_the_engines, |world| {
    let script =
        "cd /; stat -c '%n %u:%g %a' data data/* set-uid/status capable; ls -a hidden; cat data/link data/changed";
    let engine = world.podling(["run", "--rm", "--network=none", world.image("owners"), "sh", "-c", script]);
    assert_eq!(run(world, "owners", &["sh", "-c", script]).ok(), engine.ok());
});

both!(whiteouts_speak_of_the_layers_below_wherever_they_stand, |world| {
    let lower = witness()
        .dir("d", 0o755)
        .file("d/old", 0o644, "")
        .file("f", 0o644, "lower")
        .dir("x", 0o755)
        .file("x/y", 0o644, "");
    // A file, and only then its whiteout and an opaque mark: both must spare it. `x` becomes a file, `f` a directory.
    let upper = Layer::new().file("d/new", 0o644, "").file("d/.wh.new", 0o644, "").file("d/.wh..wh..opq", 0o644, "");
    let upper =
        upper.file("x", 0o644, "now a file").dir("f", 0o755).file("f/in", 0o644, "").file(".wh.nothing", 0o644, "");
    let image = archive(world, "order", vec![lower, upper], &json!({"Entrypoint": ["/witness"]}));
    let image = image.to_str().expect("plain ASCII");
    assert_eq!(world.chapter(CHAPTER, [image, "ls", "/d"]).ok(), "new");
    assert_eq!(world.chapter(CHAPTER, [image, "cat", "/x"]).ok(), "now a file");
    assert_eq!(world.chapter(CHAPTER, [image, "ls", "/f"]).ok(), "in");
});

both!(its_configuration_is_obeyed_as_the_engine_obeys_it, |world| {
    let config = json!({
        "Entrypoint": ["/witness"], "Cmd": ["env"], "WorkingDir": "/work/here",
        "Env": ["PATH=/", "COLOUR=blue", "EMPTY=", "TWO=a=b"],
    });
    let image = archive(world, "configured", vec![witness()], &config);
    let image = image.to_str().expect("plain ASCII");
    world.podling(["load", "-q", "-i", image]).ok();
    let engine = |words: &[&str]| {
        let flags = ["run", "--rm", "--network=none", "--hostname=box", "localhost/configured"];
        world.podling([&flags, words].concat()).ok().to_owned()
    };
    let chapter = |words: &[&str]| world.chapter(CHAPTER, [&[image], words].concat()).ok().to_owned();
    let of_the_image = |said: String| {
        let mut lines: Vec<_> = said.lines().map(str::to_owned).collect();
        lines
            .retain(|line| ["PATH", "COLOUR", "EMPTY", "TWO"].iter().any(|name| line.starts_with(&format!("{name}="))));
        lines.sort();
        lines
    };
    assert_eq!(of_the_image(chapter(&[])), ["COLOUR=blue", "EMPTY=", "PATH=/", "TWO=a=b"], "Cmd, without words");
    assert_eq!(of_the_image(chapter(&[])), of_the_image(engine(&[])));
    for words in [&["cwd"][..], &["hostname"], &["pid"], &["args", "a", "-b"]] {
        assert_eq!(chapter(words), engine(words), "{words:?}");
    }
    let silent = archive(world, "nobody", vec![witness()], &json!({"Entrypoint": ["/witness"], "User": "nobody"}));
    let said = world.chapter(CHAPTER, [silent.to_str().expect("plain ASCII"), "pid"]).fails(125).to_owned();
    assert_eq!(said, "Error: the image has no user nobody, or no such group");
});

both!(the_user_is_who_the_image_says, |world| {
    let layer = || witness().file("etc/passwd", 0o644, "root:x:0:0::/root:\nsomebody:x:1000:1001::/home:\n");
    let ids = |user: &str| {
        let image = archive(world, "user", vec![layer()], &json!({"Entrypoint": ["/witness"], "User": user}));
        world.chapter(CHAPTER, [image.to_str().expect("plain ASCII"), "status", "Uid", "Gid"])
    };
    for root in ["", "0", "root", "0:0"] {
        assert_eq!(ids(root).ok(), "Uid 0 0 0 0\nGid 0 0 0 0", "{root}");
    }
    if world.who == Who::Root {
        // Nobody has lent root any ids, so nobody else exists inside.
        let said = ids("5:6").fails(125).to_owned();
        assert!(said.starts_with("Error: becoming user 5, group 6: Invalid argument\nhint: "), "{said}");
        return;
    }
    for user in ["somebody", "1000"] {
        assert_eq!(ids(user).ok(), "Uid 1000 1000 1000 1000\nGid 1001 1001 1001 1001", "{user}");
    }
    assert_eq!(ids("5:6").ok(), "Uid 5 5 5 5\nGid 6 6 6 6");
    let image = world.dir.join("tmp/.user.tar");
    world.podling(["load", "-q", "-i", image.to_str().expect("plain ASCII")]).ok();
    let engine = world.podling(["run", "--rm", "--network=none", "localhost/user", "status", "Uid", "Gid"]);
    let words = [image.to_str().expect("plain ASCII"), "status", "Uid", "Gid"];
    assert_eq!(world.chapter(CHAPTER, words).ok(), engine.ok());
});

/// The attack of the chapter: `layer` wants to write `escaped` in the world's directory. It works on a program that
/// believes names; it must not on ours.
fn stays_inside(world: &World, name: &str, layer: impl Fn() -> Layer) -> Output {
    let escaped = world.dir.join("escaped");
    let believer = world.directory("believer");
    let tar = world.file("layer.tar", layer().into_bytes());
    let words = ["-x", "-P", "-f", tar.to_str().expect("plain ASCII"), "-C", believer.to_str().expect("plain ASCII")];
    let _ = world.program("tar", words);
    assert!(escaped.exists(), "{name}: the attack does not even work on who believes names");
    fs::remove_file(&escaped).expect("our own file");
    let image = archive(world, name, vec![witness(), layer()], &json!({"Entrypoint": ["/witness"]}));
    let said =
        world.chapter(CHAPTER, [image.to_str().expect("plain ASCII"), "ls", world.dir.to_str().expect("plain ASCII")]);
    assert!(!escaped.exists(), "{name}: it came out: {said}");
    said
}

both!(a_name_that_leads_upwards_is_refused, |world| {
    let up = format!("{}{}/escaped", "../".repeat(12), &world.dir.to_str().expect("plain ASCII")[1..]);
    let said = stays_inside(world, "dots", || wild(Layer::new(), &up, tar::EntryType::Regular, "", b"x"));
    let said = said.fails(125).to_owned();
    assert!(said.starts_with("Error: unpacking layer 1: ") && said.ends_with(" leads out of the image"), "{said}");
});

both!(an_absolute_name_and_a_symlink_lead_to_places_inside, |world| {
    let dir = world.dir.to_str().expect("plain ASCII");
    let absolute = format!("{dir}/escaped");
    let said = stays_inside(world, "absolute", || wild(Layer::new(), &absolute, tar::EntryType::Regular, "", b"x"));
    assert_eq!(said.ok(), "escaped", "inside, it is where it said");
    let said = stays_inside(world, "link", || {
        let layer = Layer::new().dir(&dir[1..], 0o755).link("way", dir);
        wild(layer, "way/escaped", tar::EntryType::Regular, "", b"x")
    });
    assert_eq!(said.ok(), "escaped");
    let up = format!("{}{}", "../".repeat(12), &dir[1..]);
    let said = stays_inside(world, "relative", || {
        let layer = Layer::new().dir(&dir[1..], 0o755).link("way", &up);
        wild(layer, "way/escaped", tar::EntryType::Regular, "", b"x")
    });
    assert_eq!(said.ok(), "escaped");
});

both!(a_hard_link_does_not_bring_a_file_of_the_machine_in, |world| {
    let secret = world.file("secret", "of the machine");
    let target = secret.to_str().expect("plain ASCII");
    let layer = wild(Layer::new(), "stolen", tar::EntryType::Link, target, b"");
    let image = archive(world, "hard", vec![witness(), layer], &json!({"Entrypoint": ["/witness"]}));
    let said = world.chapter(CHAPTER, [image.to_str().expect("plain ASCII"), "cat", "/stolen"]).fails(125).to_owned();
    assert!(said.starts_with("Error: unpacking layer 1: /stolen: "), "{said}");
});

both!(a_whiteout_and_a_device_do_no_harm, |world| {
    let kept = world.file("kept", "");
    let layer = wild(Layer::new(), ".wh...", tar::EntryType::Regular, "", b"");
    let layer = wild(layer, &format!("{}/.wh.kept", world.dir.display()), tar::EntryType::Regular, "", b"");
    let layer = wild(layer, "disk", tar::EntryType::Block, "", b"");
    let image = archive(world, "harm", vec![witness(), layer], &json!({"Entrypoint": ["/witness"]}));
    let said = world.chapter(CHAPTER, [image.to_str().expect("plain ASCII"), "ls", "/"]);
    assert!(!said.stdout.contains("disk"), "{said}");
    assert!(kept.exists());
});

both!(a_blob_that_was_changed_is_refused_before_anything_of_it_is_used, |world| {
    let from = format!("oci-archive:{}", setup().archive("layers").display());
    let layout = world.dir.join("tmp/.layout");
    world.program("skopeo", ["--insecure-policy", "copy", "-q", &from, &format!("oci:{}", layout.display())]).ok();
    let run = || world.chapter(CHAPTER, [layout.to_str().expect("plain ASCII"), "echo", "it ran"]);
    assert_eq!(run().ok(), "it ran");
    let blobs: Vec<_> =
        fs::read_dir(layout.join("blobs/sha256")).expect("a layout").map(|it| it.expect("readable").path()).collect();
    assert_eq!(blobs.len(), 5, "manifest, config and three layers");
    for blob in blobs {
        let sound = fs::read(&blob).expect("readable");
        let mut changed = sound.clone();
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        fs::write(&blob, changed).expect("root, or our own");
        let name = blob.file_name().expect("a digest").to_string_lossy().into_owned();
        let said = run();
        assert!(said.fails(125).contains(&format!("blob sha256:{name} is not what it was")), "{said}");
        assert_eq!(said.stdout, "");
        fs::write(&blob, sound).expect("root, or our own");
    }
    assert_eq!(run().ok(), "it ran");
    fs::write(layout.join("index.json"), "{").expect("root, or our own");
    run().fails(125);
});

both!(what_is_no_image_is_one_line, |world| {
    let said = |path: &Path| world.chapter(CHAPTER, [path]).fails(125).to_owned();
    assert!(said(Path::new("/no/such/image")).contains("/no/such/image: No such file or directory"));
    let empty = world.directory("empty");
    assert!(said(&empty).contains("index.json"), "{}", said(&empty));
    // A text; and an archive of an image, but Docker's.
    let text = world.file("text", "x".repeat(2000));
    let dockers = world.dir.join("dockers.tar");
    world.podling(["save", "-q", "-o", &dockers.display().to_string(), world.image("witness")]).ok();
    for file in [text, dockers] {
        let hint = "hint: 'podling save --format oci-archive -o FILE IMAGE' writes one";
        assert_eq!(said(&file), format!("Error: {} is no archive of an OCI image\n{hint}", file.display()));
    }
    // A compression that is not taught here, and an index of machines among which ours is one.
    let mut layout = Layout::new(vec![witness()], &json!({}));
    let layer = layout.put("application/vnd.oci.image.layer.v1.tar+zstd", b"anything".to_vec());
    let config = json!({"architecture": architecture(), "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}});
    let config = layout.put("application/vnd.oci.image.config.v1+json", config.to_string().into_bytes());
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": [layer]});
    layout.root = layout.put(kind, manifest.to_string().into_bytes());
    let zstd = world.dir.join("tmp/.zstd.tar");
    layout.write_archive(&zstd, "zstd");
    let refused = said(&zstd);
    assert!(
        refused.contains("only tar and gzip are known here\nhint: skopeo copy --dest-compress-format gzip"),
        "{refused}"
    );
    let every = world.dir.join("tmp/.every.tar");
    fs::copy(setup().archive("every"), &every).expect("our own directory");
    assert_eq!(world.chapter(CHAPTER, [every.to_str().expect("plain ASCII"), "echo", "mine"]).ok(), "mine");
});

both!(it_ends_as_its_program_ended, |world| {
    run(world, "witness", &["exit", "7"]).fails(7);
    run(world, "busybox", &["sh", "-c", "sh -c 'kill -9 $$'; exit $?"]).fails(137);
    let image = archive(world, "nothing", vec![witness()], &json!({"Entrypoint": ["/nothing"]}));
    let image = image.to_str().expect("plain ASCII");
    assert_eq!(world.chapter(CHAPTER, [image]).fails(127), "Error: exec: \"/nothing\": no such file or directory");
    let image = archive(world, "silent", vec![witness()], &json!({}));
    let image = image.to_str().expect("plain ASCII");
    assert_eq!(world.chapter(CHAPTER, [image]).fails(125), "Error: the image names no program, and neither do you");
    world.chapter(CHAPTER, [image, "/etc"]).fails(126);
});

both!(its_help_teaches, |world| {
    world.snapshot("chapter07_help", world.chapter(CHAPTER, ["--help"]).ok());
});

both!(a_machine_that_forbids_namespaces_is_told_apart, |world| {
    let archive = setup().archive("witness");
    let said = forbid_user_namespaces(world, CHAPTER, &[archive.to_str().expect("plain ASCII")]);
    let said = said.fails(125).to_owned();
    assert!(said.starts_with("Error: making a user namespace: ") && said.contains("\nhint: "), "{said}");
});

as_user!(without_lent_ids_all_files_are_roots, |world| {
    // A single id inside: nobody else can own a file, and the image runs all the same.
    assert_eq!(world.who, Who::User);
    let words =
        ["--user", "--map-root-user", setup().chapter(CHAPTER).to_str().expect("plain ASCII")].map(str::to_owned);
    let archive = setup().archive("owners").display().to_string();
    let script = "stat -c %u:%g /data/one".to_owned();
    let all = words.into_iter().chain([archive, "sh".into(), "-c".into(), script]);
    assert_eq!(world.program("unshare", all.collect::<Vec<_>>()).ok(), "0:0");
});
