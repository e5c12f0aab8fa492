//! `diff`: what a container or an image's last layer changes.

use anyhow::{Result, bail};
use clap::Args;
use serde_json::{Map, Value, json};

use crate::cli::format;
use crate::cli::{Context, Verb, failure, select};
use crate::engine::failure::Failure;
use crate::image::layer::{Change, Done};

/// podling diff
#[derive(Debug, Args)]
pub struct Diff {
    /// json
    #[arg(long, value_name = "FORMAT", value_parser = ["json"], hide_possible_values = true)]
    format: Option<String>,
    /// The container made last
    #[arg(long, short)]
    latest: bool,
    /// A container or an image
    #[arg(value_name = "CONTAINER", required_unless_present = "latest")]
    name: Option<String>,
}

impl Verb for Diff {
    fn run(self, context: &Context) -> Result<i32> {
        let engine = context.engine()?;
        let changes = match &self.name {
            Some(_) if self.latest => bail!("--latest cannot be used with names"),
            None => engine.changes_of(&select::latest(&engine)?)?,
            Some(name) => match engine.container(name) {
                Ok(container) => engine.changes_of(&container)?,
                Err(error) if select::is_missing(&error) => match engine.changes_of_image(name) {
                    Err(error) if matches!(error.downcast_ref(), Some(Failure::NoSuchImage(_))) => {
                        bail!(Failure::NoSuchObject(name.clone()))
                    }
                    changes => changes?,
                },
                Err(error) => return Err(error),
            },
        };
        print(&changes, self.format.is_some())
    }
}

/// podling image diff
#[derive(Debug, Args)]
pub struct OfImage {
    /// json
    #[arg(long, value_name = "FORMAT", value_parser = ["json"], hide_possible_values = true)]
    format: Option<String>,
    /// An image
    #[arg(value_name = "IMAGE")]
    name: String,
}

impl Verb for OfImage {
    fn run(self, context: &Context) -> Result<i32> {
        print(&context.engine()?.changes_of_image(&self.name)?, self.format.is_some())
    }
}

/// A line for each, or lists of the paths in JSON.
fn print(changes: &[Change], as_json: bool) -> Result<i32> {
    if as_json {
        let mut lists = Map::new();
        for (name, done) in [("changed", Done::Changed), ("added", Done::Added), ("deleted", Done::Deleted)] {
            let paths: Vec<_> =
                changes.iter().filter(|it| it.done == done).map(|it| it.path.to_string_lossy()).collect();
            if !paths.is_empty() {
                lists.insert(name.into(), json!(paths));
            }
        }
        return format::print_value(None, &Value::Object(lists));
    }
    let letter = |done| match done {
        Done::Added => 'A',
        Done::Changed => 'C',
        Done::Deleted => 'D',
    };
    failure::print(&changes.iter().map(|it| format!("{} {}\n", letter(it.done), it.path.display())).collect::<String>())
}
