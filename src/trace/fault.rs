//! Death at a chosen moment: the narration's events are also the places where a test lets a process die.
//!
//! Any of our processes may be killed between any two system calls. With `PODLING_FAULT=ACTOR[/WORD]:EVENT` in its
//! environment a process kills itself right after an event, as `kill -9` would: no handler, no destructor, no last word.
//!
//! | `PODLING_FAULT` | who dies, and when |
//! |---|---|
//! | `engine:7` | podling, after its seventh event |
//! | `monitor:rename` | podling-monitor, after its first event of this name |
//! | `engine/cleanup:1` | podling, called with the word `cleanup` (the exit command), after its first event |
//! | `runtime/create:clone3` | podling-runtime, called with the word `create`, having just made the child |
//! | `init:0` | the container's first process, before its first event |
//! | `list:FILE` | nobody: each process writes its events into this file, a line each |
//!
//! The number `0` means as soon as the process is this actor. Between two events a process may do what no reader of the
//! narration need hear of, and what is dangerous to be killed in the middle of: there stands a [`point`], which is counted
//! like an event and told to nobody but the list. Unset, the variable costs each of them one load.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use nix::sys::signal::{Signal, raise};

use super::Actor;

/// The variable; every program that we start inherits it.
const VARIABLE: &str = "PODLING_FAULT";
/// How many events this process has had already, as another program or as itself begun anew.
const COUNTED: &str = "PODLING_FAULT_COUNTED";

static PLAN: OnceLock<Plan> = OnceLock::new();
/// How many events this process has had as the actor that it is.
static EVENTS: AtomicU32 = AtomicU32::new(0);

/// What the variable has said.
#[derive(Debug)]
enum Plan {
    Die(Fault),
    /// The file, and this program's command line.
    List(File, String),
}

/// Where this process, or the copy that `clone3` makes of it, is to die.
#[derive(Debug, PartialEq, Eq)]
struct Fault {
    actor: String,
    event: Event,
}

#[derive(Debug, PartialEq, Eq)]
enum Event {
    Number(u32),
    Name(String),
}

impl Fault {
    /// None if it means another program, or nothing.
    fn parse(said: &str, words: impl Iterator<Item = OsString>) -> Option<Self> {
        let (who, event) = said.split_once(':')?;
        let (actor, word) = who.split_once('/').map_or((who, None), |(actor, word)| (actor, Some(word)));
        if let Some(word) = word
            && !words.into_iter().any(|given| given == word)
        {
            return None;
        }
        let event = event.parse().map_or_else(|_| Event::Name(event.into()), Event::Number);
        Some(Self { actor: actor.into(), event })
    }

    fn is_at(&self, actor: Actor, number: u32, name: &str) -> bool {
        let here = match &self.event {
            Event::Number(wanted) => number == *wanted,
            Event::Name(wanted) => name == wanted,
        };
        here && self.actor == actor.name()
    }
}

impl Plan {
    fn read(said: &str) -> Option<Self> {
        let Some(list) = said.strip_prefix("list:") else {
            return Fault::parse(said, std::env::args_os().skip(1)).map(Self::Die);
        };
        let file = File::options().append(true).create(true).open(list).ok()?;
        let words: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
        Some(Self::List(file, words.join(" ")))
    }
}

/// Reads the variable, once for this program, which is `actor`.
pub(super) fn begin(actor: Actor) {
    if let Some(plan) = std::env::var(VARIABLE).ok().and_then(|said| Plan::read(&said)) {
        let _ = PLAN.set(plan);
    }
    become_actor(actor);
    if let Some(counted) = std::env::var(COUNTED).ok().and_then(|said| said.parse().ok()) {
        EVENTS.store(counted, Relaxed);
    }
}

/// A word of the environment for who begins this program anew in the same process: the count goes on.
pub(super) fn carried() -> Option<(&'static str, String)> {
    is_set().then(|| (COUNTED, EVENTS.load(Relaxed).to_string()))
}

/// Whether this process may have to die: then events must be counted though nobody listens.
pub(super) fn is_set() -> bool {
    PLAN.get().is_some()
}

/// Counts from the start: this process is `actor` now.
pub(super) fn become_actor(actor: Actor) {
    EVENTS.store(0, Relaxed);
    come_to(actor, 0, "");
}

/// Counts an event of `actor`'s, and dies of it if it is the one.
pub(super) fn reached(actor: Actor, name: &str) {
    if is_set() {
        come_to(actor, EVENTS.fetch_add(1, Relaxed) + 1, name);
    }
}

fn come_to(actor: Actor, number: u32, name: &str) {
    match PLAN.get() {
        Some(Plan::Die(fault)) if fault.is_at(actor, number, name) => {
            let _ = raise(Signal::SIGKILL);
            // Still here: the first process of a pid namespace is not killed from inside it (pid_namespaces(7)).
            crate::sys::exit_now(137);
        }
        Some(Plan::List(file, words)) if number > 0 => {
            let line = format!("{}\t{}\t{number}\t{name}\t{words}\n", actor.name(), std::process::id());
            let mut file = file;
            let _ = file.write_all(line.as_bytes());
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(said: &str) -> Option<Fault> {
        Fault::parse(said, ["--root", "/x", "create"].map(OsString::from).into_iter())
    }

    #[test]
    fn a_fault_is_for_one_actor_one_command_and_one_event() {
        let third = parse("engine:3").expect("a fault");
        assert!(third.is_at(Actor::Engine, 3, "flock"));
        assert!(!third.is_at(Actor::Engine, 2, "flock") && !third.is_at(Actor::Monitor, 3, "flock"));
        let named = parse("runtime/create:clone3").expect("this command has the word");
        assert!(named.is_at(Actor::Runtime, 9, "clone3") && !named.is_at(Actor::Init, 9, "clone3"));
        assert_eq!(parse("runtime/delete:1"), None);
        assert_eq!(parse("nonsense"), None);
    }
}
