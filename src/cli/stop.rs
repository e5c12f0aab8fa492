//! `stop`, `restart`, `kill`, `pause`, `unpause`, `wait`, `rename`: what is done to containers that run.

use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::cli::request::signal;
use crate::cli::select::{self, Which, each, is_missing};
use crate::cli::{Context, Verb, failure};
use crate::engine::container::{Container, Status};

fn runs(container: &Container) -> bool {
    container.status().is_running()
}

/// podling stop
#[derive(Debug, Args)]
pub struct Stop {
    #[command(flatten)]
    which: Which,
    /// Seconds until it is killed (the container's own --stop-timeout, 10)
    #[arg(long, short, value_name = "SECONDS", value_parser = patience, alias = "timeout")]
    time: Option<u64>,
    /// Say nothing of containers that are not there
    #[arg(long, short)]
    ignore: bool,
}

impl Verb for Stop {
    fn run(self, context: &Context) -> Result<i32> {
        let engine = context.engine()?;
        let chosen = self.which.choose(&engine, runs, |_, error| self.ignore && is_missing(error))?;
        each(&chosen, |container| engine.stop(container, self.time))
    }
}

/// Seconds to wait; a negative number waits for ever.
pub fn patience(text: &str) -> Result<u64, String> {
    match text.parse::<i64>() {
        Ok(seconds) => Ok(u64::try_from(seconds).unwrap_or(u64::from(u32::MAX))),
        Err(_) => Err("expected a number of seconds".into()),
    }
}

/// podling restart
#[derive(Debug, Args)]
pub struct Restart {
    #[command(flatten)]
    which: Which,
    /// Seconds until it is killed (the container's own --stop-timeout, 10)
    #[arg(long, short, value_name = "SECONDS", value_parser = patience, alias = "timeout")]
    time: Option<u64>,
    /// Only those that run
    #[arg(long)]
    running: bool,
}

impl Verb for Restart {
    fn run(mut self, context: &Context) -> Result<i32> {
        let engine = context.engine()?;
        self.which.all |= self.running;
        let chosen = self.which.choose(&engine, |it| !self.running || runs(it), |_, _| false)?;
        each(&chosen, |container| engine.restart(container, self.time))
    }
}

/// podling kill
#[derive(Debug, Args)]
pub struct Kill {
    #[command(flatten)]
    which: Which,
    /// Signal, by name or number
    #[arg(long, short, value_name = "SIGNAL", value_parser = signal, default_value = "KILL")]
    signal: String,
}

impl Verb for Kill {
    fn run(self, context: &Context) -> Result<i32> {
        let engine = context.engine()?;
        let chosen = self.which.choose(&engine, runs, |_, _| false)?;
        each(&chosen, |container| engine.kill(container, &self.signal))
    }
}

/// podling pause
#[derive(Debug, Args)]
pub struct Pause {
    #[command(flatten)]
    which: Which,
}

impl Verb for Pause {
    fn run(self, context: &Context) -> Result<i32> {
        let engine = context.engine()?;
        let chosen = self.which.choose(&engine, |it| matches!(it.status(), Status::Running(_)), |_, _| false)?;
        each(&chosen, |container| engine.pause(container))
    }
}

/// podling unpause
#[derive(Debug, Args)]
pub struct Unpause {
    #[command(flatten)]
    which: Which,
}

impl Verb for Unpause {
    fn run(self, context: &Context) -> Result<i32> {
        let engine = context.engine()?;
        let chosen = self.which.choose(&engine, |it| matches!(it.status(), Status::Paused(_)), |_, _| false)?;
        each(&chosen, |container| engine.unpause(container))
    }
}

/// podling wait
#[derive(Debug, Args)]
pub struct Wait {
    #[command(flatten)]
    which: Which,
    /// Wait for this status instead of the end (repeatable)
    #[arg(long, value_name = "STATUS", value_delimiter = ',', value_parser = condition)]
    condition: Vec<String>,
    /// How often to look where there is nothing to wait on
    #[arg(long, short, value_name = "TIME", value_parser = interval, default_value = "250ms")]
    interval: Duration,
    /// Say -1 for containers that are not there
    #[arg(long)]
    ignore: bool,
}

fn condition(text: &str) -> Result<String, String> {
    let known =
        ["configured", "created", "exited", "initialized", "paused", "removing", "running", "stopped", "unknown"];
    if known.contains(&text) { Ok(text.to_owned()) } else { Err(format!("expected one of {}", known.join(", "))) }
}

/// `250ms`, `2s`, `1m`, or a number of milliseconds.
fn interval(text: &str) -> Result<Duration, String> {
    let number = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let value: u64 = number.parse().map_err(|_| "expected a time such as 250ms or 2s")?;
    match &text[number.len()..] {
        "" | "ms" => Ok(Duration::from_millis(value)),
        "s" => Ok(Duration::from_secs(value)),
        "m" => Ok(Duration::from_secs(value.saturating_mul(60))),
        unit => Err(format!("unknown unit {unit:?}: use ms, s or m")),
    }
}

impl Verb for Wait {
    fn run(self, context: &Context) -> Result<i32> {
        let engine = context.engine()?;
        let chosen = match self.which.choose(&engine, runs, |_, _| false) {
            Err(error) if self.ignore && is_missing(&error) => return failure::print("-1\n"),
            chosen => chosen?,
        };
        let mut status = 0;
        for select::Chosen { container, .. } in &chosen {
            match engine.wait(container, &self.condition, self.interval) {
                Ok(code) => drop(failure::print(&format!("{code}\n"))?),
                Err(error) => status = failure::report(&error),
            }
        }
        Ok(status)
    }
}

/// podling rename
#[derive(Debug, Args)]
pub struct Rename {
    /// Container
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// Its new name
    #[arg(value_name = "NAME")]
    name: String,
}

impl Verb for Rename {
    fn run(self, context: &Context) -> Result<i32> {
        let engine = context.engine()?;
        engine.rename(&engine.container(&self.container)?, &self.name)?;
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_read() {
        assert_eq!(interval("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(interval("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(interval("100"), Ok(Duration::from_millis(100)));
        assert!(interval("soon").is_err());
    }
}
