//! Death at any moment: whoever is killed, the next command works, and `rm --all` leaves nothing.
//!
//! A command is first run with `--explain=json`, which lists every event of every process of the chain. Then it is run
//! again for each kind of event, and `PODLING_FAULT` (src/trace/fault.rs) kills that process right there. Events of one
//! name leave a process in much the same state, so of each name only the first and of each process also the last is tried.

use serde_json::Value;

use crate::leftovers;
use crate::running::{Input, Output, Running};
use crate::second_opinion::other_runtime;
use crate::setup::setup;
use crate::world::World;

const RUN: [&str; 5] = ["run", "--rm", "--network=none", "--name=victim", "witness"];
const BACKGROUND: [&str; 6] = ["run", "-d", "--network=none", "--name=victim", "witness", "until-term"];

fn with(world: &World, fault: &str, words: &[&str]) -> Output {
    let mut command = world.command(setup().bin("podling"));
    command.env("PODLING_FAULT", fault).args(words);
    Running::start(command, Input::Empty).wait()
}

/// The points at which a command can lose a process: `ACTOR/WORD:NUMBER`, for each process that speaks.
fn points(world: &World, words: &[&str]) -> Vec<String> {
    let told = world.podling([&["--explain=json"], words].concat());
    let events = told.stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    // In the order in which they first speak; a copy that clone3 made speaks as somebody else.
    let mut processes: Vec<(String, u64, Vec<String>)> = Vec::new();
    for event in events {
        let actor = event["actor"].as_str().expect("an event has an actor");
        let (pid, call) = (event["pid"].as_u64().expect("and a pid"), event["call"].as_str().expect("and a name"));
        let known = processes.iter_mut().find(|(who, number, _)| who == actor && *number == pid);
        match known {
            Some((_, _, calls)) => calls.push(call.into()),
            None => processes.push((actor.into(), pid, vec![call.into()])),
        }
    }
    let mut points = Vec::new();
    for (actor, _, calls) in processes {
        // The runtime is called with several commands; each is known by what only it does.
        let who = match actor.as_str() {
            "runtime" if calls.iter().any(|call| call == "clone3") => {
                if words[0] == "exec" { "runtime/exec" } else { "runtime/create" }.to_string()
            }
            "runtime" if calls.iter().any(|call| call == "rmdir") => "runtime/delete".into(),
            "runtime" => "runtime/start".into(),
            _ => actor,
        };
        let first = |number: &usize| !calls[..*number].contains(&calls[*number]);
        let mut numbers: Vec<usize> = (0..calls.len()).filter(first).map(|number| number + 1).collect();
        numbers.push(calls.len());
        numbers.dedup();
        points.extend(numbers.into_iter().map(|number| format!("{who}:{number}")));
    }
    points
}

fn start(world: &World) {
    world.podling(BACKGROUND).ok();
}

/// Nothing is left but what a later command can put right.
#[track_caller]
fn recovers(world: &World, fault: &str) {
    let names = leftovers::cgroup_names(world);
    let listed = world.podling(["ps", "--all", "--format", "{{.Names}} {{.State}}"]);
    assert_eq!(listed.status, 0, "{fault}: {listed}");
    let next = ["run", "--rm", "--replace", "--network=none", "--name=victim", "witness", "echo", "next"];
    let next = world.podling(next);
    assert_eq!((next.status, next.stdout.as_str()), (0, "next\n"), "{fault}: {next}\nbefore: {listed}");
    clean(world, fault, &names);
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
    let points = points(world, words);
    clean(world, "no fault", &[]);
    // Another runtime tells no steps, and has no faults: of an exec, say, only the engine's are left.
    let least = if other_runtime().is_none() { 6 } else { 4 };
    assert!(points.len() >= least, "{words:?} says too little of itself: {points:?}");
    let mut hit = 0;
    for fault in &points {
        before();
        hit += usize::from(with(world, fault, words).status != 0);
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

both!(a_volume_is_made_and_removed_whole_or_not_at_all, |world| {
    let data = world.data().join("volumes/victim/_data");
    let before = || {
        world.podling(["volume", "create", "--ignore", "victim"]).ok();
        std::fs::write(data.join("precious"), "").expect("it is ours");
    };
    let remove = ["volume", "rm", "victim"];
    before();
    let removing = points(world, &remove);
    let making = points(world, &["volume", "create", "victim"]);
    assert!(removing.len() > 4 && making.len() > 3, "{removing:?} {making:?}");
    for fault in &removing {
        before();
        with(world, fault, &remove);
        let left = world.podling(["volume", "ls", "-q"]).ok().to_owned();
        assert_eq!(left == "victim", data.join("precious").exists(), "{fault}: {left}");
        world.podling(["volume", "create", "--ignore", "victim"]).ok();
        assert_eq!(left == "victim", data.join("precious").exists(), "{fault}: a new one is empty");
        clean(world, fault, &[]);
    }
    for fault in &making {
        world.podling(["volume", "rm", "--force", "victim"]).ok();
        with(world, fault, &["volume", "create", "victim"]);
        world.podling(["volume", "create", "--ignore", "victim"]).ok();
        clean(world, fault, &[]);
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
