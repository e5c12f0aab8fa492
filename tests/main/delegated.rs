//! What needs a systemd and cgroup controllers that were delegated to whoever acts. Few machines give both, so `./test vm`
//! runs this module in a virtual machine, once for each way in which systemd starts a user's programs.

use std::fs;

use crate::skip::skip;
use crate::world::World;

/// Whether limits can be set below our own cgroup. Skips the test if not.
fn limits_can_be_set() -> bool {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/").to_owned();
    let controllers = fs::read_to_string(format!("/sys/fs/cgroup{own}/cgroup.controllers")).unwrap_or_default();
    let can = controllers.split_whitespace().any(|controller| controller == "memory");
    if !can {
        skip("no delegated memory controller");
    }
    can
}

/// The two ways to make a container's cgroup: by ourselves below our own, or by asking systemd for a scope. A login
/// session's group is not ours to divide, and a unit without `Delegate=` has not all controllers: there only systemd can.
fn managers() -> &'static [&'static str] {
    match std::env::var("PODLING_TEST_MODE").as_deref() {
        Ok("login" | "plain") => &["systemd"],
        _ => &["cgroupfs", "systemd"],
    }
}

fn run(world: &World, manager: &str, flags: &[&str], witness: &[&str]) -> crate::running::Output {
    let image = world.image("witness");
    let manager = format!("--cgroup-manager={manager}");
    let words = [&[&manager as &str, "run", "--rm", "--network=none"], flags, &[image], witness].concat();
    world.podling(words)
}

both!(limits_are_what_the_container_sees, |world| {
    if limits_can_be_set() {
        for manager in managers() {
            let limits = ["--memory=64m", "--pids-limit=50", "--cpus=0.5"];
            let files = ["memory.max", "pids.max", "cpu.max"].map(|file| format!("/sys/fs/cgroup/{file}"));
            let output = run(world, manager, &limits, &["cat", &files[0], &files[1], &files[2]]);
            assert_eq!(output.ok(), "67108864\n50\n50000 100000", "{manager}");
        }
    }
});

both!(a_container_is_alone_in_a_cgroup_of_its_own, |world| {
    if limits_can_be_set() {
        for manager in managers() {
            assert_eq!(run(world, manager, &[], &["cgroup"]).ok(), "0::/", "{manager}");
            assert_eq!(run(world, manager, &[], &["cat", "/sys/fs/cgroup/cgroup.procs"]).ok(), "1", "{manager}");
        }
    }
});

both!(who_exceeds_the_pids_limit_cannot_fork, |world| {
    if limits_can_be_set() {
        let output = run(world, managers()[0], &["--pids-limit=3"], &["family", "8"]);
        assert_eq!(output.fails(1), "spawn: Resource temporarily unavailable (os error 11)");
    }
});

both!(who_exceeds_the_memory_limit_is_killed_and_inspect_says_so, |world| {
    if limits_can_be_set() {
        for manager in managers() {
            let manager = format!("--cgroup-manager={manager}");
            let image = world.image("witness");
            let words =
                ["run", "--name=glutton", "--network=none", "--memory=32m", "--memory-swap=32m", image, "eat", "200"];
            world.podling([&[&manager as &str], &words[..]].concat()).fails(137);
            let format = "{{.State.OOMKilled}} {{.State.ExitCode}}";
            assert_eq!(world.podling(["inspect", "--format", format, "glutton"]).ok(), "true 137");
            world.podling(["rm", "glutton"]).ok();
        }
    }
});

both!(a_paused_container_stands_still_until_unpaused, |world| {
    if limits_can_be_set() {
        for manager in managers() {
            let manager = format!("--cgroup-manager={manager}");
            let image = world.image("witness");
            world.podling([&manager, "run", "-d", "--name=sleeper", "--network=none", image, "until-term"]).ok();
            let status = || world.podling(["inspect", "--format", "{{.State.Status}}", "sleeper"]).ok().to_owned();
            world.podling(["pause", "sleeper"]).ok();
            assert_eq!(status(), "paused");
            world.podling(["exec", "sleeper", "/witness", "true"]).fails(125);
            world.podling(["unpause", "sleeper"]).ok();
            assert_eq!(status(), "running");
            world.podling(["stop", "sleeper"]).ok();
            world.podling(["rm", "sleeper"]).ok();
        }
    }
});

both!(kill_all_reaches_every_process_of_the_cgroup, |world| {
    if limits_can_be_set() {
        let image = world.image("witness");
        world.podling(["run", "-d", "--name=family", "--network=none", image, "family", "3"]).ok();
        world.podling(["kill", "family"]).ok();
        assert_eq!(world.podling(["wait", "family"]).ok(), "137");
        world.podling(["rm", "family"]).ok();
    }
});
