//! `rm`, `container prune`, `container cleanup`, `container exists`.

use std::io::{BufRead, IsTerminal};

use anyhow::Result;
use clap::Args;

use crate::cli::filter::Filters;
use crate::cli::select::{self, Which, is_missing};
use crate::cli::stop::patience;
use crate::cli::{Context, Verb, failure};
use crate::engine::container::Status;
use crate::engine::lifecycle::{Cleanup as CleanupRequest, Removal};

/// podling rm
#[derive(Debug, Args)]
pub struct Remove {
    #[command(flatten)]
    which: Which,
    /// Stop it first if it runs; say nothing if it is not there
    #[arg(long, short)]
    force: bool,
    /// Say nothing of containers that are not there
    #[arg(long, short)]
    ignore: bool,
    /// Its anonymous volumes too
    #[arg(long, short)]
    volumes: bool,
    /// With --force: seconds until it is killed
    #[arg(long, short, value_name = "SECONDS", value_parser = patience)]
    time: Option<u64>,
    /// What depends on it too (nothing does yet)
    #[arg(long, hide = true)]
    depend: bool,
}

impl Verb for Remove {
    fn run(self, context: &Context) -> Result<i32> {
        let engine = context.engine()?;
        // With --all, one that has gone meanwhile is what was asked for.
        let lenient = self.ignore || self.force || self.which.all;
        let chosen = match self.which.choose(&engine, |_| true, |error| lenient && is_missing(error)) {
            // Podman's status for a container that is not there.
            Err(error) if is_missing(&error) => return Ok(failure::report(&error).min(1)),
            chosen => chosen?,
        };
        let removal = Removal { force: self.force, volumes: self.volumes, timeout: self.time };
        let mut status = 0;
        for select::Chosen { said, container } in &chosen {
            match engine.remove(container, removal) {
                Ok(()) => drop(failure::print(&format!("{said}\n"))?),
                Err(error) if lenient && is_missing(&error) => {}
                // It runs, and there is no --force: 2, says Podman's manual.
                Err(error) => {
                    failure::report(&error);
                    status = if container.status().is_running() { 2 } else { failure::OWN };
                }
            }
        }
        Ok(status)
    }
}

/// podling container prune
#[derive(Debug, Args)]
pub struct Prune {
    /// Do not ask
    #[arg(long, short)]
    force: bool,
    /// Only those to which this applies (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
}

impl Verb for Prune {
    fn run(self, context: &Context) -> Result<i32> {
        if !self.force && !agreed("This will remove all non running containers.")? {
            return Ok(0);
        }
        let engine = context.engine()?;
        let mut all = engine.containers()?;
        all.retain(|it| matches!(it.status(), Status::Created | Status::Exited(_)));
        Filters::parse(&self.filter)?.retain(&engine, &mut all)?;
        let removal = Removal { force: false, volumes: false, timeout: None };
        let chosen: Vec<_> =
            all.into_iter().map(|container| select::Chosen { said: container.id().to_owned(), container }).collect();
        let mut status = 0;
        for select::Chosen { said, container } in &chosen {
            match engine.remove(container, removal) {
                Ok(()) => drop(failure::print(&format!("{said}\n"))?),
                // Another podling, or --rm, was faster: it is gone, as was asked.
                Err(error) if is_missing(&error) => {}
                Err(error) => status = failure::report(&error),
            }
        }
        Ok(status)
    }
}

/// Warns and asks; no answer is no.
pub fn agreed(warning: &str) -> Result<bool> {
    eprint!("WARNING! {warning}\nAre you sure you want to continue? [y/N] ");
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if !std::io::stdin().is_terminal() {
        eprintln!();
    }
    Ok(answer.trim().eq_ignore_ascii_case("y") || answer.trim().eq_ignore_ascii_case("yes"))
}

/// podling container cleanup: what the monitor runs when a container has ended.
#[derive(Debug, Args)]
pub struct Cleanup {
    #[command(flatten)]
    which: Which,
    /// Then remove it
    #[arg(long)]
    rm: bool,
    /// An exec session has ended, not the container
    #[arg(long, value_name = "SESSION")]
    exec: Option<String>,
    /// Not an error if it is not there
    #[arg(long, hide = true)]
    ignore: bool,
}

impl Verb for Cleanup {
    fn run(self, context: &Context) -> Result<i32> {
        let engine = context.engine()?;
        let ended = |it: &crate::engine::container::Container| !it.status().is_running();
        let chosen = self.which.choose(&engine, ended, |error| self.ignore && is_missing(error))?;
        let request = CleanupRequest { remove: self.rm, exec: self.exec.is_some() };
        select::each(&chosen, |container| engine.cleanup(container, request))
    }
}

/// podling container exists
#[derive(Debug, Args)]
pub struct Exists {
    /// Container
    #[arg(value_name = "CONTAINER")]
    name: String,
    /// Containers of others (there are none)
    #[arg(long, hide = true)]
    external: bool,
}

impl Verb for Exists {
    fn run(self, context: &Context) -> Result<i32> {
        match context.engine()?.container(&self.name) {
            Ok(_) => Ok(0),
            Err(error) if is_missing(&error) => Ok(1),
            Err(error) => Err(error),
        }
    }
}
