//! `volume`: create, ls, inspect, rm, prune, exists.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use jiff::Timestamp;
use serde_json::Value;

use crate::cli::filter::pattern;
use crate::cli::format::{self, Listing};
use crate::cli::remove::{Pruned, Pruning};
use crate::cli::{Context, Verb, failure};
use crate::engine::Engine;
use crate::engine::failure::Failure;
use crate::engine::volume::{Volume, VolumeRequest};
use crate::engine::{inspect, when};

/// podling volume create
#[derive(Debug, Args)]
pub struct Create {
    /// Its name; one is chosen if none is given
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// local
    #[arg(long, short, value_name = "NAME")]
    driver: Option<String>,
    /// NAME=VALUE (repeatable)
    #[arg(long, short, value_name = "LABEL")]
    label: Vec<String>,
    /// type=, device=, o=: as mount(8) has them (repeatable)
    #[arg(long, short, value_name = "OPTION=VALUE")]
    opt: Vec<String>,
    /// One that is there already will do
    #[arg(long)]
    ignore: bool,
}

impl Verb for Create {
    fn run(self, context: &Context) -> Result<i32> {
        let volume = context.engine()?.create_volume(&VolumeRequest {
            name: self.name,
            driver: self.driver,
            labels: pairs(&self.label),
            options: pairs(&self.opt),
            existing: self.ignore,
            anonymous: false,
        })?;
        failure::print(&format!("{}\n", volume.name))
    }
}

fn pairs(words: &[String]) -> BTreeMap<String, String> {
    words.iter().map(|word| word.split_once('=').unwrap_or((word, ""))).map(|(a, b)| (a.into(), b.into())).collect()
}

/// podling volume ls
#[derive(Debug, Args)]
pub struct List {
    /// Those to which this applies: name=, label=, driver=, dangling=, until=, opt= (repeatable)
    #[arg(long, short, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// json, a Go template, or `table` and a template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Names only
    #[arg(long, short)]
    quiet: bool,
    /// No headings
    #[arg(long, short)]
    noheading: bool,
}

impl Verb for List {
    fn run(self, context: &Context) -> Result<i32> {
        let engine = context.engine()?;
        let mut volumes = engine.volumes()?;
        filter(&engine, &self.filter, &mut volumes)?;
        if self.quiet {
            if self.format.is_some() {
                bail!("--quiet and --format cannot be used together");
            }
            return failure::print(&volumes.iter().map(|volume| format!("{}\n", volume.name)).collect::<String>());
        }
        let rows: Vec<Value> = volumes.iter().map(inspect::volume).collect();
        let listing = Listing {
            format: self.format.as_deref(),
            default: "table {{.Driver}}\t{{.Name}}",
            headings: &[("Name", "VOLUME NAME"), ("Mountpoint", "MOUNT POINT")],
            no_heading: self.noheading,
        };
        listing.print(&rows, || Value::Array(rows.clone()))
    }
}

/// Keeps the volumes to which all filters apply; those of one key are alternatives, labels must all be there.
fn filter(engine: &Engine, words: &[String], volumes: &mut Vec<Volume>) -> Result<()> {
    let mut by_key = BTreeMap::<&str, Vec<&str>>::new();
    for word in words {
        let Some((key, value)) = word.split_once('=') else {
            bail!("invalid value {word:?} for --filter: expected KEY=VALUE");
        };
        if !["name", "label", "driver", "dangling", "until", "opt", "scope"].contains(&key) {
            bail!("{key} is an invalid filter: there are name, label, driver, dangling, until, opt");
        }
        by_key.entry(key).or_default().push(value);
    }
    let now = Timestamp::now();
    for (key, values) in by_key {
        let mut keep = Vec::new();
        for volume in volumes.drain(..) {
            let mut answers = Vec::new();
            for value in &values {
                let among = |pairs: &BTreeMap<String, String>| match value.split_once('=') {
                    Some((name, wanted)) => pairs.get(name).is_some_and(|is| is == wanted),
                    None => pairs.contains_key(*value),
                };
                answers.push(match key {
                    "name" => pattern(value)?.is_match(&volume.name),
                    "label" => among(&volume.labels),
                    "opt" => among(&volume.options),
                    "driver" => volume.driver == *value,
                    "scope" => *value == "local",
                    "until" => volume.created.parse::<Timestamp>()? < when::parse(value, now)?,
                    _ => engine.users_of_volume(&volume.name)?.is_empty() == (*value == "true"),
                });
            }
            let fits = if key == "label" { answers.iter().all(|&yes| yes) } else { answers.contains(&true) };
            if fits {
                keep.push(volume);
            }
        }
        *volumes = keep;
    }
    Ok(())
}

/// podling volume inspect
#[derive(Debug, Args)]
pub struct Inspect {
    /// Volumes
    #[arg(value_name = "VOLUME")]
    names: Vec<String>,
    /// All of them
    #[arg(long, short)]
    all: bool,
    /// json, or a Go template
    #[arg(long, short, value_name = "FORMAT")]
    format: Option<String>,
}

impl Verb for Inspect {
    fn run(self, context: &Context) -> Result<i32> {
        let engine = context.engine()?;
        let volumes = named(&engine, &self.names, self.all)?;
        print_each(self.format.as_deref(), volumes.iter().map(inspect::volume).collect())
    }
}

/// Prints objects as one JSON list, or each through a template.
pub fn print_each(format: Option<&str>, values: Vec<Value>) -> Result<i32> {
    match format {
        Some(text) if !format::is_json(text) => {
            for value in &values {
                format::print_value(Some(text), value)?;
            }
            Ok(0)
        }
        _ => failure::print(&format!("{}\n", format::pretty(&Value::Array(values)))),
    }
}

fn named(engine: &Engine, names: &[String], all: bool) -> Result<Vec<Volume>> {
    match (names, all) {
        ([], false) => bail!("you must name a volume, or use --all"),
        ([], true) => engine.volumes(),
        (_, true) => bail!("--all cannot be used with names"),
        (names, false) => names.iter().map(|name| engine.volume(name)).collect(),
    }
}

/// podling volume rm
#[derive(Debug, Args)]
pub struct Remove {
    /// Volumes
    #[arg(value_name = "VOLUME")]
    names: Vec<String>,
    /// All of them
    #[arg(long, short)]
    all: bool,
    /// The containers that use it, too; and say nothing of one that is not there
    #[arg(long, short)]
    force: bool,
    /// Seconds until a container is killed
    #[arg(long, short, value_name = "SECONDS")]
    time: Option<u64>,
}

impl Verb for Remove {
    fn run(self, context: &Context) -> Result<i32> {
        let engine = context.engine()?;
        if self.names.is_empty() && !self.all {
            bail!("you must name a volume, or use --all");
        }
        let names = if self.all { engine.volumes()?.into_iter().map(|it| it.name).collect() } else { self.names };
        let mut status = 0;
        for name in names {
            match engine.volume(&name).and_then(|volume| {
                engine.remove_volume(&volume, self.force)?;
                Ok(volume.name)
            }) {
                Ok(name) => drop(failure::print(&format!("{name}\n"))?),
                Err(error) if self.force && is_missing(&error) => {}
                Err(error) => {
                    failure::report(&error);
                    // Podman's: 1 for one that is not there, 2 for one in use.
                    status = if is_missing(&error) { 1 } else { 2 };
                }
            }
        }
        engine.sweep()?;
        Ok(status)
    }
}

/// podling volume prune
#[derive(Debug, Args)]
pub struct Prune {
    #[command(flatten)]
    pruning: Pruning,
}

impl Verb for Prune {
    fn run(self, context: &Context) -> Result<i32> {
        let engine = context.engine()?;
        let volumes = unused(&engine, &self.pruning.filter)?;
        let warning = "This will remove all volumes not used by at least one container, with all that is in them.";
        if !self.pruning.agreed(warning)? {
            return Ok(0);
        }
        let mut removed = Pruned::default();
        for volume in volumes {
            removed.note(&volume.name, engine.remove_volume(&volume, false), is_missing);
        }
        engine.sweep()?;
        removed.print()
    }
}

/// The volumes that no container names and to which the filters apply.
pub fn unused(engine: &Engine, filters: &[String]) -> Result<Vec<Volume>> {
    let mut volumes = engine.volumes()?;
    filter(engine, filters, &mut volumes)?;
    let mut unused = Vec::new();
    for volume in volumes {
        if engine.users_of_volume(&volume.name).context("finding out what nobody uses")?.is_empty() {
            unused.push(volume);
        }
    }
    Ok(unused)
}

/// Whether an error says that there is no such volume.
pub fn is_missing(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<Failure>(), Some(Failure::NoSuchVolume(_)))
}

/// podling volume exists
#[derive(Debug, Args)]
pub struct Exists {
    /// A volume
    #[arg(value_name = "VOLUME")]
    name: String,
}

impl Verb for Exists {
    fn run(self, context: &Context) -> Result<i32> {
        let engine = context.engine()?;
        Ok(i32::from(!engine.volumes()?.iter().any(|volume| volume.name == self.name)))
    }
}
