//! Bundles' limits, by podling-runtime itself: each in its file, changed while the container runs, and told of.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{limits_can_be_set, managers, stat};
use crate::running::{Input, Output, Running, until};
use crate::runtime::{bundle, id, state};
use crate::second_opinion;
use crate::world::World;

fn run(world: &World, manager: &str, words: &[&str], resources: Value) -> Output {
    let bundle = bundle(world, words, |config| config["linux"]["resources"] = resources);
    world.runtime(["--cgroup-manager", manager, "run", "--bundle", bundle.to_str().expect("plain ASCII"), &id(world)])
}

/// Starts a container in the background, and returns its group's directory.
fn background(world: &World, manager: &str, words: &[&str], change: impl FnOnce(&mut Value)) -> PathBuf {
    let bundle = bundle(world, words, change);
    // The container keeps its creator's streams.
    let script = "\"$0\" --root \"$1\" --cgroup-manager \"$2\" run --detach --bundle \"$3\" \"$4\" >/dev/null 2>\"$5\" || cat \"$5\"";
    let (root, log) = (world.dir.join("run/runtime"), world.dir.join("log"));
    let words = [second_opinion::runtime(), root, manager.into(), bundle, id(world).into(), log];
    let output = world.program("sh", [&["-c".into(), script.into()], &words[..]].concat());
    assert_eq!(output.ok(), "", "{output}");
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", state(world)["pid"])).expect("it lives");
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/")).expect("version 2").to_owned();
    Path::new("/sys/fs/cgroup").join(path)
}

fn has(controller: &str) -> bool {
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/").to_owned();
    let all = std::fs::read_to_string(format!("/sys/fs/cgroup{own}/cgroup.controllers")).unwrap_or_default();
    all.split_whitespace().any(|name| name == controller)
}

both!(every_limit_of_a_bundle_is_in_its_file, |world| {
    if limits_can_be_set() {
        for manager in managers() {
            let mut resources = json!({
                "memory": { "limit": 64 << 20, "reservation": 32 << 20, "swap": 96 << 20 },
                "cpu": { "shares": 2048, "quota": 50_000, "period": 100_000, "burst": 10_000 },
                "pids": { "limit": 50 },
            });
            let mut files = vec![
                ("memory.max", "67108864"),
                ("memory.low", "33554432"),
                ("memory.swap.max", "33554432"),
                ("cpu.weight", "174"),
                ("cpu.max", "50000 100000"),
                ("cpu.max.burst", "10000"),
                ("pids.max", "50"),
            ];
            if has("cpuset") {
                resources["cpu"]["cpus"] = "0".into();
                resources["cpu"]["mems"] = "0".into();
                files.extend([("cpuset.cpus", "0"), ("cpuset.mems", "0")]);
            }
            if has("hugetlb") {
                resources["hugepageLimits"] = json!([{ "pageSize": "2MB", "limit": 4 << 20 }]);
                files.push(("hugetlb.2MB.max", "4194304"));
            }
            if has("io") {
                resources["blockIO"] = json!({
                    "throttleReadBpsDevice": [{ "major": 254, "minor": 0, "rate": 1 << 20 }],
                    "throttleWriteIOPSDevice": [{ "major": 254, "minor": 0, "rate": 100 }],
                });
                files.push(("io.max", "254:0 rbps=1048576 wbps=max riops=max wiops=100"));
            }
            let words: Vec<String> = files.iter().map(|(file, _)| format!("/sys/fs/cgroup/{file}")).collect();
            let words: Vec<&str> = std::iter::once("cat").chain(words.iter().map(String::as_str)).collect();
            let output = run(world, manager, &words, resources);
            let expected: Vec<&str> = files.iter().map(|(_, value)| *value).collect();
            assert_eq!(output.ok().lines().collect::<Vec<_>>(), expected, "{manager}");

            let idle = run(world, manager, &["cat", "/sys/fs/cgroup/cpu.idle"], json!({ "cpu": { "idle": 1 } }));
            assert_eq!(idle.ok(), "1", "{manager}");
            let unified = json!({ "unified": { "memory.high": "1048576", "cgroup.max.depth": "3" } });
            let files = ["cat", "/sys/fs/cgroup/memory.high", "/sys/fs/cgroup/cgroup.max.depth"];
            assert_eq!(run(world, manager, &files, unified).ok(), "1048576\n3", "{manager}");
        }
    }
});

both!(limits_of_a_bundle_change_while_it_runs, |world| {
    if limits_can_be_set() {
        for manager in managers() {
            let group = background(world, manager, &["sleep-forever"], |_| {});
            let file = |name: &str| std::fs::read_to_string(group.join(name)).unwrap_or_default().trim().to_owned();
            let options = ["--memory=64m", "--memory-swap=96M", "--memory-reservation=1MiB", "--cpu-quota=20000"];
            let more = ["--cpu-period=50000", "--cpu-burst=5000", "--cpu-share=2048", "--pids-limit=50"];
            world.runtime([&["update"], &options[..], &more, &[&id(world)]].concat()).ok();
            assert_eq!(
                [file("memory.max"), file("memory.swap.max"), file("memory.low")],
                ["67108864", "33554432", "1048576"]
            );
            assert_eq!([file("cpu.max"), file("cpu.max.burst"), file("cpu.weight")], ["20000 50000", "5000", "174"]);
            assert_eq!(file("pids.max"), "50");
            world
                .runtime(["update", "--memory=-1", "--memory-swap=-1", "--cpu-quota=-1", "--pids-limit=-1", &id(world)])
                .ok();
            assert_eq!([file("memory.max"), file("memory.swap.max"), file("pids.max")], ["max"; 3]);
            assert_eq!(file("cpu.max"), "max 50000");

            let resources =
                world.file("resources.json", r#"{ "memory": { "limit": 33554432 }, "pids": { "limit": 7 } }"#);
            world.runtime(["update", "--resources", resources.to_str().expect("plain ASCII"), &id(world)]).ok();
            assert_eq!([file("memory.max"), file("pids.max")], ["33554432", "7"]);
            world.runtime(["delete", "--force", &id(world)]).ok();
        }
    }
});

both!(a_limit_below_what_is_used_can_be_refused, |world| {
    if limits_can_be_set() {
        let group = background(world, managers()[0], &["eat", "20", "and-stay"], |_| {});
        let used = || stat(&group, "memory.stat", "anon ").filter(|bytes| *bytes > 20 << 20);
        until("it has eaten", used);
        let text = r#"{ "memory": { "limit": 1048576, "checkBeforeUpdate": true } }"#;
        let resources = world.file("resources.json", text);
        let output = world.runtime(["update", "-r", resources.to_str().expect("plain ASCII"), &id(world)]);
        output.fails(1);
        assert!(output.stderr.contains("a memory limit of 1048576 is below what the container uses now"), "{output}");
        world.runtime(["delete", "--force", &id(world)]).ok();
    }
});

both!(events_tell_that_memory_ran_out, |world| {
    if limits_can_be_set() {
        let limit = json!({ "memory": { "limit": 32 << 20, "swap": 32 << 20 } });
        let bundle = bundle(world, &["eat", "200"], |config| config["linux"]["resources"] = limit);
        let script = "\"$0\" --root \"$1\" --cgroup-manager \"$2\" create --bundle \"$3\" \"$4\" >/dev/null 2>\"$5\" || cat \"$5\"";
        let (root, log) = (world.dir.join("run/runtime"), world.dir.join("log"));
        let words = [second_opinion::runtime(), root.clone(), managers()[0].into(), bundle, id(world).into(), log];
        world.program("sh", [&["-c".into(), script.into()], &words[..]].concat()).ok();
        let mut command = world.command(second_opinion::runtime());
        command.arg("--root").arg(root).args(["events", "--interval", "50ms", &id(world)]);
        let mut events = Running::start(command, Input::Empty);
        assert!(events.line().contains(r#""type":"stats""#), "it listens");
        world.runtime(["start", &id(world)]).ok();
        let said = events.wait();
        let is_oom = |line: &str| serde_json::from_str::<Value>(line).is_ok_and(|event| event["type"] == "oom");
        assert!(said.ok().lines().any(is_oom), "{said}");
        world.runtime(["delete", "--force", &id(world)]).ok();
    }
});

both!(systemd_is_told_what_annotations_say, |world| {
    if limits_can_be_set() {
        let group = background(world, "systemd", &["sleep-forever"], |config| {
            config["annotations"] = json!({
                "org.systemd.property.TimeoutStopUSec": "uint64 7000000",
                "org.systemd.property.RuntimeMaxSec": "1000",
                "org.systemd.property.ManagedOOMPreference": "'avoid'",
                "org.systemd.property.Wants": "['podling-test-nothing.service']",
            });
        });
        let unit = group.file_name().expect("a scope").to_str().expect("ASCII").to_owned();
        let user: &[&str] = if group.starts_with("/sys/fs/cgroup/user.slice") { &["--user"] } else { &[] };
        let names = "TimeoutStopUSec,RuntimeMaxUSec,ManagedOOMPreference,Wants";
        let mut command = world.command("systemctl");
        let uid = crate::setup::setup().user.uid;
        command.env("XDG_RUNTIME_DIR", format!("/run/user/{uid}"));
        command.args([user, &["show", "--property", names, &unit]].concat());
        let output = Running::start(command, Input::Empty).wait();
        for line in ["TimeoutStopUSec=7s", "RuntimeMaxUSec=16min 40s", "ManagedOOMPreference=avoid"] {
            assert!(output.ok().lines().any(|it| it == line), "{line}: {output}");
        }
        assert!(output.ok().contains("podling-test-nothing.service"), "{output}");
        world.runtime(["delete", "--force", &id(world)]).ok();

        let bundle = bundle(world, &["true"], |config| {
            config["annotations"] = json!({ "org.systemd.property.TimeoutStopUSec": "soon" });
        });
        let words = ["--cgroup-manager", "systemd", "run", "--bundle", bundle.to_str().expect("ASCII"), &id(world)];
        let output = world.runtime(words);
        output.fails(1);
        assert!(output.stderr.contains("the annotation org.systemd.property.TimeoutStopUSec: \"soon\""), "{output}");
    }
});
