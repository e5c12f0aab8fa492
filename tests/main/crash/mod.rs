//! Death at any moment: whoever is killed, the next command works, and `rm --all` leaves nothing.
//!
//! [`points`] finds all places where a command's processes may die; each is tried, or of those alike one ([`points::chosen`]).
//! The tests here try them in a world with nothing else in it; those of [`matrix`] have every command, beside a container
//! that runs and must not notice.

mod matrix;
mod points;
mod sound;

use self::points::{Point, with};
use crate::leftovers;
use crate::second_opinion::other_runtime;
use crate::world::World;

const RUN: [&str; 5] = ["run", "--rm", "--network=none", "--name=victim", "witness"];
const BACKGROUND: [&str; 6] = ["run", "-d", "--network=none", "--name=victim", "witness", "until-term"];

fn start(world: &World) {
    world.podling(BACKGROUND).ok();
}

/// Nothing is left but what a later command can put right.
#[track_caller]
fn recovers(world: &World, fault: &Point) {
    let names = leftovers::cgroup_names(world);
    let listed = world.podling(["ps", "--all", "--format", "{{.Names}} {{.State}}"]);
    assert_eq!(listed.status, 0, "{fault}: {listed}");
    let next = ["run", "--rm", "--replace", "--network=none", "--name=victim", "witness", "echo", "next"];
    let next = world.podling(next);
    assert_eq!((next.status, next.stdout.as_str()), (0, "next\n"), "{fault}: {next}\nbefore: {listed}");
    clean(world, &fault.to_string(), &names);
}

#[track_caller]
fn clean(world: &World, fault: &str, names: &[String]) {
    let removed = world.podling(["rm", "--all", "--force", "--time=0"]);
    assert_eq!(removed.status, 0, "{fault}: {removed}");
    let left = leftovers::find(world, names);
    assert!(left.is_empty(), "{fault}: left behind:\n  {}", left.join("\n  "));
}

/// Tries a command with each of its processes killed at each of its points. Not one is lost on the way: a fault that did
/// nothing would let the command succeed, and most must not.
fn at_every_point(world: &World, words: &[&str], before: impl Fn()) {
    before();
    let points = points::chosen(points::all(world, words, || clean(world, "no fault", &[])));
    // Another runtime tells no steps, and has no faults: of an exec, say, only the engine's are left.
    let least = if other_runtime().is_none() { 6 } else { 4 };
    assert!(points.len() >= least, "{words:?} says too little of itself: {points:?}");
    let mut hit = 0;
    for fault in &points {
        before();
        hit += usize::from(with(world, &fault.fault, words).status != 0);
        recovers(world, fault);
    }
    assert!(hit * 2 > points.len(), "of {} faults only {hit} were felt", points.len());
}

both!(a_run_survives_the_death_of_any_process_anywhere, |world| {
    world.image("witness");
    at_every_point(world, &[&RUN[..], &["echo", "hello"]].concat(), || ());
});

both!(a_start_in_the_background_survives_too, |world| {
    world.image("witness");
    at_every_point(world, &BACKGROUND, || ());
});

both!(a_stop_survives_too, |world| {
    world.image("witness");
    at_every_point(world, &["stop", "victim"], || start(world));
});

both!(an_exec_survives_too, |world| {
    world.image("witness");
    let before = || start(world);
    at_every_point(world, &["exec", "victim", "/witness", "echo", "hello"], before);
});

// Each point at which something was once lost, by its name.

both!(what_was_let_go_runs_though_nobody_noted_it, |world| {
    world.image("witness");
    with(world, "engine/run:runtime left", &BACKGROUND);
    let state = ["inspect", "--format={{.State.Status}} {{.State.Pid}}", "victim"];
    let before = world.podling(state).ok().to_owned();
    assert!(other_runtime().is_some() || before.starts_with("running "), "{before}");
    world.podling(["start", "victim"]).ok();
    assert_eq!(world.podling(state).ok(), before, "it was not started again");
    world.podling(["rm", "--force", "victim"]).ok();
});

both!(a_renaming_that_broke_off_leaves_no_name_behind, |world| {
    world.image("witness");
    for fault in ["engine/rename:named", "engine/rename:4", "engine/rename:rename"] {
        world.podling(["create", "--network=none", "--name=victim", "witness", "true"]).ok();
        with(world, fault, &["rename", "victim", "renamed"]);
        world.podling(["rm", "--all"]).ok();
        let left = leftovers::find(world, &[]);
        assert!(left.is_empty(), "{fault}: {left:?}");
    }
});

both!(a_volume_is_made_and_removed_whole_or_not_at_all, |world| {
    let data = world.data().join("volumes/victim/_data");
    let before = || {
        world.podling(["volume", "create", "--ignore", "victim"]).ok();
        std::fs::write(data.join("precious"), "").expect("it is ours");
    };
    let remove = ["volume", "rm", "victim"];
    before();
    let removing = points::all(world, &remove, || ());
    let making = points::all(world, &["volume", "create", "victim"], || ());
    assert!(removing.len() > 4 && making.len() > 3, "{removing:?} {making:?}");
    for fault in &removing {
        before();
        with(world, &fault.fault, &remove);
        let left = world.podling(["volume", "ls", "-q"]).ok().to_owned();
        assert_eq!(left == "victim", data.join("precious").exists(), "{fault}: {left}");
        world.podling(["volume", "create", "--ignore", "victim"]).ok();
        assert_eq!(left == "victim", data.join("precious").exists(), "{fault}: a new one is empty");
        clean(world, &fault.to_string(), &[]);
    }
    for fault in &making {
        world.podling(["volume", "rm", "--force", "victim"]).ok();
        with(world, &fault.fault, &["volume", "create", "victim"]);
        world.podling(["volume", "create", "--ignore", "victim"]).ok();
        clean(world, &fault.to_string(), &[]);
    }
});

both!(of_many_who_want_one_new_volume_each_gets_it, |world| {
    let create = ["volume", "create", "--ignore", "shared"];
    let all: Vec<_> = (0..12).map(|_| world.spawn(create)).collect();
    for one in all {
        assert_eq!(one.wait().ok(), "shared");
    }
    let removals: Vec<_> = (0..6).map(|_| world.spawn(["volume", "rm", "--force", "shared"])).collect();
    for one in removals {
        one.wait().ok();
    }
    assert_eq!(world.podling(["volume", "ls", "-q"]).ok(), "");
});

both!(a_removal_survives_too, |world| {
    world.image("witness");
    at_every_point(world, &["rm", "--force", "victim"], || start(world));
});
