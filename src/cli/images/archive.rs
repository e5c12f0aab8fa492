//! `save`, `load`, `import`: images as files.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use super::names::given;
use crate::cli::failure::hinted;
use crate::cli::request::Platform;
use crate::cli::{Context, Verb, failure, whole};
use crate::engine::events::Type;
use crate::image::archive::{self, Format};
use crate::image::{LoadedImage, compose, layout::Layout, reference::Reference};

/// podling save
#[derive(Debug, Args)]
pub struct Save {
    /// docker-archive, oci-archive, or oci-dir
    #[arg(long, value_name = "FORMAT", value_parser = format, default_value = "docker-archive")]
    format: Format,
    /// Write to a file, or for oci-dir to a directory (standard output)
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The further words are images, not names for the first
    #[arg(long, short)]
    multi_image_archive: bool,
    /// Say nothing
    #[arg(long, short)]
    quiet: bool,
    #[arg(long, hide = true)]
    compress: bool,
    #[arg(long, hide = true)]
    uncompressed: bool,
    /// Image, by name or by the beginning of its id
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Further names it has in the archive; with -m, further images
    #[arg(value_name = "NAME")]
    more: Vec<String>,
}

fn format(text: &str) -> Result<Format, String> {
    text.parse().map_err(|_| "expected docker-archive, oci-archive or oci-dir".into())
}

impl Save {
    fn wanted(&self, layout: &Layout) -> Result<Vec<archive::Wanted>> {
        let mut wanted: Vec<archive::Wanted> = Vec::new();
        let others: &[String] = if self.multi_image_archive { &self.more } else { &[] };
        for typed in [&self.image].into_iter().chain(others) {
            let image = layout.find(typed)?;
            let names: Vec<Reference> = image.names.iter().filter(|name| name.fits(typed).is_some()).cloned().collect();
            match wanted.iter_mut().find(|(known, _)| known.id == image.id) {
                Some((_, known)) => known.extend(names),
                None => wanted.push((image, names)),
            }
        }
        if !self.multi_image_archive {
            for name in &self.more {
                wanted[0].1.push(given(name)?);
            }
        }
        Ok(wanted)
    }
}

impl Verb for Save {
    fn run(self, context: &Context) -> Result<i32> {
        let engine = context.engine()?;
        let layout = engine.layout()?;
        let wanted = self.wanted(&layout)?;
        match (&self.output, self.format) {
            (Some(directory), Format::OciDir) => archive::save_directory(&layout, &wanted, directory)?,
            (None, Format::OciDir) => return Err(failure::misuse("oci-dir needs --output", "save")),
            (Some(path), format) => {
                whole::write(path, |out| archive::save(&layout, &wanted, format, out))
                    .with_context(|| format!("writing {}", path.display()))?;
            }
            (None, format) => {
                archive::save(&layout, &wanted, format, output()?).context("writing to standard output")?;
            }
        }
        let to = self.output.as_deref().map_or("-".into(), Path::to_string_lossy);
        for (image, _) in &wanted {
            engine.record_other(Type::Image, "save", &image.id, &to);
        }
        Ok(0)
    }
}

/// Standard output, if an archive can go there.
pub fn output() -> Result<impl Write> {
    if io::stdout().is_terminal() {
        return Err(hinted("refusing to write an archive to a terminal", "redirect standard output, or use --output"));
    }
    Ok(BufWriter::new(io::stdout().lock()))
}

/// podling load
#[derive(Debug, Args)]
pub struct Load {
    /// Read from a file or directory (standard input)
    #[arg(long, short, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Say nothing
    #[arg(long, short)]
    quiet: bool,
    #[arg(value_name = "NAME", hide = true)]
    name: Option<String>,
}

impl Load {
    fn load(&self, layout: &Layout, name: Option<&Reference>) -> Result<Vec<LoadedImage>> {
        let adding = layout.adding()?;
        match &self.input {
            Some(path) if path.is_dir() => archive::load_directory(&adding, path, name),
            Some(path) => {
                let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
                archive::load(&adding, file, name).with_context(|| format!("loading {}", path.display()))
            }
            None if io::stdin().is_terminal() => {
                Err(hinted("cannot read an archive from a terminal", "use --input, or redirect standard input"))
            }
            None => archive::load(&adding, io::stdin(), name).context("loading from standard input"),
        }
    }
}

impl Verb for Load {
    fn run(self, context: &Context) -> Result<i32> {
        let engine = context.engine()?;
        let layout = engine.layout()?;
        let name = self.name.as_deref().map(given).transpose()?;
        let loaded = self.load(&layout, name.as_ref());
        if loaded.is_err() {
            // What the archive has left in the store.
            let _ = layout.collect();
        }
        let images = loaded?;
        let mut text = String::new();
        let from = self.input.as_deref().map_or("-".into(), Path::to_string_lossy);
        for image in &images {
            engine.record_other(Type::Image, "loadfromarchive", &image.id, &from);
            for name in &image.names {
                text.push_str(&format!("Loaded image: {name}\n"));
            }
            if image.names.is_empty() {
                text.push_str(&format!("Loaded image: sha256:{}\n", image.id));
            }
        }
        failure::print(&text)
    }
}

/// podling import
#[derive(Debug, Args)]
pub struct Import {
    /// Change the configuration: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR (repeatable)
    #[arg(long, short, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// A word for the history
    #[arg(long, short, value_name = "TEXT", default_value = "imported from tarball", hide_default_value = true)]
    message: String,
    #[command(flatten)]
    platform: Platform,
    /// Say nothing
    #[arg(long, short)]
    quiet: bool,
    /// Tar file with a root file system; -: standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The image's name
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

impl Verb for Import {
    fn run(self, context: &Context) -> Result<i32> {
        let name = self.name.as_deref().map(given).transpose()?;
        let platform = super::platform(self.platform.said().as_deref())?;
        if self.file.to_str().is_some_and(|path| path.starts_with("http://") || path.starts_with("https://")) {
            bail!("importing from a URL is not supported: fetch it first");
        }
        let input: Box<dyn Read + Send> = if self.file == Path::new("-") {
            Box::new(io::stdin())
        } else {
            Box::new(File::open(&self.file).with_context(|| format!("opening {}", self.file.display()))?)
        };
        let engine = context.engine()?;
        let layout = engine.layout()?;
        let adding = layout.adding()?;
        let image = compose::import(&adding, input, &platform, &self.change, &self.message, name.as_ref())
            .with_context(|| format!("importing {}", self.file.display()))?;
        let called = name.map_or_else(String::new, |name| name.to_string());
        engine.record_other(Type::Image, "import", &image.id, &called);
        failure::print(&format!("sha256:{}\n", image.id))
    }
}
