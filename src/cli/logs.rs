//! `logs`: what containers have written.

use std::io::{ErrorKind, IsTerminal, Write, stderr, stdout};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::cli::{Context, Verb, select};
use crate::engine::container::Container;
use crate::engine::logs::{self, Line, LogRequest};
use crate::engine::when;
use crate::handover::LogDriver;

/// podling logs
#[derive(Debug, Args)]
pub struct Logs {
    /// Containers, by name or by the beginning of their id
    #[arg(value_name = "CONTAINER")]
    names: Vec<String>,
    /// Go on until the container ends
    #[arg(long, short)]
    follow: bool,
    /// Only the last N lines (-1: all)
    #[arg(long, value_name = "N", default_value_t = -1, hide_default_value = true)]
    tail: i64,
    /// Only what came at or after: 2026-11-23T18:48:15Z, 10m (ago), a Unix time
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only what came at or before
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Each line with its time
    #[arg(long, short)]
    timestamps: bool,
    /// Each line with its container's name
    #[arg(long = "names", short = 'n')]
    show_names: bool,
    /// A colour for each container
    #[arg(long)]
    color: bool,
    /// The container made last
    #[arg(long, short)]
    latest: bool,
    /// Docker's; there is nothing to do.
    #[arg(long, hide = true)]
    details: bool,
}

impl Verb for Logs {
    fn run(self, context: &Context) -> Result<i32> {
        let engine = context.engine()?;
        let containers = match (&self.names[..], self.latest) {
            ([], true) => vec![select::latest(&engine)?],
            ([], false) => bail!("you must name a container, or use --latest"),
            (_, true) => bail!("--latest cannot be used with names"),
            (names, false) => names.iter().map(|name| engine.container(name)).collect::<Result<Vec<_>>>()?,
        };
        let now = Timestamp::now();
        let time = |text: &Option<String>| text.as_deref().map(|text| when::parse(text, now)).transpose();
        let request = LogRequest {
            follow: self.follow,
            tail: usize::try_from(self.tail).ok(),
            since: time(&self.since)?,
            until: time(&self.until)?,
        };
        if let [container] = &containers[..]
            && container.config.log.driver == LogDriver::Journald
        {
            return logs::read_journal(container, &request, self.timestamps);
        }
        let mut printer = Printer::new(&self, &containers);
        match logs::read(&containers, &request, &mut |line| printer.print(line)) {
            // Whoever reads has seen enough: `podling logs x | head -1`.
            Err(error)
                if error.downcast_ref::<std::io::Error>().is_some_and(|it| it.kind() == ErrorKind::BrokenPipe) =>
            {
                Ok(0)
            }
            other => other.map(|()| 0),
        }
    }
}

/// What is being tried, for errors.
const OUTPUT: &str = "writing to standard output";

struct Printer {
    prefixes: Vec<String>,
    timestamps: bool,
    reset: &'static str,
    /// Per container and stream: the line before goes on.
    begun: Vec<[bool; 2]>,
}

impl Printer {
    fn new(asked: &Logs, containers: &[Container]) -> Self {
        let colour = asked.color && stdout().is_terminal();
        let prefix = |(index, container): (usize, &Container)| {
            // As Podman: with a colour or with several containers, each line says whose it is.
            let who = if asked.show_names || asked.color && containers.len() == 1 {
                container.name()
            } else if containers.len() > 1 || asked.color {
                container.short_id()
            } else {
                return String::new();
            };
            if colour { format!("\x1b[3{}m{who} ", 1 + index % 6) } else { format!("{who} ") }
        };
        Self {
            prefixes: containers.iter().enumerate().map(prefix).collect(),
            timestamps: asked.timestamps,
            reset: if colour { "\x1b[0m" } else { "" },
            begun: vec![[false; 2]; containers.len()],
        }
    }

    fn print(&mut self, line: &Line) -> Result<()> {
        let mut text = Vec::new();
        let begun = &mut self.begun[line.container][usize::from(line.error)];
        if !*begun {
            text.extend_from_slice(self.prefixes[line.container].as_bytes());
            if self.timestamps {
                let time = line.time.to_zoned_datetime(TimeZone::system());
                text.extend_from_slice(time.strftime("%Y-%m-%dT%H:%M:%S%.9f%:z ").to_string().as_bytes());
            }
        }
        *begun = line.partial;
        text.extend_from_slice(&line.text);
        if !line.partial {
            text.extend_from_slice(self.reset.as_bytes());
            text.push(b'\n');
        }
        if line.error {
            stderr().write_all(&text)?;
        } else {
            stdout().write_all(&text).context(OUTPUT)?;
        }
        if line.partial { stdout().flush().context(OUTPUT) } else { Ok(()) }
    }
}
