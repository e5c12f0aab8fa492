//! `start`, `init`, `attach`: containers that exist already.

use anyhow::Result;
use clap::Args;

use crate::cli::select::{self, Which};
use crate::cli::{Context, Verb, failure};
use crate::engine::attach::AttachRequest;
use crate::engine::container::Container;
use crate::engine::lifecycle::Outcome;

/// podling start
#[derive(Debug, Args)]
pub struct Start {
    #[command(flatten)]
    which: Which,
    /// Stay in the foreground, with its output
    #[arg(long, short)]
    attach: bool,
    /// Join standard input too
    #[arg(long, short)]
    interactive: bool,
    /// Keys that leave it running behind (ctrl-p,ctrl-q); empty: none
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Pass signals on to the program (on when attached, without a terminal)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    sig_proxy: Option<bool>,
}

impl Verb for Start {
    fn run(self, context: &Context) -> Result<i32> {
        let engine = context.engine()?;
        let chosen = self.which.choose(&engine, |it| !it.status().is_running(), |_, _| false)?;
        if !self.attach && !self.interactive {
            return select::each(&chosen, |container| engine.start(container, None).map(drop));
        }
        let [one] = &chosen[..] else {
            return Err(failure::misuse("you cannot start and attach multiple containers at once", "start"));
        };
        let attach = AttachRequest {
            stdin: self.interactive && one.container.config.interactive,
            stdout: true,
            stderr: true,
            detach_keys: self.detach_keys,
            signal_proxy: self.sig_proxy.unwrap_or(true) && !one.container.config.terminal,
        };
        // One that runs already is joined, as Podman does.
        let outcome = if one.container.status().is_running() {
            Some(engine.attach(&one.container, &attach)?)
        } else {
            engine.start(&one.container, Some(&attach))?
        };
        Ok(outcome.as_ref().map_or(0, status))
    }
}

fn status(outcome: &Outcome) -> i32 {
    match outcome {
        Outcome::Exited(record) => record.code,
        Outcome::Detached => 0,
    }
}

/// podling init
#[derive(Debug, Args)]
pub struct Init {
    #[command(flatten)]
    which: Which,
}

impl Verb for Init {
    fn run(self, context: &Context) -> Result<i32> {
        let engine = context.engine()?;
        let chosen = self.which.choose(&engine, |it| it.status().process().is_none(), |_, _| false)?;
        select::each(&chosen, |container| engine.init(container))
    }
}

/// podling attach
#[derive(Debug, Args)]
pub struct Attach {
    /// Container, by name or by the beginning of its id
    #[arg(value_name = "CONTAINER", required_unless_present = "latest")]
    name: Option<String>,
    /// The container made last
    #[arg(long, short, conflicts_with = "name")]
    latest: bool,
    /// Keys that leave it running behind (ctrl-p,ctrl-q); empty: none
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Do not join standard input
    #[arg(long)]
    no_stdin: bool,
    /// Pass signals on to the program (not with a terminal)
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    sig_proxy: bool,
}

impl Verb for Attach {
    fn run(self, context: &Context) -> Result<i32> {
        let engine = context.engine()?;
        let container: Container = match &self.name {
            Some(name) => engine.container(name)?,
            None => select::latest(&engine)?,
        };
        if !container.status().is_running() {
            anyhow::bail!(
                "you can only attach to running containers: {} is {}",
                container.name(),
                container.status().word()
            );
        }
        let attach = AttachRequest {
            stdin: !self.no_stdin && container.config.interactive,
            stdout: true,
            stderr: true,
            detach_keys: self.detach_keys,
            signal_proxy: self.sig_proxy && !container.config.terminal,
        };
        engine.attach(&container, &attach).map(|outcome| status(&outcome))
    }
}
