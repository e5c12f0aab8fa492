//! Files that are carried over the border: `cp` both ways, `volume import`, a volume's first contents, its change of
//! owner. Whoever carries is on the host, and has the host's rights.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::{Attacker, text};
use crate::images::Layer;
use crate::world::World;

/// A directory that nothing may reach: with a file, a directory, and a mode and owner to be changed.
pub fn outside(world: &World) -> PathBuf {
    let outside = world.directory("outside");
    world.directory("outside/inner");
    world.file("outside/inner/file", "untouched");
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o750)).expect("our own directory");
    outside
}

#[track_caller]
pub fn is_untouched(outside: &Path, before: &fs::Metadata) {
    assert_eq!(fs::read_to_string(outside.join("inner/file")).ok().as_deref(), Some("untouched"));
    let names: Vec<_> = fs::read_dir(outside).expect("ours").flatten().map(|it| it.file_name()).collect();
    assert_eq!(names, ["inner"]);
    let now = fs::metadata(outside).expect("ours");
    assert_eq!((now.mode(), now.uid(), now.gid()), (before.mode(), before.uid(), before.gid()));
}

pub fn header(kind: tar::EntryType, path: &str, mode: u32, size: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    // By hand: the library writes no name that leads out.
    header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
    header.set_mode(mode);
    header.set_size(size as u64);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_700_000_000);
    header.set_cksum();
    header
}

/// Streams that want something at `outside`, each with what it wants.
pub fn evil_streams(outside: &Path) -> Vec<(&'static str, Layer)> {
    let (file, directory) = (tar::EntryType::Regular, tar::EntryType::Directory);
    let up = format!("{}{}", "../".repeat(30), text(outside).trim_start_matches('/'));
    let link = |layer: Layer| layer.link("a", text(outside));
    let add = |layer: Layer, kind, path: &str| {
        let content: &[u8] = if kind == file { b"x" } else { b"" };
        layer.raw(&header(kind, path, 0o777, content.len()), content)
    };
    let new = Layer::new;
    vec![
        ("a file in a directory's place, upwards", add(new(), file, &format!("{up}/inner"))),
        ("a directory in a file's place, upwards", add(new(), directory, &format!("{up}/inner/file"))),
        ("a new file, upwards", add(new(), file, &format!("{up}/new"))),
        ("a file in a directory's place, behind a link", add(link(new()), file, "a/inner")),
        ("a directory in a file's place, behind a link", add(link(new()), directory, "a/inner/file")),
        ("a new file, behind a link", add(link(new()), file, "a/new")),
        ("a link's mode", add(link(new()), directory, "a")),
        ("a new directory, behind a link", add(link(new()), directory, "a/new")),
        ("a hard link", new().hard_link("b", &format!("{up}/inner/file"))),
        ("a hard link, behind a link", link(new()).hard_link("b", "a/inner/file")),
    ]
}

both!(a_stream_for_a_volume_reaches_nothing_outside, |world| {
    let outside = outside(world);
    let before = fs::metadata(&outside).expect("ours");
    for (number, (wants, stream)) in evil_streams(&outside).into_iter().enumerate() {
        let name = format!("v{number}");
        world.podling(["volume", "create", &name]).ok();
        let archive = world.file("evil.tar", stream.into_bytes());
        let output = world.podling(["volume", "import", &name, text(&archive)]);
        // `volume import` takes away what is in the way: of what is in the volume.
        let contained = wants == "a link's mode";
        assert!(contained && output.status == 0 || output.fails(125).lines().count() == 1, "{wants}: {output}");
        assert!(!output.stderr.contains("panicked"), "{wants}: {output}");
        is_untouched(&outside, &before);
    }
});

both!(a_stream_for_a_container_reaches_nothing_outside, |world| {
    let image = world.image("busybox");
    let outside = outside(world);
    let before = fs::metadata(&outside).expect("ours");
    world.podling(["create", "--name=box", "--network=none", image, "true"]).ok();
    for (wants, stream) in evil_streams(&outside) {
        world.file("evil.tar", stream.into_bytes());
        let podling = crate::setup::setup().bin("podling");
        let line = format!("{} cp --overwrite - box:/tmp <evil.tar", podling.display());
        let output = world.program("sh", ["-c", &line]);
        assert!(!output.stderr.contains("panicked"), "{wants}: {output}");
        is_untouched(&outside, &before);
    }
    world.podling(["rm", "box"]).ok();
});

both!(a_link_that_a_copy_left_on_the_host_leads_the_next_one_nowhere, |world| {
    // The container makes a link, waits until it is copied, and then puts a directory in its place.
    let image = world.image("busybox");
    let outside = outside(world);
    let before = fs::metadata(&outside).expect("ours");
    let out = world.directory("out");
    world.podling(["run", "-d", "--name=box", "--network=none", image, "sleep", "1000"]).ok();
    let inside = |script: &str| world.podling(["exec", "box", "sh", "-c", script]).ok().to_owned();
    inside(&format!("mkdir /data; ln -s {0} /data/a; ln -s {0}/inner/file /data/b", outside.display()));
    world.podling(["cp", "box:/data/.", text(&out)]).ok();
    assert_eq!(fs::read_link(out.join("a")).ok().as_deref(), Some(&*outside), "links are copied as links");
    inside("cd /data; rm a b; mkdir -m 777 a; echo evil >a/new; echo evil >b");
    for flags in [&[][..], &["--overwrite"]] {
        let output = world.podling([&["cp"], flags, &["box:/data/.", text(&out)]].concat());
        is_untouched(&outside, &before);
        assert!(flags.is_empty() || output.status == 0, "{output}");
    }
    assert_eq!(
        fs::read_to_string(out.join("a/new")).ok().as_deref(),
        Some("evil\n"),
        "the copy is where it was wanted"
    );
    world.podling(["rm", "-f", "-t0", "box"]).ok();
});

both!(a_link_of_proc_leads_no_copy_out_of_a_container, |world| {
    // With --pid=host the container sees processes of the host. Their links in /proc lead to where *they* are, for whoever
    // has the right to follow; who copies has it.
    let image = world.image("busybox");
    let outside = outside(world);
    let before = fs::metadata(&outside).expect("ours");
    let open = Attacker::start(world, &["sleep-forever"]);
    let pid = open.0.pid();
    let door = format!("/proc/{pid}/root{}", outside.display());
    // The attack is one: whoever acts in this world may go through that door.
    world.program("cat", [format!("{door}/inner/file")]).ok();
    world.podling(["run", "-d", "--name=box", "--network=none", "--pid=host", image, "sleep", "1000"]).ok();
    world.podling(["exec", "box", "sh", "-c", &format!("ln -s {door} /door; ln -s /proc/{pid}/cwd /cwd")]).ok();
    let payload = world.file("payload", "evil");
    let out = world.directory("out");
    for link in ["door", "cwd"] {
        assert!(!world.podling(["cp", text(&payload), &format!("box:/{link}/new")]).fails(125).is_empty());
        assert!(!world.podling(["cp", text(&payload), &format!("box:/{link}/")]).fails(125).is_empty());
        assert!(!world.podling(["cp", &format!("box:/{link}/."), text(&out)]).fails(125).is_empty());
    }
    is_untouched(&outside, &before);
    assert_eq!(fs::read_dir(&out).expect("ours").count(), 0);
    world.podling(["rm", "-f", "-t0", "box"]).ok();
});

/// How often a thing is done while an attacker spins.
const ROUNDS: usize = 25;

both!(a_directory_exchanged_for_a_link_leads_no_copy_out, |world| {
    // CVE-2018-15664, CVE-2019-10152, and the other way round: the container shares the directory that is copied to.
    let image = world.image("busybox");
    let outside = outside(world);
    let before = fs::metadata(&outside).expect("ours");
    let (shared, out) = (world.directory("shared"), world.directory("out"));
    let (here, link) = (world.directory("shared/tree"), shared.join("link"));
    symlink(&outside, &link).expect("our own directory");
    let volume = format!("{}:/shared", shared.display());
    world.podling(["run", "-d", "--name=box", "--network=none", "-v", &volume, image, "sleep", "1000"]).ok();
    world.podling(["exec", "box", "sh", "-c", "mkdir -p /from/tree; echo evil >/from/tree/new"]).ok();
    let attacker = Attacker::start(world, &["exchange", text(&here), text(&link)]);

    // It is an attack: look first, then use the path.
    let lands_outside = (0..1_000_000).any(|_| {
        let seen = fs::symlink_metadata(&here).is_ok_and(|it| it.is_dir());
        seen && fs::write(here.join("probe"), "").is_ok() && outside.join("probe").exists()
    });
    assert!(lands_outside, "the attacker is too slow to prove anything");
    fs::remove_file(outside.join("probe")).expect("it landed there");

    for round in 0..ROUNDS {
        let _ = world.podling(["cp", "box:/from/.", text(&shared)]);
        is_untouched(&outside, &before);
        let _ = world.podling(["cp", "box:/shared/tree", &format!("{}/{round}", out.display())]);
        let copied = out.join(round.to_string());
        assert!(!copied.join("inner").exists(), "what is the host's came out of the container");
    }
    drop(attacker);
    world.podling(["rm", "-f", "-t0", "box"]).ok();
});

/// An image that has something where a volume will be.
fn seeded(world: &World) -> &'static str {
    let busybox = fs::read(crate::images::busybox()).expect("a program");
    let layer = Layer::new().dir("bin", 0o755).file("bin/busybox", 0o755, busybox).dir("data", 0o755);
    let layer = layer.file("data/seed", 0o644, "evil");
    super::image(world, "seeded", vec![layer], &serde_json::json!({"Cmd": ["/bin/busybox", "true"]}))
}

both!(a_link_in_a_volume_does_not_lead_its_first_contents_out, |world| {
    // An empty volume is filled with what the image has there. Whoever shares it may put a link in the way meanwhile.
    let image = seeded(world);
    let outside = outside(world);
    let before = fs::metadata(&outside).expect("ours");
    world.podling(["volume", "create", "data"]).ok();
    let data = world.podling(["volume", "inspect", "--format={{.Mountpoint}}", "data"]).ok().to_owned();
    let (seed, new) = (format!("{data}/seed"), outside.join("new"));
    let attacker = Attacker::start(world, &["flicker", &seed, text(&new)]);
    for _ in 0..ROUNDS {
        let output = world.podling(["run", "--rm", "--network=none", "-v", "data:/data", image]);
        assert!(output.status == 0 || output.stderr.lines().count() <= 2, "{output}");
        is_untouched(&outside, &before);
    }
    drop(attacker);
});

both!(a_link_in_a_volume_does_not_lead_its_change_of_owner_out, |world| {
    let image = world.image("busybox");
    let outside = outside(world);
    let shared = world.directory("shared");
    // Whoever gets it, the attacker may go on.
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o777)).expect("our own directory");
    let (here, link) = (world.directory("shared/tree"), shared.join("link"));
    symlink(outside.join("inner"), &link).expect("our own directory");
    for number in 0..50 {
        world.file(&format!("outside/inner/{number}"), "");
        world.file(&format!("shared/tree/{number}"), "");
    }
    let owners = || {
        let files = fs::read_dir(outside.join("inner")).expect("ours").flatten();
        files.map(|it| it.metadata().expect("ours").uid()).collect::<Vec<_>>()
    };
    let before = owners();
    let attacker = Attacker::start(world, &["exchange", text(&here), text(&link)]);
    let volume = format!("{}:/shared:U", shared.display());
    for _ in 0..ROUNDS {
        let _ = world.podling(["run", "--rm", "--network=none", "-u", "5", "-v", &volume, image, "true"]);
        assert_eq!(owners(), before, "files of the host's have been given away");
    }
    drop(attacker);
});
