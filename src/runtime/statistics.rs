//! `events --stats`: what a container has used, as runc prints it.
//!
//! The shape is runc's, and its names are those of cgroup version 1, whatever the machine has: containerd's metrics and
//! others read it.

use serde_json::{Value, json};

use crate::linux::cgroup::{Limit, Stats};

/// The document; "no limit" is the largest number there.
pub fn document(stats: &Stats) -> Value {
    let bound = |limit: Option<Limit>| match limit {
        Some(Limit::At(value)) => value,
        Some(Limit::Max) => u64::MAX,
        None => 0,
    };
    let cpu = |name: &str| stats.cpu(name);
    let memory = |name: &str| stats.memory_stat.get(name).copied().unwrap_or(0);
    let event = |name: &str| stats.memory_events.get(name).copied().unwrap_or(0);
    let disks = |words: [(&str, &str); 2]| {
        let mut entries = Vec::new();
        for (device, numbers) in stats.io.iter().flatten() {
            let (major, minor) = device.split_once(':').unwrap_or((device, "0"));
            let number = |text: &str| text.parse().unwrap_or(0u64);
            for (word, operation) in words {
                let value = numbers.get(word).copied().unwrap_or(0);
                entries
                    .push(json!({ "major": number(major), "minor": number(minor), "op": operation, "value": value }));
            }
        }
        entries
    };
    let pages = stats
        .hugetlb
        .iter()
        .map(|(size, (used, limit))| (size.clone(), json!({ "usage": used, "max": bound(*limit), "failcnt": 0 })));
    json!({
        "cpu": {
            "usage": {
                "total": cpu("usage_usec") * 1000,
                "kernel": cpu("system_usec") * 1000,
                "user": cpu("user_usec") * 1000,
            },
            "throttling": {
                "periods": cpu("nr_periods"),
                "throttledPeriods": cpu("nr_throttled"),
                "throttledTime": cpu("throttled_usec") * 1000,
            },
        },
        "memory": {
            "cache": memory("file"),
            "usage": {
                "limit": bound(stats.memory_max),
                "usage": stats.memory.unwrap_or(0),
                "max": stats.memory_peak.unwrap_or(0),
                "failcnt": event("max"),
            },
            "swap": { "limit": bound(stats.swap_max), "usage": stats.swap.unwrap_or(0), "failcnt": 0 },
            "raw": stats.memory_stat,
            "events": stats.memory_events,
        },
        "pids": { "current": stats.pids.unwrap_or(0), "limit": bound(stats.pids_max) },
        "blkio": {
            "ioServiceBytesRecursive": disks([("rbytes", "Read"), ("wbytes", "Write")]),
            "ioServicedRecursive": disks([("rios", "Read"), ("wios", "Write")]),
        },
        "hugetlb": pages.collect::<serde_json::Map<_, _>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_told_in_runcs_words() {
        let mut stats = Stats { memory_max: Some(Limit::Max), pids: Some(3), ..Stats::default() };
        stats.cpu.insert("usage_usec".into(), 5);
        stats.io = Some([("8:16".to_string(), [("rbytes".to_string(), 4096)].into())].into());
        let json = document(&stats);
        assert_eq!(json["cpu"]["usage"]["total"], 5000);
        assert_eq!(json["memory"]["usage"]["limit"], u64::MAX);
        assert_eq!(json["pids"]["current"], 3);
        let first = &json["blkio"]["ioServiceBytesRecursive"][0];
        assert_eq!((&first["minor"], &first["op"], &first["value"]), (&json!(16), &json!("Read"), &json!(4096)));
    }
}
