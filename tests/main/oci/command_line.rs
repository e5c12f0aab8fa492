//! The command line of runc and crun.

use std::io::IoSliceMut;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::thread;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use serde_json::{Value, json};

use crate::running::{Input, Output, Running, until, until_gone};
use crate::runtime::{bundle, create, id, state};
use crate::second_opinion;
use crate::world::{Who, World};

fn start(world: &World) -> i32 {
    let bundle = bundle(world, &["sleep-forever"], |_| {});
    create(world, &bundle);
    world.runtime(["start", &id(world)]).ok();
    state(world)["pid"].as_i64().expect("a number") as i32
}

/// The runtime, left running.
fn spawn(world: &World, words: &[&str]) -> Running {
    let mut command = world.command(second_opinion::runtime());
    command.arg("--root").arg(world.dir.join("run/runtime")).args(words);
    Running::start(command, Input::Empty)
}

both!(processes_are_listed_as_ps_does_and_as_json, |world| {
    let pid = start(world);
    // The others find a container by its cgroup alone, and a user's has none here.
    if second_opinion::other_runtime().is_none() || world.who == Who::Root {
        let json: Value =
            serde_json::from_str(world.runtime(["ps", "--format", "json", &id(world)]).ok()).expect("JSON");
        assert_eq!(json, json!([pid]));
    }
    if second_opinion::other_runtime().is_none() {
        let table = world.runtime(["ps", &id(world), "-e", "-o", "pid,args"]);
        let lines: Vec<&str> = table.ok().lines().collect();
        assert_eq!(lines.len(), 2, "{table}");
        assert!(lines[1].contains("sleep-forever") && lines[1].contains(&pid.to_string()), "{table}");
    }
    world.runtime(["delete", "--force", &id(world)]).ok();
});

as_root!(a_frozen_container_takes_an_exec_that_says_so, |world| {
    if second_opinion::is("crun") {
        return; // 1.8 knows no such option
    }
    start(world);
    world.runtime(["pause", &id(world)]).ok();
    let exec = spawn(world, &["exec", "--ignore-paused", &id(world), "/witness", "echo", "thawed"]);
    // It is in the container's group, and waits there with the others.
    let group = std::path::Path::new("/sys/fs/cgroup");
    if second_opinion::other_runtime().is_none() && group.join("unified").exists() {
        let procs = group.join("unified/podling").join(id(world)).join("cgroup.procs");
        until("it is born", || (std::fs::read_to_string(&procs).ok()?.lines().count() > 1).then_some(()));
    }
    world.runtime(["resume", &id(world)]).ok();
    assert_eq!(exec.wait().ok(), "thawed");
    world.runtime(["delete", "--force", &id(world)]).ok();
});

/// Our own words. (runc's `events` wants the memory controller, and crun has no such command.)
mod only_ours {
    use super::*;

    both!(what_a_container_has_used_is_told_until_it_ends, |world| {
        let pid = start(world);
        let told: Value = serde_json::from_str(world.runtime(["events", "--stats", &id(world)]).ok()).expect("JSON");
        assert_eq!((&told["type"], &told["id"]), (&json!("stats"), &json!(id(world))));
        let mut events = spawn(world, &["events", "--interval", "20ms", &id(world)]);
        for _ in 0..2 {
            let told: Value = serde_json::from_str(&events.line()).expect("JSON");
            assert_eq!(told["type"], "stats");
        }
        world.runtime(["kill", &id(world), "KILL"]).ok();
        until_gone(pid);
        events.wait().ok();
        world.runtime(["delete", &id(world)]).ok();
    });

    both!(whoever_kills_what_has_ended_hears_runc_s_words, |world| {
        let pid = start(world);
        world.runtime(["kill", &id(world), "KILL"]).ok();
        until_gone(pid);
        // containerd's shim looks for them.
        assert!(world.runtime(["kill", &id(world), "KILL"]).fails(1).contains("container not running"));
        world.runtime(["delete", &id(world)]).ok();
    });

    both!(those_who_came_later_are_listed_with_the_first, |world| {
        let first = start(world);
        let mut exec = spawn(world, &["exec", &id(world), "/witness", "until-term"]);
        assert_eq!(exec.line(), "ready");
        let json = world.runtime(["ps", "--format", "json", &id(world)]);
        let listed: Vec<i32> = serde_json::from_str(json.ok()).expect("JSON");
        assert!(listed.len() == 2 && listed.contains(&first), "{listed:?}");
        world.runtime(["delete", "--force", &id(world)]).ok();
        exec.wait().fails(137);
    });

    both!(it_works_by_the_names_of_those_it_replaces, |world| {
        let bundle = bundle(world, &["exit", "3"], |_| {});
        for name in ["runc", "crun"] {
            let link = world.dir.join(name);
            symlink(crate::setup::setup().bin("podling-runtime"), &link).expect("our own directory");
            let root = world.dir.join("run/runtime");
            let words = ["--root".as_ref(), root.as_os_str(), "run".as_ref(), "--bundle".as_ref(), bundle.as_os_str()];
            let output = world.program(&link, [&words[..], &[id(world).as_ref()]].concat());
            output.fails(3);
            let version = world.program(&link, ["--version"]);
            assert!(version.ok().starts_with("podling-runtime version "), "{version}");
        }
    });

    both!(an_option_of_another_command_is_a_mistake, |world| {
        let refused = |words: &[&str], said: &str| {
            let output = world.runtime(words);
            output.fails(1);
            assert!(output.stderr.contains(said), "{output}");
        };
        refused(&["start", "--memory", "5m", "x"], "unknown option --memory");
        refused(&["create", "--detach", "x"], "unknown option --detach");
        refused(&["--rootless", "perhaps", "create", "x"], "--rootless \"perhaps\": true, false or auto");
        refused(&["checkpoint", "x"], "does not know how to freeze a container into files");
        assert!(world.runtime(["help"]).ok().contains("usage:"));
    });

    both!(a_limit_that_cannot_be_set_is_named, |world| {
        start(world);
        let refused = |words: &[&str], said: &str| {
            let output = world.runtime([&["update"], words, &[&id(world)]].concat());
            output.fails(1);
            assert!(output.stderr.contains(said) || output.stderr.contains("it has no cgroup of its own"), "{output}");
        };
        refused(&["--kernel-memory", "1m"], "memory.kernel: cgroup version 2 has no such setting");
        refused(&["--cpu-rt-period", "100"], "realtimePeriod");
        refused(&["--l3-cache-schema", "L3:0=1"], "--l3-cache-schema: linux.intelRdt");
        refused(&["--memory", "12q"], "--memory \"12q\": a unit is k, m, g, t or p");
        refused(&["--blkio-weight", "70000"], "a number is out of its range");
        world.runtime(["delete", "--force", &id(world)]).ok();
    });

    both!(several_are_killed_and_deleted_by_a_pattern, |world| {
        let bundle = bundle(world, &["sleep-forever"], |_| {});
        let ids = ["a", "b", "other"].map(|name| format!("{}{name}", world.tag()));
        let path = bundle.to_str().expect("plain ASCII");
        let detached = |id: &String| -> Output {
            // The container keeps its creator's streams.
            let root = world.dir.join("run/runtime");
            let script = "\"$0\" --root \"$1\" run --detach --bundle \"$2\" \"$3\" >/dev/null 2>&1";
            let program = second_opinion::runtime();
            let words = [script, program.to_str().expect("ASCII"), root.to_str().expect("ASCII"), path, id];
            world.program("sh", [&["-c"], &words[..]].concat())
        };
        for id in &ids {
            detached(id).ok();
        }
        let pattern = format!("^{}[ab]$", world.tag());
        world.runtime(["kill", "--regex", &pattern, "KILL"]).ok();
        world.runtime(["delete", "--force", "--regex", &pattern]).ok();
        assert_eq!(world.runtime(["list", "--quiet"]).ok(), ids[2]);
        world.runtime(["delete", "--regex", "--force", "("]).fails(1);
        world.runtime(["delete", "--force", &ids[2]]).ok();
    });

    both!(who_asks_gets_a_pidfd_of_the_process, |world| {
        let path = world.dir.join("pidfds");
        let listener = UnixListener::bind(&path).expect("our own directory");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("our own socket");
        let heard = thread::spawn(move || {
            (0..2)
                .map(|_| {
                    let (stream, _) = listener.accept().expect("a connection");
                    let (mut text, mut space) = ([0; 64], nix::cmsg_space!([i32; 1]));
                    let mut parts = [IoSliceMut::new(&mut text)];
                    let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty());
                    let fd = message.expect("heard").cmsgs().expect("whole").find_map(|control| match control {
                        ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
                        _ => None,
                    });
                    let fd = fd.expect("a descriptor");
                    let told = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).expect("it is open");
                    nix::unistd::close(fd).expect("ours");
                    told.lines().find_map(|line| line.strip_prefix("Pid:")).expect("a pidfd").trim().to_owned()
                })
                .collect::<Vec<_>>()
        });
        let socket = path.to_str().expect("plain ASCII");
        let bundle = bundle(world, &["sleep-forever"], |_| {});
        let root = world.dir.join("run/runtime");
        let script = "\"$0\" --root \"$1\" run --detach --pidfd-socket \"$2\" --bundle \"$3\" \"$4\" >/dev/null 2>&1";
        let program = second_opinion::runtime();
        let words = [program, root, socket.into(), bundle, id(world).into()];
        world.program("sh", [&["-c".into(), script.into()], &words[..]].concat()).ok();
        let pid = state(world)["pid"].to_string();
        world.runtime(["exec", "--pidfd-socket", socket, &id(world), "/witness", "true"]).ok();
        let pids = heard.join().expect("both were heard");
        // The second has ended by now, or not yet.
        assert!(pids[0] == pid && pids[1] != pid, "{pids:?} {pid}");
        world.runtime(["delete", "--force", &id(world)]).ok();
    });

    both!(steps_are_told_to_who_debugs, |world| {
        let bundle = bundle(world, &["true"], |_| {});
        let output = world.runtime(["--debug", "run", "--bundle", bundle.to_str().expect("plain ASCII"), &id(world)]);
        output.ok();
        assert!(output.stderr.contains("clone3") && output.stderr.contains("pivot_root"), "{output}");
    });
}
