//! `update` and `events`: limits of a container that runs, and what it has used.

use std::io::{Read, Write, stdin, stdout};

use anyhow::{Context, Result, bail};
use oci_spec::runtime::LinuxResources;

use super::arguments::Arguments;
use super::state::{Status, Store};
use super::statistics;

/// `update`: from a file (`-`: standard input), or from options named as runc has them.
pub fn update(store: &Store, id: &str, arguments: &Arguments) -> Result<()> {
    let state = store.load(id)?;
    if state.status(store)? == Status::Stopped {
        bail!("cannot update container {id}: it is stopped");
    }
    let resources = match arguments.value("resources") {
        Some("-") => {
            let mut text = String::new();
            stdin().read_to_string(&mut text)?;
            serde_json::from_str(&text).context("standard input")?
        }
        Some(path) => {
            serde_json::from_slice(&std::fs::read(path).context(path.to_string())?).context(path.to_string())?
        }
        None => from_options(arguments)?,
    };
    match &state.cgroup {
        Some(place) => place.limit(&resources),
        None => bail!("cannot update container {id}: it has no cgroup of its own"),
    }
}

fn from_options(arguments: &Arguments) -> Result<LinuxResources> {
    let mut json = serde_json::json!({});
    let numbers = [
        ("memory", "memory", "limit"),
        ("memory-reservation", "memory", "reservation"),
        ("memory-swap", "memory", "swap"),
        ("cpu-share", "cpu", "shares"),
        ("cpu-quota", "cpu", "quota"),
        ("cpu-period", "cpu", "period"),
        ("pids-limit", "pids", "limit"),
    ];
    for (option, section, key) in numbers {
        if let Some(number) = arguments.number::<i64>(option)? {
            json[section][key] = number.into();
        }
    }
    for (option, key) in [("cpuset-cpus", "cpus"), ("cpuset-mems", "mems")] {
        if let Some(text) = arguments.value(option) {
            json["cpu"][key] = text.into();
        }
    }
    Ok(serde_json::from_value(json)?)
}

/// `events --stats`: one line of JSON, as runc prints it.
pub fn events(store: &Store, id: &str) -> Result<()> {
    let state = store.load(id)?;
    if state.status(store)? == Status::Stopped {
        bail!("container {id} is not running");
    }
    let data = match &state.cgroup {
        Some(place) => statistics::document(&place.stats()?),
        None => serde_json::json!({}),
    };
    Ok(writeln!(stdout(), "{}", serde_json::json!({ "type": "stats", "id": id, "data": data }))?)
}
