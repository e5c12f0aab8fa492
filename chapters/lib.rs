//! What the ten programs share, so that each is about its mechanism alone: how it begins, and how it ends.
//!
//! Every program takes `--help` and `--explain`, prints an error as one line (with a hint where the cure is known), and
//! ends with the status that shells and container engines agree on: that of the program it ran, or
//!
//! ```text
//! 125      it failed itself
//! 126      the program is there and cannot be run
//! 127      the program is not there
//! 128 + n  signal n ended the program
//! ```

use std::ffi::CString;
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Parser};
use podling::hint::{first_paragraph, hinted, render};
use podling::linux::process::NotRunnable;
use podling::trace::{self, Actor, Format, Topic};

pub mod container;
#[cfg(feature = "images")]
pub mod layout;
pub mod machine;
pub mod places;
pub mod scope;

/// The failure is ours, not the program's.
pub const OWN_FAILURE: u8 = 125;

/// A whole `main`: reads the command line, listens if `--explain` asks for it, lives, and says what went wrong.
pub fn run<Options: Parser>(life: impl FnOnce(Options) -> Result<u8>) -> ExitCode {
    trace::begin(Actor::Chapter);
    let command = Options::command().arg(explain());
    let name = command.get_name().to_owned();
    let parsed = command
        .try_get_matches()
        .and_then(|matches| Options::from_arg_matches(&matches).map(|options| (options, matches)));
    ExitCode::from(match parsed {
        Ok((options, matches)) => status(narrate(&matches).and_then(|()| life(options))),
        Err(help) if help.kind() == ErrorKind::DisplayHelp => {
            print!("{help}");
            0
        }
        Err(error) => status(Err(hinted(one_line(&error), format!("see '{name} --help'")))),
    })
}

/// What a life ended with, as an exit status; an error is printed first. A child that cannot become its program ends
/// with this, too.
pub fn status(outcome: Result<u8>) -> u8 {
    outcome.unwrap_or_else(|error| {
        let (status, text) = failure(&error);
        eprint!("{text}");
        status
    })
}

/// The exit status that an error means, and its text.
pub fn failure(error: &anyhow::Error) -> (u8, String) {
    (error.downcast_ref().map_or(OWN_FAILURE, NotRunnable::status), render(error))
}

/// Asks the kernel for something, narrates it, and names what was asked in the error.
pub fn ask<T>(topic: Topic, name: &str, arguments: &str, call: impl FnOnce() -> nix::Result<T>) -> Result<T> {
    trace::ask(topic, name, format_args!("{arguments}"), call).with_context(|| format!("{name} {arguments}"))
}

/// A command line as execve(2) takes it.
pub fn words(program: Vec<std::ffi::OsString>) -> Result<Vec<CString>> {
    Ok(program.into_iter().map(|word| CString::new(word.into_vec())).collect::<Result<_, _>>()?)
}

fn explain() -> Arg {
    Arg::new("explain")
        .long("explain")
        .global(true)
        .value_name("FORMAT")
        .help("Narrate everything asked of the kernel: text or json")
        .value_parser(["text", "json"])
        .hide_possible_values(true)
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("text")
}

fn narrate(matches: &ArgMatches) -> Result<()> {
    match matches.get_one::<String>("explain").map(String::as_str) {
        Some("json") => trace::narrate(Format::Json)?,
        Some(_) => trace::narrate(Format::Text)?,
        None => {}
    }
    Ok(())
}

/// A mistake on the command line. Where nothing was said, clap explains everything.
fn one_line(error: &clap::Error) -> String {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "no command was given".into();
    }
    first_paragraph(&error.to_string())
}
