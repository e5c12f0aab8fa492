//! `--filter KEY=VALUE` for containers.
//!
//! Filters of the same key are alternatives (`status=created` or `status=exited`), except labels, which must all be
//! there; different keys must all apply.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow, bail};
use jiff::Timestamp;
use regex_lite::Regex;

use crate::cli::failure::hinted;
use crate::engine::container::{Container, MountSource, Root, Status};
use crate::engine::network::word;
use crate::engine::settings::{NetworkMode, RestartPolicy};
use crate::engine::{Engine, when};

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
        "id" if value.bytes().all(|byte| byte.is_ascii_hexdigit()) => Box::new(move |it| it.id().starts_with(&wanted)),
        "id" => {
            let pattern = pattern(value)?;
            Box::new(move |it| pattern.is_match(it.id()))
        }
        "name" => {
            let pattern = pattern(value)?;
            Box::new(move |it| pattern.is_match(it.name()))
        }
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
            let than = when::parse(value, Timestamp::now())?;
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

/// Podman's word for a network: where it has a name of its own, that.
pub fn network(mode: &NetworkMode) -> String {
    match mode {
        NetworkMode::Bridge(names) => names.join(","),
        mode => word(mode),
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

/// A regular expression, as Podman's filters by name take it: it may match anywhere, unless `^` and `$` hold it.
pub fn pattern(text: &str) -> Result<Regex> {
    Regex::new(text).map_err(|error| anyhow!("invalid value {text:?} for --filter: not a regular expression: {error}"))
}

/// Whether the full name of an image is what somebody means by `wanted`: `docker.io/library/alpine:latest` by `alpine`.
fn names_image(name: &str, wanted: &str) -> bool {
    let bare = name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(name, |(bare, _)| bare);
    [name, bare].iter().any(|name| *name == wanted || name.ends_with(&format!("/{wanted}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_a_regular_expression() {
        for (wanted, name, expected) in [
            ("eb", "web", true),
            ("^eb", "web", false),
            ("we$", "web", false),
            ("^web$", "web2", false),
            ("^w.*2$", "web2", true),
            ("^(web|db)[0-9]?$", "db7", true),
            ("^w+b$", "web", false),
            ("", "web", true),
        ] {
            assert_eq!(pattern(wanted).expect(wanted).is_match(name), expected, "{wanted} {name}");
        }
        assert!(pattern("a(").is_err());
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
}
