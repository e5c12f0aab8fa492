//! What nearly every bundle says, each word seen from inside.

use std::fs;
use std::io::Read;
use std::os::unix::net::UnixListener;
use std::thread;

use podling::linux::pty;
use serde_json::{Value, json};

use crate::runtime::{bundle, create, id, run, state};
use crate::second_opinion;
use crate::world::{Who, World};

fn namespace(config: &mut Value, kind: &str) {
    let all = config["linux"]["namespaces"].as_array_mut().expect("there are namespaces");
    if !all.iter().any(|it| it["type"] == kind) {
        all.push(json!({ "type": kind }));
    }
}

both!(a_host_has_the_names_that_it_is_given, |world| {
    let files = ["cat", "/proc/sys/kernel/hostname", "/proc/sys/kernel/domainname"];
    let output = run(world, &files, |config| {
        config["hostname"] = "box".into();
        // runc 1.1 knows no domain.
        if !second_opinion::is("runc") {
            config["domainname"] = "example.org".into();
        }
    });
    assert!(output.ok().starts_with("box\n"), "{output}");
    assert!(second_opinion::is("runc") || output.ok() == "box\nexample.org", "{output}");
});

both!(a_program_has_the_environment_of_the_bundle, |world| {
    let output = run(world, &["env"], |config| config["process"]["env"] = json!(["A=b c", "HOME=/h", "EMPTY="]));
    assert_eq!(output.ok(), "A=b c\nHOME=/h\nEMPTY=");
});

both!(capabilities_are_those_of_the_bundle, |world| {
    let chown = 1_u64;
    let kill = 1_u64 << 5;
    let output = run(world, &["caps"], |config| {
        config["process"]["capabilities"] = json!({
            "bounding": ["CAP_CHOWN", "CAP_KILL"], "permitted": ["CAP_CHOWN", "CAP_KILL"], "effective": ["CAP_KILL"],
            "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"],
        });
        // Not root, whom execve gives all that is in bounds.
        if world.who == Who::Root {
            config["process"]["user"] = json!({ "uid": 5, "gid": 6 });
        }
    });
    let set = |name: &str| {
        let line = output.ok().lines().find(|line| line.starts_with(name)).expect("all are printed");
        u64::from_str_radix(line.split_whitespace().last().expect("a number"), 16).expect("hexadecimal")
    };
    assert_eq!([set("CapBnd"), set("CapInh"), set("CapAmb")], [chown | kill, kill, kill]);
    if world.who == Who::Root {
        // Over execve only what is ambient stays.
        assert_eq!([set("CapPrm"), set("CapEff")], [kill, kill]);
    }
});

both!(limits_of_the_process_are_those_of_the_bundle, |world| {
    let output = run(world, &["limits"], |config| {
        config["process"]["rlimits"] = json!([
            { "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 }, { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 },
        ]);
        config["process"]["oomScoreAdj"] = 500.into();
        config["process"]["noNewPrivileges"] = true.into();
    });
    let words = |name: &str| {
        let line = output.ok().lines().find(|line| line.starts_with(name)).expect("all are printed");
        line[name.len()..].split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(words("Max open files"), ["100", "200"]);
    assert_eq!(words("Max core file size"), ["0", "0"]);
    let output =
        run(world, &["cat", "/proc/self/oom_score_adj"], |config| config["process"]["oomScoreAdj"] = 500.into());
    assert_eq!(output.ok(), "500");
    for (wanted, seen) in [(true, "NoNewPrivs 1"), (false, "NoNewPrivs 0")] {
        let output = run(world, &["security"], |config| config["process"]["noNewPrivileges"] = wanted.into());
        assert!(output.ok().contains(seen), "{output}");
    }
});

as_root!(what_root_asks_for_and_does_not_get_is_an_error, |world| {
    if second_opinion::other_runtime().is_some() {
        return; // they say nothing in a user namespace
    }
    // Also where the container is in a user namespace, in which nobody may ask for less than he has.
    let bundle = bundle(world, &["cat", "/proc/self/oom_score_adj"], |config| {
        crate::oci::mounts::with_ids(config);
        config["process"]["oomScoreAdj"] = (-500).into();
    });
    std::os::unix::fs::chown(bundle.join("rootfs"), Some(300_000), Some(300_000)).expect("root may");
    let output = world.runtime(["run", "--bundle", bundle.to_str().expect("plain ASCII"), &id(world)]);
    // On some machines root itself may not.
    let refused = output.status == 1 && output.stderr.contains("setting oom_score_adj to -500: Permission denied");
    assert!(output.stdout == "-500\n" || refused, "{output}");
});

both!(settings_of_the_kernel_are_the_container_s_own, |world| {
    let files = ["/proc/sys/kernel/msgmax", "/proc/sys/net/ipv4/ip_default_ttl", "/proc/sys/fs/mqueue/msg_max"];
    let output = run(world, &["cat", files[0], files[1], files[2]], |config| {
        namespace(config, "network");
        let ttl = "net.ipv4.ip_default_ttl";
        config["linux"]["sysctl"] = json!({ "kernel.msgmax": "4096", ttl: "33", "fs.mqueue.msg_max": "7" });
    });
    assert_eq!(output.ok(), "4096\n33\n7");
    for name in ["kernel.panic", "vm.swappiness", "net.ipv4.ip_default_ttl"] {
        let output = run(world, &["true"], |config| {
            config["linux"]["sysctl"] = json!({ name: "1" });
            let namespaces = config["linux"]["namespaces"].as_array_mut().expect("there are namespaces");
            namespaces.retain(|it| it["type"] != "network");
        });
        assert_ne!(output.status, 0, "{name} would be the machine's: {output}");
    }
});

both!(clocks_are_as_far_ahead_as_the_bundle_says, |world| {
    if second_opinion::other_runtime().is_some() {
        return; // runc 1.1 and crun 1.8 know no time namespaces
    }
    let output = run(world, &["cat", "/proc/uptime"], |config| {
        namespace(config, "time");
        config["linux"]["timeOffsets"] = json!({ "boottime": { "secs": 1_000_000_000, "nanosecs": 5 } });
    });
    let seconds: f64 = output.ok().split(' ').next().expect("a number").parse().expect("a number");
    assert!(seconds > 1e9, "{output}");
});

both!(every_kind_of_namespace_can_be_another_s, |world| {
    if second_opinion::other_runtime().is_some() {
        return; // as above: one of the kinds is the time namespace
    }
    let kinds = ["uts", "ipc", "network", "cgroup", "time", "pid", "user"];
    let kinds: Vec<&str> = kinds.into_iter().filter(|kind| *kind != "user" || world.who == Who::User).collect();
    let first = bundle(world, &["sleep-forever"], |config| kinds.iter().for_each(|kind| namespace(config, kind)));
    create(world, &first);
    world.runtime(["start", &id(world)]).ok();
    let pid = state(world)["pid"].clone();
    let theirs = world.runtime(["exec", &id(world), "/witness", "namespaces"]).ok().to_owned();
    let of = |text: &str, name: &str| text.lines().find(|line| line.starts_with(name)).map(str::to_owned);
    for kind in kinds {
        if second_opinion::is("crun") && (world.who == Who::User || kind == "cgroup") {
            continue; // it joins what is not yet its own, and leaves the cgroup namespace as it is
        }
        let file = if kind == "network" { "net" } else { kind };
        let machine_s = fs::read_link(format!("/proc/self/ns/{file}")).expect("proc(5)");
        assert!(!theirs.contains(&*machine_s.to_string_lossy()), "a new {kind} namespace was asked for: {theirs}");
        let second = bundle(world, &["namespaces"], |config| {
            namespace(config, kind);
            // A user has rights over a namespace only in the user namespace to which it belongs.
            let joined = [kind, if world.who == Who::User { "user" } else { kind }];
            for it in config["linux"]["namespaces"].as_array_mut().expect("there are namespaces") {
                if joined.iter().any(|kind| it["type"] == *kind) {
                    let kind = it["type"].as_str().expect("a type");
                    let file = if kind == "network" { "net" } else { kind };
                    it["path"] = json!(format!("/proc/{pid}/ns/{file}"));
                }
            }
            if world.who == Who::User {
                let linux = config["linux"].as_object_mut().expect("an object");
                linux.remove("uidMappings");
                linux.remove("gidMappings");
            }
            config["hostname"] = Value::Null;
        });
        let beside = format!("{}-{file}", id(world));
        let output = world.runtime(["run", "--bundle", second.to_str().expect("plain ASCII"), &beside]);
        assert!(of(output.ok(), file).is_some(), "{output}");
        assert_eq!(of(output.ok(), file), of(&theirs, file), "{kind}: {output}");
    }
    world.runtime(["delete", "--force", &id(world)]).ok();
});

both!(the_root_is_read_only_if_the_bundle_says, |world| {
    let output = run(world, &["write", "/new", "x"], |config| config["root"]["readonly"] = true.into());
    assert!(output.fails(1).contains("Read-only file system"), "{output}");
    run(world, &["write", "/new", "x"], |config| config["root"]["readonly"] = false.into()).ok();
});

both!(mount_events_travel_as_the_bundle_says, |world| {
    if second_opinion::is("runc") {
        return; // its root is private whatever the bundle says, as long as the host's is
    }
    for (propagation, seen) in [("shared", "shared:"), ("slave", ""), ("private", "")] {
        let output = run(world, &["cat", "/proc/self/mountinfo"], |config| {
            config["linux"]["rootfsPropagation"] = propagation.into();
        });
        let root = output.ok().lines().find(|line| line.split(' ').nth(4) == Some("/")).expect("a root").to_owned();
        assert_eq!(root.contains("shared:"), !seen.is_empty(), "{propagation}: {root}");
    }
});

as_root!(devices_are_made_as_the_bundle_says, |world| {
    let output = run(world, &["stat", "/dev/zeros"], |config| {
        config["linux"]["devices"] = json!([
            { "path": "/dev/zeros", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 7, "gid": 8 },
        ]);
    });
    assert_eq!(output.ok(), "/dev/zeros 20640 7:8 0");
});

as_root!(devices_are_used_as_the_bundle_says, |world| {
    if second_opinion::other_runtime().is_some() && std::path::Path::new("/sys/fs/cgroup/unified").exists() {
        return; // on such a machine they want version 1's controller
    }
    let read = |rules: Value| {
        run(world, &["cat", "/dev/kernel-log"], |config| {
            let path = "/dev/kernel-log";
            config["linux"]["devices"] = json!([{ "path": path, "type": "c", "major": 1, "minor": 11 }]);
            config["linux"]["resources"]["devices"] = rules;
        })
    };
    let none = json!({ "allow": false, "access": "rwm" });
    let said = read(json!([none]));
    assert!(said.fails(1).contains("Operation not permitted"), "{said}");
});

both!(a_filter_looks_at_arguments, |world| {
    let kill = if cfg!(target_arch = "aarch64") { "129" } else { "62" };
    let call = |signal: &str, op: &str, value: u64, value_two: u64| {
        run(world, &["syscall", kill, "1", signal], |config| {
            let args = json!([{ "index": 1, "value": value, "valueTwo": value_two, "op": op }]);
            let rules = json!([{ "names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 42, "args": args }]);
            config["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules });
        })
        .ok()
        .to_owned()
    };
    assert_eq!(call("0", "SCMP_CMP_EQ", 0, 0), "42");
    assert_eq!(call("0", "SCMP_CMP_NE", 0, 0), "0");
    assert_eq!(call("0", "SCMP_CMP_LT", 1, 0), "42");
    assert_eq!(call("0", "SCMP_CMP_GT", 0, 0), "0");
    assert_eq!(call("0", "SCMP_CMP_LE", 0, 0), "42");
    assert_eq!(call("0", "SCMP_CMP_GE", 1, 0), "0");
    assert_eq!(call("0", "SCMP_CMP_MASKED_EQ", 0xff, 0), "42");
    assert_eq!(call("0", "SCMP_CMP_MASKED_EQ", 0xff, 1), "0");
});

/// Takes a terminal's master from the console socket, and reads it to its end.
fn console(world: &World) -> (std::path::PathBuf, thread::JoinHandle<String>) {
    let path = world.dir.join("console");
    let listener = UnixListener::bind(&path).expect("our own directory");
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("our own socket");
    let said = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a connection");
        let mut master = fs::File::from(pty::receive(stream).expect("a message").expect("a terminal"));
        let mut said = Vec::new();
        // The end of the other side is an error here (EIO), not an end of file.
        let _ = master.read_to_end(&mut said);
        String::from_utf8_lossy(&said).into_owned()
    });
    (path, said)
}

both!(a_terminal_goes_to_who_takes_it_in_the_size_asked_for, |world| {
    let (path, said) = console(world);
    let bundle = bundle(world, &["size"], |config| {
        config["process"]["terminal"] = true.into();
        config["process"]["consoleSize"] = json!({ "height": 33, "width": 77 });
    });
    let words = ["run", "--detach", "--console-socket", path.to_str().expect("plain ASCII"), "--bundle"];
    world.runtime([&words[..], &[bundle.to_str().expect("plain ASCII"), &id(world)]].concat()).ok();
    let said = said.join().expect("it was read");
    assert!(said.contains("33") && said.contains("77"), "{said:?}");
    world.runtime(["delete", "--force", &id(world)]).ok();
});
