//! `--filter KEY=VALUE` for containers.
//!
//! Filters of the same key are alternatives (`status=created` or `status=exited`), except labels, which must all be
//! there; different keys must all apply.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use jiff::Timestamp;

use crate::cli::failure::hinted;
use crate::engine::Engine;
use crate::engine::container::{Container, MountSource, Root, Status};
use crate::engine::request::{NetworkMode, RestartPolicy};

const KEYS: &[&str] = &[
    "ancestor",
    "before",
    "command",
    "exited",
    "health",
    "id",
    "label",
    "label!",
    "name",
    "network",
    "pod",
    "restart-policy",
    "since",
    "status",
    "until",
    "volume",
];

/// Filters, by key.
#[derive(Debug, Default)]
pub struct Filters(BTreeMap<String, Vec<String>>);

impl Filters {
    /// Reads them.
    pub fn parse(words: &[String]) -> Result<Self> {
        let mut filters = BTreeMap::<String, Vec<String>>::new();
        for word in words {
            let Some((key, value)) = word.split_once('=') else {
                bail!("invalid value {word:?} for --filter: expected KEY=VALUE");
            };
            let (key, value) = if key == "label!" { ("label!", value) } else { (key, value) };
            if !KEYS.contains(&key) {
                let known = KEYS.iter().filter(|key| !matches!(**key, "health" | "pod")).copied().collect::<Vec<_>>();
                return Err(hinted(format!("{key} is an invalid filter"), format!("there are {}", known.join(", "))));
            }
            filters.entry(key.to_owned()).or_default().push(value.to_owned());
        }
        Ok(Self(filters))
    }

    /// Whether they say anything about the status, which widens `ps` to containers that do not run.
    pub fn about_status(&self) -> bool {
        self.0.keys().any(|key| matches!(key.as_str(), "status" | "exited"))
    }

    /// Keeps the containers to which all apply.
    pub fn retain(&self, engine: &Engine, containers: &mut Vec<Container>) -> Result<()> {
        for (key, values) in &self.0 {
            let tests = values.iter().map(|value| test(engine, key, value)).collect::<Result<Vec<_>>>()?;
            let all = key.starts_with("label");
            containers.retain(|container| {
                let mut answers = tests.iter().map(|test| test(container));
                if all { answers.all(|yes| yes) } else { answers.any(|yes| yes) }
            });
        }
        Ok(())
    }
}

type Test = Box<dyn Fn(&Container) -> bool>;

fn test(engine: &Engine, key: &str, value: &str) -> Result<Test> {
    let wanted = value.to_owned();
    Ok(match key {
        "id" => Box::new(move |it| it.id().starts_with(&wanted)),
        "name" => Box::new(move |it| pattern(&wanted, it.name())),
        "label" => Box::new(move |it| labelled(&it.config.labels, &wanted)),
        "label!" => Box::new(move |it| !labelled(&it.config.labels, &wanted)),
        "command" => Box::new(move |it| it.config.arguments().first() == Some(&wanted)),
        "network" => Box::new(move |it| match &it.config.network {
            NetworkMode::Bridge(names) => names.contains(&wanted),
            mode => network(mode) == wanted,
        }),
        "restart-policy" => Box::new(move |it| {
            let policy = match it.config.restart {
                RestartPolicy::No => "no",
                RestartPolicy::OnFailure(_) => "on-failure",
                RestartPolicy::Always => "always",
                RestartPolicy::UnlessStopped => "unless-stopped",
            };
            policy == wanted
        }),
        "exited" => {
            let Ok(code) = value.parse::<i32>() else {
                bail!("invalid value {value:?} for --filter exited: not a number")
            };
            Box::new(move |it| matches!(it.status(), Status::Exited(record) if record.code == code))
        }
        "status" => {
            let words = ["created", "initialized", "running", "paused", "exited", "stopped", "unknown", "configured"];
            if !words.contains(&value) {
                bail!("invalid value {value:?} for --filter status: expected one of {}", words[..5].join(", "));
            }
            let wanted = match value {
                "stopped" => "exited",
                "configured" => "created",
                word => word,
            }
            .to_owned();
            Box::new(move |it| it.status().word() == wanted)
        }
        "before" | "since" => {
            let than = engine.container(value)?.config.created;
            let before = key == "before";
            Box::new(move |it| if before { it.config.created < than } else { it.config.created > than })
        }
        "until" => {
            let than = moment(value)?;
            Box::new(move |it| it.config.created.parse::<Timestamp>().is_ok_and(|created| created < than))
        }
        "ancestor" => Box::new(move |it| match &it.config.root {
            Root::Image { id, name, .. } => id.starts_with(&wanted) || names_image(name, &wanted),
            Root::Directory(_) => false,
        }),
        "volume" => Box::new(move |it| {
            it.config.mounts.iter().any(|mount| {
                mount.target == wanted
                    || matches!(&mount.source, MountSource::Volume { name, .. } if *name == wanted)
                    || matches!(&mount.source, MountSource::Bind(path) if path.as_os_str() == wanted.as_str())
            })
        }),
        // No container has a health check or a pod yet.
        _ => Box::new(|_| false),
    })
}

/// Podman's word for a network.
pub fn network(mode: &NetworkMode) -> String {
    match mode {
        NetworkMode::Default | NetworkMode::Pasta(_) => "pasta".into(),
        NetworkMode::None => "none".into(),
        NetworkMode::Host => "host".into(),
        NetworkMode::Container(id) => format!("container:{id}"),
        NetworkMode::Path(path) => format!("ns:{}", path.display()),
        NetworkMode::Bridge(names) => names.join(","),
    }
}

/// Whether labels hold `KEY` or `KEY=VALUE`; either may end in `*`.
pub fn labelled(labels: &BTreeMap<String, String>, wanted: &str) -> bool {
    let (key, value) = wanted.split_once('=').map_or((wanted, None), |(key, value)| (key, Some(value)));
    labels.iter().any(|(own, content)| pattern_star(key, own) && value.is_none_or(|value| pattern_star(value, content)))
}

fn pattern_star(pattern: &str, text: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == text, |prefix| text.starts_with(prefix))
}

/// What people write of Podman's regular expressions: a part of the name, `^` and `$` at its ends, `.*` in between.
pub fn pattern(pattern: &str, text: &str) -> bool {
    let (from_start, pattern) = pattern.strip_prefix('^').map_or((false, pattern), |rest| (true, rest));
    let (to_end, pattern) = pattern.strip_suffix('$').map_or((false, pattern), |rest| (true, rest));
    let pieces: Vec<&str> = pattern.split(".*").collect();
    let mut rest = text;
    for (place, piece) in pieces.iter().enumerate() {
        let (first, last) = (place == 0, place + 1 == pieces.len());
        let at = match (first && from_start, last && to_end) {
            (true, true) if first && last => return rest == *piece,
            (true, _) => rest.starts_with(piece).then_some(0),
            (_, true) => rest.ends_with(piece).then(|| rest.len() - piece.len()),
            _ => rest.find(piece),
        };
        let Some(at) = at else { return false };
        rest = &rest[at + piece.len()..];
    }
    true
}

/// Whether the full name of an image is what somebody means by `wanted`: `docker.io/library/alpine:latest` by `alpine`.
fn names_image(name: &str, wanted: &str) -> bool {
    let bare = name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(name, |(bare, _)| bare);
    [name, bare].iter().any(|name| *name == wanted || name.ends_with(&format!("/{wanted}")))
}

/// A moment: `2026-11-23T21:00:00Z`, seconds since 1970, or how long ago (`10m`, `1h30m`, `2d`).
pub fn moment(text: &str) -> Result<Timestamp> {
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment);
    }
    if let Some(moment) = text.parse::<i64>().ok().and_then(|seconds| Timestamp::from_second(seconds).ok()) {
        return Ok(moment);
    }
    match seconds(text).and_then(|ago| Timestamp::from_second(Timestamp::now().as_second() - ago).ok()) {
        Some(moment) => Ok(moment),
        None => {
            bail!("invalid time {text:?}: expected 2026-11-23T21:00:00Z, seconds since 1970, or a duration such as 10m")
        }
    }
}

/// A duration as Go writes it, in whole seconds: `90s`, `1h30m`, `2d`.
fn seconds(text: &str) -> Option<i64> {
    let mut total = 0;
    let mut number = String::new();
    for letter in text.chars() {
        let unit = match letter {
            '0'..='9' => {
                number.push(letter);
                continue;
            }
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86400,
            'w' => 86400 * 7,
            _ => return None,
        };
        total += std::mem::take(&mut number).parse::<i64>().ok()? * unit;
    }
    (number.is_empty() && !text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_a_part_or_an_anchored_pattern() {
        for (wanted, name, expected) in [
            ("eb", "web", true),
            ("^we", "web", true),
            ("^eb", "web", false),
            ("eb$", "web", true),
            ("we$", "web", false),
            ("^web$", "web", true),
            ("^web$", "web2", false),
            ("^w.*2$", "web2", true),
            ("w.*x", "web", false),
        ] {
            assert_eq!(pattern(wanted, name), expected, "{wanted} {name}");
        }
    }

    #[test]
    fn an_image_goes_by_its_full_and_its_short_names() {
        let name = "docker.io/library/alpine:3.20";
        for wanted in ["alpine", "alpine:3.20", "library/alpine", name] {
            assert!(names_image(name, wanted), "{wanted}");
        }
        assert!(!names_image(name, "pine"));
        assert!(names_image("localhost:5000/a", "localhost:5000/a"));
    }

    #[test]
    fn moments_and_durations() {
        assert_eq!(moment("1700000000").map(Timestamp::as_second).ok(), Some(1_700_000_000));
        assert_eq!(seconds("1h30m"), Some(5400));
        assert_eq!(seconds("5"), None);
        assert!(moment("yesterday").is_err());
    }
}
