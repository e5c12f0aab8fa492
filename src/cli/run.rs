//! `run` and `create`.

use anyhow::Result;
use clap::Args;

use crate::cli::progress::Watch;
use crate::cli::request::ContainerFlags;
use crate::cli::{Context, Verb, failure};
use crate::engine::attach::AttachRequest;
use crate::engine::lifecycle::{Outcome, Removal};

/// podling run
#[derive(Debug, Args)]
pub struct Run {
    /// Run in the background, and print the id
    #[arg(long, short)]
    detach: bool,
    /// Join only these streams: stdin, stdout, stderr (repeatable)
    #[arg(long, short, value_name = "STREAM", value_delimiter = ',', value_parser = stream)]
    attach: Vec<Stream>,
    /// Keys that leave a container running behind (ctrl-p,ctrl-q); empty: none
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Pass signals on to the program (not with a terminal)
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    sig_proxy: bool,
    #[command(flatten)]
    container: ContainerFlags,
}

/// A standard stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    Input,
    Output,
    Error,
}

fn stream(text: &str) -> Result<Stream, String> {
    match text.to_ascii_lowercase().as_str() {
        "stdin" => Ok(Stream::Input),
        "stdout" => Ok(Stream::Output),
        "stderr" => Ok(Stream::Error),
        _ => Err("expected stdin, stdout or stderr".into()),
    }
}

impl Verb for Run {
    fn run(self, context: &Context) -> Result<i32> {
        let quiet = self.container.quiet();
        let request = self.container.request()?;
        if self.detach && !self.attach.is_empty() {
            return Err(failure::misuse("--detach and --attach cannot be used together", "run"));
        }
        let joins = |stream| self.attach.is_empty() || self.attach.contains(&stream);
        let attach = AttachRequest {
            stdin: request.interactive && joins(Stream::Input),
            stdout: joins(Stream::Output),
            stderr: joins(Stream::Error),
            detach_keys: self.detach_keys,
            signal_proxy: self.sig_proxy && !request.terminal,
        };
        let engine = context.engine()?;
        let container = engine.create(&request, &Watch::new(quiet))?;
        let started = engine.start(&container, (!self.detach).then_some(&attach));
        match started {
            Ok(None) => failure::print(&format!("{}\n", container.id())),
            Ok(Some(Outcome::Exited(record))) => Ok(record.code),
            Ok(Some(Outcome::Detached)) => Ok(0),
            Err(error) => {
                // What --rm promised holds for a container that never ran, too, and for one whose output nobody takes any
                // more: a program at the other end of a pipe would die of that. A second failure says nothing new.
                if request.remove {
                    let removal = Removal { force: true, volumes: true, timeout: Some(0) };
                    let _ = engine.container(container.id()).and_then(|it| engine.remove(&it, removal));
                }
                Err(error)
            }
        }
    }
}

/// podling create
#[derive(Debug, Args)]
pub struct Create {
    #[command(flatten)]
    container: ContainerFlags,
}

impl Verb for Create {
    fn run(self, context: &Context) -> Result<i32> {
        let quiet = self.container.quiet();
        let request = self.container.request()?;
        let container = context.engine()?.create(&request, &Watch::new(quiet))?;
        failure::print(&format!("{}\n", container.id()))
    }
}
