//! Errors as a person meets them: one line that says what, then why; and a hint only where the cure is known.
//!
//! An error is an `anyhow::Error`. Whoever knows the cure says it with [`hinted`], as deep down as it is known; whoever
//! prints the error ([`render`]) finds it, whatever context was added on the way.

use anyhow::Error;
use nix::errno::Errno;

/// An error with its cure.
#[derive(Debug)]
pub struct Hinted {
    message: String,
    hint: String,
}

impl std::fmt::Display for Hinted {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Hinted {}

/// An error line with a hint below it.
pub fn hinted(message: impl Into<String>, hint: impl Into<String>) -> Error {
    Error::new(Hinted { message: message.into(), hint: hint.into() })
}

/// `error`, with what was being tried and the cure.
pub fn cured(error: impl Into<Error>, tried: impl Into<String>, hint: impl Into<String>) -> Error {
    error.into().context(Hinted { message: tried.into(), hint: hint.into() })
}

/// An error as it is printed: one line, and a hint if there is one.
pub fn render(error: &Error) -> String {
    match cure(error) {
        Some(hint) => format!("Error: {}\nhint: {hint}\n", line(error)),
        None => format!("Error: {}\n", line(error)),
    }
}

/// What cures it, if anybody knew.
pub fn cure(error: &Error) -> Option<&str> {
    error.downcast_ref().map(|Hinted { hint, .. }| hint.as_str())
}

/// What a parser of command lines says, in one line: it explains a mistake in paragraphs, and the first says what it is.
pub fn first_paragraph(said: &str) -> String {
    let first = said.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
    first.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// An error and its causes in one line: `mounting /proc: Operation not permitted`.
pub fn line(error: &Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain() {
        let part = match cause.downcast_ref::<Errno>() {
            // Without its name, which says nothing that the words after it do not.
            Some(errno) => errno.desc().to_string(),
            None => without_numbers(&cause.to_string()),
        };
        if parts.last() != Some(&part) {
            parts.push(part);
        }
    }
    plain(&parts.join(": ").trim_end().replace('\n', "; "))
}

/// A text that may be a stranger's, as a terminal may be given it: what would be an order to the terminal is spelt out.
pub fn plain(text: &str) -> String {
    let is_order = |letter: char| letter.is_control() && letter != '\n' && letter != '\t';
    if !text.contains(is_order) {
        return text.to_owned();
    }
    text.chars().map(|it| if is_order(it) { it.escape_default().to_string() } else { it.to_string() }).collect()
}

/// The standard library adds `(os error 2)` to what the system says; the words are enough.
pub fn without_numbers(line: &str) -> String {
    let mut parts = line.split(" (os error ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |line, part| line + part.split_once(')').map_or(part, |(_, rest)| rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_cure_is_found_below_what_was_added_later() {
        let refused = std::io::Error::from_raw_os_error(1);
        let deep = Err::<(), _>(cured(refused, "opening the lid", "press the button")).context("making tea");
        let text = render(&deep.expect_err("it is one"));
        assert_eq!(text, "Error: making tea: opening the lid: Operation not permitted\nhint: press the button\n");
        let raw = Err::<(), _>(Errno::EPERM).context("opening the lid").expect_err("it is one");
        assert_eq!(render(&raw), "Error: opening the lid: Operation not permitted\n");
        let own = Err::<(), _>(hinted("no lid", "find it")).context("making tea").expect_err("it is one");
        assert_eq!(render(&own), "Error: making tea: no lid\nhint: find it\n");
    }
}
