//! `volume export` and `volume import`: what is in a volume, as a tar file.

use std::fs::File;
use std::io::{Read, Write, stdin};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::cli::export::archive;
use crate::cli::{Context, Verb};
use crate::image::compose::open_directory;
use crate::image::layer::{Source, pack};

/// podling volume export
#[derive(Debug, Args)]
pub struct Export {
    /// Write to a file (standard output)
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Volume
    #[arg(value_name = "VOLUME")]
    volume: String,
}

impl Verb for Export {
    fn run(self, context: &Context) -> Result<i32> {
        let engine = context.engine()?;
        let volume = engine.volume(&self.volume)?;
        let exported = archive(self.output.as_deref(), |out| {
            engine.enter(None)?;
            let data = open_directory(&engine.volume_data(&volume.name)?)?;
            Ok(pack(data, Source::Plain, &[], None, out)?.flush()?)
        });
        exported.with_context(|| format!("exporting volume {}", volume.name)).map(|()| 0)
    }
}

/// podling volume import
#[derive(Debug, Args)]
pub struct Import {
    /// Volume
    #[arg(value_name = "VOLUME")]
    volume: String,
    /// Tar file (-: standard input)
    #[arg(value_name = "FILE")]
    source: PathBuf,
}

impl Verb for Import {
    fn run(self, context: &Context) -> Result<i32> {
        let engine = context.engine()?;
        let volume = engine.volume(&self.volume)?;
        let source: Box<dyn Read + Send> = if self.source.as_os_str() == "-" {
            Box::new(stdin())
        } else {
            Box::new(File::open(&self.source).with_context(|| format!("opening {}", self.source.display()))?)
        };
        engine.fill_volume(&volume, source).with_context(|| format!("importing into volume {}", volume.name))?;
        Ok(0)
    }
}
