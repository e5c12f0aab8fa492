//! What stays in memory while a container idles: every process of the ordinary user that is not the container's own.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;

use anyhow::Result;

use crate::contender::Engine;
use crate::succeed;

/// Starts one idle container with each engine and prints processes, resident and proportional memory.
pub fn report(engines: &[Engine]) -> Result<()> {
    println!("\nidle container (rootless): what stays besides the container's own process");
    let user = engines[0].user_id();
    for engine in engines {
        let before = processes(user);
        succeed(engine.command(&["run", "-d", "--name", "idle", "--network", "none", "true", "/bin/sleep", "1000"]))?;
        let stayed: Vec<_> = processes(user).difference(&before).copied().filter(|pid| name(*pid) != "sleep").collect();
        let sum = |field| stayed.iter().map(|pid| memory(*pid, field)).sum::<u64>();
        let names: Vec<_> = stayed.iter().map(|pid| name(*pid)).collect();
        println!(
            "  {:<28} {} process(es) ({}), resident {} kB, proportional {} kB",
            engine.name,
            stayed.len(),
            names.join(", "),
            sum("Rss:"),
            sum("Pss:")
        );
        succeed(engine.command(&["rm", "-f", "-t", "0", "idle"]))?;
    }
    Ok(())
}

/// The pids of all processes whose files in /proc belong to `user`.
fn processes(user: u32) -> BTreeSet<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return BTreeSet::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let status = std::fs::read_to_string(entry.path().join("status")).ok()?;
            let uid = status
                .lines()
                .find_map(|line| line.strip_prefix("Uid:"))?
                .split_whitespace()
                .next()?
                .parse::<u32>()
                .ok()?;
            // The pause process and the monitor are the user's own; a non-dumpable one's files may be root's.
            (uid == user || entry.metadata().ok()?.uid() == user).then_some(pid)
        })
        .collect()
}

fn name(pid: i32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

/// A field of /proc/PID/smaps_rollup, in kB.
fn memory(pid: i32, field: &str) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let value =
        rollup.lines().find_map(|line| line.strip_prefix(field)?.trim().strip_suffix(" kB")?.trim().parse().ok());
    value.unwrap_or(0)
}
