//! `tag`, `untag`, `image exists`: what images are called.

use anyhow::{Result, bail};
use clap::Args;

use super::is_missing;
use crate::cli::{Context, Verb};
use crate::engine::events::Type;
use crate::image::Reference;
use crate::image::reference::LOCALHOST;

/// podling tag
#[derive(Debug, Args)]
pub struct Tag {
    /// Image, by name or by the beginning of its id
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Its further names
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

/// A name that somebody gives: one without a registry is made here, and so belongs to localhost.
pub fn given(text: &str) -> Result<Reference> {
    let name = Reference::in_registry(LOCALHOST, text)?;
    if name.digest.is_some() {
        bail!("image name {text:?}: a name that is given cannot hold a digest");
    }
    Ok(name)
}

impl Verb for Tag {
    fn run(self, context: &Context) -> Result<i32> {
        let names = self.names.iter().map(|name| given(name)).collect::<Result<Vec<_>>>()?;
        let engine = context.engine()?;
        let layout = engine.layout()?;
        let image = layout.find(&self.image)?;
        for name in &names {
            layout.tag(&image, name)?;
            engine.record_other(Type::Image, "tag", &image.id, &name.to_string());
        }
        Ok(0)
    }
}

/// podling untag
#[derive(Debug, Args)]
pub struct Untag {
    /// Image, by name or by the beginning of its id
    #[arg(value_name = "IMAGE")]
    image: String,
    /// The names to take away (all)
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

impl Verb for Untag {
    fn run(self, context: &Context) -> Result<i32> {
        let engine = context.engine()?;
        let layout = engine.layout()?;
        let image = layout.find(&self.image)?;
        let mut names = Vec::new();
        for typed in &self.names {
            match image.names.iter().find(|name| name.fits(typed).is_some()) {
                Some(name) => names.push(name.clone()),
                None => bail!("{typed}: tag not known"),
            }
        }
        for name in if self.names.is_empty() { &image.names } else { &names } {
            layout.untag(name)?;
            engine.record_other(Type::Image, "untag", &image.id, &name.to_string());
        }
        Ok(0)
    }
}

/// podling image exists
#[derive(Debug, Args)]
pub struct Exists {
    /// Image
    #[arg(value_name = "IMAGE")]
    image: String,
}

impl Verb for Exists {
    fn run(self, context: &Context) -> Result<i32> {
        match context.engine()?.layout()?.find(&self.image) {
            Ok(_) => Ok(0),
            Err(error) if is_missing(&error) => Ok(1),
            Err(error) => Err(error),
        }
    }
}
