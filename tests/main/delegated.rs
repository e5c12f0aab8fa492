//! What needs a systemd and cgroup controllers that were delegated to whoever acts. Few machines give both, so `./test vm`
//! runs this module in a virtual machine, once for each way in which systemd starts a user's programs.

mod bundles;
mod containerd;
mod services;
mod units;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::chapters::mount::bare_root;
use crate::running::{Input, Output, Running, until};
use crate::setup::setup;
use crate::skip::skip;
use crate::world::World;

/// Whether limits can be set below our own cgroup. Skips the test if not.
pub fn limits_can_be_set() -> bool {
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

fn run(world: &World, manager: &str, flags: &[&str], witness: &[&str]) -> Output {
    let image = world.image("witness");
    let manager = format!("--cgroup-manager={manager}");
    let words = [&[&manager as &str, "run", "--rm", "--network=none"], flags, &[image], witness].concat();
    world.podling(words)
}

/// Starts a container named `it`, and returns its cgroup's directory.
fn background(world: &World, manager: &str, flags: &[&str], witness: &[&str]) -> PathBuf {
    let image = world.image("witness");
    let manager = format!("--cgroup-manager={manager}");
    world
        .podling([&[&manager as &str, "run", "-d", "--name=it", "--network=none"], flags, &[image], witness].concat())
        .ok();
    let path = world.podling(["inspect", "--format", "{{.State.CgroupPath}}", "it"]).ok().to_owned();
    Path::new("/sys/fs/cgroup").join(path.trim_start_matches('/'))
}

/// A `name number` line of one of the group's files.
fn stat(group: &Path, file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(group.join(file)).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

fn tasks(group: &Path) -> usize {
    fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default().lines().count()
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

// What makes a container, and what enters it, is charged to its group.
both!(six_megabytes_are_enough_to_start_and_to_enter, |world| {
    if limits_can_be_set() {
        for manager in managers() {
            let limits = ["--memory=6m", "--memory-swap=6m"];
            assert_eq!(
                run(world, manager, &limits, &["cat", "/sys/fs/cgroup/memory.max"]).ok(),
                "6291456",
                "{manager}"
            );
            background(world, manager, &limits, &["sleep-forever"]);
            assert_eq!(world.podling(["exec", "it", "/witness", "cgroup"]).ok(), "0::/", "{manager}");
            world.podling(["rm", "-f", "-t0", "it"]).ok();
        }
    }
});

both!(limits_change_while_the_container_runs, |world| {
    if limits_can_be_set() {
        for manager in managers() {
            let group = background(world, manager, &["--memory=64m", "--pids-limit=50"], &["sleep-forever"]);
            let file = |name: &str| fs::read_to_string(group.join(name)).unwrap_or_default().trim().to_owned();
            world.podling(["update", "--memory=32m", "--cpus=0.5", "it"]).ok();
            assert_eq!([file("memory.max"), file("cpu.max"), file("pids.max")], ["33554432", "50000 100000", "50"]);
            // What cannot be set was not decided, either.
            world.podling(["update", "--cpuset-cpus=4000", "it"]).fails(125);
            let told = world.podling(["inspect", "--format={{.HostConfig.Memory}} [{{.HostConfig.CpusetCpus}}]", "it"]);
            assert_eq!(told.ok(), "33554432 []", "{manager}");
            world.podling(["rm", "-f", "-t0", "it"]).ok();
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

both!(who_uses_more_than_his_share_of_a_processor_is_throttled, |world| {
    if limits_can_be_set() {
        for manager in managers() {
            let group = background(world, manager, &["--cpus=0.1"], &["spin"]);
            let throttled = || stat(&group, "cpu.stat", "nr_throttled").filter(|count| *count > 0);
            until("the kernel has made it wait", throttled);
            world.podling(["rm", "--force", "--time=0", "it"]).ok();
        }
    }
});

both!(stats_tell_memory_tasks_and_their_bounds, |world| {
    if limits_can_be_set() {
        for manager in managers() {
            background(world, manager, &["--memory=64m", "--pids-limit=50"], &["family", "3"]);
            let look = |format| world.podling(["stats", "--no-stream", "--format", format, "it"]).ok().to_owned();
            until("all four are there", || (look("{{.PIDS}}") == "4").then_some(()));
            assert_eq!(look("{{.MemLimit}}"), "67108864", "{manager}");
            assert!(look("{{.MemUsage}}").ends_with("B / 67.11MB"), "{manager}");
            assert!(!["0.00%", "--"].contains(&&*look("{{.MemPerc}}")), "{manager}");
            assert!(look("{{.CPUNano}}").parse::<u64>().expect("a number") > 0, "{manager}");
            world.podling(["rm", "--force", "--time=0", "it"]).ok();
        }
    }
});

// systemd removes a scope when it is empty. A monitor that gets no processor just then (stopped here, so that it surely
// comes too late) must still know an end for want of memory from another.
both!(a_late_monitor_knows_why_the_kernel_killed, |world| {
    if limits_can_be_set() {
        for (program, ends) in [("eat", "true 137"), ("sleep-forever", "false 137")] {
            let limits = ["--memory=32m", "--memory-swap=32m", "--network=none"];
            let made = [&["--cgroup-manager=systemd", "create", "--name=it"], &limits[..]].concat();
            world.podling([&made[..], &[world.image("witness"), program, "200"]].concat()).ok();
            world.podling(["--cgroup-manager=systemd", "init", "it"]).ok();
            let ask = |format| world.podling(["inspect", "--format", format, "it"]).ok().to_owned();
            let (group, monitor) = (ask("{{.State.CgroupPath}}"), ask("{{.State.ConmonPid}}"));
            let monitor = Pid::from_raw(monitor.parse().expect("a pid"));
            kill(monitor, Signal::SIGSTOP).expect("it lives");
            world.podling(["start", "it"]).ok();
            if program == "sleep-forever" {
                world.podling(["kill", "it"]).ok();
            }
            let group = format!("/sys/fs/cgroup{group}");
            until("systemd has removed the scope", || (!Path::new(&group).exists()).then_some(()));
            kill(monitor, Signal::SIGCONT).expect("it lives");
            world.podling(["wait", "it"]).ok();
            assert_eq!(ask("{{.State.OOMKilled}} {{.State.ExitCode}}"), ends, "{program}");
            world.podling(["rm", "it"]).ok();
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
            world.podling(["exec", "sleeper", "/witness", "true"]).fails(255);
            world.podling(["unpause", "sleeper"]).ok();
            assert_eq!(status(), "running");
            world.podling(["stop", "sleeper"]).ok();
            world.podling(["rm", "sleeper"]).ok();
        }
    }
});

both!(kill_all_reaches_every_process_of_the_cgroup, |world| {
    if limits_can_be_set() {
        for manager in managers() {
            let group = background(world, manager, &[], &["family", "3"]);
            until("all four are there", || (tasks(&group) == 4).then_some(()));
            world.podling(["kill", "it"]).ok();
            assert_eq!(world.podling(["wait", "it"]).ok(), "137");
            until("nobody is left", || (tasks(&group) == 0).then_some(()));
            world.podling(["rm", "it"]).ok();
        }
    }
});

/// A command that meets its user's own systemd, which is where the machine has it, not the world.
fn in_session(world: &World, program: impl AsRef<OsStr>) -> Command {
    let mut command = world.command(program);
    command.env("XDG_RUNTIME_DIR", format!("/run/user/{}", setup().user.uid));
    command
}

/// The chapter of the book that makes groups by itself. It asks systemd for a part of the tree.
#[track_caller]
fn chapter(world: &World, words: &[&str]) -> Output {
    let mut command = in_session(world, setup().chapter("chapter05_cgroups"));
    command.args(words);
    Running::start(command, Input::Empty).wait()
}

both!(a_chapter_limits_what_its_program_may_use, |world| {
    if limits_can_be_set() {
        let root = bare_root(world);
        let limits = ["--memory=64M", "--pids=50", "--cpu=0.5", "--root", &root];
        let files = ["memory.max", "pids.max", "cpu.max"].map(|file| format!("/sys/fs/cgroup/{file}"));
        let output = chapter(world, &[&limits[..], &["/witness", "cat", &files[0], &files[1], &files[2]]].concat());
        assert_eq!(output.ok(), "67108864\n50\n50000 100000", "{output}");
        assert_eq!(chapter(world, &[&limits[..], &["/witness", "cgroup"]].concat()).ok(), "0::/");
        let said = chapter(world, &["--memory=much", "true"]);
        assert!(said.fails(125).ends_with("/memory.max: Invalid argument"), "{said}");
        let engine = run(
            world,
            managers()[0],
            &["--memory=64m", "--pids-limit=50", "--cpus=0.5"],
            &["cat", &files[0], &files[1], &files[2]],
        );
        assert_eq!(output.stdout, engine.stdout, "what a chapter makes is what the engine makes");
    }
});

both!(the_attack_a_fork_bomb_is_contained_by_a_chapter, |world| {
    if limits_can_be_set() {
        let words = ["--pids=4", "--counters", "--root", &bare_root(world), "/witness", "family", "8"];
        let output = chapter(world, &words);
        let said = output.fails(1);
        assert!(said.starts_with("spawn: Resource temporarily unavailable"), "{output}");
        assert!(said.contains("pids.events    max 1"), "{output}");
        // On the chapter before it gets what it wants.
        let mut bomb =
            world.spawn_chapter("chapter04_pid", ["--init", "--root", &bare_root(world), "/witness", "family", "8"]);
        (0..9).for_each(|_| assert_eq!(bomb.line(), "ready"));
        bomb.signal(Signal::SIGTERM);
        assert_eq!(bomb.wait().status, 143);
    }
});

both!(a_chapter_s_glutton_is_killed_and_counted, |world| {
    if limits_can_be_set() {
        let words = ["--memory=32M", "--counters", "--root", &bare_root(world), "/witness", "eat", "200"];
        let output = chapter(world, &words);
        assert!(output.fails(137).contains("memory.events  oom_kill 1"), "{output}");
    }
});
