//! Users to whom nobody has lent ids, or whose machine lacks the programs that would map them.

use std::fs;

use super::doctor::findings;
use super::{after, as_root_after, can_mount, shell};
use crate::images::{Layer, Layout};
use crate::setup::setup;
use crate::world::World;

/// A copy of /etc for this world, in which the user has no subordinate ids, and the script that puts it in place.
fn etc_without_ids(world: &World) -> &'static str {
    let copied = as_root_after(world, "", "sh", &["-c", "cp -a /etc $WORLD/etc"]);
    copied.ok();
    for file in ["subuid", "subgid"] {
        let file = world.dir.join("etc").join(file);
        let text = fs::read_to_string(&file).expect("the set-up made it");
        let rest = text.lines().filter(|line| !line.starts_with(&format!("{}:", setup().user.name)));
        // Somebody else has what a careless cure would give.
        let rest = rest.map(|line| format!("{line}\n")).collect::<String>() + "else:100000:65536\n";
        fs::write(&file, rest).expect("our own copy");
    }
    "mount --bind $WORLD/etc /etc"
}

const WARNING: &str = "podling: warning: only your own user id exists in containers, and most images need more: ";

/// A container runs with one id, and the warning with this cure is given once.
#[track_caller]
fn runs_with_one_id(world: &World, script: &str, why: &str) {
    let run = ["run", "--rm", "--network=none", "host-tools", "sh", "-c", "id -u; wc -l </proc/self/uid_map"];
    let output = after(world, script, "podling", &run);
    assert_eq!(output.ok(), "0\n1", "{output}");
    let warnings: Vec<&str> = output.stderr.lines().filter(|line| line.contains("warning")).collect();
    assert_eq!(warnings, [format!("{WARNING}{why}")], "{output}");
    let again = after(world, script, "podling", &run);
    assert_eq!((again.ok(), again.stderr.as_str()), ("0\n1", ""), "{again}");
}

as_user!(without_ids_one_exists_and_the_cure_is_named_and_works, |world| {
    if !can_mount() {
        return;
    }
    let script = etc_without_ids(world);
    // The doctor must not say it in the run's stead.
    let found = findings(&after(world, script, "podling", &["doctor", "--format=json"]));
    assert_eq!(found["subordinate ids"]["verdict"], "limited");
    let cure = found["subordinate ids"]["cure"].as_str().expect("text").to_owned();
    let why = format!("/etc/subuid or /etc/subgid lends you no ids ({cure})");
    runs_with_one_id(world, script, &why);
    assert_eq!(found["a user namespace, tried"]["found"], "made, with 1 id");

    let command = cure.strip_prefix("sudo ").expect("root's work").split(' ').collect::<Vec<_>>();
    as_root_after(world, script, command[0], &command[1..]).ok();
    let found = findings(&after(world, script, "podling", &["doctor", "--format=json"]));
    assert_eq!(found["subordinate ids"]["verdict"], "good", "{found:?}");
    assert_eq!(found["a user namespace, tried"]["found"], "made, with 65537 ids");
    // The ranges are nobody else's.
    for file in ["subuid", "subgid"] {
        let text = fs::read_to_string(world.dir.join("etc").join(file)).expect("our own copy");
        let mut ranges: Vec<(u64, u64)> = text.lines().map(range).collect();
        ranges.sort_unstable();
        assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{text}");
    }
});

/// The first id of a line of /etc/subuid, and the first after its last.
fn range(line: &str) -> (u64, u64) {
    let numbers: Vec<u64> = line.split(':').skip(1).map(|number| number.parse().expect("a number")).collect();
    (numbers[0], numbers[0] + numbers[1])
}

as_user!(without_newuidmap_one_id_exists, |world| {
    if !can_mount() {
        return;
    }
    // All programs but these two.
    let script = "mkdir $WORLD/programs-$$; for file in /usr/bin/* /usr/sbin/* /bin/* /sbin/*; do
                  case $file in */newuidmap|*/newgidmap) ;; *) ln -sf $file $WORLD/programs-$$/;; esac; done
                  export PATH=${PATH%%:*}:$WORLD/programs-$$";
    let cure = "sudo apt-get install uidmap (Fedora: sudo dnf install shadow-utils)";
    runs_with_one_id(world, script, &format!("newuidmap is not installed ({cure})"));
});

as_user!(with_a_newuidmap_that_has_no_privilege_one_id_exists_and_the_cure_works, |world| {
    if !can_mount() {
        return;
    }
    let script = "newuidmap=$(command -v newuidmap); [ -e $WORLD/newuidmap ] || cp $newuidmap $WORLD/newuidmap
                  mount --bind $WORLD/newuidmap $newuidmap";
    let program = shell(world, "command -v newuidmap").ok().to_owned();
    let cure = format!("sudo chmod u+s {program}");
    runs_with_one_id(world, script, &format!("{program} has no privilege ({cure})"));
    let command: Vec<&str> = cure.split(' ').skip(1).collect();
    as_root_after(world, script, command[0], &command[1..]).ok();
    let output = after(world, script, "podling", &["unshare", "wc", "-l", "/proc/self/uid_map"]);
    assert_eq!(output.ok(), "2 /proc/self/uid_map");
});

as_user!(where_no_privilege_may_be_gained_one_id_exists, |world| {
    if !can_mount() {
        return;
    }
    let line = "setpriv --no-new-privs podling unshare cat /proc/self/uid_map | wc -l";
    let output = shell(world, line);
    assert_eq!(output.ok(), "1");
    let why = "no_new_privs is set: newuidmap gets no privilege (start podling where no_new_privs is not set \
               (systemd: NoNewPrivileges=no))";
    assert_eq!(output.stderr, format!("{WARNING}{why}\n"));
});

as_user!(a_broken_line_of_subuid_is_named, |world| {
    if !can_mount() {
        return;
    }
    let script =
        format!("echo {}:many:65536 >$WORLD/subuid; mount --bind $WORLD/subuid /etc/subuid", setup().user.name);
    let output = after(world, &script, "podling", &["unshare", "true"]);
    let line = format!("{}:many:65536", setup().user.name);
    assert_eq!(output.fails(125), format!("Error: /etc/subuid: line 1: {line:?} is not NAME:START:COUNT"));
});

as_user!(an_image_with_larger_ids_is_refused_before_anything_is_kept, |world| {
    let layer = Layer::new().file("small", 0o644, "x").file_of("home/big", 0o644, 1_500_000, "x");
    let archive = world.directory("archive").join("big.tar");
    Layout::new(vec![layer], &serde_json::json!({})).write_archive(&archive, "big");
    let registry = setup().registry();
    registry.push(&archive, "big", &[]);
    let output = world.podling(["pull", "-q", &format!("{}/big", world.registry())]);
    let said = output.fails(125);
    assert!(said.contains("/home/big belongs to user 1500000, but this user namespace has only user ids 0-"), "{said}");
    assert!(
        said.ends_with("give yourself more in /etc/subuid (at least 1500001 ids; `podling doctor` tells how)"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
    let layers = fs::read_dir(world.data().join("layers")).into_iter().flatten().flatten();
    assert_eq!(layers.filter(|entry| entry.path().is_dir()).count(), 0, "no half of it is left");
});
