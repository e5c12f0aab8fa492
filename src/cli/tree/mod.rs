//! `tree`: containers, their processes and the namespaces these live in, drawn from the live /proc.
//!
//! One picture, three ways out. [`picture`] turns what the engine has seen into rows: who hangs below whom, and for each
//! kind of namespace a letter. [`text`] prints the rows, [`svg`] draws them; `--format json` has the facts themselves.

mod picture;
pub mod svg;
mod text;

use std::io::{IsTerminal, stdout};
use std::os::fd::AsFd;

use anyhow::{Result, bail};
use clap::Args;

use crate::cli::{Context, Verb, failure, format};
use crate::engine::Engine;
use crate::engine::container::Container;
use crate::engine::failure::Failure;
use crate::engine::tree;
use crate::sys;

/// How wide the text is where no terminal says it.
const COLUMNS: usize = 100;

/// podling tree
#[derive(Debug, Args)]
pub struct Tree {
    /// Containers that do not run, too
    #[arg(long)]
    all: bool,
    /// text; svg, a picture for a page or a browser; json
    #[arg(long, value_name = "FORMAT", default_value = "text", hide_default_value = true,
          value_parser = ["text", "svg", "json"], hide_possible_values = true)]
    format: String,
    /// The container made last
    #[arg(long, short)]
    latest: bool,
    /// Commands in full
    #[arg(long)]
    no_trunc: bool,
    /// Containers (all that run)
    #[arg(value_name = "CONTAINER")]
    names: Vec<String>,
}

impl Verb for Tree {
    fn run(self, context: &Context) -> Result<i32> {
        if [self.all, self.latest, !self.names.is_empty()].iter().filter(|it| **it).count() > 1 {
            return Err(failure::misuse("--all, --latest and containers cannot be used together", "tree"));
        }
        let engine = context.engine()?;
        let tree = tree::look(&engine, &self.choose(&engine)?)?;
        match self.format.as_str() {
            "json" => format::print_value(None, &serde_json::to_value(&tree)?),
            "svg" => failure::print(&svg::draw(&tree, self.no_trunc)),
            _ => {
                let columns = sys::window_size(stdout().as_fd()).ok().map(|(_, columns)| usize::from(columns));
                let columns = columns.filter(|it| *it > 0 && stdout().is_terminal()).unwrap_or(COLUMNS);
                let style = if failure::lively(&stdout()) { text::Style::Colours } else { text::Style::Plain };
                failure::print(&text::draw(&tree, columns, self.no_trunc, style))
            }
        }
    }
}

impl Tree {
    /// What was named must have processes: of anything else there is nothing to draw.
    fn choose(&self, engine: &Engine) -> Result<Vec<Container>> {
        let lives = |it: &Container| it.status().process().is_some();
        if self.latest || !self.names.is_empty() {
            let chosen: Vec<_> = if self.latest {
                vec![crate::cli::select::latest(engine)?]
            } else {
                self.names.iter().map(|name| engine.container(name)).collect::<Result<_>>()?
            };
            if let Some(idle) = chosen.iter().find(|it| !lives(it)) {
                bail!(Failure::WrongState {
                    name: idle.name().into(),
                    state: idle.status().word().into(),
                    wanted: "tree draws processes, and only running containers have some",
                });
            }
            // Named twice, it is still one.
            let mut once: Vec<Container> = Vec::new();
            for it in chosen {
                if once.iter().all(|other| other.id() != it.id()) {
                    once.push(it);
                }
            }
            return Ok(once);
        }
        let mut chosen = engine.sound_containers()?;
        chosen.retain(|it| self.all || lives(it));
        chosen.sort_by(|one, other| one.config.created.cmp(&other.config.created));
        Ok(chosen)
    }
}
