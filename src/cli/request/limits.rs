//! How much of the machine the container may have.

use clap::Args;

use super::amounts::Amounts;
use crate::cli::format::human::parse_size;
use crate::engine::request::ContainerRequest;
use crate::engine::settings::{CgroupsMode, Resources, Ulimit};

#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub struct Limits {
    #[command(flatten)]
    amounts: Amounts,
    /// Limit of its processes: nofile=1024:2048 … (repeatable)
    #[arg(long, value_name = "NAME=SOFT[:HARD]", value_delimiter = ',', value_parser = ulimit)]
    ulimit: Vec<Ulimit>,
    /// How soon it is killed when memory runs out, -1000 to 1000
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(i32).range(-1000..=1000))]
    oom_score_adj: Option<i32>,
    /// Size of /dev/shm (64m)
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    shm_size: Option<i64>,
    /// Write a file of its cgroup: memory.high=1073741824 (repeatable)
    #[arg(long, value_name = "FILE=VALUE", value_delimiter = ',', value_parser = super::pair)]
    cgroup_conf: Vec<(String, String)>,
    /// The cgroup below which its own is made
    #[arg(long, value_name = "PATH")]
    cgroup_parent: Option<String>,
    /// Whether it gets a cgroup: enabled, disabled, no-conmon, split
    #[arg(long, value_name = "MODE", value_parser = cgroups)]
    cgroups: Option<CgroupsMode>,
}

impl Limits {
    pub fn ask(self, request: &mut ContainerRequest) {
        request.resources = Resources {
            unified: self.cgroup_conf.into_iter().collect(),
            oom_score_adj: self.oom_score_adj,
            shm_size: self.shm_size,
            ..self.amounts.said()
        };
        request.ulimits = self.ulimit;
        request.cgroup_parent = self.cgroup_parent;
        request.cgroups = self.cgroups.unwrap_or_default();
    }
}

/// The limits of getrlimit(2), by the names of ulimit.
const ULIMITS: &[&str] = &[
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

fn ulimit(text: &str) -> Result<Ulimit, String> {
    if text == "host" {
        return Ok(Ulimit { name: "host".into(), soft: -1, hard: -1 });
    }
    let (name, limits) = text.split_once('=').ok_or("expected NAME=SOFT[:HARD]")?;
    let name = name.to_ascii_lowercase();
    let name = name.strip_prefix("rlimit_").unwrap_or(&name);
    if !ULIMITS.contains(&name) {
        return Err(format!("no limit is called {name:?}: there are {}", ULIMITS.join(", ")));
    }
    let number = |text: &str| match text {
        "unlimited" => Ok(-1),
        _ => text.parse::<i64>().map_err(|_| format!("{text:?} is not a number")),
    };
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let (soft, hard) = (number(soft)?, number(hard)?);
    if hard != -1 && (soft > hard || soft == -1) {
        return Err("the soft limit is above the hard one".into());
    }
    Ok(Ulimit { name: name.to_owned(), soft, hard })
}

fn cgroups(text: &str) -> Result<CgroupsMode, String> {
    match text {
        "enabled" => Ok(CgroupsMode::Enabled),
        "disabled" => Ok(CgroupsMode::Disabled),
        "no-conmon" => Ok(CgroupsMode::NoConmon),
        "split" => Ok(CgroupsMode::Split),
        _ => Err("expected enabled, disabled, no-conmon or split".into()),
    }
}
