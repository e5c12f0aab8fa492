//! Layers that strangers might send, and what becomes of them.

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

use super::*;
use crate::linux::idmap::IdMap;
use crate::sys;
use by_hand::Tar;

mod by_hand;

/// Everything may be owned by anyone, as for root.
fn all() -> Ids {
    let map = vec![IdMap { container: 0, host: 0, size: u32::MAX }];
    Ids { uids: map.clone(), gids: map }
}

/// No layer is below.
#[allow(clippy::unnecessary_wraps)] // the type of a function that may fail
fn nothing() -> Result<Vec<std::os::fd::OwnedFd>> {
    Ok(vec![])
}

struct World {
    _base: tempfile::TempDir,
    outside: PathBuf,
    root: PathBuf,
}

fn world() -> World {
    let base = tempfile::tempdir().expect("a directory");
    let (outside, root) = (base.path().join("outside"), base.path().join("root"));
    fs::create_dir(&outside).expect("made");
    fs::create_dir(&root).expect("made");
    fs::write(outside.join("secret"), "secret").expect("written");
    World { _base: base, outside, root }
}

impl World {
    fn unpack(&self, bytes: &[u8]) -> Result<Unpacked> {
        unpack(bytes, File::open(&self.root)?.into(), &all(), &nothing)
    }

    fn unpack_tar(&self, tar: &Tar) -> Result<Unpacked> {
        self.unpack(&tar.bytes())
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn stat(&self, path: &str) -> fs::Metadata {
        fs::symlink_metadata(self.root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn is_whiteout(&self, path: &str) -> bool {
        let stat = self.stat(path);
        stat.file_type().is_char_device() && stat.rdev() == 0
    }

    fn is_opaque(&self, path: &str) -> bool {
        attribute(&self.root.join(path), OPAQUE).is_some_and(|value| value == b"y")
    }
}

fn attribute(path: &Path, name: &str) -> Option<Vec<u8>> {
    sys::fgetxattr(File::open(path).ok()?.as_fd(), name.as_ref()).ok()
}

fn root() -> bool {
    nix::unistd::Uid::effective().is_root()
}

#[test]
fn a_layer_becomes_a_directory_with_its_modes_times_and_links() {
    let world = world();
    let mut tar = Tar::default();
    tar.add(b'5', "./bin/", "", b"").add_as(b'0', "bin/su", "", b"#!", 0o4755, 0).add(b'1', "bin/su2", "bin/su", b"");
    tar.add(b'2', "link", "../../etc/passwd", b"").add(b'6', "pipe", "", b"").file("deep/er/file", b"text");
    tar.add_as(b'5', "shut", "", b"", 0o555, 0).file("shut/in", b"x");
    let bytes = tar.bytes();
    let unpacked = world.unpack(&bytes).expect("unpacks");
    assert_eq!(unpacked.diff_id, Digest::of(&bytes));
    assert_eq!(unpacked.size, 7);
    let su = world.stat("bin/su");
    assert_eq!((su.mode(), su.mtime(), su.nlink()), (0o104_755, 1_700_000_000, 2));
    assert_eq!(world.stat("bin").mtime(), 1_700_000_000, "although files were made in it later");
    assert_eq!(world.stat("shut").mode() & 0o7777, 0o555);
    assert_eq!(fs::read_link(world.root.join("link")).expect("a link"), Path::new("../../etc/passwd"));
    assert!(world.stat("pipe").file_type().is_fifo());
    assert_eq!(world.read("deep/er/file"), "text");
}

#[test]
fn every_compression_unpacks_to_the_same_digest() {
    let mut tar = Tar::default();
    tar.file("a", &b"some text ".repeat(200_000));
    let bytes = tar.bytes();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&bytes).expect("compresses");
    // Two members in a row are one stream (pigz and stargz write so).
    let (first, second) = bytes.split_at(1000);
    let mut members = Vec::new();
    for part in [first, second] {
        let mut member = flate2::write::GzEncoder::new(members, flate2::Compression::fast());
        member.write_all(part).expect("compresses");
        members = member.finish().expect("compresses");
    }
    let zstd = zstd::encode_all(&bytes[..], 1).expect("compresses");
    for stream in [bytes.clone(), gzip.finish().expect("compresses"), members, zstd] {
        let world = world();
        assert_eq!(world.unpack(&stream).expect("unpacks").diff_id, Digest::of(&bytes));
        assert_eq!(world.stat("a").len(), 2_000_000);
    }
}

#[test]
fn whiteouts_become_overlays() {
    let world = world();
    let mut tar = Tar::default();
    tar.add(b'5', "etc", "", b"").file("etc/.wh.passwd", b"").file("var/.wh..wh..opq", b"").file("var/new", b"x");
    // Gone below, then a directory of the same name: nothing of the old one may show.
    tar.file(".wh.opt", b"").add(b'5', "opt", "", b"");
    // This layer's own file is not what its whiteout speaks of.
    tar.file("kept", b"x").file(".wh.kept", b"").file(".wh..wh.plnk", b"");
    world.unpack_tar(&tar).expect("unpacks");
    assert!(world.is_whiteout("etc/passwd"));
    assert!(world.is_opaque("var") && !world.is_opaque("etc"));
    assert!(world.is_opaque("opt"));
    assert_eq!(world.read("kept"), "x");
    for name in [".wh.kept", ".wh..wh.plnk", "var/.wh..wh..opq"] {
        assert!(!world.root.join(name).exists(), "{name}");
    }
}

#[test]
fn the_last_of_two_entries_with_one_name_counts() {
    let world = world();
    let mut tar = Tar::default();
    tar.file("d/old", b"old").file("d", b"now a file").file("f", b"one").file("f", b"two");
    tar.add(b'2', "l", "f", b"").file("l", b"no longer a link").add(b'5', "m", "", b"").file("m/kept", b"x");
    tar.add_as(b'5', "m", "", b"", 0o700, 0);
    world.unpack_tar(&tar).expect("unpacks");
    assert_eq!(world.read("d"), "now a file");
    assert_eq!(world.read("f"), "two");
    assert_eq!(world.read("l"), "no longer a link");
    assert_eq!(world.read("m/kept"), "x");
    assert_eq!(world.stat("m").mode() & 0o777, 0o700);
}

#[test]
fn no_name_leads_out_of_the_tree() {
    // Each: a symbolic link to begin with (name, target), and the file that then is to land outside.
    let attempts = [
        (None, "../outside/evil"),
        (None, "a/../../outside/evil"),
        (None, "OUTSIDE/evil"),
        (Some(("up", "../outside")), "up/evil"),
        (Some(("out", "OUTSIDE")), "out/evil"),
        (Some(("p", "/proc/self/cwd/../outside")), "p/evil"),
        (Some(("evil", "../outside/secret")), "evil"),
        (Some(("a", "../outside")), "a/../a/evil"),
    ];
    for (link, file) in attempts {
        let world = world();
        let place = |text: &str| text.replace("OUTSIDE", world.outside.to_str().expect("text"));
        let mut tar = Tar::default();
        if let Some((name, target)) = link {
            tar.add(b'2', name, &place(target), b"");
        }
        tar.file(&place(file), b"overwritten");
        // Contained or refused: both will do.
        let _ = world.unpack_tar(&tar);
        assert!(!world.outside.join("evil").exists(), "{link:?} {file}");
        assert_eq!(fs::read_to_string(world.outside.join("secret")).expect("there"), "secret", "{link:?} {file}");
    }
}

#[test]
fn no_hard_link_reaches_out_of_the_tree() {
    for target in ["../outside/secret", "/outside/secret", "out/secret", "nothing"] {
        let world = world();
        let mut tar = Tar::default();
        tar.add(b'2', "out", "../outside", b"").add(b'1', "grab", target, b"");
        let error = world.unpack_tar(&tar).expect_err(target);
        let text = format!("{error:#}");
        assert!(text.contains("hard link to") || text.contains("leads out of the image"), "{text}");
        assert_eq!(world.outside.join("secret").metadata().expect("there").nlink(), 1, "{target}");
    }
}

#[test]
fn an_image_cannot_give_orders_to_overlay() {
    let world = world();
    let mut tar = Tar::default();
    tar.pax(&[
        ("SCHILY.xattr.user.overlay.redirect", b"/etc"),
        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ("SCHILY.xattr.user.mine", b"kept\0binary"),
    ]);
    tar.add(b'5', "d", "", b"");
    world.unpack_tar(&tar).expect("unpacks");
    let path = world.root.join("d");
    let names = sys::flistxattr(File::open(&path).expect("opens").as_fd()).expect("listed");
    assert_eq!(names, ["user.mine"]);
    assert_eq!(attribute(&path, "user.mine").as_deref(), Some(&b"kept\0binary"[..]));
}

#[test]
fn a_file_keeps_its_capability() {
    if !root() {
        return;
    }
    let world = world();
    // Version 2, CAP_NET_RAW permitted and effective.
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut tar = Tar::default();
    tar.pax(&[("SCHILY.xattr.security.capability", &capability)]);
    tar.add_as(b'0', "ping", "", b"x", 0o755, 1000);
    world.unpack_tar(&tar).expect("unpacks");
    assert_eq!(attribute(&world.root.join("ping"), "security.capability").as_deref(), Some(&capability[..]));
    assert_eq!(world.stat("ping").uid(), 1000);
}

#[test]
fn long_names_come_in_both_dialects() {
    let world = world();
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(200));
    let mut tar = Tar::default();
    tar.add(b'L', "././@LongLink", "", format!("{long}g\0").as_bytes()).file("cut", b"gnu");
    tar.pax(&[("path", format!("{long}p").as_bytes()), ("mtime", b"1600000000.5"), ("size", b"3")]).file("cut", b"pax");
    tar.add(b'K', "././@LongLink", "", format!("{long}g\0").as_bytes()).add(b'2', "l", "cut", b"");
    world.unpack_tar(&tar).expect("unpacks");
    assert_eq!(world.read(&format!("{long}g")), "gnu");
    assert_eq!(world.read(&format!("{long}p")), "pax");
    assert_eq!(world.stat(&format!("{long}p")).mtime_nsec(), 500_000_000);
    assert_eq!(fs::read_link(world.root.join("l")).expect("a link").as_os_str().len(), long.len() + 1);
}

#[test]
fn zeros_take_no_disk() {
    let world = world();
    let mut data = vec![0; 8 << 20];
    data[5 << 20] = 1;
    let mut tar = Tar::default();
    tar.file("holes", &data).file("only", &vec![0; 1 << 20]);
    world.unpack_tar(&tar).expect("unpacks");
    assert!(fs::read(world.root.join("holes")).expect("read") == data);
    assert!(world.stat("holes").blocks() * 512 < 1 << 20);
    assert!(world.stat("only").len() == 1 << 20 && world.stat("only").blocks() * 512 < 200 << 10);
}

#[test]
fn what_is_no_layer_is_refused_in_one_line() {
    let mut cut = Tar::default();
    cut.file("a", &[7; 5000]);
    let mut huge = Tar::default();
    huge.add(b'x', "h", "", b"").0[124..136].copy_from_slice(b"77777777777\0");
    let cases: [(&str, Vec<u8>); 6] = [
        ("this is not a tar archive", b"<html>404</html>".repeat(100)),
        ("ends in the middle of a header", b"short".to_vec()),
        ("ends in the middle of a file", cut.0[..2000].to_vec()),
        ("this is not a tar archive", huge.0.clone()),
        ("decompressing", [&[0x1f, 0x8b, 8, 0], &[0xff; 600][..]].concat()),
        ("xz compression is not supported", b"\xfd7zXZ\0\0\x04".repeat(100)),
    ];
    for (message, bytes) in cases {
        let error = world().unpack(&bytes).expect_err(message);
        let text = format!("{error:#}");
        assert!(text.contains(message) && !text.contains('\n'), "{text}");
    }
}

#[test]
fn attributes_that_would_fill_the_memory_are_refused() {
    for kind in [b'x', b'g'] {
        let mut tar = Tar::default();
        for number in 0..20 {
            let body = format!("SCHILY.xattr.user.{number}={}\n", "x".repeat(100_000));
            let record = format!("{} {body}", body.len() + 7);
            tar.add(kind, "PaxHeaders/x", "", record.as_bytes());
        }
        tar.file("a", b"");
        let text = format!("{:#}", world().unpack_tar(&tar).expect_err("refused"));
        assert!(text.contains("bytes of attributes"), "{text}");
    }
}

#[test]
fn an_id_outside_the_map_is_refused_before_its_file_is_made() {
    let world = world();
    let map = vec![IdMap { container: 0, host: 1000, size: 1 }, IdMap { container: 1, host: 100_000, size: 65536 }];
    let ids = Ids { uids: map.clone(), gids: map };
    let mut tar = Tar::default();
    tar.add_as(b'0', "a", "", b"", 0o644, 70_000).add_as(b'0', "home/big", "", b"", 0o644, 90_000).file("c", b"");
    let error =
        unpack(&tar.bytes()[..], File::open(&world.root).expect("open").into(), &ids, &nothing).expect_err("refused");
    let text = format!("{error:#}");
    assert!(text.starts_with("/home/big belongs to user 90000, but this user namespace has only user ids 0-65536;"));
    assert!(text.contains("/etc/subuid") && text.contains("90001"), "{text}");
    assert_eq!(fs::read_dir(&world.root).expect("read").count(), 0);
}

#[test]
fn a_layer_with_another_digest_never_gets_a_name() {
    let world = world();
    let layers = Layers::open(&world.root).expect("opens");
    let mut tar = Tar::default();
    tar.file("a", b"x");
    let blob = world.outside.join("blob");
    fs::write(&blob, tar.bytes()).expect("written");
    let (right, wrong) = (Digest::of(&tar.bytes()), Digest::of(b"other"));
    let unpack = |id| layers.unpack(File::open(&blob).expect("open"), id, id, &all(), &nothing);
    let error = format!("{:#}", unpack(wrong).expect_err("refused"));
    assert!(error.contains("its unpacked digest is"), "{error}");
    unpack(right).expect("unpacks");
    assert!(layers.has(right) && !layers.has(wrong));
    // What a crash left under the temporary name is no obstacle, and is collected.
    fs::create_dir_all(world.root.join(format!("tmp-{}/half", wrong.hex()))).expect("made");
    let in_use = layers.hold([right].into_iter()).expect("held");
    assert_eq!(layers.remove_unused(&HashSet::new()).expect("asked"), None, "somebody uses layers just now");
    drop(in_use);
    assert_eq!(layers.remove_unused(&HashSet::from([right])).expect("collected"), Some(0));
    assert_eq!(fs::read_dir(&world.root).expect("read").count(), 3, "the layer, its doubt and the lock");
    assert_eq!(layers.remove_unused(&HashSet::new()).expect("collected"), Some(1));
    assert!(!layers.has(right));
    assert_eq!(fs::read_dir(&world.root).expect("read").count(), 1, "the lock");
}

#[test]
fn a_layer_of_another_boot_that_never_settled_is_unpacked_anew() {
    let world = world();
    let layers = Layers::open(&world.root).expect("opens");
    let mut tar = Tar::default();
    tar.file("a", b"whole");
    let (blob, id) = (world.outside.join("blob"), Digest::of(&tar.bytes()));
    fs::write(&blob, tar.bytes()).expect("written");
    let unpack = || layers.unpack(File::open(&blob).expect("open"), id, id, &all(), &nothing).expect("unpacks");
    unpack();
    assert!(layers.has(id), "this boot vouches for it");
    // What a power cut leaves: names without bytes.
    fs::write(layers.path(id).join("a"), "").expect("written");
    fs::write(layers.doubt(id), "another boot").expect("written");
    assert!(!layers.has(id));
    unpack();
    assert!(layers.has(id));
    assert_eq!(fs::read_to_string(layers.path(id).join("a")).expect("read"), "whole");
    layers.settle(&[id]).expect("settled");
    assert!(layers.doubt(id).exists(), "too young");
    let long_ago = std::time::SystemTime::now() - 2 * SETTLING;
    File::options().write(true).open(layers.doubt(id)).and_then(|file| file.set_modified(long_ago)).expect("aged");
    layers.settle(&[id]).expect("settled");
    assert!(layers.has(id) && !layers.doubt(id).exists());
}

#[test]
fn ten_threads_that_want_one_layer_unpack_it_once() {
    let world = world();
    let layers = Layers::open(&world.root).expect("opens");
    let mut tar = Tar::default();
    for number in 0..50 {
        tar.file(&format!("f{number}"), b"x");
    }
    let id = Digest::of(&tar.bytes());
    let blob = world.outside.join("blob");
    fs::write(&blob, tar.bytes()).expect("written");
    in_threads(10, &[(); 10], |()| layers.unpack(File::open(&blob)?, id, id, &all(), &nothing)).expect("all succeed");
    assert_eq!(fs::read_dir(layers.path(id)).expect("read").count(), 50);
    assert_eq!(fs::metadata(layers.path(id)).expect("there").permissions().mode() & 0o7777, 0o755);
}

#[test]
fn what_is_packed_unpacks_to_the_same() {
    let world = world();
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(200));
    let mut tar = Tar::default();
    tar.add(b'5', "etc", "", b"").file("etc/.wh.passwd", b"").file("var/.wh..wh..opq", b"").file("var/new", b"x");
    tar.pax(&[("path", long.as_bytes())]).file("cut", b"pax");
    tar.pax(&[("SCHILY.xattr.user.mine", b"v")]).add_as(b'0', "bin/su", "", b"#!", 0o4755, 0);
    tar.add(b'1', "bin/su2", "bin/su", b"").add(b'2', "link", &"t".repeat(150), b"").add(b'6', "pipe", "", b"");
    world.unpack_tar(&tar).expect("unpacks");
    let open = |path: &Path| OwnedFd::from(File::open(path).expect("opens"));
    let packed = pack(open(&world.root), Source::Upper, &[], None, Vec::new()).expect("packs");
    let again = world.outside.join("again");
    fs::create_dir(&again).expect("made");
    unpack(&packed[..], open(&again), &all(), &nothing).expect("unpacks");
    assert!(pack(open(&again), Source::Upper, &[], None, Vec::new()).expect("packs") == packed);
    for (name, data) in [("etc/.wh.passwd", ""), ("var/.wh..wh..opq", ""), (long.as_str(), "pax")] {
        let mut reader = tar::Reader::new(&packed[..]);
        let found = std::iter::from_fn(|| reader.next_entry().expect("reads"))
            .any(|entry| entry.path == Path::new(name) && entry.kind == tar::Kind::File(data.len() as u64));
        assert!(found, "{name}");
    }
    let plain = pack(open(&world.root), Source::Plain, &["etc".into()], None, Vec::new()).expect("packs");
    let mut reader = tar::Reader::new(&plain[..]);
    let names: Vec<PathBuf> =
        std::iter::from_fn(|| reader.next_entry().expect("reads")).map(|entry| entry.path).collect();
    assert!(!names.iter().any(|name| name.starts_with("etc") || name.ends_with(".wh..wh..opq")), "{names:?}");
}
