//! Chapter 5, beside it: orders to a whole group while it runs.
//!
//! A signal is for one process, and a process may have forked before it arrives. An order to a group leaves nobody out:
//! the kernel stops or kills all of them, also those that are just being born. And none can tell that it was frozen.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use podling::trace::{self, Topic};

/// Give an order to all processes of a group that chapter05_cgroups has made
///
/// Try: chapter05_cgroups sh -c 'while sleep 1; do date; done' & chapter05_orders freeze $(pgrep -n sleep)
#[derive(Parser)]
#[command(name = "chapter05_orders")]
struct Options {
    /// What they shall do
    order: Order,
    /// The pid of one of them
    pid: i32,
}

#[derive(Clone, Copy, ValueEnum)]
enum Order {
    /// Stop where you are
    Freeze,
    /// Go on
    Thaw,
    /// End
    Kill,
}

fn main() -> ExitCode {
    chapters::run(give)
}

// ANCHOR: give
fn give(Options { order, pid }: Options) -> Result<u8> {
    let groups =
        fs::read_to_string(format!("/proc/{pid}/cgroup")).with_context(|| format!("asking for the group of {pid}"))?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    // A slip of the finger would freeze the shell that could thaw it.
    if !group.rsplit('/').next().is_some_and(|name| name.starts_with("chapter05-")) {
        bail!("process {pid} is not in a group of chapter05_cgroups, but in /{group}");
    }
    let (file, value) = match order {
        Order::Freeze => ("cgroup.freeze", "1"),
        Order::Thaw => ("cgroup.freeze", "0"),
        Order::Kill => ("cgroup.kill", "1"),
    };
    let path = Path::new("/sys/fs/cgroup").join(group).join(file);
    trace::ask(Topic::Cgroup, "write", format_args!("{} {value}", path.display()), || fs::write(&path, value))
        .with_context(|| format!("writing {value} into {}", path.display()))?;
    Ok(0)
}
// ANCHOR_END: give
