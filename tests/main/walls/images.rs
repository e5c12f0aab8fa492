//! Images from strangers: layers that lead out, that are too much, that are not what they are called; and the files in them
//! that the engine reads.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde_json::{Value, json};

use super::copies::{evil_streams, header, is_untouched, outside};
use super::{image, text};
use crate::images::{Layer, busybox};
use crate::runtime::{bundle, id};
use crate::setup::setup;
use crate::world::World;

/// A layer with busybox.
fn base() -> Layer {
    Layer::new()
        .dir("bin", 0o755)
        .file("bin/busybox", 0o755, fs::read(busybox()).expect("a program"))
        .dir("tmp", 0o1777)
}

fn command(words: &[&str]) -> Value {
    let words = [&["/bin/busybox"], words].concat();
    json!({ "Cmd": words })
}

/// Nothing of an unpacking that went wrong is in the store, and the image can be removed like any other.
#[track_caller]
fn nothing_is_left(world: &World, image: &str) {
    let names = |place: &Path| -> Vec<String> {
        let entries = fs::read_dir(place).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    let layers = names(&world.data().join("layers"));
    assert!(!layers.iter().any(|name| name.starts_with("tmp-")), "{image}: {layers:?}");
    assert_eq!(world.podling(["ps", "-aq"]).ok(), "", "{image}");
    world.podling(["rmi", "-f", image]).ok();
    let blobs = names(&world.data().join("images/blobs/sha256"));
    assert!(blobs.is_empty(), "{image}: {blobs:?}");
    assert_eq!(names(&world.data().join("images/partial")), [""; 0], "{image}");
}

both!(no_layer_reaches_out_of_its_directory, |world| {
    let outside = outside(world);
    let before = fs::metadata(&outside).expect("ours");
    for (wants, layer) in evil_streams(&outside) {
        image(world, "evil", vec![base(), layer], &command(&["true"]));
        let output = world.podling(["run", "--rm", "--network=none", "evil"]);
        assert!(output.status == 0 || output.fails(125).lines().count() == 1, "{wants}: {output}");
        is_untouched(&outside, &before);
        nothing_is_left(world, "evil");
    }
});

both!(odd_whiteouts_remove_nothing_outside, |world| {
    let outside = outside(world);
    let before = fs::metadata(&outside).expect("ours");
    let link = || Layer::new().link("a", text(&outside));
    let add = |layer: Layer, path: &str| layer.raw(&header(tar::EntryType::Regular, path, 0o644, 0), b"");
    let up = format!("{}{}", "../".repeat(30), text(&outside).trim_start_matches('/'));
    for layer in [
        add(link(), "a/.wh.inner"),
        add(link(), "a/.wh..wh..opq"),
        add(Layer::new(), &format!("{up}/.wh.inner")),
        add(Layer::new(), ".wh."),
        add(Layer::new(), ".wh.."),
        add(Layer::new(), ".wh..."),
        add(Layer::new(), ".wh..wh.bin"),
        add(Layer::new(), ".wh..wh..wh..opq"),
        add(Layer::new(), ".wh..wh.plnk/../../x"),
        add(Layer::new().dir(".wh.bin", 0o755), ".wh.bin/busybox"),
    ] {
        image(world, "odd", vec![base(), layer], &command(&["true"]));
        let output = world.podling(["run", "--rm", "--network=none", "odd"]);
        assert!(matches!(output.status, 0 | 125 | 127) && output.stderr.lines().count() <= 1, "{output}");
        is_untouched(&outside, &before);
        nothing_is_left(world, "odd");
    }
});

both!(zeros_that_were_compressed_take_neither_disk_nor_memory, |world| {
    // A mebibyte of zstd that is a gibibyte. In so little memory that only who keeps nothing of it gets through.
    let zeros = vec![0; 64 << 20];
    let layer = (0..4).fold(base(), |layer, number| layer.file(&format!("zeros{number}"), 0o644, &zeros));
    image(world, "zeros", vec![layer], &command(&["true"]));
    let script = format!("ulimit -v 1000000; {} run --rm --network=none zeros", setup().bin("podling").display());
    world.program("sh", ["-c", &script]).ok();
    let mut found = 0;
    let mut open = vec![world.data().join("layers")];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let it = entry.metadata().expect("root may look");
            if it.is_dir() {
                open.push(entry.path());
            } else if entry.file_name().to_string_lossy().starts_with("zeros") {
                found += 1;
                assert!(it.blocks() * 512 < 1 << 20, "{} takes {} blocks", entry.path().display(), it.blocks());
            }
        }
    }
    assert!(found == 4 || !setup().is_root, "the files were not looked at");
});

/// An archive of these entries, compressed: `count` times the same header, each followed by `size` zeros.
fn bomb(world: &World, count: usize, kind: tar::EntryType, size: usize) -> std::path::PathBuf {
    let path = world.file("tmp/.bomb", "");
    let mut out = zstd::Encoder::new(fs::File::create(&path).expect("our own file"), 1).expect("zstd");
    let content = vec![0; size];
    for number in 0..count {
        let mut header = header(kind, &format!("file{number}"), 0o644, size);
        header.set_link_name("nowhere").expect("a short name");
        header.set_cksum();
        out.write_all(header.as_bytes()).and_then(|()| out.write_all(&content)).expect("written");
    }
    out.finish().expect("written");
    path
}

both!(an_archive_of_more_than_fits_into_memory_is_read_all_the_same, |world| {
    // Files that might be manifests, a gibibyte of them in forty kilobytes.
    let archive = bomb(world, 256, tar::EntryType::Regular, 4 << 20);
    assert!(fs::metadata(&archive).expect("written").len() < 1 << 20);
    let script = format!("ulimit -v 600000; {} load -q -i {}", setup().bin("podling").display(), archive.display());
    let output = world.program("sh", ["-c", &script]);
    assert!(output.fails(125).contains("the archive holds no image"), "{output}");
    assert_eq!(fs::read_dir(world.data().join("images/blobs/sha256")).expect("a store").count(), 0, "{output}");
});

both!(an_archive_of_more_names_than_any_has_is_refused, |world| {
    let archive = bomb(world, 400_000, tar::EntryType::Symlink, 0);
    let output = world.podling(["load", "-q", "-i", text(&archive)]);
    assert!(output.fails(125).contains("the archive has more files than any image"), "{output}");
    assert_eq!(fs::read_dir(world.data().join("images/blobs/sha256")).expect("a store").count(), 0, "{output}");
});

both!(a_file_larger_than_any_disk_is_refused, |world| {
    // As its header says; and with one byte at its end, as a file with holes.
    for size in [1_u64 << 62, u64::MAX >> 1] {
        let mut huge = header(tar::EntryType::Regular, "huge", 0o644, 0);
        huge.set_size(size);
        huge.set_cksum();
        let mut sparse = header(tar::EntryType::GNUSparse, "huge", 0o644, 512);
        // The real size and one part of it (offset, bytes), as GNU tar writes them: octal or, after a set bit, binary.
        let number = |value: u64| [&[0x80, 0, 0, 0], &value.to_be_bytes()[..]].concat();
        sparse.as_mut_bytes()[386..398].copy_from_slice(&number(size - 512));
        sparse.as_mut_bytes()[398..410].copy_from_slice(&number(512));
        sparse.as_mut_bytes()[483..495].copy_from_slice(&number(size));
        sparse.set_cksum();
        for (header, content) in [(huge, 0), (sparse, 512)] {
            let layer = base().raw(&header, &vec![b'x'; content]);
            image(world, "huge", vec![layer], &command(&["true"]));
            let output = world.podling(["run", "--rm", "--network=none", "huge"]);
            assert!(output.fails(125).lines().count() <= 2, "{output}");
            nothing_is_left(world, "huge");
        }
    }
});

both!(directories_deeper_than_a_path_is_long_come_and_go, |world| {
    // Each entry's name is short enough; the links before it make it deep.
    let mut layer = base();
    let deep = ["d"; 900].join("/");
    layer = layer.raw(&long(&deep), deep.as_bytes()).raw(&header(tar::EntryType::Directory, "x", 0o755, 0), b"");
    let longer = [&deep[..], "d/d/d"].join("/");
    layer = layer.raw(&long(&longer), longer.as_bytes()).raw(&header(tar::EntryType::Regular, "x", 0o644, 0), b"");
    image(world, "deep", vec![layer], &command(&["true"]));
    world.podling(["run", "--rm", "--network=none", "deep"]).ok();
    nothing_is_left(world, "deep");
});

/// GNU's entry before one whose name is longer than a header has room for.
fn long(name: &str) -> tar::Header {
    header(tar::EntryType::GNULongName, "././@LongLink", 0o644, name.len())
}

both!(an_image_says_nothing_to_the_terminal, |world| {
    let layer = base().raw(&header(tar::EntryType::Link, "\x1b[2Jevil", 0o644, 0), b"");
    image(world, "orders", vec![layer], &json!({"Cmd": ["\x1b]0;evil\x07"], "Labels": {"a": "\x1b[2J"}}));
    let refused = world.podling(["run", "--rm", "--network=none", "orders"]);
    refused.fails(125);
    image(
        world,
        "told",
        vec![base()],
        &json!({"Cmd": ["/bin/busybox", "\x1b]0;evil\x07"], "Labels": {"a": "\x1b[2J"}}),
    );
    world.podling(["create", "--name=box", "--network=none", "told"]).ok();
    for output in [
        refused,
        world.podling(["ps", "-a", "--no-trunc"]),
        world.podling(["history", "told"]),
        world.podling(["inspect", "box"]),
        world.podling(["images"]),
    ] {
        assert!(!output.stdout.contains('\x1b') && !output.stderr.contains('\x1b'), "{output}");
    }
    world.podling(["rm", "box"]).ok();
});

both!(a_label_of_ten_megabytes_is_shown, |world| {
    let image = world.image("witness");
    let file = world.file("labels", format!("big={}\n", "x".repeat(10 << 20)));
    world.podling(["create", "--name=box", "--network=none", "--label-file", text(&file), image]).ok();
    assert!(world.podling(["inspect", "box"]).ok().len() > 10 << 20);
    assert_eq!(world.podling(["inspect", "--format={{len .Config.Labels.big}}", "box"]).ok(), (10 << 20).to_string());
    assert_eq!(world.podling(["ps", "-a", "--format={{.Names}}"]).ok(), "box");
    world.podling(["start", "-a", "box"]).ok();
    world.podling(["rm", "box"]).ok();
});

both!(the_users_of_an_image_are_read_from_its_own_file_or_not_at_all, |world| {
    // CVE-2024-9676, and others before it: the file leads to the host's, never ends, or never begins.
    let secret = world.file("secret", "spy:x:0:0::/:/bin/sh\n");
    let fifo = |layer: Layer| layer.raw(&header(tar::EntryType::Fifo, "etc/passwd", 0o644, 0), b"");
    let directory = |layer: Layer| layer.dir("etc/passwd", 0o755);
    for (layer, said) in [
        (base().link("etc/passwd", text(&secret)), "unable to find user"),
        (base().link("etc/passwd", &format!("../../../../../../../..{}", secret.display())), "unable to find user"),
        (base().link("etc/passwd", "/proc/1/root/etc/passwd"), "unable to find user"),
        (base().link("etc/passwd", "/dev/zero"), "unable to find user"),
        (fifo(base()), "is not a file"),
        (directory(base()), "is not a file"),
    ] {
        image(world, "users", vec![layer.dir("etc", 0o755)], &command(&["true"]));
        let output = world.podling(["run", "--rm", "--network=none", "-u", "spy", "users"]);
        assert!(output.status != 0 && output.stderr.contains(said), "{output}");
        let output = world.podling(["run", "--rm", "--network=none", "-u", "77", "users"]);
        assert!(output.status == 0 || output.stderr.contains(said), "{output}");
    }
});

// Of these runc and crun look for a home directory in their own ways.
mod only_ours {
    use super::*;

    both!(a_home_is_looked_for_in_no_file_that_never_ends, |world| {
        let bundle = bundle(world, &["env"], |config| config["process"]["env"] = json!([]));
        world.directory("bundle/rootfs/etc");
        let passwd = bundle.join("rootfs/etc/passwd");
        nix::unistd::mkfifo(&passwd, nix::sys::stat::Mode::from_bits_truncate(0o666)).expect("our own directory");
        let run = || world.runtime(["run", "--bundle", text(&bundle), &id(world)]);
        assert_eq!(run().ok(), "HOME=/");
        fs::remove_file(&passwd).expect("our own directory");
        std::os::unix::fs::symlink("/dev/zero", &passwd).expect("our own directory");
        assert_eq!(run().ok(), "HOME=/");
        fs::remove_file(&passwd).expect("our own directory");
        fs::write(&passwd, "root:x:0:0::/here:/bin/sh\n").expect("our own directory");
        assert_eq!(run().ok(), "HOME=/here", "an honest file is read");
    });

    // crun 1.8 lets them count.
    as_root!(a_device_in_an_image_is_none, |world| {
        // Root unpacks the nodes that an image has; of the disk, say. They are shown, and do not count.
        let mut node = header(tar::EntryType::Char, "node", 0o666, 0);
        node.set_device_major(1).expect("a number");
        node.set_device_minor(3).expect("a number");
        node.set_cksum();
        let layer = base().raw(&node, b"");
        image(world, "device", vec![layer], &command(&["head", "-c1", "/node"]));
        let run = |flags: &[&str]| world.podling([&["run", "--rm", "--network=none"], flags, &["device"]].concat());
        assert!(run(&[]).fails(1).contains("Permission denied"));
        assert!(run(&["--cgroups=disabled"]).fails(1).contains("Permission denied"));
        // Who may make nodes may use them: without the wall the node is one.
        run(&["--cap-add=mknod"]).ok();
        // As an image that is only mounted, too.
        let mounted = "--mount=type=image,source=device,target=/mnt";
        let words = [
            "run",
            "--rm",
            "--network=none",
            "--cap-add=mknod",
            mounted,
            "device",
            "/bin/busybox",
            "head",
            "-c1",
            "/mnt/node",
        ];
        assert!(world.podling(words).fails(1).contains("Permission denied"));
    });
}
