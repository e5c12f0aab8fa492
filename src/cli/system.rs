//! `system df`, `system prune`, `system reset`, `system migrate`, `unshare`.

use std::ffi::OsString;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::{Value, json};

use crate::cli::format::human::{ago, size};
use crate::cli::format::{Listing, table};
use crate::cli::remove::{self, Pruned, Pruning, agreed};
use crate::cli::{Context, Verb, failure, images, volume};
use crate::engine::container::Status;
use crate::engine::lifecycle::Removal;
use crate::engine::usage::{self, Usage};
use crate::image::layer::remove_all;

/// podling system df
#[derive(Debug, Args)]
pub struct Usages {
    /// Every image, container and volume by itself
    #[arg(long, short)]
    verbose: bool,
    /// json, a Go template, or `table` and a template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Verb for Usages {
    fn run(self, context: &Context) -> Result<i32> {
        let usage = usage::measure(&context.engine()?)?;
        if self.verbose {
            if self.format.is_some() {
                bail!("--verbose and --format cannot be used together");
            }
            return failure::print(&verbose(&usage));
        }
        let rows = summary(&usage);
        let listing = Listing {
            format: self.format.as_deref(),
            default: "table {{.Type}}\t{{.Total}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}",
            headings: &[],
            no_heading: false,
        };
        listing.print(&rows, || Value::Array(rows.clone()))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a percentage of bytes needs no 53rd bit")]
fn summary(usage: &Usage) -> Vec<Value> {
    let row = |kind: &str, total: usize, active: usize, bytes: u64, reclaimable: u64| {
        let percent = if bytes == 0 { 0.0 } else { 100.0 * reclaimable as f64 / bytes as f64 };
        json!({
            "Type": kind, "Total": total, "Active": active, "RawSize": bytes, "RawReclaimable": reclaimable,
            "Size": size(bytes), "Reclaimable": format!("{} ({percent:.0}%)", size(reclaimable)),
        })
    };
    let idle = |status: &Status| matches!(status, Status::Created | Status::Exited(_));
    let (images, containers, volumes) = (&usage.images, &usage.containers, &usage.volumes);
    let busy = containers.iter().filter(|it| !idle(&it.container.status())).count();
    let used_images = images.iter().filter(|it| it.containers > 0).count();
    let used_volumes = volumes.iter().filter(|it| it.containers > 0).count();
    vec![
        row("Images", images.len(), used_images, usage.images_size, usage.images_reclaimable),
        row(
            "Containers",
            containers.len(),
            busy,
            containers.iter().map(|it| it.size).sum(),
            containers.iter().filter(|it| idle(&it.container.status())).map(|it| it.size).sum(),
        ),
        row(
            "Local Volumes",
            volumes.len(),
            used_volumes,
            volumes.iter().map(|it| it.size).sum(),
            volumes.iter().filter(|it| it.containers == 0).map(|it| it.size).sum(),
        ),
    ]
}

fn verbose(usage: &Usage) -> String {
    let mut images = "REPOSITORY\tTAG\tIMAGE ID\tCREATED\tSIZE\tSHARED SIZE\tUNIQUE SIZE\tCONTAINERS\n".to_string();
    for it in &usage.images {
        let name = it.image.names.first();
        images += &format!(
            "{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\n",
            name.map_or_else(|| "<none>".into(), crate::image::Reference::name),
            name.map_or_else(|| "<none>".into(), crate::image::Reference::version),
            &it.image.id[..12],
            ago(images::created(&it.image)),
            size(it.size),
            size(it.shared),
            size(it.size - it.shared),
            it.containers
        );
    }
    let mut containers = "CONTAINER ID\tIMAGE\tCOMMAND\tSIZE\tCREATED\tSTATUS\tNAMES\n".to_string();
    for it in &usage.containers {
        let config = &it.container.config;
        let image = match &config.root {
            crate::engine::container::Root::Image { name, .. } => name.clone(),
            crate::engine::container::Root::Directory(directory) => directory.display().to_string(),
        };
        containers += &format!(
            "{}\t{image}\t{}\t{}\t{}\t{}\t{}\n",
            it.container.short_id(),
            config.arguments().join(" "),
            size(it.size),
            config.created.parse().map(ago).unwrap_or_default(),
            it.container.status().word(),
            config.name
        );
    }
    let mut volumes = "VOLUME NAME\tLINKS\tSIZE\n".to_string();
    for it in &usage.volumes {
        volumes += &format!("{}\t{}\t{}\n", it.name, it.containers, size(it.size));
    }
    format!(
        "Images space usage:\n\n{}\nContainers space usage:\n\n{}\nLocal Volumes space usage:\n\n{}",
        table::align(&images),
        table::align(&containers),
        table::align(&volumes)
    )
}

/// podling system prune
#[derive(Debug, Args)]
pub struct Prune {
    /// All images that no container is made of, not only those without a name
    #[arg(long, short)]
    all: bool,
    /// Volumes that no container uses, too
    #[arg(long)]
    volumes: bool,
    #[command(flatten)]
    pruning: Pruning,
}

impl Verb for Prune {
    fn run(self, context: &Context) -> Result<i32> {
        let filters = &self.pruning.filter;
        // Not every filter makes sense for all three kinds.
        if let Some(other) = filters.iter().find(|it| !it.starts_with("label") && !it.starts_with("until=")) {
            return Err(failure::misuse(
                format!("invalid value {other:?} for --filter: expected label=, label!= or until="),
                "system prune",
            ));
        }
        let which = if self.all { "all images without at least one container" } else { "all dangling images" };
        let volumes = if self.volumes { ", all volumes not used by at least one container" } else { "" };
        let warning = format!("This will remove all stopped containers{volumes} and {which}.");
        if !self.pruning.agreed(&warning)? {
            return Ok(0);
        }
        let engine = context.engine()?;
        // A container that cannot be read may use any of the images and volumes.
        engine.containers().context("finding out what nobody uses")?;
        let before = total(&usage::measure(&engine)?);
        let (mut containers, mut unused) = (Pruned::default(), Pruned::default());
        remove::idle(&engine, filters, &mut containers)?;
        if self.volumes {
            for volume in volume::unused(&engine, filters)? {
                unused.note(&volume.name, engine.remove_volume(&volume, false), volume::is_missing);
            }
        }
        let images = images::remove::prune(&engine, self.all, filters)?;
        let mut text = String::new();
        for (heading, gone) in [("Containers", &containers.gone), ("Volumes", &unused.gone), ("Images", &images)] {
            if !gone.is_empty() {
                text += &format!("Deleted {heading}\n{}\n", gone.join("\n"));
            }
        }
        let after = total(&usage::measure(&engine)?);
        text += &format!("Total reclaimed space: {}\n", size(before.saturating_sub(after)));
        failure::print(&text)?;
        Ok(containers.status.max(unused.status))
    }
}

fn total(usage: &Usage) -> u64 {
    let containers: u64 = usage.containers.iter().map(|it| it.size).sum();
    usage.images_size + containers + usage.volumes.iter().map(|it| it.size).sum::<u64>()
}

/// podling system reset
#[derive(Debug, Args)]
pub struct Reset {
    /// Do not ask
    #[arg(long, short)]
    force: bool,
}

impl Verb for Reset {
    fn run(self, context: &Context) -> Result<i32> {
        let engine = context.engine()?;
        let (data, run) = (&engine.paths.data, &engine.paths.run);
        let warning = format!(
            "This will remove all containers, images and volumes: everything in {} and {}.",
            data.display(),
            run.display()
        );
        if !self.force && !agreed(&warning)? {
            return Ok(0);
        }
        let (sound, broken) = engine.sound_and_broken()?;
        for it in &broken {
            engine.discard(it)?;
        }
        for container in sound {
            engine.remove(&container, Removal { force: true, volumes: true, timeout: Some(0) })?;
        }
        engine.enter(None)?;
        for directory in [data, run] {
            let what = || format!("emptying {}", directory.display());
            let held = fs::File::open(directory).with_context(what)?;
            for entry in fs::read_dir(directory).with_context(what)? {
                let name = entry?.file_name();
                // Only what we know to be ours: --root may name a directory that holds other things, too.
                if name.to_str().is_some_and(is_ours) {
                    remove_all(held.as_fd(), &name).with_context(what)?;
                }
            }
        }
        Ok(0)
    }
}

fn is_ours(name: &str) -> bool {
    let known = [
        "containers",
        "images",
        "layers",
        "shifted",
        "names",
        "networks",
        "partial",
        "volumes",
        "events",
        "lock",
        "runtime",
        "pasta",
        "userns",
        "overlay-redirects",
    ];
    known.iter().any(|known| name == *known || name.strip_prefix(known).is_some_and(|rest| rest.starts_with('.')))
}

/// podling system migrate: what Podman's users type after a change of /etc/subuid, or when its locks have run out.
#[derive(Debug, Args)]
pub struct Migrate {
    #[arg(long, hide = true)]
    new_runtime: Option<String>,
}

impl Verb for Migrate {
    fn run(self, _: &Context) -> Result<i32> {
        // A user namespace is made anew when no container runs; locks are of files. Another runtime is chosen at `create`.
        Ok(0)
    }
}

/// podling unshare
#[derive(Debug, Args)]
pub struct Unshare {
    /// A program and its words (your shell)
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

impl Verb for Unshare {
    fn run(mut self, context: &Context) -> Result<i32> {
        let engine = context.engine()?;
        if !engine.rootless() {
            bail!("unshare enters a user's own namespace; root needs none");
        }
        engine.enter(None)?;
        if self.command.is_empty() {
            self.command.push(std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into()));
        }
        let mut command = std::process::Command::new(&self.command[0]);
        command.args(&self.command[1..]);
        command.env("CONTAINERS_GRAPHROOT", &engine.paths.data).env("CONTAINERS_RUNROOT", &engine.paths.run);
        let error = command.exec();
        let failure = crate::engine::failure::Failure::from_runtime(&match error.kind() {
            std::io::ErrorKind::NotFound => {
                format!("{}: executable file not found in $PATH", self.command[0].display())
            }
            _ => format!("{}: {error}", self.command[0].display()),
        });
        Err(failure.into())
    }
}
