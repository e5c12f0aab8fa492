//! `inspect`: all that is known of containers, images and volumes.

use anyhow::{Result, bail};
use clap::Args;
use serde_json::Value;

use crate::cli::volume::{self, print_each};
use crate::cli::{Context, Verb, failure, images, select};
use crate::engine::failure::Failure;
use crate::engine::{Engine, inspect};

/// podling inspect
#[derive(Debug, Args)]
pub struct Inspect {
    /// Containers, images or volumes
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// What they are: all, container, image, volume
    #[arg(long, short, value_name = "TYPE", default_value = "all", hide_default_value = true,
          value_parser = ["all", "container", "image", "volume"], hide_possible_values = true)]
    r#type: String,
    #[command(flatten)]
    rest: Rest,
}

/// podling container inspect
#[derive(Debug, Args)]
pub struct Containers {
    /// Containers
    #[arg(value_name = "CONTAINER")]
    names: Vec<String>,
    #[command(flatten)]
    rest: Rest,
}

#[derive(Debug, Args)]
struct Rest {
    /// json, or a Go template
    #[arg(long, short, value_name = "FORMAT")]
    format: Option<String>,
    /// The container made last
    #[arg(long, short)]
    latest: bool,
    /// The sizes of its files, too
    #[arg(long, short)]
    size: bool,
}

impl Verb for Inspect {
    fn run(self, context: &Context) -> Result<i32> {
        all(&context.engine()?, self.names, &self.r#type, &self.rest)
    }
}

impl Verb for Containers {
    fn run(self, context: &Context) -> Result<i32> {
        all(&context.engine()?, self.names, "container", &self.rest)
    }
}

/// Prints what was found even if something was not, as Podman does.
fn all(engine: &Engine, mut names: Vec<String>, kind: &str, rest: &Rest) -> Result<i32> {
    match (names.is_empty(), rest.latest) {
        (true, true) => names.push(select::latest(engine)?.id().into()),
        (true, false) => bail!("you must name what to inspect, or use --latest"),
        (false, true) => bail!("--latest cannot be used with names"),
        (false, false) => {}
    }
    let (mut values, mut missing) = (Vec::new(), Vec::new());
    for name in &names {
        match one(engine, name, kind, rest.size) {
            Ok(value) => values.push(value),
            Err(error) if is_absent(&error) => missing.push(error),
            // What is there and cannot be told of ends it at once; so does Podman.
            Err(error) => return Err(error),
        }
    }
    let nothing = values.is_empty();
    let mut status = 0;
    if !nothing || rest.format.as_deref().is_none_or(|format| format == "json") {
        status = print_each(rest.format.as_deref(), values)?;
    }
    for error in missing {
        status = failure::report(&error);
    }
    Ok(status)
}

fn is_absent(error: &anyhow::Error) -> bool {
    select::is_missing(error)
        || images::is_missing(error)
        || volume::is_missing(error)
        || matches!(error.downcast_ref(), Some(Failure::NoSuchObject(_)))
}

fn one(engine: &Engine, name: &str, kind: &str, size: bool) -> Result<Value> {
    if matches!(kind, "all" | "container") {
        match engine.container(name) {
            Ok(container) => {
                let mut value = inspect::container(engine, &container);
                if size && let Value::Object(fields) = &mut value {
                    let (own, whole) = crate::engine::usage::of_container(engine, &container)?;
                    fields.insert("SizeRw".into(), own.into());
                    fields.insert("SizeRootFs".into(), whole.into());
                }
                return Ok(value);
            }
            Err(error) if kind == "container" || !select::is_missing(&error) => return Err(error),
            Err(_) => {}
        }
    }
    if matches!(kind, "all" | "image") {
        let layout = engine.layout()?;
        match layout.find(name) {
            Ok(image) => return Ok(images::tell::describe(engine, &layout, &image)),
            Err(error) if kind == "image" || !images::is_missing(&error) => return Err(error),
            Err(_) => {}
        }
    }
    match engine.volume(name) {
        Ok(volume) => Ok(inspect::volume(&volume)),
        Err(error) if kind == "volume" => Err(error),
        Err(error) if volume::is_missing(&error) => Err(Failure::NoSuchObject(name.into()).into()),
        Err(error) => Err(error),
    }
}
