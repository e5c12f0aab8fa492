//! `top`: a container's processes.

use anyhow::{Result, bail};
use clap::Args;

use crate::cli::format::table;
use crate::cli::{Context, Verb, failure, select};
use crate::engine::exec::ExecOutcome;
use crate::engine::request::ExecRequest;
use crate::engine::top;

/// podling top
#[derive(Debug, Args)]
pub struct Top {
    /// The container made last
    #[arg(long, short)]
    latest: bool,
    /// A container, and what to show of its processes: user, pid, hpid, args, …; or flags of a ps(1) in the container
    #[arg(value_name = "CONTAINER [DESCRIPTOR…]", trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

impl Verb for Top {
    fn run(mut self, context: &Context) -> Result<i32> {
        let engine = context.engine()?;
        let container = if self.latest {
            select::latest(&engine)?
        } else if self.words.is_empty() {
            bail!("you must name a container, or use --latest");
        } else {
            engine.container(&self.words.remove(0))?
        };
        if self.words.first().is_some_and(|word| word == "--") {
            self.words.remove(0);
        }
        if self.words.first().is_some_and(|word| word.starts_with('-')) {
            let mut command = vec!["ps".to_string()];
            command.append(&mut self.words);
            let request = ExecRequest { command, ..ExecRequest::default() };
            return Ok(match engine.exec(&container, &request)? {
                ExecOutcome::Exited(status) => status,
                ExecOutcome::Detached | ExecOutcome::Started(_) => 0,
            });
        }
        let mut descriptors: Vec<String> =
            self.words.iter().flat_map(|word| word.split(',')).filter(|it| !it.is_empty()).map(String::from).collect();
        if descriptors.is_empty() {
            descriptors.extend(top::DEFAULT.map(String::from));
        }
        let rows = top::table(&engine, &container, &descriptors)?;
        let text: String = rows.iter().map(|row| row.join("\t") + "\n").collect();
        failure::print(&table::align(&text))
    }
}
