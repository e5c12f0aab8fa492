//! What happened: one line of JSON for each thing that was done to a container, an image, a volume.
//!
//! There is no daemon that everybody could report to, so everybody appends to one file: an append of one `write` is whole
//! (O_APPEND), and lines of many commands never mix. Names of types and states, and the fields, are Podman's.
//!
//! The file is bounded: a full one is renamed to `events.1`, replacing the one before. Two commands that find it full at
//! the same time must not rename twice; a lock that is only tried, never waited for, picks one.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use nix::poll::PollTimeout;
use serde::{Deserialize, Serialize};

use super::Engine;
use super::container::{Container, Root};
use super::failure::Failure;
use super::follow::{self, Lines, Watched};
use super::store::{Lock, Paths};

/// The size at which a file is full: some ten thousand events.
const FULL: u64 = 4 << 20;

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Type {
    /// A container.
    Container,
    /// An image.
    Image,
    /// A volume.
    Volume,
    /// podling itself.
    System,
}

impl Type {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Volume => "volume",
            Self::System => "system",
        }
    }
}

/// One thing that happened; the names of the fields in JSON are Podman's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Event {
    /// The container's exit code (`died`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_exit_code: Option<i32>,
    /// The id.
    #[serde(rename = "ID", default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// The container's image.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub image: String,
    /// The name.
    #[serde(default)]
    pub name: String,
    /// create, init, start, died, remove, pull, …
    pub status: String,
    /// When, RFC 3339.
    pub time: Timestamp,
    /// What it is about.
    pub r#type: Type,
    /// Labels, and what the event itself has to say.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

impl Event {
    /// Something that happens now.
    pub fn now(kind: Type, status: &str, id: &str, name: &str) -> Self {
        Self {
            container_exit_code: None,
            id: id.into(),
            image: String::new(),
            name: name.into(),
            status: status.into(),
            time: Timestamp::now(),
            r#type: kind,
            attributes: BTreeMap::new(),
        }
    }
}

impl Engine {
    /// Records what was done to a container. `details` are attributes besides its labels; `containerExitCode` also
    /// becomes the event's exit code.
    pub fn record(&self, container: &Container, status: &str, details: &[(&str, &str)]) {
        let config = &container.config;
        let mut event = Event::now(Type::Container, status, container.id(), container.name());
        if let Root::Image { name, .. } = &config.root {
            event.image.clone_from(name);
        }
        event.attributes = config.labels.clone();
        for (name, value) in details {
            event.attributes.insert((*name).into(), (*value).into());
        }
        event.container_exit_code = event.attributes.get("containerExitCode").and_then(|code| code.parse().ok());
        record(&self.paths, &event);
    }

    /// Records what was done to an image, a volume, or podling itself.
    pub fn record_other(&self, kind: Type, status: &str, id: &str, name: &str) {
        record(&self.paths, &Event::now(kind, status, id, name));
    }
}

/// Appends an event. Nothing fails because it could not be recorded.
fn record(paths: &Paths, event: &Event) {
    let path = paths.events();
    let Ok(mut line) = serde_json::to_vec(event) else { return };
    line.push(b'\n');
    let append = || OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?.write_all(&line);
    if fs::metadata(&path).is_ok_and(|about| about.len() + line.len() as u64 > FULL)
        && let Ok(Some(_turn)) = Lock::if_free(&path.with_extension("lock"))
        && fs::metadata(&path).is_ok_and(|about| about.len() + line.len() as u64 > FULL)
    {
        let _ = fs::rename(&path, path.with_extension("1"));
    }
    let _ = append();
}

/// Which events are wanted.
#[derive(Debug, Clone, Default)]
pub struct EventRequest {
    /// Not before.
    pub since: Option<Timestamp>,
    /// Not after; a following reader ends then.
    pub until: Option<Timestamp>,
    /// Wait for more.
    pub follow: bool,
    /// Alternatives by key; all keys must apply.
    pub filters: Filters,
}

/// `--filter KEY=VALUE`, by key.
#[derive(Debug, Clone, Default)]
pub struct Filters(BTreeMap<String, Vec<String>>);

const KEYS: [&str; 8] = ["container", "event", "image", "label", "name", "status", "type", "volume"];

impl Filters {
    /// Reads them.
    pub fn parse(words: &[String]) -> Result<Self> {
        let mut filters = BTreeMap::<String, Vec<String>>::new();
        for word in words {
            let Some((key, value)) = word.split_once('=') else {
                bail!(Failure::Invalid(format!("filter {word:?}: expected KEY=VALUE")));
            };
            if !KEYS.contains(&key) {
                bail!(Failure::Invalid(format!("{key} is an invalid filter: there are {}", KEYS.join(", "))));
            }
            filters.entry(key.into()).or_default().push(value.into());
        }
        Ok(Self(filters))
    }

    fn apply(&self, event: &Event) -> bool {
        self.0.iter().all(|(key, values)| {
            let mut any = values.iter().map(|value| Self::one(key, value, event));
            if key == "label" { any.all(|yes| yes) } else { any.any(|yes| yes) }
        })
    }

    fn one(key: &str, value: &str, event: &Event) -> bool {
        let named = |kind: Type| event.r#type == kind && (event.name == value || is_prefix(value, &event.id));
        match key {
            "event" | "status" => event.status == value,
            "type" => event.r#type.name() == value,
            "container" => named(Type::Container),
            "volume" => named(Type::Volume),
            "image" => named(Type::Image) || event.image == value || event.image.contains(&format!("/{value}")),
            "name" => event.name == value,
            "label" => match value.split_once('=') {
                Some((name, wanted)) => event.attributes.get(name).is_some_and(|is| is == wanted),
                None => event.attributes.contains_key(value),
            },
            _ => false,
        }
    }
}

fn is_prefix(prefix: &str, id: &str) -> bool {
    !prefix.is_empty() && id.starts_with(prefix)
}

/// Calls `emit` for each event that is wanted; without `follow` and without times, for all that are known.
pub fn read(engine: &Engine, request: &EventRequest, emit: &mut dyn FnMut(&Event) -> Result<()>) -> Result<()> {
    let path = engine.paths.events();
    let watched = if request.follow { Watched::Yes } else { Watched::No };
    let mut lines = Lines::open(&path, watched)?;
    let mut each = |line: &[u8]| match serde_json::from_slice::<Event>(line) {
        Ok(event) if request.wants(&event) => emit(&event),
        // A line torn by a full disk hides no other.
        _ => Ok(()),
    };
    Lines::open(&path.with_extension("1"), Watched::No)?.read(&mut each)?;
    lines.read(&mut each)?;
    if !request.follow {
        return Ok(());
    }
    loop {
        let timeout = match request.until {
            None => PollTimeout::NONE,
            Some(until) => {
                let left = until.as_millisecond() - Timestamp::now().as_millisecond();
                if left < 0 {
                    return Ok(());
                }
                PollTimeout::try_from(left.min(60_000) + 1).context("waiting for events")?
            }
        };
        follow::wait([&lines], [], timeout)?;
        lines.read(&mut each)?;
    }
}

impl EventRequest {
    fn wants(&self, event: &Event) -> bool {
        self.since.is_none_or(|since| event.time >= since)
            && self.until.is_none_or(|until| event.time <= until)
            && self.filters.apply(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_of_one_key_are_alternatives_and_labels_must_all_be_there() {
        let mut event = Event::now(Type::Container, "start", "abc123", "web");
        event.attributes = [("a".to_string(), "1".to_string())].into();
        let applies = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(ToString::to_string).collect();
            Filters::parse(&words).expect("filters").apply(&event)
        };
        assert!(applies(&["event=stop", "event=start", "container=abc"]));
        assert!(applies(&["label=a=1", "type=container"]));
        assert!(!applies(&["label=a=1", "label=b"]));
        assert!(!applies(&["volume=web"]));
        assert!(Filters::parse(&["colour=red".into()]).is_err());
    }
}
