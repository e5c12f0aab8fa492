//! Which containers a verb is about: by name, `--all`, `--latest`, `--cidfile`, `--filter`.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::cli::failure;
use crate::cli::filter::Filters;
use crate::engine::Engine;
use crate::engine::container::Container;
use crate::engine::failure::Failure;

/// The words and flags by which containers are chosen.
#[derive(Debug, Args)]
pub struct Which {
    /// Containers, by name or by the beginning of their id
    #[arg(value_name = "CONTAINER")]
    names: Vec<String>,
    /// All containers that it makes sense for
    #[arg(long)]
    pub all: bool,
    /// The container made last
    #[arg(long, short)]
    latest: bool,
    /// Read the id from a file (repeatable)
    #[arg(long, value_name = "FILE")]
    cidfile: Vec<PathBuf>,
    /// Those to which this applies, such as status=running (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
}

/// A container, and the word that chose it.
pub struct Chosen {
    /// What is printed when it is done: the user's own word, or the id.
    pub said: String,
    /// The container.
    pub container: Container,
}

impl Which {
    /// Finds them all before anything is done to the first. `fits` says which ones `--all` means; `missing` takes
    /// the word and the error of one that cannot be found or read, and says whether it is to be passed over.
    pub fn choose(
        &self,
        engine: &Engine,
        fits: impl Fn(&Container) -> bool,
        missing: impl Fn(&str, &anyhow::Error) -> bool,
    ) -> Result<Vec<Chosen>> {
        let mut names = self.names.clone();
        for file in &self.cidfile {
            let read = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()));
            match read {
                Ok(id) => names.push(id.trim().to_owned()),
                Err(error) if missing("", &anyhow::Error::new(Failure::NoSuchContainer(String::new()))) => drop(error),
                Err(error) => return Err(error),
            }
        }
        let chosen = if self.all || !self.filter.is_empty() {
            if !names.is_empty() {
                bail!("--all and --filter cannot be used with names");
            }
            let mut all = engine.sound_containers()?;
            all.retain(&fits);
            if !self.filter.is_empty() {
                Filters::parse(&self.filter)?.retain(engine, &mut all)?;
            }
            all.into_iter().map(|container| Chosen { said: container.id().to_owned(), container }).collect()
        } else if self.latest {
            if !names.is_empty() {
                bail!("--latest cannot be used with names");
            }
            let container = latest(engine)?;
            vec![Chosen { said: container.id().to_owned(), container }]
        } else if names.is_empty() && self.cidfile.is_empty() {
            bail!("you must name a container, or use --all or --latest");
        } else {
            let mut chosen = Vec::new();
            for name in names {
                match engine.container(&name) {
                    Ok(container) => chosen.push(Chosen { said: name, container }),
                    Err(error) if missing(&name, &error) => {}
                    Err(error) => return Err(error),
                }
            }
            chosen
        };
        Ok(chosen)
    }
}

/// The container made last.
pub fn latest(engine: &Engine) -> Result<Container> {
    let all = engine.sound_containers()?;
    all.into_iter()
        .max_by(|one, other| one.config.created.cmp(&other.config.created))
        .context("there are no containers")
}

/// Whether an error says that there is no such container.
pub fn is_missing(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<Failure>(), Some(Failure::NoSuchContainer(_)))
}

/// Does something to each, prints the word that chose it, and goes on after a failure. The last failure's status is ours.
pub fn each(chosen: &[Chosen], mut act: impl FnMut(&Container) -> Result<()>) -> Result<i32> {
    let mut status = 0;
    for Chosen { said, container } in chosen {
        match act(container) {
            Ok(()) => drop(failure::print(&format!("{said}\n"))?),
            Err(error) => status = failure::report(&error),
        }
    }
    Ok(status)
}
