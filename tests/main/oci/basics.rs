//! What nearly every bundle says, each word seen from inside.

use std::fs;
use std::io::Read;
use std::os::unix::net::UnixListener;
use std::thread;

use podling::linux::pty;
use serde_json::{Value, json};

use crate::runtime::{bundle, id, run};
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
    if second_opinion::is("runc") {
        return; // since 1.2
    }
    let output = run(world, &["cat", "/proc/uptime"], |config| {
        namespace(config, "time");
        config["linux"]["timeOffsets"] = json!({ "boottime": { "secs": 1_000_000_000, "nanosecs": 5 } });
    });
    let seconds: f64 = output.ok().split(' ').next().expect("a number").parse().expect("a number");
    assert!(seconds > 1e9, "{output}");
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
