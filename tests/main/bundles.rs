//! What a bundle can ask for, observed from inside.

use std::fs;

use serde_json::json;

use crate::running::until;
use crate::runtime::{bundle, create, id, run, state};
use crate::second_opinion::{self, other_runtime};
use crate::world::Who;

both!(a_program_runs_as_whom_and_where_it_is_told, |world| {
    let output = run(world, &["cwd"], |config| config["process"]["cwd"] = json!("/made/for/it"));
    assert_eq!(output.ok(), "/made/for/it");
    if world.who == Who::Root {
        let output = run(world, &["ids"], |config| {
            config["process"]["user"] = json!({"uid": 5, "gid": 6, "additionalGids": [7, 8], "umask": 63});
        });
        assert!(output.ok().contains("Uid 5 5 5 5") || output.ok().contains("5\t5\t5\t5"), "{output}");
        assert!(output.ok().contains("7 8"), "{output}");
    }
});

both!(a_bind_mount_keeps_what_it_was_told, |world| {
    let source = world.directory("source");
    world.file("source/file", "theirs\n");
    let bind = |options: &'static [&'static str], words: &'static [&'static str]| {
        run(world, words, |config| {
            let mount = json!({"destination": "/a/b", "type": "bind", "source": source, "options": options});
            config["mounts"].as_array_mut().expect("there are mounts").push(mount);
        })
    };
    assert_eq!(bind(&["rbind", "rw"], &["cat", "/a/b/file"]).ok(), "theirs");
    bind(&["bind", "ro"], &["write", "/a/b/file", "ours"]).fails(1);
    bind(&["bind", "rw"], &["write", "/a/b/file", "ours"]).ok();
    assert_eq!(fs::read_to_string(source.join("file")).ok().as_deref(), Some("ours"));
    let mounts = bind(&["rbind", "ro", "nosuid", "nodev", "noexec"], &["mounts"]);
    assert!(
        mounts.ok().lines().any(|line| line.starts_with("/a/b ") && line.contains("ro,nosuid,nodev,noexec")),
        "{mounts}"
    );
});

both!(a_source_that_is_not_there_is_named, |world| {
    let output = run(world, &["true"], |config| {
        let mount = json!({"destination": "/a", "type": "bind", "source": "/not/there", "options": ["bind"]});
        config["mounts"].as_array_mut().expect("there are mounts").push(mount);
    });
    assert_ne!(output.status, 0);
    assert!(output.stderr.contains("/not/there") && output.stderr.to_lowercase().contains("no such file"), "{output}");
});

both!(hooks_run_in_their_order_with_the_state, |world| {
    let log = world.dir.join("hooks");
    let bundle = bundle(world, &["true"], |config| {
        let hook = |name: &str| {
            let script = format!("cat >/dev/null; echo {name} >> {}", log.display());
            json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}])
        };
        config["hooks"] = json!({
            "prestart": hook("prestart"), "createRuntime": hook("createRuntime"),
            "createContainer": hook("createContainer"), "poststart": hook("poststart"), "poststop": hook("poststop"),
        });
    });
    world.runtime(["run", "--bundle", bundle.to_str().expect("plain ASCII"), &id(world)]).ok();
    let said = fs::read_to_string(&log).expect("they ran");
    assert_eq!(said, "prestart\ncreateRuntime\ncreateContainer\npoststart\npoststop\n");
});

both!(a_hook_that_fails_ends_the_creation, |world| {
    let output = run(world, &["echo", "never"], |config| {
        config["hooks"] =
            json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", "echo no way >&2; exit 3"]}]});
    });
    assert_ne!(output.status, 0);
    assert_eq!(output.stdout, "");
    assert!(output.stderr.contains("hook") && output.stderr.contains('3'), "{output}");
    // runc does not say which of the hooks it was, crun not what it said.
    if other_runtime().is_none() {
        assert!(output.stderr.contains("createRuntime hook /bin/sh") && output.stderr.contains("no way"), "{output}");
    }
});

both!(a_namespace_may_be_another_containers, |world| {
    let words = ["sleep-forever"];
    let first = bundle(world, &words, |_| {});
    create(world, &first);
    world.runtime(["start", &id(world)]).ok();
    let pid = state(world)["pid"].clone();
    let output = world.runtime(["exec", &id(world), "/witness", "namespaces"]);
    let of = |text: &str, name: &str| text.lines().find(|line| line.starts_with(name)).map(str::to_owned);

    // A second one beside it, with the first one's network, IPC and (for a user) user namespace; then its pids too.
    for joined in [&["network", "ipc", "user"][..], &["network", "user", "pid"]] {
        if world.who == Who::User && joined.contains(&"pid") && second_opinion::is("crun") {
            continue; // it joins the pid namespace before the user namespace to which that belongs
        }
        let second = bundle(world, &["namespaces"], |config| {
            for namespace in config["linux"]["namespaces"].as_array_mut().expect("there are namespaces") {
                let kind = namespace["type"].as_str().expect("a type").to_owned();
                if joined.contains(&kind.as_str()) {
                    let file = if kind == "network" { "net" } else { &kind };
                    namespace["path"] = json!(format!("/proc/{pid}/ns/{file}"));
                }
            }
            // runc wants to be told of the joined namespace's maps, too; ours and crun take none for a namespace that is there.
            if world.who == Who::User && !second_opinion::is("runc") {
                let linux = config["linux"].as_object_mut().expect("an object");
                linux.remove("uidMappings");
                linux.remove("gidMappings");
            }
        });
        let beside = format!("{}-b", id(world));
        let other = world.runtime(["run", "--bundle", second.to_str().expect("plain ASCII"), &beside]);
        for kind in joined {
            let file = if *kind == "network" { "net" } else { kind };
            assert_eq!(of(other.ok(), file), of(output.ok(), file), "{kind}");
        }
        assert_ne!(of(other.ok(), "mnt"), of(output.ok(), "mnt"));
    }
    world.runtime(["delete", "--force", &id(world)]).ok();
});

both!(errors_go_to_the_log_too, |world| {
    let log = world.dir.join("log.json");
    let words = ["--log", log.to_str().expect("plain ASCII"), "--log-format", "json", "start", "nobody"];
    assert_ne!(world.runtime(words).status, 0);
    let text = fs::read_to_string(&log).expect("a log");
    let line: serde_json::Value = serde_json::from_str(text.lines().last().unwrap_or_default()).expect("JSON");
    assert_eq!(line["level"], "error");
    assert!(line["msg"].is_string() && line["time"].is_string(), "{line}");
});

both!(a_created_container_ends_with_delete_and_frees_its_id, |world| {
    let bundle = bundle(world, &["sleep-forever"], |_| {});
    create(world, &bundle);
    let output = world.runtime(["create", "--bundle", bundle.to_str().expect("plain ASCII"), &id(world)]);
    assert_ne!(output.status, 0, "an id is taken once: {output}");
    world.runtime(["delete", "--force", &id(world)]).ok();
    create(world, &bundle);
    world.runtime(["delete", "--force", &id(world)]).ok();
});

as_root!(a_frozen_container_is_paused, |world| {
    let bundle = bundle(world, &["sleep-forever"], |_| {});
    create(world, &bundle);
    world.runtime(["start", &id(world)]).ok();
    world.runtime(["pause", &id(world)]).ok();
    assert_eq!(state(world)["status"], "paused");
    let output = world.runtime(["exec", &id(world), "/witness", "true"]);
    assert_ne!(output.status, 0, "{output}");
    assert!(output.stderr.to_lowercase().contains("paused"), "{output}");
    world.runtime(["resume", &id(world)]).ok();
    until("it runs on", || (state(world)["status"] == "running").then_some(()));
    world.runtime(["delete", "--force", &id(world)]).ok();
});

/// What is podling-runtime's own: its words, its exit statuses, its extensions to the specification.
mod only_ours {
    use super::*;

    both!(a_temporary_file_system_may_begin_with_what_the_image_has, |world| {
        let bundle = bundle(world, &["cat", "/seed/deep/file"], |config| {
            let options = ["tmpcopyup", "ro", "nosuid"];
            let mount = json!({"destination": "/seed", "type": "tmpfs", "source": "tmpfs", "options": options});
            config["mounts"].as_array_mut().expect("there are mounts").push(mount);
        });
        world.directory("bundle/rootfs/seed");
        world.directory("bundle/rootfs/seed/deep");
        world.file("bundle/rootfs/seed/deep/file", "grown\n");
        let output = world.runtime(["run", "--bundle", bundle.to_str().expect("plain ASCII"), &id(world)]);
        assert_eq!(output.ok(), "grown");
    });

    both!(options_are_taken_after_the_id_and_mistakes_named, |world| {
        let bundle = bundle(world, &["exit", "3"], |_| {});
        world.runtime(["run", &id(world), "--bundle", bundle.to_str().expect("plain ASCII")]).fails(3);
        for (words, said) in [
            (&["run", "--bundel", "x", "y"][..], "unknown option --bundel"),
            (&["frobnicate"], "unknown command \"frobnicate\""),
            (&["kill", "nobody", "NOSUCH"], "unknown signal \"NOSUCH\""),
            (&["kill", "nobody", "KILL"], "container nobody does not exist"),
            (&["start"], "which container?"),
            (&["state", "nobody"], "container nobody does not exist"),
            (&["delete", "nobody"], "container nobody does not exist"),
        ] {
            let output = world.runtime(words);
            assert!(output.fails(1).contains(said) || output.stderr.contains(said), "{output}");
        }
    });

    both!(a_program_that_may_not_be_run_is_126_one_that_is_not_there_127, |world| {
        world.directory("bundle");
        let statuses = |program: &str| run(world, &[], |config| config["process"]["args"] = json!([program])).status;
        assert_eq!(statuses("nothing"), 127);
        assert_eq!(statuses("/no/thing"), 127);
        assert_eq!(statuses("/proc/version"), 126);
        assert_eq!(statuses("/"), 126);
    });

    // crun waits for a SIGCHLD, and hangs until the time limit where the container's own end and the hook's become one.
    both!(a_hook_may_say_more_than_a_pipe_holds_and_hears_all_signals, |world| {
        let seen = world.dir.join("seen");
        let script = format!("head -c 1000000 /dev/zero >&2; grep SigBlk /proc/self/status >{}", seen.display());
        let output = run(world, &["true"], |config| {
            let words = ["sh", "-c", &script];
            let hook = json!([{"path": "/bin/sh", "args": words, "env": ["PATH=/usr/bin:/bin"], "timeout": 60}]);
            config["hooks"] = json!({ "poststart": hook });
        });
        output.ok();
        let seen = fs::read_to_string(seen).expect("the hook has run to its end");
        assert!(seen.ends_with("\t0000000000000000\n"), "{seen}");
    });
}
