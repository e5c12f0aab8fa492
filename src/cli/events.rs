//! `events`: what happened, and what happens.

use std::io::{ErrorKind, Write, stdout};

use anyhow::Result;
use clap::{ArgAction, Args};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cli::format::{self, human};
use crate::cli::{Context, Verb};
use crate::engine::events::{self, Event, EventRequest, Filters, Type};
use crate::engine::when;

/// podling events
#[derive(Debug, Args)]
pub struct Events {
    /// Only those to which this applies: container=, event=, image=, label=, name=, type=, volume= (repeatable)
    #[arg(long, short, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// From then on: 2026-11-23T18:48:15Z, 10m (ago), a Unix time
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Until then
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Wait for more (unless --stream=false)
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", hide_default_value = true, value_name = "BOOL")]
    stream: bool,
    /// Ids in full (they always are)
    #[arg(long)]
    no_trunc: bool,
}

impl Verb for Events {
    fn run(self, context: &Context) -> Result<i32> {
        let engine = context.engine()?;
        let now = Timestamp::now();
        let time = |text: &Option<String>| text.as_deref().map(|text| when::parse(text, now)).transpose();
        let (since, until) = (time(&self.since)?, time(&self.until)?);
        let follow = self.stream && until.is_none_or(|until| until > now);
        let request = EventRequest {
            // A stream begins now, unless a time was given; a list begins at the beginning.
            since: if follow && until.is_none() { since.or(Some(now)) } else { since },
            until,
            follow,
            filters: Filters::parse(&self.filter)?,
        };
        let template = match self.format.as_deref() {
            Some(text) if !format::is_json(text) => Some(format::parse(text)?),
            _ => None,
        };
        let json = self.format.is_some() && template.is_none();
        let mut print = |event: &Event| {
            let line = match &template {
                Some(template) => template.run(&fields(event)?)?,
                None if json => serde_json::to_string(event)?,
                None => text(event),
            };
            let mut out = stdout().lock();
            writeln!(out, "{}", line.trim_end_matches('\n'))?;
            Ok(out.flush()?)
        };
        match events::read(&engine, &request, &mut print) {
            Err(error)
                if error.downcast_ref::<std::io::Error>().is_some_and(|it| it.kind() == ErrorKind::BrokenPipe) =>
            {
                Ok(0)
            }
            other => other.map(|()| 0),
        }
    }
}

/// An event's fields as a template knows them: also those that JSON leaves out where they say nothing.
fn fields(event: &Event) -> Result<Value> {
    let mut fields = serde_json::to_value(event)?;
    for (name, nothing) in [("ContainerExitCode", json!(0)), ("ID", json!("")), ("Image", json!(""))] {
        if fields[name].is_null() {
            fields[name] = nothing;
        }
    }
    Ok(fields)
}

/// As Podman writes them: `TIME container create ID (image=…, name=…, label=…)`.
fn text(event: &Event) -> String {
    let start = format!("{} {} {}", human::go_time(event.time), event.r#type.name(), event.status);
    match event.r#type {
        Type::Container => {
            let mut details = vec![format!("image={}", event.image), format!("name={}", event.name)];
            details.extend(event.attributes.iter().map(|(name, value)| format!("{name}={value}")));
            format!("{start} {} ({})", event.id, details.join(", "))
        }
        Type::Image => format!("{start} {} {}", event.id, event.name),
        Type::Volume => format!("{start} {}", event.name),
        Type::System => start,
    }
}
