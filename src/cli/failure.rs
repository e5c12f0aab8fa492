//! Errors as a person meets them: one line that says what, then why; a hint only where the cure is known; and the exit
//! status that scripts rely on (125: podling's own, 126 and 127: the container's program cannot be run, is not there).

use std::io::{self, ErrorKind, IsTerminal, Write};

use anyhow::{Context, Error, anyhow};
use clap::error::{ContextKind, ContextValue};

use crate::cli::later;
pub use crate::hint::{hinted, render};

/// podling's own failure.
pub const OWN: i32 = 125;

/// Whether `stream` wants colours and redrawn lines: a terminal that is not dumb, and nobody said NO_COLOR.
pub fn lively(stream: &impl IsTerminal) -> bool {
    stream.is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// A mistake in the command line of `path`: the hint is where its help is.
pub fn misuse(message: impl Into<String>, path: &str) -> Error {
    let program = if path.is_empty() || path == "podling" { String::new() } else { format!(" {path}") };
    hinted(message, format!("see 'podling{program} --help'"))
}

/// Prints an error, and returns the exit status that goes with it.
pub fn report(error: &Error) -> i32 {
    // Whoever read our output has gone (`podling ps | head -1`): not worth a word. A shell would say 128 + SIGPIPE.
    if error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe)) {
        return 141;
    }
    let mut text = render(error);
    if !text.contains("\nhint: ")
        && let Some(cure) = crate::engine::room::cure(&text)
    {
        text += &format!("hint: {cure}\n");
    }
    let _ = io::stderr().write_all(text.as_bytes());
    crate::engine::failure::status(error)
}

/// Prints to standard output; someone who stops reading is an error like any other.
pub fn print(text: &str) -> anyhow::Result<i32> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes()).and_then(|()| output.flush()).context("writing to standard output")?;
    Ok(0)
}

/// What clap has to say: help goes to standard output and is no error.
pub fn usage(error: &clap::Error, path: &str) -> anyhow::Result<i32> {
    match error.kind() {
        clap::error::ErrorKind::DisplayHelp | clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            print(&error.render().to_string())
        }
        _ => Err(one_line(error, path)),
    }
}

/// Whether one word may be a slip of the finger for the other. clap compares words by their letters, in any length.
pub fn is_near(one: &str, other: &str) -> bool {
    distance(one, other) <= 2
}

/// How many letters must be added, dropped or changed to make one word the other (Levenshtein).
pub fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, letter) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, other) in to.iter().enumerate() {
            let change = diagonal + usize::from(letter != *other);
            let best = change.min(row[j].min(row[j + 1]) + 1);
            diagonal = std::mem::replace(&mut row[j + 1], best);
        }
    }
    row[to.len()]
}

/// clap's paragraph as one line.
pub fn one_line(error: &clap::Error, path: &str) -> Error {
    use clap::error::ErrorKind as Kind;
    let said = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(all)) => Some(all.join(" ")),
        _ => None,
    };
    let argument = said(ContextKind::InvalidArg).unwrap_or_default();
    // `--memory <SIZE>`: the value's name says nothing that the message does not.
    let flag = argument.split([' ', '=', '[']).next().unwrap_or_default();
    let value = said(ContextKind::InvalidValue).unwrap_or_default();
    if error.kind() == Kind::UnknownArgument
        && let Some(answer) = later::flag(flag)
    {
        return answer;
    }
    let message = match error.kind() {
        Kind::UnknownArgument if flag.starts_with("--") => match said(ContextKind::SuggestedArg) {
            Some(like) if is_near(flag, &like) => {
                return hinted(
                    format!("unknown flag: {flag}"),
                    format!("there is {like}; see 'podling {path} --help'"),
                );
            }
            _ => format!("unknown flag: {flag}"),
        },
        Kind::UnknownArgument | Kind::TooManyValues => format!("unexpected argument {argument:?}"),
        Kind::MissingRequiredArgument => {
            format!("missing argument: {}", argument.replace(['<', '>', '[', ']'], "").replace("...", ""))
        }
        Kind::InvalidValue if value.is_empty() => format!("flag needs an argument: {flag}"),
        Kind::InvalidValue => {
            let choices = said(ContextKind::ValidValue).unwrap_or_default().replace(' ', ", ");
            format!("invalid value {value:?} for {flag}: expected one of {choices}")
        }
        Kind::ValueValidation => {
            let mut why = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            if why.contains("invalid digit") || why.contains("cannot parse integer") {
                why = "expected a whole number".into();
            }
            format!("invalid value {value:?} for {flag}: {why}")
        }
        Kind::ArgumentConflict => {
            format!(
                "{flag} cannot be used with {}",
                said(ContextKind::PriorArg).unwrap_or_else(|| "another flag".into())
            )
        }
        _ => return anyhow!("{}", error.to_string().trim_start_matches("error: ").lines().next().unwrap_or_default()),
    };
    misuse(message, path)
}
