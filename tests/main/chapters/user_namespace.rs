//! Chapter 2: root inside, the caller outside, and what that root cannot do.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use nix::unistd::{Gid, Uid};

use crate::running::{Input, Running};
use crate::setup::setup;
use crate::world::{Who, World};

const CHAPTER: &str = "chapter02_user_namespace";

/// Who acts in this world.
fn ids(world: &World) -> (u32, u32) {
    match world.who {
        Who::Root => (Uid::current().as_raw(), Gid::current().as_raw()),
        Who::User => (setup().user.uid, setup().user.gid),
    }
}

both!(it_ends_as_its_program_ended, |world| {
    assert_eq!(world.chapter(CHAPTER, ["witness", "echo", "--single"]).ok(), "--single");
    world.chapter(CHAPTER, ["witness", "exit", "7"]).fails(7);
    world.chapter(CHAPTER, ["witness", "signal", "9"]).fails(137);
    assert_eq!(
        world.chapter(CHAPTER, ["/no-such-program"]).fails(127),
        "Error: exec: \"/no-such-program\": no such file or directory"
    );
    assert_eq!(world.chapter(CHAPTER, ["/etc/passwd"]).fails(126), "Error: exec: \"/etc/passwd\": permission denied");
});

both!(its_help_teaches, |world| {
    world.snapshot("chapter02_help", world.chapter(CHAPTER, ["--help"]).ok());
});

both!(root_inside_is_the_caller_outside, |world| {
    let (uid, gid) = ids(world);
    let said = world.chapter(CHAPTER, ["--single", "--show", "witness", "ids"]);
    let map = format!("uid_map 0 {uid} 1\ngid_map 0 {gid} 1");
    assert!(said.ok().starts_with("Uid 0 0 0 0\nGid 0 0 0 0\n"), "{said}");
    assert!(said.ok().ends_with(&map), "{said}");
    assert!(said.stderr.contains(&format!("outside Uid:\t{uid}\t{uid}\t{uid}\t{uid}\n")), "{said}");
    assert!(said.stderr.contains("inside  Uid:\t0\t0\t0\t0\n"), "{said}");
    // All there are, whatever the caller has; but in there only.
    let capabilities = world.chapter(CHAPTER, ["witness", "status", "CapPrm", "CapEff"]).ok().to_owned();
    let sets: Vec<&str> = capabilities.lines().filter_map(|line| line.split(' ').nth(1)).collect();
    let last: u32 =
        fs::read_to_string("/proc/sys/kernel/cap_last_cap").expect("proc").trim().parse().expect("a number");
    assert_eq!(sets, [&*format!("{:016x}", u64::MAX >> (63 - last)); 2]);
});

as_user!(lent_ids_are_mapped_after_the_callers_own, |world| {
    let (uid, _) = ids(world);
    let lent = fs::read_to_string("/etc/subuid").expect("the test's user has lent ids");
    let lent = lent.lines().find_map(|line| line.strip_prefix(&format!("{}:", setup().user.name))).expect("a range");
    let said = world.chapter(CHAPTER, ["witness", "ids"]);
    assert!(said.ok().contains(&format!("uid_map 0 {uid} 1\nuid_map 1 {}\n", lent.replace(':', " "))), "{said}");
    // Root with other ids at hand can become others, and has left the caller's groups.
    assert!(said.ok().contains("\nGroups \n"), "{said}");
    let become_daemon = ["setpriv", "--reuid=1", "--regid=1", "--clear-groups", "witness", "status", "Uid"];
    assert_eq!(world.chapter(CHAPTER, become_daemon).ok(), "Uid 1 1 1 1");
});

as_user!(without_newuidmap_there_is_only_the_callers_own_id, |world| {
    let mut command = world.command(setup().chapter(CHAPTER));
    command.env("PATH", setup().bin("")).args(["witness", "ids"]);
    let said = Running::start(command, Input::Empty).wait();
    let (uid, gid) = ids(world);
    assert!(said.ok().ends_with(&format!("uid_map 0 {uid} 1\ngid_map 0 {gid} 1")), "{said}");
});

as_user!(a_map_that_is_refused_ends_the_child_too, |world| {
    let programs = world.directory("programs");
    for name in ["newuidmap", "newgidmap"] {
        let program = world.file(&format!("programs/{name}"), "#!/bin/sh\nexit 1\n");
        fs::set_permissions(program, fs::Permissions::from_mode(0o755)).expect("our own file");
    }
    let mut command = world.command(setup().chapter(CHAPTER));
    command.env("PATH", programs).args(["/bin/sh", "-c", "echo ran"]);
    let said = Running::start(command, Input::Empty).wait();
    // Its pid is in the message, and says nothing.
    let said = said.fails(125);
    assert!(said.starts_with("Error: newgidmap refused ") && said.lines().count() == 1, "{said}");
});

both!(it_says_what_it_asks_of_the_kernel, |world| {
    let said = world.chapter(CHAPTER, ["--explain", "--single", "true"]);
    let calls: Vec<&str> = said.stderr.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(calls, ["clone3", "write", "write", "write", "setgroups", "execve", "waitid"], "{said}");
});

as_user!(the_attack_root_inside_reads_nothing_that_is_the_machines_roots, |world| {
    let said = world.chapter(CHAPTER, ["sh", "-c", "id -u; cat /etc/shadow"]);
    said.fails(1);
    assert_eq!((said.stdout.trim_end(), said.stderr.trim_end()), ("0", "cat: /etc/shadow: Permission denied"));
});

as_root!(the_attack_root_inside_mounts_nothing_on_the_machine, |world| {
    let place = world.directory("place");
    let script = "mount -t tmpfs mine \"$0\" && umount \"$0\"";
    let place = place.to_str().expect("plain ASCII");
    // On the chapter before it works.
    world.chapter("chapter01_fork", ["sh", "-c", script, place]).ok();
    let said = world.chapter(CHAPTER, ["sh", "-c", script, place]);
    assert!(said.fails(32).contains("permission denied"), "{said}");
});

both!(who_may_make_no_namespace_is_told, |world| {
    // Inside of its own user namespace root may forbid them.
    let script = "echo 0 > /proc/sys/user/max_user_namespaces; exec \"$0\" true";
    let chapter = setup().chapter(CHAPTER);
    let said = world.chapter(CHAPTER, ["sh", "-c", script, chapter.to_str().expect("plain ASCII")]);
    assert_eq!(
        said.fails(125),
        "Error: making namespaces (user): No space left on device\n\
         hint: no more namespaces are allowed: see /proc/sys/user/"
    );
});
