//! Chapter 5: a group of one's own. What needs delegated controllers is tried in `delegated`; here is what any group does:
//! birth in it, orders to all of it, and words for a machine that cannot.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use podling::linux::cgroup::{Cgroup, Hierarchy};

use super::mount::bare_root;
use crate::running::{Input, Running, until};
use crate::setup::setup;
use crate::world::World;

const CHAPTER: &str = "chapter05_cgroups";

both!(its_help_teaches, |world| {
    world.snapshot("chapter05_help", world.chapter(CHAPTER, ["--help"]).ok());
});

/// Starts a program as this user, in a mount namespace where /sys/fs/cgroup is a tree of version 2 alone; in `group`, which
/// is root's still, if one is given.
fn spawn(world: &World, uid: u32, group: Option<&Cgroup>, program: &str, words: &[&str]) -> Running {
    let script = "umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup
                  [ -z \"$0\" ] || echo $$ > \"/sys/fs/cgroup$0/cgroup.procs\"
                  uid=$1; shift
                  exec setpriv --reuid=$uid --regid=$uid --clear-groups --inh-caps=-all -- \"$@\"";
    let group = group.map_or_else(String::new, |group| group.path().display().to_string());
    let mut command = world.command("unshare");
    command.args(["--mount", "--propagation=private", "sh", "-c", script, &group, &uid.to_string()]);
    command.arg(setup().chapter(program)).args(words);
    Running::start(command, Input::Empty)
}

/// A group that belongs to this user; `None` on a machine without a tree of version 2.
fn group_of(world: &World, uid: u32) -> Option<Cgroup> {
    let hierarchy = Hierarchy::find()?;
    let group = Cgroup::create(&hierarchy, &Path::new("/").join(world.tag() + &uid.to_string())).expect("we are root");
    for file in ["", "cgroup.procs", "cgroup.subtree_control"] {
        chown(group.directory().join(file), Some(uid), Some(uid)).expect("we are root");
    }
    Some(group)
}

fn is(group: &Path, event: &str) -> Option<()> {
    let events = fs::read_to_string(group.join("cgroup.events")).ok()?;
    events.lines().any(|line| line == event).then_some(())
}

as_root!(a_program_is_born_in_its_group_and_takes_orders_with_it, |world| {
    for uid in [0, setup().user.uid] {
        let Some(group) = group_of(world, uid) else { return };
        let root = bare_root(world);
        // On a machine with both versions the other's groups stand before it.
        let seen = spawn(world, uid, Some(&group), CHAPTER, &["--root", &root, "/witness", "cgroup"]).wait();
        assert!(seen.ok().ends_with("0::/"), "{seen}");
        let mut running = spawn(world, uid, Some(&group), CHAPTER, &["--root", &root, "/witness", "family", "2"]);
        running.expect("ready\nready\nready");
        let own: PathBuf = group.directory().join(format!("chapter05-{}", running.pid()));
        let processes = fs::read_to_string(own.join("cgroup.procs")).expect("the group is there");
        assert_eq!(processes.lines().count(), 3, "{processes}");
        let order = |order: &str| {
            let one = processes.lines().next_back().expect("three");
            spawn(world, uid, None, "chapter05_orders", &[order, one]).wait().ok().to_owned()
        };
        order("freeze");
        until("all are frozen", || is(&own, "frozen 1"));
        order("thaw");
        until("all go on", || is(&own, "frozen 0"));
        order("kill");
        assert_eq!(running.wait().status, 137);
        assert!(!own.exists(), "the group is left");
        group.remove().expect("it is empty");
    }
});

as_root!(an_order_is_for_groups_of_the_chapter_only, |world| {
    let mut running = Running::start(command(world, "witness", &["until-term"]), Input::Empty);
    running.line();
    let said = world.chapter("chapter05_orders", ["kill", &running.pid().to_string()]).fails(125).to_owned();
    assert!(said.contains("is not in a group of chapter05_cgroups"), "{said}");
    running.signal(Signal::SIGTERM);
    running.wait().ok();
});

fn command(world: &World, program: &str, words: &[&str]) -> std::process::Command {
    let mut command = world.command(program);
    command.args(words);
    command
}

as_root!(a_controller_that_is_not_there_is_an_error_with_its_cure, |world| {
    let user = setup().user.uid;
    let Some(group) = group_of(world, user) else { return };
    if fs::read_to_string(group.directory().join("cgroup.controllers")).expect("a group").contains("memory") {
        group.remove().expect("it is empty");
        return;
    }
    let said = spawn(world, user, Some(&group), CHAPTER, &["--memory", "64M", "true"]).wait();
    let said = said.fails(125);
    assert!(said.starts_with("Error: writing \"+memory\" into "), "{said}");
    assert!(said.ends_with("hint: the controller is not delegated to you: see 'podling doctor'"), "{said}");
    group.remove().expect("it is empty");
});

as_root!(who_has_no_group_and_no_systemd_is_told_where_to_get_one, |world| {
    if Hierarchy::find().is_none() || Path::new("/run/systemd/system").exists() {
        return;
    }
    let said = spawn(world, setup().user.uid, None, CHAPTER, &["true"]).wait();
    let said = said.fails(125);
    assert!(said.starts_with("Error: no control group is ours to divide, and systemd gives us none: "), "{said}");
    assert!(said.contains("\nhint: log in at the console or by ssh"), "{said}");
});

both!(a_machine_of_version_1_is_told_what_to_boot_with, |world| {
    if Hierarchy::find().is_some_and(|hierarchy| !hierarchy.is_hybrid()) {
        return;
    }
    let said = world.chapter(CHAPTER, ["true"]);
    assert!(
        said.fails(125).starts_with("Error: control groups of version 2 are not mounted on /sys/fs/cgroup"),
        "{said}"
    );
    assert!(said.stderr.contains("hint: boot with systemd.unified_cgroup_hierarchy=1"), "{said}");
});
