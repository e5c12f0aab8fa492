//! `rm`, `container prune`, `container cleanup`, `container exists`.

use std::cell::RefCell;
use std::io::{BufRead, IsTerminal};

use anyhow::Result;
use clap::Args;

use crate::cli::filter::Filters;
use crate::cli::select::{self, Which, is_missing};
use crate::cli::stop::patience;
use crate::cli::{Context, Verb, failure};
use crate::engine::Engine;
use crate::engine::broken::Broken;
use crate::engine::cleanup::Cleanup as CleanupRequest;
use crate::engine::container::Status;
use crate::engine::lifecycle::Removal;

/// podling rm
#[derive(Debug, Args)]
pub struct Remove {
    #[command(flatten)]
    which: Which,
    /// Stop it first if it runs, discard it if it is broken; say nothing if it is not there
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
        let mut status = 0;
        if self.force && self.which.all {
            for broken in engine.sound_and_broken()?.1 {
                status = status.max(discard(&engine, &broken.id, &broken)?);
            }
        }
        let broken = RefCell::new(Vec::new());
        let pass_over = |said: &str, error: &anyhow::Error| {
            let unreadable = Broken::of(error).filter(|_| self.force);
            broken.borrow_mut().extend(unreadable.map(|it| (said.to_owned(), it.clone())));
            unreadable.is_some() || lenient && is_missing(error)
        };
        let chosen = match self.which.choose(&engine, |_| true, pass_over) {
            // Podman's status for a container that is not there.
            Err(error) if is_missing(&error) => return Ok(failure::report(&error).min(1)),
            chosen => chosen?,
        };
        for (said, broken) in broken.take() {
            status = status.max(discard(&engine, &said, &broken)?);
        }
        let removal = Removal { force: self.force, volumes: self.volumes, timeout: self.time };
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
        engine.sweep()?;
        Ok(status)
    }
}

/// Gets rid of a container that cannot be read.
fn discard(engine: &Engine, said: &str, broken: &Broken) -> Result<i32> {
    match engine.discard(broken) {
        Ok(()) => failure::print(&format!("{said}\n")),
        Err(error) if is_missing(&error) => Ok(0),
        Err(error) => Ok(failure::report(&error)),
    }
}

/// podling container prune
#[derive(Debug, Args)]
pub struct Prune {
    #[command(flatten)]
    pruning: Pruning,
}

impl Verb for Prune {
    fn run(self, context: &Context) -> Result<i32> {
        if !self.pruning.agreed("This will remove all non running containers.")? {
            return Ok(0);
        }
        let mut removed = Pruned::default();
        idle(&context.engine()?, &self.pruning.filter, &mut removed)?;
        removed.print()
    }
}

/// What every `prune` is told.
#[derive(Debug, Args)]
pub struct Pruning {
    /// Do not ask
    #[arg(long, short)]
    force: bool,
    /// Only those to which this applies, such as label=KEY or until=24h (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
}

impl Pruning {
    /// Warns and asks, unless told not to; no answer is no.
    pub fn agreed(&self, warning: &str) -> Result<bool> {
        if self.force { Ok(true) } else { agreed(warning) }
    }
}

/// What a `prune` has done so far: it goes on after a failure.
#[derive(Debug, Default)]
pub struct Pruned {
    /// Ids or names of what is gone.
    pub gone: Vec<String>,
    /// The exit status: that of the last failure.
    pub status: i32,
}

impl Pruned {
    /// Takes note of one removal. `fine` tells of a failure whether it is none: somebody else was faster.
    pub fn note(&mut self, name: &str, result: Result<()>, fine: impl Fn(&anyhow::Error) -> bool) {
        match result {
            Ok(()) => self.gone.push(name.to_owned()),
            Err(error) if fine(&error) => {}
            Err(error) => self.status = failure::report(&error),
        }
    }

    /// A line for each.
    pub fn print(&self) -> Result<i32> {
        failure::print(&self.gone.iter().map(|it| format!("{it}\n")).collect::<String>())?;
        Ok(self.status)
    }
}

/// Removes the containers that do not run and to which the filters apply.
pub fn idle(engine: &Engine, filters: &[String], removed: &mut Pruned) -> Result<()> {
    let mut all = engine.sound_containers()?;
    all.retain(|it| matches!(it.status(), Status::Created | Status::Exited(_)));
    Filters::parse(filters)?.retain(engine, &mut all)?;
    let removal = Removal { force: false, volumes: false, timeout: None };
    for container in all {
        // Another podling, or --rm, was faster: it is gone, as was asked.
        removed.note(container.id(), engine.remove(&container, removal), is_missing);
    }
    engine.sweep()
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
        let chosen = self.which.choose(&engine, ended, |_, error| self.ignore && is_missing(error))?;
        let request = CleanupRequest { remove: self.rm, exec: self.exec };
        let status = select::each(&chosen, |container| engine.cleanup(container, &request));
        // Nobody waits for us: the time to look for what others left.
        engine.sweep()?;
        status
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
