//! What a group has used: its files, read into numbers.
//!
//! A file that is not there (no such controller here, an older kernel) leaves its number out; it is no error.

use std::collections::BTreeMap;

use super::{Cgroup, Limit, pairs};

/// Usage. Bytes, microseconds, counts.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    /// Bytes now (page cache included).
    pub memory: Option<u64>,
    /// The most there ever were (since Linux 5.19).
    pub memory_peak: Option<u64>,
    /// The bound.
    pub memory_max: Option<Limit>,
    /// Bytes of swap now.
    pub swap: Option<u64>,
    /// The bound of swap.
    pub swap_max: Option<Limit>,
    /// `memory.stat`: what the memory is.
    pub memory_stat: BTreeMap<String, u64>,
    /// `memory.events`: `oom_kill` and how it came to it.
    pub memory_events: BTreeMap<String, u64>,
    /// `cpu.stat`: `usage_usec`, `user_usec`, `system_usec`, `nr_throttled` …
    pub cpu: BTreeMap<String, u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Their bound.
    pub pids_max: Option<Limit>,
    /// `io.stat`: for each device (`8:0`) `rbytes`, `wbytes`, `rios`, `wios` …
    pub io: Option<BTreeMap<String, BTreeMap<String, u64>>>,
    /// Bytes of huge pages by page size, and their bound.
    pub hugetlb: BTreeMap<String, (u64, Option<Limit>)>,
}

impl Stats {
    /// What is in use and not merely cached: what Podman and Docker print as MEM USAGE.
    pub fn memory_in_use(&self) -> Option<u64> {
        let reclaimable = self.memory_stat.get("inactive_file").copied().unwrap_or(0);
        self.memory.map(|bytes| bytes.saturating_sub(reclaimable))
    }

    /// A number of `cpu.stat`; what is not counted here is zero.
    pub fn cpu(&self, name: &str) -> u64 {
        self.cpu.get(name).copied().unwrap_or(0)
    }

    /// A number of `io.stat`, all devices together.
    pub fn io_sum(&self, name: &str) -> Option<u64> {
        let devices = self.io.as_ref()?.values();
        Some(devices.map(|numbers| numbers.get(name).copied().unwrap_or(0)).sum())
    }
}

impl Cgroup {
    /// Reads the group's usage.
    pub fn stats(&self) -> Stats {
        let number = |file: &str| self.read(file).ok()?.trim().parse().ok();
        let limit = |file: &str| match self.read(file).ok()?.trim() {
            "max" => Some(Limit::Max),
            text => text.parse().ok().map(Limit::At),
        };
        let table = |file: &str| pairs(&self.read(file).unwrap_or_default());
        Stats {
            memory: number("memory.current"),
            memory_peak: number("memory.peak"),
            memory_max: limit("memory.max"),
            swap: number("memory.swap.current"),
            swap_max: limit("memory.swap.max"),
            memory_stat: table("memory.stat"),
            memory_events: table("memory.events"),
            cpu: table("cpu.stat"),
            pids: number("pids.current"),
            pids_max: limit("pids.max"),
            io: self.read("io.stat").ok().as_deref().map(io),
            hugetlb: self
                .page_sizes()
                .into_iter()
                .filter_map(|size| {
                    let used = number(&format!("hugetlb.{size}.current"))?;
                    let bound = limit(&format!("hugetlb.{size}.max"));
                    Some((size, (used, bound)))
                })
                .collect(),
        }
    }

    /// The sizes of huge pages that this group counts, as the kernel writes them: `2MB`.
    fn page_sizes(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.directory()) else { return Vec::new() };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let size = |name: String| {
            let size = name.strip_prefix("hugetlb.")?.strip_suffix(".current")?;
            // `hugetlb.2MB.rsvd.current` counts what is only reserved.
            (!size.contains('.')).then(|| size.to_string())
        };
        names.filter_map(size).collect()
    }
}

/// `8:0 rbytes=1 wbytes=2 …` lines.
fn io(text: &str) -> BTreeMap<String, BTreeMap<String, u64>> {
    let line = |line: &str| {
        let (device, rest) = line.split_once(' ')?;
        let pair = |word: &str| {
            let (name, value) = word.split_once('=')?;
            Some((name.to_string(), value.parse().ok()?))
        };
        Some((device.to_string(), rest.split_whitespace().filter_map(pair).collect()))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disk_usage_is_read_by_device() {
        let stat = io("8:0 rbytes=4096 wbytes=0 rios=1\n253:1 \n");
        assert_eq!((stat["8:0"]["rbytes"], stat["8:0"]["rios"]), (4096, 1));
        assert!(stat["253:1"].is_empty());
    }

    #[test]
    fn page_cache_is_not_in_use() {
        let memory_stat = BTreeMap::from([("inactive_file".to_string(), 30)]);
        let stats = Stats { memory: Some(100), memory_stat, ..Stats::default() };
        assert_eq!(stats.memory_in_use(), Some(70));
        assert_eq!(Stats::default().memory_in_use(), None);
    }
}
