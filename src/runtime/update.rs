//! `update`: other limits for a container that runs.

use std::io::{Read, stdin};

use anyhow::{Context, Result, bail};
use oci_spec::runtime::LinuxResources;

use super::arguments::Arguments;
use super::state::{Status, Store};

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
    for intel in ["l3-cache-schema", "mem-bw-schema"] {
        if arguments.has(intel) {
            bail!("--{intel}: linux.intelRdt is not supported by this runtime");
        }
    }
    let mut json = serde_json::json!({});
    for (option, key) in [
        ("memory", "limit"),
        ("memory-reservation", "reservation"),
        ("memory-swap", "swap"),
        ("kernel-memory", "kernel"),
        ("kernel-memory-tcp", "kernelTCP"),
    ] {
        if let Some(text) = arguments.value(option) {
            json["memory"][key] = bytes(text).with_context(|| format!("--{option} {text:?}"))?.into();
        }
    }
    let numbers = [
        ("cpu-share", "cpu", "shares"),
        ("cpu-quota", "cpu", "quota"),
        ("cpu-period", "cpu", "period"),
        ("cpu-burst", "cpu", "burst"),
        ("cpu-idle", "cpu", "idle"),
        ("cpu-rt-runtime", "cpu", "realtimeRuntime"),
        ("cpu-rt-period", "cpu", "realtimePeriod"),
        ("pids-limit", "pids", "limit"),
        ("blkio-weight", "blockIO", "weight"),
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
    serde_json::from_value(json).context("a number is out of its range")
}

/// A number of bytes, with a unit if that is shorter: `64m`, `1GiB`. -1 is no limit.
fn bytes(text: &str) -> Result<i64> {
    let lower = text.to_ascii_lowercase();
    let end = lower.trim_end_matches("ib").trim_end_matches('b');
    let (digits, unit) = match end.char_indices().last() {
        Some((at, letter)) if letter.is_ascii_alphabetic() => (&end[..at], Some(letter)),
        _ => (end, None),
    };
    let power = match unit {
        None => 0,
        Some(letter) => 1 + "kmgtp".find(letter).context("a unit is k, m, g, t or p")? as u32,
    };
    let number: i64 = digits.trim().parse().context("no number")?;
    number.checked_mul(1024_i64.pow(power)).context("too large")
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn bytes_may_have_a_unit() {
        let all = ["-1", "0", "100", "64m", "64M", "64MB", "1GiB", "2kb", "7b"].map(|text| bytes(text).expect(text));
        assert_eq!(all, [-1, 0, 100, 64 << 20, 64 << 20, 64 << 20, 1 << 30, 2048, 7]);
        for text in ["", "m", "1x", "9999999999p", "1.5g"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
