//! Whom a container's program runs as: its groups, its name, its capabilities, and what it may write to.

use crate::running::Output;
use crate::second_opinion::{self, other_runtime};
use crate::world::World;

/// `podling run --rm --network=none FLAGS… busybox sh -c SCRIPT`
#[track_caller]
fn run(world: &World, flags: &[&str], script: &str) -> Output {
    let image = world.image("busybox");
    world.podling([&["run", "--rm", "--network=none"], flags, &[image, "sh", "-c", script]].concat())
}

both!(a_user_keeps_his_own_group_among_the_further_ones, |world| {
    const GROUPS: &str = "grep ^Groups /proc/self/status | tr -s '\\t ' ' '";
    assert_eq!(run(world, &["-u", "somebody"], GROUPS).ok(), "Groups: 1000 ");
    assert_eq!(run(world, &["-u", "somebody:7", "--group-add=0"], GROUPS).ok(), "Groups: 0 7 ");
    assert_eq!(run(world, &[], GROUPS).ok(), "Groups: ", "who was not named is root, as ever");
    let image = world.image("busybox");
    world.podling(["run", "-d", "--name=a", "--network=none", image, "sleep", "1000"]).ok();
    assert_eq!(world.podling(["exec", "-u", "somebody", "a", "sh", "-c", GROUPS]).ok(), "Groups: 1000 ");
});

both!(a_container_may_keep_the_callers_groups, |world| {
    if second_opinion::is("runc") {
        return; // It has no word for this.
    }
    let ours = world.program("sh", ["-c", "id -G | wc -w"]).ok().to_owned();
    let kept = run(world, &["--group-add=keep-groups"], "grep ^Groups /proc/self/status | wc -w").ok().to_owned();
    // The title is a word, too; and the kernel's list may lack the group that the process has anyway.
    let (ours, kept): (usize, usize) = (ours.parse().expect("a number"), kept.parse().expect("a number"));
    assert!(kept == ours + 1 || kept == ours, "{kept} of {ours}");
    let both = run(world, &["--group-add=keep-groups", "--group-add=7"], "true");
    assert!(both.fails(125).contains("keep-groups cannot be used with other groups"), "{both}");
});

both!(a_number_that_the_image_does_not_know_gets_a_name, |world| {
    let who = "tail -n1 /etc/passwd; tail -n1 /etc/group";
    assert_eq!(run(world, &["-u", "77:78", "-w/tmp"], who).ok(), "77:*:77:78:container user:/tmp:/bin/sh\n78:x:78:77");
    let known = "somebody:x:1000:1000::/home:/bin/sh\nsomebody:x:1000:";
    assert_eq!(run(world, &["-u", "1000"], who).ok(), known);
    assert_eq!(run(world, &["-u", "77:78", "--passwd=false"], who).ok(), known);
    let own = ["-u", "77:78", "--passwd-entry=me:x:$UID:${GID}::/me:/bin/sh", "--group-entry=us:x:$GID:"];
    assert_eq!(
        run(world, &own, &format!("{who}; whoami; echo $HOME")).ok(),
        "me:x:77:78::/me:/bin/sh\nus:x:78:\nme\n/me"
    );
});

both!(who_is_not_there_cannot_be_run_as, |world| {
    let said = [&["-u", "nosuch"][..], &["-u", "somebody:nosuch"], &["--group-add=nosuch"]]
        .map(|flags| run(world, flags, "true").fails(126).to_owned());
    world.snapshot("no_such_user", &said.join("\n"));
    let image = world.image("busybox");
    world.podling(["run", "-d", "--name=a", "--network=none", image, "sleep", "1000"]).ok();
    world.podling(["exec", "-u", "nosuch", "a", "true"]).fails(126);
    if second_opinion::is("crun") {
        return; // It does not speak of executing here.
    }
    // As Podman: the program is not to be found where it was to begin.
    world.podling(["exec", "-w", "/nosuch", "a", "true"]).fails(127);
});

both!(all_capabilities_are_a_users_too, |world| {
    let caps = run(world, &["-u", "somebody", "--cap-add=all"], "grep -e CapBnd -e CapAmb /proc/self/status | cut -f2");
    let sets: Vec<&str> = caps.ok().lines().collect();
    assert_eq!(sets[0], sets[1], "the ambient set is the whole bounding set");
    assert_ne!(sets[0].trim_start_matches('0'), "");
});

both!(a_new_volume_belongs_to_the_containers_user, |world| {
    let show = "touch /data/file; stat -c '%u:%g %a' /data";
    assert_eq!(run(world, &["-u", "somebody", "-v", "new:/data"], show).ok(), "1000:1000 755");
    assert_eq!(run(world, &["-u", "somebody", "-v", "/data"], show).ok(), "1000:1000 755", "an anonymous one");
    // Somebody else's it stays, and so does what the image has at that place.
    assert_eq!(run(world, &["-v", "new:/data"], show).ok(), "1000:1000 755");
    assert_eq!(run(world, &["-u", "somebody", "-v", "temporary:/tmp"], "stat -c '%u:%g %a' /tmp").ok(), "0:0 1777");
    // What the host lends is the host's.
    let shared = world.directory("shared");
    let options = [format!("--opt=device={}", shared.display()), "--opt=o=bind".into()];
    world.podling(["volume", "create", &options[0], &options[1], "lent"]).ok();
    assert_eq!(run(world, &["-u", "somebody", "-v", "lent:/data"], "stat -c %u /data").ok(), "0");
});

both!(everybody_may_write_to_a_new_tmpfs, |world| {
    let mode = |flag: &str, directory: &str| {
        run(world, &["-u", "somebody", flag], &format!("stat -c %a {directory}")).ok().to_owned()
    };
    assert_eq!(mode("--tmpfs=/new", "/new"), "1777");
    assert_eq!(mode("--mount=type=tmpfs,target=/new", "/new"), "1777");
    assert_eq!(mode("--tmpfs=/new:mode=711", "/new"), "711");
    // Over a directory of the image's it is like that one, unless somebody says how. (runc heeds only the former, crun
    // neither.)
    if other_runtime().is_some() {
        return;
    }
    assert_eq!(mode("--tmpfs=/etc", "/etc"), "755");
    assert_eq!(mode("--tmpfs=/etc:mode=711", "/etc"), "711");
});
