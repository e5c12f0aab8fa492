//! What stays in memory while a container idles: every process of the ordinary user that is not the container's own.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;

use anyhow::Result;

use crate::command::succeed;
use crate::contender::Engine;
use crate::measure::each;

/// Starts a container that idles. Podman's runtimes share a store, so each engine has a name for its own.
pub fn start(engine: &Engine) -> Result<()> {
    let words = ["run", "-d", "--name", engine.container, "--network", "none", "true", "/bin/sleep", "1000"];
    succeed(engine.command(&words))
}

/// Removes it.
pub fn remove(engine: &Engine) -> Result<()> {
    succeed(engine.command(&["rm", "-f", "-t", "0", engine.container]))
}

/// Starts one idle container with each engine and prints processes, resident and proportional memory. `nobody`: the
/// user's processes before any engine was called, so that what an engine keeps for all containers is counted, too.
pub fn report(engines: &[Engine], nobody: &BTreeSet<i32>) -> Result<()> {
    println!("\nidle container (rootless): what stays besides the container's own process");
    each(engines.iter().collect(), |engine| {
        // What Podman keeps is Podman's, on whichever runtime; what is there before podling's turn is not podling's.
        let before = if engine.is_ours() { processes(engine.user_id()) } else { nobody.clone() };
        start(engine)?;
        let stayed: Vec<_> =
            processes(engine.user_id()).difference(&before).copied().filter(|pid| name(*pid) != "sleep").collect();
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
        remove(engine)
    })?;
    Ok(())
}

/// The pids of all processes that are `user`'s, by their uid or by whose their files in /proc are.
pub fn processes(user: u32) -> BTreeSet<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return BTreeSet::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let status = std::fs::read_to_string(entry.path().join("status")).ok()?;
            let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
            let uid = uid.split_whitespace().next()?.parse::<u32>().ok()?;
            // A process that may not be dumped has files of root's.
            (uid == user || entry.metadata().ok()?.uid() == user).then_some(pid)
        })
        .collect()
}

/// What a process is called.
pub fn name(pid: i32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

/// A field of /proc/PID/smaps_rollup, in kB.
fn memory(pid: i32, field: &str) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let value =
        rollup.lines().find_map(|line| line.strip_prefix(field)?.trim().strip_suffix(" kB")?.trim().parse().ok());
    value.unwrap_or(0)
}
