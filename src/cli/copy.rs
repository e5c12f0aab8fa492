//! `cp`: files between containers, the host, and tar streams.

use anyhow::{Result, bail};
use clap::{ArgAction, Args};

use crate::cli::{Context, Verb};
use crate::engine::Engine;
use crate::engine::copy::{self, CopyRequest, Place};

/// podling cp
#[derive(Debug, Args)]
pub struct Copy {
    /// What: CONTAINER:PATH, PATH, or - (a tar stream)
    #[arg(value_name = "SOURCE")]
    from: String,
    /// Where to: CONTAINER:PATH, PATH, or - (a tar stream)
    #[arg(value_name = "TARGET")]
    to: String,
    /// Files that go into a container belong to its user (--archive=false: they keep their owners)
    #[arg(long, short, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", hide_default_value = true, value_name = "BOOL")]
    archive: bool,
    /// A directory may replace a file, and a file a directory
    #[arg(long)]
    overwrite: bool,
    /// Podman's: the container runs on while it is copied
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", hide = true)]
    pause: bool,
}

impl Verb for Copy {
    fn run(self, context: &Context) -> Result<i32> {
        let engine = context.engine()?;
        let (from, to) = (place(&engine, &self.from)?, place(&engine, &self.to)?);
        if ![&from, &to].iter().any(|place| matches!(place, Place::Container(..))) {
            bail!("cp {} {}: neither names a container (CONTAINER:PATH)", self.from, self.to);
        }
        let request = CopyRequest { archive: self.archive, overwrite: self.overwrite };
        copy::copy(&engine, &from, &to, request).map(|()| 0)
    }
}

/// `NAME:PATH` is a container's, unless it begins like a path (`./a:b`).
fn place(engine: &Engine, text: &str) -> Result<Place> {
    if text == "-" {
        return Ok(Place::Stream);
    }
    match text.split_once(':') {
        Some((name, path)) if !text.starts_with(['.', '/']) => {
            let container = engine.container(name)?;
            Ok(Place::Container(Box::new(container), if path.is_empty() { "/".into() } else { path.into() }))
        }
        _ => Ok(Place::Host(text.into())),
    }
}
