//! Images from strangers: layers that lead out, that are too much, that are not what they are called; and the files in them
//! that the engine reads.

use std::fs;
use std::io::Write;

use serde_json::{Value, json};

use super::copies::header;
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
}
