//! The command line: words become requests, results become tables, errors become one line and an exit status.
//!
//! ```text
//! argv ──words──▶ globals + verb + its words ──clap──▶ a struct per verb ──Verb::run──▶ engine, image
//!                                                                             │
//!                          one line on stderr, 125 · 126 · 127  ◀──failure────┴──format──▶ tables, JSON, templates
//! ```
//!
//! `alias podman=podling` is the promise: names, flags, output shapes and exit statuses are Podman's. What a person
//! meets only here (help texts, error lines) is our own and says the useful thing.
//!
//! The subtlety is that Podman is written in Go, whose flag library reads arguments by other rules than clap:
//! `--rm=false`, `--cpus -1`, and everything after IMAGE belongs to the container. [`words`] brings every command line
//! into one canonical form first, so that clap has nothing to guess; and only the verb that was asked for is built,
//! because a tree of sixty verbs costs more to build than a `ps` takes.

mod completion;
mod copy;
mod diff;
mod doctor;
mod events;
mod exec;
mod export;
pub mod failure;
pub mod filter;
pub mod format;
mod globals;
mod help;
pub mod images;
mod info;
mod inspect;
mod later;
mod logs;
mod port;
pub mod progress;
mod ps;
mod remove;
pub mod request;
mod run;
pub mod select;
mod start;
mod stats;
mod stop;
mod system;
mod top;
pub mod tree;
mod update;
mod verbs;
mod volume;
mod volume_archive;
mod whole;
mod words;

use std::ffi::OsString;

use anyhow::Result;

pub use globals::{Context, Globals};

/// What a command line verb is: a set of flags, and what to do with them. The value is podling's exit status.
pub trait Verb: clap::Args {
    /// Does it.
    fn run(self, context: &Context) -> Result<i32>;
}

/// The whole program: reads the words after the program's name, does what they say, and returns the exit status.
pub fn main(arguments: impl Iterator<Item = OsString>) -> i32 {
    crate::trace::begin(crate::trace::Actor::Engine);
    match dispatch(arguments.collect()) {
        Ok(status) => status,
        Err(error) => failure::report(&error),
    }
}

fn dispatch(arguments: Vec<OsString>) -> Result<i32> {
    let mut call =
        words::Call::read(arguments, &globals::command()).map_err(|error| failure::misuse(error.to_string(), ""))?;
    let globals = Globals::parse(std::mem::take(&mut call.globals))?;
    if globals.version {
        return failure::print(&format!("podling version {}\n", env!("CARGO_PKG_VERSION")));
    }
    if call.words.first().is_some_and(|word| word == completion::ASKED) {
        return completion::answer(&call.words[1..]);
    }
    let Some(entry) = verbs::find(&mut call.words) else { return help::no_such_verb(&call.words) };
    let path = entry.path;
    let command = verbs::command(&entry);
    let mut after = words::after_verb(std::mem::take(&mut call.words), &command, &globals::command())
        .map_err(|error| failure::misuse(error.to_string(), path))?;
    let globals = globals.and(Globals::parse(std::mem::take(&mut after.globals))?);
    let matches = match command.try_get_matches_from(after.words) {
        Ok(matches) => matches,
        Err(error) => return failure::usage(&error, path),
    };
    let context = Context::begin(globals)?;
    (entry.verb.run)(&matches, &context)
}
