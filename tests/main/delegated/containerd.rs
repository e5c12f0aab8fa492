//! containerd's limits and metrics, set and measured through our runtime.

use super::limits_can_be_set;
use crate::neighbours::containerd::Containerd;

/// A number of `ctr tasks metrics`.
fn metric(containerd: &Containerd, id: &str, name: &str) -> u64 {
    let table = containerd.call(&["tasks", "metrics", id]);
    let line = table.ok().lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    line.unwrap_or_else(|| panic!("no number {name}: {table}"))
}

as_root!(limits_are_set_kept_and_measured, |world| {
    if !limits_can_be_set() {
        return;
    }
    let Some(containerd) = Containerd::start(world) else { return };
    // By ourselves, and by asking systemd.
    let slice = format!("--cgroup=system.slice:{}:box", world.tag());
    for manager in [&[][..], &["--runc-systemd-cgroup", &slice]] {
        let flags = [&["--detach", "--memory-limit=67108864", "--cpus=0.5"], manager].concat();
        containerd.run(&flags, "box", &["sleep-forever"]).ok();
        let value = |name| metric(&containerd, "box", name);
        assert_eq!((value("memory.usage_limit"), value("pids.current")), (64 << 20, 1));
        assert!((1..64 << 20).contains(&value("memory.usage")) && value("cpu.usage_usec") > 0);
        containerd.call(&["tasks", "delete", "--force", "box"]).ok();
        containerd.call(&["containers", "delete", "box"]).ok();
        let flags = [&["--rm", "--memory-limit=33554432"], manager].concat();
        containerd.run(&flags, "box", &["eat", "100"]).fails(137);
    }
});
