//! `update`: other limits for a container that is there.

use anyhow::{Result, bail};
use clap::Args;

use crate::cli::request::{Amounts, restart_policy};
use crate::cli::{Context, Verb, failure, select};
use crate::engine::settings::RestartPolicy;

/// podling update
#[derive(Debug, Args)]
pub struct Update {
    #[command(flatten)]
    amounts: Amounts,
    /// What to do when it ends: no, on-failure[:N], always, unless-stopped
    #[arg(long, value_name = "POLICY", value_parser = restart_policy, help_heading = None::<&str>)]
    restart: Option<RestartPolicy>,
    /// The container made last
    #[arg(long, short, help_heading = None::<&str>)]
    latest: bool,
    /// Container
    #[arg(value_name = "CONTAINER", required_unless_present = "latest", help_heading = None::<&str>)]
    name: Option<String>,
}

impl Verb for Update {
    fn run(self, context: &Context) -> Result<i32> {
        let engine = context.engine()?;
        let container = match &self.name {
            Some(_) if self.latest => bail!("--latest cannot be used with names"),
            Some(name) => engine.container(name)?,
            None => select::latest(&engine)?,
        };
        engine.update(&container, self.amounts.said(), self.restart)?;
        failure::print(&format!("{}\n", container.id()))
    }
}
