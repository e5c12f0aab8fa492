//! `image inspect`, `history`, `image tree`: what an image is made of.

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use super::{created, short};
use crate::cli::format::{self, Listing, human};
use crate::cli::{Context, Verb, failure};
use crate::image::{Layout, LoadedImage, Reference};

/// podling image inspect
#[derive(Debug, Args)]
pub struct Inspect {
    /// json, or a Go template
    #[arg(long, short, value_name = "FORMAT")]
    format: Option<String>,
    /// Images, by name or by the beginning of their id
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
}

impl Verb for Inspect {
    fn run(self, context: &Context) -> Result<i32> {
        let engine = context.engine()?;
        let layout = engine.layout()?;
        let mut found = Vec::new();
        let mut status = 0;
        for typed in &self.images {
            match layout.find(typed) {
                Ok(image) => found.push(describe(&engine, &layout, &image)),
                Err(error) => status = failure::report(&error),
            }
        }
        print(self.format.as_deref(), found)?;
        Ok(status)
    }
}

/// Prints inspected objects: an array of JSON, or a line of the template for each.
pub fn print(format: Option<&str>, found: Vec<Value>) -> Result<i32> {
    match format.filter(|format| *format != "json") {
        None => format::print_value(None, &Value::Array(found)),
        Some(format) => {
            for value in &found {
                format::print_value(Some(format), value)?;
            }
            Ok(0)
        }
    }
}

/// An image in the shape that Docker and Podman give it.
pub fn describe(engine: &crate::engine::Engine, layout: &Layout, image: &LoadedImage) -> Value {
    let config = &image.raw_config;
    let size = layout.unpacked_size(image);
    let layers: Vec<_> =
        image.layers.iter().rev().map(|layer| engine.paths.layers().join(layer.chain_id.hex())).collect();
    let history = config["history"].as_array().cloned().unwrap_or_default();
    let comment = history.iter().rev().find_map(|entry| entry["comment"].as_str()).unwrap_or_default();
    let user = config["config"]["User"].as_str().unwrap_or_default();
    json!({
        "Id": image.id,
        "Digest": image.digest().to_string(),
        "RepoTags": image.names.iter().map(Reference::to_string).collect::<Vec<_>>(),
        "RepoDigests": image.repository_digests(),
        "Parent": "",
        "Comment": comment,
        "Created": config["created"].as_str().unwrap_or_default(),
        "Config": config["config"],
        "Version": config["docker_version"].as_str().unwrap_or_default(),
        "Author": config["author"].as_str().unwrap_or_default(),
        "Architecture": config["architecture"],
        "Os": config["os"],
        "Size": size,
        "VirtualSize": size,
        "GraphDriver": {"Name": "overlay", "Data": {"LowerDir": join(&layers)}},
        "RootFS": {"Type": "layers", "Layers": config["rootfs"]["diff_ids"]},
        "Labels": config["config"]["Labels"],
        "Annotations": image.manifest.annotations().clone().unwrap_or_default(),
        "ManifestType": image.descriptor.media_type().to_string(),
        "User": user,
        "History": history,
        "NamesHistory": image.names.iter().map(Reference::to_string).collect::<Vec<_>>(),
    })
}

fn join(paths: &[std::path::PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(":")
}

/// podling history
#[derive(Debug, Args)]
pub struct History {
    /// json, a Go template, or `table` and a template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Sizes and times for people
    #[arg(long, short = 'H', default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    human: bool,
    /// Nothing cut short
    #[arg(long)]
    no_trunc: bool,
    /// Ids only
    #[arg(long, short)]
    quiet: bool,
    /// Image, by name or by the beginning of its id
    #[arg(value_name = "IMAGE")]
    image: String,
}

impl Verb for History {
    fn run(self, context: &Context) -> Result<i32> {
        let layout = context.engine()?.layout()?;
        let image = layout.find(&self.image)?;
        let steps = steps(&layout, &image);
        let id = |at: usize| match (at, self.no_trunc) {
            (0, true) => image.id.as_str(),
            (0, false) => short(&image.id),
            _ => "<missing>",
        };
        if self.quiet {
            return failure::print(&(0..steps.len()).map(|at| format!("{}\n", id(at))).collect::<String>());
        }
        let listing = Listing {
            format: self.format.as_deref(),
            default: "table {{.ID}}\t{{.Created}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
            headings: &[("CreatedSince", "CREATED"), ("CreatedAt", "CREATED AT")],
            no_heading: false,
        };
        let rows: Vec<_> = steps.iter().enumerate().map(|(at, step)| self.row(id(at), step)).collect();
        listing.print(&rows, || {
            let document = |(at, step): (usize, &Step)| {
                json!({
                    "id": if at == 0 { image.id.as_str() } else { "<missing>" },
                    "created": step.created.to_string(), "Created": step.created.to_string(),
                    "CreatedBy": step.by, "size": step.size, "comment": step.comment,
                })
            };
            steps.iter().enumerate().map(document).collect()
        })
    }
}

impl History {
    fn row(&self, id: &str, step: &Step) -> Value {
        let by = if !self.no_trunc && step.by.chars().count() > 44 {
            step.by.chars().take(44).collect::<String>() + "..."
        } else {
            step.by.clone()
        };
        let created = if self.human { human::ago(step.created) } else { step.created.to_string() };
        json!({
            "ID": id,
            "Created": created,
            "CreatedSince": human::ago(step.created),
            "CreatedAt": step.created.to_string(),
            "CreatedBy": by.replace('\t', " "),
            "Size": if self.human { human::spaced_size(step.size) } else { step.size.to_string() },
            "Comment": step.comment,
            "Tags": [],
        })
    }
}

/// One step in the making of an image.
struct Step {
    created: jiff::Timestamp,
    by: String,
    size: u64,
    comment: String,
}

/// The steps, the latest first. Those that changed files belong to the layers in order.
fn steps(layout: &Layout, image: &LoadedImage) -> Vec<Step> {
    let mut layers = image.layers.iter();
    let mut steps: Vec<Step> = image.raw_config["history"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|entry| {
            let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
            let empty = entry["empty_layer"].as_bool().unwrap_or_default();
            let layer = if empty { None } else { layers.next() };
            Step {
                created: text("created").parse().unwrap_or_default(),
                by: text("created_by"),
                size: layer.map_or(0, |layer| layout.unpacked_layer_size(layer.blob)),
                comment: text("comment"),
            }
        })
        .collect();
    // Layers of which the history says nothing.
    steps.extend(layers.map(|layer| Step {
        created: created(image),
        by: String::new(),
        size: layout.unpacked_layer_size(layer.blob),
        comment: String::new(),
    }));
    steps.reverse();
    steps
}

/// podling image tree
#[derive(Debug, Args)]
pub struct Tree {
    /// Image, by name or by the beginning of its id
    #[arg(value_name = "IMAGE")]
    image: String,
    #[arg(long, hide = true)]
    whatrequires: bool,
}

impl Verb for Tree {
    fn run(self, context: &Context) -> Result<i32> {
        let layout = context.engine()?.layout()?;
        let image = layout.find(&self.image)?;
        let names: Vec<_> = image.names.iter().map(Reference::to_string).collect();
        let mut text = format!(
            "Image ID: {}\nTags:     [{}]\nSize:     {}\nImage Layers\n",
            short(&image.id),
            names.join(" "),
            human::size(layout.unpacked_size(&image)),
        );
        for (at, layer) in image.layers.iter().enumerate() {
            let last = at + 1 == image.layers.len();
            let top = if last { format!(" Top Layer of: [{}]", names.join(" ")) } else { String::new() };
            let size = human::size(layout.unpacked_layer_size(layer.blob));
            let id = layer.chain_id.hex();
            text.push_str(&format!("{} ID: {} Size: {size:>7}{top}\n", if last { "└──" } else { "├──" }, short(&id)));
        }
        failure::print(&text)
    }
}
