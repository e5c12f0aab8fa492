//! The places where a command can lose one of its processes.
//!
//! The command is run once with `PODLING_FAULT=list:FILE` (src/trace/fault.rs): every process of ours that it starts, the
//! exit command long after it among them, writes there what it does. Each line is a place to die.

use std::fs;

use crate::running::{Input, Output, Running};
use crate::setup::setup;
use crate::world::World;

/// Where a process is to die.
#[derive(Debug, Clone)]
pub struct Point {
    /// `ACTOR/WORD:NUMBER`, as `PODLING_FAULT` takes it.
    pub fault: String,
    /// What has just been done there.
    pub name: String,
    /// The first of its name in its process, or the last of all.
    marked: bool,
}

impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{} ({})", self.fault, self.name)
    }
}

/// An event's number and name.
type Event<'a> = (&'a str, &'a str);

/// The command with a process killed at this point.
pub fn with(world: &World, fault: &str, words: &[&str]) -> Output {
    let mut command = world.command(setup().bin("podling"));
    command.env("PODLING_FAULT", fault).args(words);
    Running::start(command, Input::Empty).wait()
}

/// All points of a command. `after` returns when the last of its processes has ended.
pub fn all(world: &World, words: &[&str], after: impl FnOnce()) -> Vec<Point> {
    let list = world.file("tmp/.points", "");
    let told = with(world, &format!("list:{}", list.display()), words);
    after();
    let lines = fs::read_to_string(&list).expect("our own file");
    assert!(!lines.is_empty(), "nothing is told by{told}");
    // In the order in which they first speak; a copy that clone3 made speaks as somebody else.
    let mut processes: Vec<(Vec<&str>, Vec<Event>)> = Vec::new();
    for line in lines.lines() {
        let [actor, pid, number, name, command] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("a line of five columns: {line}")
        };
        let who = vec![actor, pid, command];
        match processes.iter_mut().find(|(known, _)| *known == who) {
            Some((_, events)) => events.push((number, name)),
            None => processes.push((who, vec![(number, name)])),
        }
    }
    let mut points: Vec<Point> = Vec::new();
    for (who, events) in &processes {
        let (actor, command) = (who[0], who[2]);
        let who = word(command, words).map_or(actor.into(), |word| format!("{actor}/{word}"));
        for (at, (number, name)) in events.iter().enumerate() {
            let fault = format!("{who}:{number}");
            let marked = at + 1 == events.len() || events[..at].iter().all(|(_, earlier)| earlier != name);
            match points.iter_mut().find(|known| known.fault == fault) {
                // Of two calls of the same program that a word does not tell apart, the first to come there dies.
                Some(known) => known.marked |= marked,
                None => points.push(Point { fault, name: (*name).into(), marked }),
            }
        }
    }
    points
}

/// By which word of its command line a process is known.
fn word<'a>(command: &str, words: &[&'a str]) -> Option<&'a str> {
    let given = |word: &str| command.split(' ').any(|given| given == word);
    let of_runtime = ["create", "start", "delete", "exec", "kill", "pause", "resume", "update", "state"];
    if command.contains("podling-monitor") {
        return None;
    }
    if command.contains("podling-runtime ") {
        return of_runtime.into_iter().find(|word| given(word));
    }
    if given("cleanup") { Some("cleanup") } else { words.iter().find(|word| !word.starts_with('-')).copied() }
}

/// Those that are tried: all, if `PODLING_TEST_POINTS=all`. Else of each process the first event of each name, since those
/// of one name leave a process in much the same state, and the last; and of the container's own first process, whose death
/// is always the same to the others, very few.
pub fn chosen(points: Vec<Point>) -> Vec<Point> {
    if every() {
        return points;
    }
    let few = ["pivot_root", "read", "execve"];
    let inside = |point: &Point| point.fault.starts_with("init");
    let worth = |point: &Point| point.marked && (!inside(point) || few.contains(&point.name.as_str()));
    points.into_iter().filter(worth).collect()
}

/// The same for a test that has many commands: six at the most, spread over where a process has begun what it has not yet
/// finished. These have names of their own, not a system call's; only of a command without any are others taken.
pub fn few(points: Vec<Point>) -> Vec<Point> {
    if every() {
        return points;
    }
    let begun =
        ["written", "named", "nameless", "filled", "doubted", "ended", "farewell", "placed", "killed", "forgotten"];
    let marked: Vec<Point> = chosen(points).into_iter().filter(|point| !point.fault.starts_with("init")).collect();
    let risky = |point: &&Point| point.name.contains(' ') || begun.contains(&point.name.as_str());
    let mut all: Vec<Point> = marked.iter().filter(risky).cloned().collect();
    if all.is_empty() {
        all = marked;
    }
    let most = 6;
    let step = all.len().div_ceil(most).max(1);
    all.into_iter().step_by(step).collect()
}

/// Whether every point is to be tried.
pub fn every() -> bool {
    std::env::var_os("PODLING_TEST_POINTS").is_some_and(|said| said == "all")
}
