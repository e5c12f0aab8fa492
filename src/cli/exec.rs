//! `exec`: a further program in a container that runs.

use anyhow::Result;
use clap::Args;

use crate::cli::request::process::{Env, absolute, env, env_file};
use crate::cli::{Context, Verb, failure, select};
use crate::engine::exec::ExecOutcome;
use crate::engine::failure::Failure;
use crate::engine::request::ExecRequest;

/// Podman's exit status where nothing was executed because the container does not run, or is paused: its -1. (Told to
/// detach, it has the usual 125.)
const NOT_RUNNING: i32 = 255;

/// podling exec
#[derive(Debug, Args)]
pub struct Exec {
    /// Run in the background, and print the session's id
    #[arg(long, short)]
    detach: bool,
    /// Keys that leave it running behind (ctrl-p,ctrl-q); empty: none
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Set a variable; without a value, the one it has here (repeatable)
    #[arg(long, short, value_name = "NAME[=VALUE]", value_parser = env)]
    env: Vec<Env>,
    /// Read variables from a file, one a line
    #[arg(long, value_name = "FILE", value_delimiter = ',', value_parser = env_file)]
    env_file: Vec<Env>,
    /// Keep standard input open
    #[arg(long, short)]
    interactive: bool,
    /// Give it a terminal
    #[arg(long, short)]
    tty: bool,
    /// User, and group: names or numbers
    #[arg(long, short, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Working directory
    #[arg(long, short, value_name = "DIR", value_parser = absolute)]
    workdir: Option<String>,
    /// Give it all capabilities
    #[arg(long)]
    privileged: bool,
    /// Pass so many descriptors after standard error
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    preserve_fds: u32,
    /// The container made last
    #[arg(long, short)]
    latest: bool,
    /// Container, then program and arguments
    #[arg(value_name = "CONTAINER COMMAND", trailing_var_arg = true, num_args = 0..)]
    words: Vec<String>,
}

impl Verb for Exec {
    fn run(self, context: &Context) -> Result<i32> {
        let engine = context.engine()?;
        let mut words = self.words.into_iter();
        let container = if self.latest {
            select::latest(&engine)?
        } else {
            let Some(name) = words.next() else { return Err(failure::misuse("missing argument: CONTAINER", "exec")) };
            engine.container(&name)?
        };
        let command: Vec<String> = words.collect();
        if command.is_empty() {
            return Err(failure::misuse("missing argument: COMMAND", "exec"));
        }
        let request = ExecRequest {
            command,
            interactive: self.interactive,
            terminal: self.tty,
            detach: self.detach,
            env: self.env_file.into_iter().chain(self.env).flatten().collect(),
            user: self.user,
            working_dir: self.workdir.filter(|directory| !directory.is_empty()),
            privileged: self.privileged,
            preserve_fds: self.preserve_fds,
            detach_keys: self.detach_keys,
        };
        let outcome = match engine.exec(&container, &request) {
            Err(error) if !self.detach && matches!(error.downcast_ref(), Some(Failure::WrongState { .. })) => {
                failure::report(&error);
                return Ok(NOT_RUNNING);
            }
            outcome => outcome?,
        };
        match outcome {
            ExecOutcome::Exited(code) => Ok(code),
            ExecOutcome::Detached => Ok(0),
            ExecOutcome::Started(session) => failure::print(&format!("{session}\n")),
        }
    }
}
