//! `stats`: what containers use of the machine, again and again.

use std::collections::BTreeMap;
use std::io::{IsTerminal, stdout};
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use serde_json::{Value, json};

use crate::cli::format::{Listing, human};
use crate::cli::{Context, Verb, failure, select};
use crate::engine::Engine;
use crate::engine::container::Container;
use crate::engine::stats::Sample;

/// podling stats
#[derive(Debug, Args)]
pub struct Stats {
    /// All containers, not only those that run
    #[arg(long)]
    all: bool,
    /// json, a Go template, or `table` and a template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Look again every so many seconds (5)
    #[arg(long, short, value_name = "SECONDS", default_value_t = 5, hide_default_value = true,
          value_parser = clap::value_parser!(u64).range(1..))]
    interval: u64,
    /// The container made last
    #[arg(long, short)]
    latest: bool,
    /// Do not clear the terminal between two looks
    #[arg(long)]
    no_reset: bool,
    /// Look only once
    #[arg(long)]
    no_stream: bool,
    /// Ids in full
    #[arg(long)]
    no_trunc: bool,
    /// Containers (all that run)
    #[arg(value_name = "CONTAINER")]
    names: Vec<String>,
}

const TABLE: &str = "table {{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t\
                     {{.PIDS}}\t{{.UpTime}}\t{{.AVGCPU}}";

impl Verb for Stats {
    fn run(self, context: &Context) -> Result<i32> {
        if [self.all, self.latest, !self.names.is_empty()].iter().filter(|it| **it).count() > 1 {
            return Err(failure::misuse("--all, --latest and containers cannot be used together", "stats"));
        }
        let engine = context.engine()?;
        let mut before = BTreeMap::new();
        loop {
            let samples = self.look(&engine, &before)?;
            if !self.no_stream && !self.no_reset && stdout().is_terminal() {
                failure::print("\x1b[2J\x1b[H")?;
            }
            self.show(&samples)?;
            if self.no_stream {
                return Ok(0);
            }
            before = samples.into_iter().filter_map(|(it, sample)| Some((it.config.id, sample?))).collect();
            std::thread::sleep(Duration::from_secs(self.interval));
        }
    }
}

impl Stats {
    /// What each uses; none for one that nobody counts, if it was not asked for by name and others are counted.
    fn look(&self, engine: &Engine, before: &BTreeMap<String, Sample>) -> Result<Vec<(Container, Option<Sample>)>> {
        let mut chosen = if self.latest {
            vec![select::latest(engine)?]
        } else if self.names.is_empty() {
            engine.sound_containers()?
        } else {
            self.names.iter().map(|name| engine.container(name)).collect::<Result<_>>()?
        };
        let named = self.latest || !self.names.is_empty();
        if !self.all && !named {
            chosen.retain(|it| it.status().is_running());
        }
        let mut samples = Vec::new();
        for container in chosen {
            let sample = engine.sample(&container, before.get(container.id()))?;
            if named && sample.is_none() {
                return Err(engine.uncounted(&container));
            }
            samples.push((container, sample));
        }
        if let Some((container, None)) = samples.first()
            && samples.iter().all(|(_, sample)| sample.is_none())
        {
            bail!(engine.uncounted(container));
        }
        Ok(samples)
    }

    fn show(&self, samples: &[(Container, Option<Sample>)]) -> Result<i32> {
        let listing = Listing {
            format: self.format.as_deref(),
            default: TABLE,
            headings: &[
                ("CPUPerc", "CPU %"),
                ("MemUsage", "MEM USAGE / LIMIT"),
                ("MemUsageBytes", "MEM USAGE / LIMIT"),
                ("MemPerc", "MEM %"),
                ("NetIO", "NET IO"),
                ("BlockIO", "BLOCK IO"),
                ("PIDS", "PIDS"),
                ("UpTime", "CPU TIME"),
                ("AVGCPU", "AVG CPU %"),
            ],
            no_heading: false,
        };
        let rows: Vec<_> = samples.iter().map(|(it, sample)| self.row(it, sample.as_ref())).collect();
        listing.print(&rows, || rows.iter().map(document).collect())
    }

    /// The fields, as a template names them. What nobody counts is `--` where it is shown, and 0 where it is a number.
    fn row(&self, it: &Container, sample: Option<&Sample>) -> Value {
        let (memory, disk) = (sample.and_then(|it| it.memory), sample.and_then(|it| it.disk));
        let (network, pids) = (sample.and_then(|it| it.network), sample.and_then(|it| it.pids));
        let cpu = sample.map_or(0, |it| it.cpu);
        let time = sample.map_or_else(unknown, |it| human::go_duration(it.cpu));
        json!({
            "ID": if self.no_trunc { it.id() } else { it.short_id() },
            "ContainerID": it.id(),
            "Name": it.name(),
            "CPU": sample.map_or(0.0, |it| it.cpu_percent), "CPUPerc": percent(sample.map(|it| it.cpu_percent)),
            "AvgCPU": sample.map_or(0.0, |it| it.cpu_average), "AVGCPU": percent(sample.map(|it| it.cpu_average)),
            "CPUNano": cpu, "Duration": cpu, "CPUSystemNano": sample.map_or(0, |it| it.cpu_system),
            "SystemNano": sample.map_or(0, |it| it.at),
            "Up": time, "UpTime": time,
            // Version 1 of cgroups only.
            "PerCPU": [],
            "MemUsage": pair(memory, human::exact_size), "MemUsageBytes": pair(memory, human::binary_size),
            "MemLimit": memory.map_or(0, |(_, bound)| bound),
            "MemPerc": percent(sample.and_then(Sample::memory_percent)),
            "NetIO": pair(network, human::exact_size),
            "NetInput": network.map_or(0, |(received, _)| received), "NetOutput": network.map_or(0, |(_, sent)| sent),
            "BlockIO": pair(disk, human::exact_size),
            "BlockInput": disk.map_or(0, |(read, _)| read), "BlockOutput": disk.map_or(0, |(_, written)| written),
            "PIDs": pids.unwrap_or(0), "PIDS": pids.map_or_else(unknown, |pids| pids.to_string()),
        })
    }
}

/// A row as `--format json` has it: other names, and all of it text.
fn document(row: &Value) -> Value {
    let names = [
        ("id", "ID"),
        ("name", "Name"),
        ("cpu_time", "UpTime"),
        ("cpu_percent", "CPUPerc"),
        ("avg_cpu", "AVGCPU"),
        ("mem_usage", "MemUsage"),
        ("mem_percent", "MemPerc"),
        ("net_io", "NetIO"),
        ("block_io", "BlockIO"),
        ("pids", "PIDS"),
    ];
    names.into_iter().map(|(name, field)| (name.to_owned(), row[field].clone())).collect()
}

fn unknown() -> String {
    "--".into()
}

fn percent(value: Option<f64>) -> String {
    value.map_or_else(unknown, |value| format!("{value:.2}%"))
}

fn pair(values: Option<(u64, u64)>, show: impl Fn(u64) -> String) -> String {
    values.map_or_else(|| "-- / --".into(), |(one, other)| format!("{} / {}", show(one), show(other)))
}
