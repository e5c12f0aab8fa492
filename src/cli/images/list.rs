//! `images`: the images, a line for each name.

use anyhow::{Result, bail};
use clap::Args;
use jiff::Timestamp;
use regex_lite::Regex;
use serde_json::{Value, json};

use super::{created, short};
use crate::cli::failure::hinted;
use crate::cli::filter::labelled;
use crate::cli::format::{self, Listing, human};
use crate::cli::{Context, Verb, failure};
use crate::engine::container::Container;
use crate::engine::{Engine, when};
use crate::image::{Layout, LoadedImage, Reference};

/// podling images
#[derive(Debug, Args)]
pub struct Images {
    /// Intermediate images too (there are none)
    #[arg(long, short)]
    all: bool,
    /// Digests too
    #[arg(long)]
    digests: bool,
    /// Those to which this applies: dangling=true, reference=NAME, label=KEY, before=, since=, until=, id= (repeatable)
    #[arg(long, short, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// json, a Go template, or `table` and a template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Ids in full
    #[arg(long)]
    no_trunc: bool,
    /// No headings
    #[arg(long, short)]
    noheading: bool,
    /// Ids only
    #[arg(long, short)]
    quiet: bool,
    /// Order: created, id, repository, size, tag
    #[arg(long, value_name = "FIELD", default_value = "created", hide_default_value = true,
          value_parser = ["created", "id", "repository", "size", "tag"], hide_possible_values = true)]
    sort: String,
    /// Names an image had before (none is remembered)
    #[arg(long, hide = true)]
    history: bool,
    /// Only images with this name
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

/// A line of the table: an image under one of its names, or under none.
struct Line {
    image: LoadedImage,
    name: Option<Reference>,
    size: u64,
}

impl Line {
    fn repository(&self) -> String {
        self.name.as_ref().map_or_else(|| "<none>".into(), Reference::name)
    }

    fn tag(&self) -> String {
        self.name.as_ref().and_then(|name| name.tag.clone()).unwrap_or_else(|| "<none>".into())
    }
}

impl Verb for Images {
    fn run(self, context: &Context) -> Result<i32> {
        let engine = context.engine()?;
        let layout = engine.layout()?;
        crate::engine::image::warn_of_broken(&layout, |_| true)?;
        let mut images = layout.images()?;
        retain(&layout, &mut images, &self.filter)?;
        let mut lines = Vec::new();
        for image in images {
            let size = layout.unpacked_size(&image);
            if image.names.is_empty() && self.name.is_none() {
                lines.push(Line { image: image.clone(), name: None, size });
            }
            for name in &image.names {
                if self.name.as_ref().is_none_or(|wanted| means(name, wanted)) && asked(name, &self.filter) {
                    lines.push(Line { image: image.clone(), name: Some(name.clone()), size });
                }
            }
        }
        match self.sort.as_str() {
            "id" => lines.sort_by(|one, other| one.image.id.cmp(&other.image.id)),
            "repository" => lines.sort_by_key(|line| (line.repository(), line.tag())),
            "size" => lines.sort_by_key(|line| line.size),
            "tag" => lines.sort_by_key(Line::tag),
            _ => lines.sort_by_key(|line| (std::cmp::Reverse(created(&line.image)), line.repository(), line.tag())),
        }
        self.show(&engine, &lines)
    }
}

impl Images {
    fn show(&self, engine: &Engine, lines: &[Line]) -> Result<i32> {
        let id = |line: &Line| {
            if self.no_trunc { format!("sha256:{}", line.image.id) } else { short(&line.image.id).to_owned() }
        };
        if self.quiet {
            // An image with several names is one image.
            let mut ids: Vec<_> = lines.iter().map(id).collect();
            let mut seen = std::collections::HashSet::new();
            ids.retain(|id| seen.insert(id.clone()));
            return failure::print(&ids.iter().map(|id| format!("{id}\n")).collect::<String>());
        }
        let digest = if self.digests { "{{.Digest}}\t" } else { "" };
        let default =
            format!("table {{{{.Repository}}}}\t{{{{.Tag}}}}\t{digest}{{{{.ID}}}}\t{{{{.Created}}}}\t{{{{.Size}}}}");
        let listing = Listing {
            format: self.format.as_deref(),
            default: &default,
            headings: &[("ID", "IMAGE ID"), ("CreatedSince", "CREATED"), ("CreatedAt", "CREATED AT")],
            no_heading: self.noheading,
        };
        if self.format.as_deref().is_some_and(format::is_json) {
            let mut seen = std::collections::HashSet::new();
            let once: Vec<_> = lines.iter().filter(|line| seen.insert(line.image.id.clone())).collect();
            let containers = engine.sound_containers()?;
            let documents = once.iter().map(|line| document(&containers, line)).collect();
            return listing.print(&[], || Value::Array(documents));
        }
        let rows: Vec<_> = lines.iter().map(|line| row(line, &id(line))).collect();
        listing.print(&rows, || Value::Null)
    }
}

fn row(line: &Line, id: &str) -> Value {
    let since = human::ago(created(&line.image));
    json!({
        "ID": id,
        "Id": line.image.id,
        "Repository": line.repository(),
        "Tag": line.tag(),
        "Digest": line.image.digest().to_string(),
        "Created": since, "CreatedSince": since,
        "CreatedAt": human::go_time(created(&line.image)),
        "CreatedTime": human::go_time(created(&line.image)),
        "Size": human::spaced_size(line.size),
        "VirtualSize": line.size,
        "Names": names(&line.image), "RepoTags": names(&line.image), "History": names(&line.image),
        "RepoDigests": line.image.repository_digests(),
        "Labels": labels(&line.image),
        "Dangling": line.image.names.is_empty(),
        "ReadOnly": false,
        "Containers": 0, "SharedSize": 0, "ParentId": "",
    })
}

fn document(containers: &[Container], line: &Line) -> Value {
    let image = &line.image;
    let names = names(image);
    let labels = labels(image);
    json!({
        "Id": image.id,
        "ParentId": "",
        "RepoTags": names,
        "RepoDigests": image.repository_digests(),
        "Size": line.size, "SharedSize": 0, "VirtualSize": line.size,
        "Labels": if labels.is_empty() { Value::Null } else { json!(labels) },
        "Containers": super::used_by(containers, image).len(),
        "Names": names,
        "Digest": image.digest().to_string(),
        "History": names,
        "Created": created(image).as_second(),
        "CreatedAt": created(image).to_string(),
    })
}

fn names(image: &LoadedImage) -> Vec<String> {
    image.names.iter().map(Reference::to_string).collect()
}

/// The labels of an image.
fn labels(image: &LoadedImage) -> std::collections::BTreeMap<String, String> {
    let labels = image.config.config().as_ref().and_then(|config| config.labels().clone());
    labels.unwrap_or_default().into_iter().collect()
}

/// Whether somebody who types `wanted` means this name: with no tag, whatever its tag.
fn means(name: &Reference, wanted: &str) -> bool {
    if wanted.contains('*') {
        let words: Vec<_> = wanted.split('*').map(regex_lite::escape).collect();
        let pattern = Regex::new(&format!("(^|/){}$", words.join(".*")));
        return pattern.is_ok_and(|it| it.is_match(&name.to_string()) || it.is_match(&name.name()));
    }
    let any_tag = Reference { tag: Some("latest".into()), digest: None, ..name.clone() };
    let has_tag = wanted.rsplit_once(':').is_some_and(|(_, tag)| !tag.contains('/'));
    name.fits(wanted).is_some() || !has_tag && any_tag.fits(wanted).is_some()
}

/// Of an image that `reference=` filters chose, only the names that they mean are shown.
fn asked(name: &Reference, filters: &[String]) -> bool {
    let mut wanted = filters.iter().filter_map(|filter| filter.strip_prefix("reference=")).peekable();
    wanted.peek().is_none() || wanted.any(|wanted| means(name, wanted))
}

/// Keeps the images to which all filters apply.
pub fn retain(layout: &Layout, images: &mut Vec<LoadedImage>, filters: &[String]) -> Result<()> {
    for filter in filters {
        let Some((key, value)) = filter.split_once('=') else {
            bail!("invalid value {filter:?} for --filter: expected KEY=VALUE");
        };
        let truth = || match value {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => bail!("invalid value {value:?} for --filter {key}: expected true or false"),
        };
        match key {
            "dangling" => {
                let wanted = truth()?;
                images.retain(|image| image.names.is_empty() == wanted);
            }
            "readonly" | "intermediate" | "containers" => {
                let wanted = truth()?;
                images.retain(|_| !wanted);
            }
            "reference" => images.retain(|image| image.names.iter().any(|name| means(name, value))),
            "label" => images.retain(|image| labelled(&labels(image), value)),
            "id" => images.retain(|image| image.id.starts_with(value.trim_start_matches("sha256:"))),
            "before" => {
                let than = created(&layout.find(value)?);
                images.retain(|image| created(image) < than);
            }
            "since" | "after" => {
                let than = created(&layout.find(value)?);
                images.retain(|image| created(image) > than);
            }
            "until" => {
                let than = when::parse(value, Timestamp::now())?;
                images.retain(|image| created(image) < than);
            }
            _ => {
                let known = "there are before, dangling, id, label, reference, since, until";
                return Err(hinted(format!("{key} is an invalid filter"), known));
            }
        }
    }
    Ok(())
}
