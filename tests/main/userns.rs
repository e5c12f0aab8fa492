//! User namespaces of single containers: an image's files have their owners inside, whatever the map; and what is made
//! for that is made once, survives a crash, and goes with its image.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use nix::sys::signal::Signal;

use crate::running::{Output, until};
use crate::second_opinion::other_runtime;
use crate::world::{Who, World};

/// Lets another runtime pass `$XDG_RUNTIME_DIR`: it looks for a container's root by its path, as the container's root, and
/// not everybody whose namespace that is may. Ours needs no such thing.
fn open_run_directory(world: &World) {
    if other_runtime().is_some() {
        let closed =
            world.podling(["run", "--rm", "--network=none", "--uidmap=0:1:5000", world.image("owners"), "true"]);
        assert!(
            closed
                .fails(125)
                .contains(&format!("hint: use podling-runtime, or say `chmod o+x {}", world.dir.display()))
        );
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o711);
        fs::set_permissions(world.dir.join("run"), mode).expect("ours");
    }
}

/// `podling run --rm --network=none FLAGS… owners sh -c SCRIPT`
#[track_caller]
fn run(world: &World, flags: &[&str], script: &str) -> Output {
    let image = world.image("owners");
    world.podling([&["run", "--rm", "--network=none"], flags, &[image, "sh", "-c", script]].concat())
}

/// Whose what is, in the image.
const SHOW: &str = "cd /; stat -c '%n %u:%g %a' data/* hidden/* set-uid/status capable/status etc/passwd /; cat data/*; \
                    stat -c %h data/link";
const SHOWN: &str = "data/changed 3000:3000 600\ndata/link 1000:1000 640\ndata/one 1:1 644\ndata/thousand 1000:1000 640\n\
                     hidden/new 8:8 644\nset-uid/status 1:1 4755\ncapable/status 0:0 755\netc/passwd 0:0 644\n/ 0:0 755\n\
                     upper\nthousand\none\nthousand\n2";

/// Directories of shifted layers, with the inode of each.
fn shifted(world: &World) -> Vec<(PathBuf, u64)> {
    let ways = fs::read_dir(world.data().join("shifted")).into_iter().flatten().flatten();
    let layers = ways.flat_map(|way| fs::read_dir(way.path()).expect("readable").flatten());
    let mut all: Vec<_> = layers
        .filter(|layer| layer.file_name().len() == 64)
        .map(|layer| (layer.path(), layer.metadata().expect("there").ino()))
        .collect();
    all.sort();
    all
}

/// Says that overlay here follows no redirects, as before Linux 6.16.
fn without_redirects(world: &World) {
    world.image("owners");
    world.file("run/podling/overlay-redirects", "no");
}

as_user!(an_image_s_files_have_their_owners_under_every_map, |world| {
    open_run_directory(world);
    let maps = ["--uidmap=0:1:5000", "--uidmap=0:5000:5000", "--userns=auto:size=5000", "--userns=nomap"];
    for map in [&["--userns=keep-id", "-u0"][..], &["--userns=keep-id:uid=1000,gid=1000", "-u0"]]
        .into_iter()
        .chain(maps.iter().map(std::slice::from_ref))
    {
        assert_eq!(run(world, map, SHOW).ok(), SHOWN, "{map:?}");
    }
});

as_user!(they_have_them_where_overlay_follows_no_redirects, |world| {
    without_redirects(world);
    assert_eq!(run(world, &["--userns=keep-id", "-u0"], SHOW).ok(), SHOWN);
    assert_eq!(shifted(world).len(), 2, "one of each layer");
});

as_root!(roots_containers_may_map_ids_too, |world| {
    open_run_directory(world);
    assert_eq!(run(world, &["--uidmap=0:200000:5000"], SHOW).ok(), SHOWN);
    // Written files belong outside to whom the map says.
    let volume = world.directory("shared");
    fs::set_permissions(&volume, std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("ours");
    run(world, &["--uidmap=0:200000:5000", "-v", &format!("{}:/shared", volume.display())], "touch /shared/file").ok();
    assert_eq!(fs::metadata(volume.join("file")).expect("made").uid(), 200_000);
});

as_user!(with_keep_id_the_caller_is_himself, |world| {
    let shared = world.directory("shared");
    let mount = format!("{}:/shared", shared.display());
    let uid = fs::metadata(&shared).expect("there").uid();
    let told = run(world, &["--userns=keep-id", "-v", &mount], "id -u; whoami; stat -c %u /shared; touch /shared/file");
    let name = match uid {
        1000 => "somebody".into(), // the image has a name for a machine's first user
        _ => nix::unistd::User::from_uid(uid.into()).expect("asked").expect("he has a name").name,
    };
    assert_eq!(told.ok(), format!("{uid}\n{name}\n{uid}"));
    assert_eq!(fs::metadata(shared.join("file")).expect("made").uid(), uid);
    // A name of the image's is the image's; a number nobody has gets a line of its own.
    let known = run(world, &["--userns=keep-id:uid=1000,gid=1000"], "whoami; grep -c . /etc/passwd; echo $HOME");
    assert_eq!(known.ok(), "somebody\n2\n/home");
    let stranger =
        run(world, &["--userns=keep-id:uid=5,gid=6", "-w/tmp"], "grep :5: /etc/passwd /etc/group; echo $HOME");
    assert_eq!(stranger.ok(), "/etc/passwd:5:*:5:6:container user:/tmp:/bin/sh\n/tmp");
});

as_user!(set_uid_programs_and_file_capabilities_work_under_keep_id, |world| {
    for redirects in [true, false] {
        if !redirects {
            without_redirects(world);
        }
        let script = "/set-uid/status Uid; /capable/status CapEff";
        let told = run(world, &["--userns=keep-id:uid=1000,gid=1000"], script);
        assert_eq!(told.ok(), "Uid 1000 1 1 1\nCapEff 0000000000000400", "redirects: {redirects}");
    }
});

as_user!(a_second_start_shifts_nothing, |world| {
    run(world, &["--userns=keep-id"], "true").ok();
    let before = shifted(world);
    assert!(!before.is_empty());
    let again = world.podling(["--explain", "run", "--rm", "--network=none", "--userns=keep-id", "owners", "true"]);
    assert_eq!((again.status, again.stderr.contains(" shift ")), (0, false), "{again}");
    assert_eq!(shifted(world), before);
});

both!(what_a_container_changed_is_committed_and_exported_as_it_saw_it, |world| {
    open_run_directory(world);
    let image = world.image("owners");
    let map = if world.who == Who::Root { "--uidmap=0:200000:5000" } else { "--userns=keep-id" };
    let script =
        "cd /data; touch mine root; chown 1000:1001 mine; chmod 4755 mine; chown 5 one; rm changed; ln root root2";
    let name = ["--name=box", "--network=none"];
    world.podling([&["run", map, "-u0"], &name[..], &[image, "sh", "-c", script]].concat()).ok();
    world.podling(["commit", "-q", "box", "changed"]).ok();
    let show = ["sh", "-c", "cd /data; stat -c '%n %u:%g %a %h' *; cat link"];
    let expected = "link 1000:1000 640 2\nmine 1000:1001 4755 1\none 5:1 644 1\nroot 0:0 644 2\nroot2 0:0 644 2\n\
                    thousand 1000:1000 640 2\nthousand";
    for flags in [&[][..], &[map, "-u0"]] {
        let told = world.podling([&["run", "--rm", "--network=none"], flags, &["changed"], &show].concat());
        assert_eq!(told.ok(), expected, "{flags:?}");
    }
    let list = |words: &str| world.program("sh", ["-c", &format!("{words} | tar --numeric-owner -tvf - | grep mine")]);
    for words in ["podling export box", "podling cp box:/data -"] {
        let told = list(words);
        assert!(told.ok().starts_with("-rwsr-xr-x 1000/1001"), "{words}: {told}");
    }
    // Back in, with the numbers kept, the same.
    let copied = world
        .program("sh", ["-c", "podling cp box:/data - >$HOME/tar; podling cp --archive=false - box:/tmp <$HOME/tar"]);
    copied.ok();
    let told = list("podling cp box:/tmp/data -");
    assert!(told.ok().starts_with("-rwsr-xr-x 1000/1001"), "{told}");
});

as_user!(a_kill_in_the_middle_of_shifting_loses_nothing, |world| {
    without_redirects(world);
    let mut cut = 0;
    // Killed at the first sign of work; a machine may be quicker than we are, but not each time.
    for _ in 0..20 {
        let running = world.spawn(["create", "--name=cut", "--userns=keep-id", "owners", "true"]);
        running.wait().ok();
        let starting = world.spawn(["start", "cut"]);
        let ways = world.data().join("shifted");
        until("shifting to begin", || {
            let names = fs::read_dir(&ways).into_iter().flatten().flatten();
            let mut layers = names.flat_map(|way| fs::read_dir(way.path()).into_iter().flatten().flatten());
            layers.next().map(drop)
        });
        starting.signal(Signal::SIGKILL);
        starting.wait();
        cut += usize::from(shifted(world).len() < 2);
        world.podling(["rm", "-f", "-t0", "cut"]).ok();
        if cut > 0 {
            break;
        }
        world.podling(["unshare", "rm", "-rf", &ways.to_string_lossy()]).ok();
    }
    assert!(cut > 0, "it was never caught in the middle");
    assert_eq!(run(world, &["--userns=keep-id", "-u0"], SHOW).ok(), SHOWN);
});

as_user!(shifted_layers_count_and_go_with_their_image, |world| {
    let size = || world.podling(["system", "df", "--format", "{{.Type}} {{.Size}}"]).ok().to_owned();
    let image = world.image("owners");
    let before = size();
    run(world, &["--userns=keep-id"], "true").ok();
    assert!(!shifted(world).is_empty());
    assert_ne!(size(), before);
    world.podling(["rmi", image]).ok();
    assert_eq!(shifted(world), []);
    assert_eq!(fs::read_dir(world.data().join("shifted")).expect("there").count(), 0);
});

/// runc and crun look for the root by its path, as a stranger, and may not pass a closed XDG_RUNTIME_DIR.
mod only_ours {
    as_user!(containers_with_auto_have_ranges_of_their_own, |world| {
        let image = world.image("busybox");
        let start = |name: &str, size: &str| {
            let flags = ["run", "-d", "--network=none", "--name", name, size, image, "sleep", "1000"];
            world.podling(flags).ok();
            let map = world.podling(["exec", name, "cat", "/proc/1/uid_map"]).ok().to_owned();
            map.split_whitespace().map(|word| word.parse().expect("a number")).collect::<Vec<u32>>()
        };
        assert_eq!(start("a", "--userns=auto"), [0, 1, 1024]);
        assert_eq!(start("b", "--userns=auto:size=500"), [0, 1025, 500]);
        assert_eq!(start("c", "--userns=auto"), [0, 1525, 1024]);
        // What was given back is given again, where it suffices.
        world.podling(["rm", "-f", "-t0", "b"]).ok();
        assert_eq!(start("d", "--userns=auto:size=501"), [0, 2549, 501]);
        assert_eq!(start("e", "--userns=auto:size=500"), [0, 1025, 500]);
        // It stays its own from start to start.
        world.podling(["restart", "-t0", "a"]).ok();
        assert!(world.podling(["exec", "a", "cat", "/proc/1/uid_map"]).ok().ends_with("1       1024"));
        let most = world.podling(["run", "--rm", "--network=none", "--userns=auto:size=65536", image, "true"]);
        assert!(most.fails(125).contains("--userns=auto finds no 65536 subordinate ids"), "{most}");
    });
}
