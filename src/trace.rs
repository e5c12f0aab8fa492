//! The narration: one event for each thing that podling asks of the kernel.
//!
//! `podling --explain …` prints the events as they happen, from every process of the chain, each with the chapter of the
//! book that teaches it; `--explain=json` prints them for tools; the tests keep some as golden traces. One text teaches,
//! tests and debugs.
//!
//! The subtlety is that four programs narrate into one stream. The first opens nothing: it says in `PODLING_EXPLAIN`
//! which descriptor (a copy of its standard error) the others inherit, and each event is one `write` of less than
//! `PIPE_BUF` bytes, so lines never mix. When nobody listens, an event costs two loads and formats nothing.
//!
//! The same events are the places where a test can let a process die: see [`fault`].

mod fault;

use std::fmt::{Arguments, Display};
use std::io::IsTerminal;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// What an event is about: the book teaches each in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Topic {
    /// fork, exec, wait, signals (chapter 1).
    Process = 1,
    /// User namespaces, id maps (chapter 2).
    User,
    /// Mount namespaces, root file systems, overlay (chapter 3).
    Mount,
    /// Pid namespaces (chapter 4).
    Pid,
    /// Control groups (chapter 5).
    Cgroup,
    /// IPC and UTS namespaces (chapter 6).
    Ipc,
    /// Images (chapter 7).
    Image,
    /// Monitor, terminal, log (chapter 8).
    Monitor,
    /// systemd (chapter 9).
    Systemd,
    /// Pods (chapter 10).
    Pod,
    /// Capabilities, seccomp, `no_new_privs` (part III).
    Security,
    /// Network namespaces and what fills them (part III).
    Network,
    /// The engine's files and locks (part III).
    Store,
}

impl Topic {
    /// Where the book teaches it.
    pub fn place(self) -> String {
        match self as u8 {
            chapter @ 1..=10 => format!("chapter {chapter}"),
            _ => "part III".into(),
        }
    }
}

/// Which of our processes speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Actor {
    /// The program podling.
    Engine,
    /// podling-monitor.
    Monitor,
    /// podling-runtime, outside the container.
    Runtime,
    /// podling-runtime's child inside the container, until it becomes the container's program.
    Init,
    /// A program of the book.
    Chapter,
    /// The sleeping process that holds a pod's namespaces.
    Infra,
}

impl Actor {
    fn name(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::Monitor => "monitor",
            Self::Runtime => "runtime",
            Self::Init => "init",
            Self::Chapter => "chapter",
            Self::Infra => "infra",
        }
    }
}

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Columns for a person.
    Text,
    /// One JSON object a line: actor, pid, call, arguments, result, topic.
    Json,
}

/// The variable through which a program tells the ones it starts to narrate: `text:FD` or `json:FD`.
pub const VARIABLE: &str = "PODLING_EXPLAIN";

struct Listener {
    format: Format,
    stream: OwnedFd,
    colour: bool,
}

static LISTENER: OnceLock<Listener> = OnceLock::new();
static ACTOR: AtomicU8 = AtomicU8::new(Actor::Engine as u8);

/// Says who speaks from now on, and listens if a parent said so. Called first in every `main`.
pub fn begin(actor: Actor) {
    ACTOR.store(actor as u8, Relaxed);
    fault::begin(actor);
    let Ok(said) = std::env::var(VARIABLE) else { return };
    let Some((format, fd)) = said.split_once(':') else { return };
    let format = if format == "json" { Format::Json } else { Format::Text };
    if let Some(stream) = fd.parse().ok().and_then(|fd| crate::sys::inherited(fd).ok()) {
        listen(format, stream);
    }
}

/// Says that this process (the copy that `clone3` made) speaks as `actor` from now on.
pub fn become_actor(actor: Actor) {
    ACTOR.store(actor as u8, Relaxed);
    fault::become_actor(actor);
}

/// Narrates to this program's standard error; programs that it starts join in if [`pass_on`] was said of them.
pub fn narrate(format: Format) -> std::io::Result<()> {
    // A plain dup: without close-on-exec, so that monitor and runtime inherit it.
    listen(format, nix::unistd::dup(std::io::stderr().as_fd())?);
    Ok(())
}

/// Lets a program that is about to be started narrate into the same stream, if there is one.
pub fn pass_on(command: &mut std::process::Command) {
    if let Some(Listener { format, stream, .. }) = LISTENER.get() {
        let name = if *format == Format::Json { "json" } else { "text" };
        command.env(VARIABLE, format!("{name}:{}", stream.as_raw_fd()));
    }
}

fn listen(format: Format, stream: OwnedFd) {
    let colour = stream.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let _ = LISTENER.set(Listener { format, stream, colour });
}

/// Stops narrating, and lets go of what the caller listens on, because this process outlives the command that started it.
pub fn end() {
    if let (Some(listener), Ok(null)) = (LISTENER.get(), std::fs::File::open("/dev/null")) {
        // The number stays taken, but no longer stands for the caller's terminal or pipe.
        let _ = crate::sys::replace(listener.stream.as_fd(), null.as_fd());
    }
}

/// Whether anybody listens: for callers whose arguments cost something to put together.
pub fn on() -> bool {
    LISTENER.get().is_some() || fault::is_set()
}

/// Asks the kernel for something and narrates it: runs `call`, and passes its result on unchanged.
///
/// ```ignore
/// trace::ask(Topic::Mount, "pivot_root", format_args!(". ."), || pivot_root(".", "."))?;
/// ```
pub fn ask<T, E: Display>(
    topic: Topic,
    name: &str,
    arguments: Arguments<'_>,
    call: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    let result = call();
    match &result {
        Ok(_) => say(topic, name, arguments, "ok"),
        Err(error) if on() => say(topic, name, arguments, &error.to_string()),
        Err(_) => {}
    }
    result
}

/// Narrates something whose result is worth more than "ok" (a pid, a path).
pub fn say(topic: Topic, name: &str, arguments: Arguments<'_>, result: &str) {
    if !on() {
        return;
    }
    let actor = actor();
    if let Some(listener) = LISTENER.get() {
        tell(listener, actor.name(), topic, name, arguments, result);
    }
    fault::reached(actor, name);
}

/// A word that the environment of this program needs, if it is about to be begun anew in this process.
pub fn carried() -> Option<(&'static str, String)> {
    fault::carried()
}

/// A place between two events where a test lets this process die ([`fault`]). Nobody is told of it.
pub fn point(name: &str) {
    if fault::is_set() {
        fault::reached(actor(), name);
    }
}

/// Says to a person what the next events are for, as a heading does. It is no event: a tool gets none.
pub fn stage(what: Arguments<'_>) {
    if let Some(Listener { format: Format::Text, stream, colour }) = LISTENER.get() {
        let (bold, plain) = if *colour { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        let line = format!("{bold}{:<8} # {}{plain}\n", actor().name(), short_ids(&what.to_string()));
        let _ = nix::unistd::write(stream, line.as_bytes());
    }
}

fn actor() -> Actor {
    let all = [Actor::Engine, Actor::Monitor, Actor::Runtime, Actor::Init, Actor::Chapter, Actor::Infra];
    all[usize::from(ACTOR.load(Relaxed))]
}

fn tell(listener: &Listener, actor: &str, topic: Topic, name: &str, arguments: Arguments<'_>, result: &str) {
    let pid = std::process::id();
    let line = fitting(arguments.to_string(), result.to_string(), |arguments, result| match listener.format {
        Format::Json => {
            let [call, arguments, result, topic] = [name, arguments, result, &topic.place()].map(quoted);
            format!(
                r#"{{"actor":"{actor}","pid":{pid},"call":{call},"arguments":{arguments},"result":{result},"topic":{topic}}}"#
            )
        }
        Format::Text => {
            let result = if result == "ok" { String::new() } else { format!(" → {result}") };
            let (dim, plain) = if listener.colour { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
            let arguments = short_ids(arguments);
            format!("{dim}{actor:<8}{plain} {name:<16} {arguments}{result}  {dim}[{}]{plain}", topic.place())
        }
    });
    // One write; a listener that has gone away is no reason to stop.
    let _ = nix::unistd::write(&listener.stream, (line + "\n").as_bytes());
}

/// The most that a pipe takes whole, less a newline (`PIPE_BUF`, pipe(7)).
const MOST: usize = 4095;

/// A line that a pipe takes whole. What is cut is the longer of arguments and result, not the end of the line: what is
/// left of JSON must be JSON.
fn fitting(mut arguments: String, mut result: String, write: impl Fn(&str, &str) -> String) -> String {
    loop {
        let line = write(&arguments, &result);
        let longer = if arguments.len() > result.len() { &mut arguments } else { &mut result };
        if line.len() <= MOST || longer.len() < 8 {
            return line;
        }
        let half = (0..=longer.len() / 2).rev().find(|at| longer.is_char_boundary(*at)).unwrap_or(0);
        longer.truncate(half);
        longer.push('…');
    }
}

/// Text in which each id and digest of 64 hexadecimal digits is as short as people know it: its first twelve.
fn short_ids(text: &str) -> String {
    let mut short = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_hexdigit()) {
        let (before, from) = rest.split_at(at);
        let (digits, after) = from.split_at(from.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(from.len()));
        short.push_str(before);
        short.push_str(if digits.len() == 64 { &digits[..12] } else { digits });
        rest = after;
    }
    short + rest
}

/// Text as a JSON string. By hand: a student's first build does not wait for a JSON library.
fn quoted(text: &str) -> String {
    let mut string = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => string.extend(['\\', character]),
            '\0'..='\x1f' => string += &format!("\\u{:04x}", u32::from(character)),
            _ => string.push(character),
        }
    }
    string + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_is_a_json_string() {
        assert_eq!(quoted("a \"b\" \\ c\nd\x01 é"), r#""a \"b\" \\ c\u000ad\u0001 é""#);
    }

    #[test]
    fn a_call_that_nobody_listens_to_still_returns_its_result() {
        let answer = ask(Topic::Process, "getpid", format_args!(""), || Ok::<_, nix::Error>(7));
        assert_eq!(answer, Ok(7));
    }

    #[test]
    fn a_long_event_is_cut_inside_its_texts() {
        let write = |arguments: &str, result: &str| format!("[{},{}]", quoted(arguments), quoted(result));
        assert_eq!(fitting("ä".into(), "ok".into(), write), r#"["ä","ok"]"#);
        for (arguments, result) in [("ä".repeat(5000), "ok".into()), ("\n".repeat(3000), "\"".repeat(9000))] {
            let line = fitting(arguments, result, write);
            assert!(line.len() <= MOST && line.len() > MOST / 4, "{} bytes", line.len());
            assert!(line.contains("…\"") && line.ends_with("\"]"), "{line}");
        }
    }

    #[test]
    fn ids_are_told_short() {
        let id = "0123456789abcdef".repeat(4);
        assert_eq!(short_ids(&format!("/c/{id}/up {id}")), "/c/0123456789ab/up 0123456789ab");
        assert_eq!(short_ids("mode=0620 cafe é"), "mode=0620 cafe é");
    }

    #[test]
    fn topics_name_their_chapter() {
        assert_eq!(Topic::Pid.place(), "chapter 4");
        assert_eq!(Topic::Network.place(), "part III");
    }
}
