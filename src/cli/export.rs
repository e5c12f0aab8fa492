//! `export` and `commit`: a container's files, as a tar file or as an image.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use crate::cli::images::archive::output;
use crate::cli::{Context, Verb, failure, whole};
use crate::engine::commit::CommitRequest;
use crate::image::compose::open_directory;
use crate::image::layer::{Source, pack};

/// podling export
#[derive(Debug, Args)]
pub struct Export {
    /// Write to a file (standard output)
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Container, by name or by the beginning of its id
    #[arg(value_name = "CONTAINER")]
    container: String,
}

impl Verb for Export {
    fn run(self, context: &Context) -> Result<i32> {
        let engine = context.engine()?;
        let container = engine.container(&self.container)?;
        let exported = archive(self.output.as_deref(), |out| {
            engine.enter(Some(&container))?;
            // The monitor's mount namespace shows the root without what is mounted in it (/proc, volumes), which is not
            // the container's to give away: those directories stay, empty.
            let root = match container.monitor() {
                Some(monitor) => below(&monitor.root()?, &container.rootfs())?,
                None => open_directory(&engine.mount_once(&container)?)?,
            };
            let owners = engine.owners(&container.config)?;
            Ok(pack(root, Source::Plain, &[], owners.as_ref(), out)?.flush()?)
        });
        exported.with_context(|| format!("exporting {}", container.name())).map(|()| 0)
    }
}

/// The directory that is at `path` for whoever has this root.
fn below(root: &File, path: &Path) -> Result<OwnedFd> {
    let inside = path.strip_prefix("/").unwrap_or(path);
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    openat(root, inside, flags, Mode::empty()).with_context(|| format!("opening {}", path.display()))
}

/// Opens a file, or else standard output, lets `write` fill it, and gives the file its name when it is whole.
pub fn archive(file: Option<&Path>, write: impl FnOnce(Box<dyn Write>) -> Result<()>) -> Result<()> {
    let Some(file) = file else { return write(Box::new(output()?)) };
    whole::write(file, |out| write(Box::new(out))).with_context(|| format!("writing {}", file.display()))
}

/// podling commit
#[derive(Debug, Args)]
pub struct Commit {
    /// Author of the image
    #[arg(long, short, value_name = "NAME")]
    author: Option<String>,
    /// Change the configuration: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR (repeatable)
    #[arg(long, short, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// A word for the history
    #[arg(long, short, value_name = "TEXT")]
    message: Option<String>,
    /// Freeze the container meanwhile
    #[arg(long, short)]
    pause: bool,
    /// Write the image's id to a file
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,
    /// Say nothing
    #[arg(long, short)]
    quiet: bool,
    #[arg(long, short, hide = true)]
    format: Option<String>,
    /// Container, by name or by the beginning of its id
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// The image's name
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

impl Verb for Commit {
    fn run(self, context: &Context) -> Result<i32> {
        let engine = context.engine()?;
        let name = self.name.as_deref().map(crate::cli::images::names::given).transpose()?;
        let container = engine.container(&self.container)?;
        let request = CommitRequest {
            name: name.map(|name| name.to_string()),
            author: self.author,
            message: self.message,
            changes: self.change,
            pause: self.pause,
        };
        let id = engine.commit(&container, &request)?;
        if let Some(file) = &self.iidfile {
            std::fs::write(file, &id).with_context(|| format!("writing {}", file.display()))?;
        }
        failure::print(&format!("{id}\n"))
    }
}
