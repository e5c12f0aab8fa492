//! Hooks: which program, where, with what on its input, how long, and what becomes of the container if it fails.

use std::fs;

use serde_json::{Value, json};

use crate::running::until_gone;
use crate::runtime::{bundle, create, id, run, state};
use crate::second_opinion;

fn shell(script: &str) -> Value {
    json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin", "WORD=blue"] }])
}

both!(a_hook_is_run_as_the_bundle_says, |world| {
    let log = world.dir.join("hooks");
    let outside = |name: &str| {
        let log = log.display();
        shell(&format!("read -r state; echo {name} $WORD $0 $(readlink /proc/self/ns/mnt) \"$state\" >> {log}"))
    };
    let bundle = bundle(world, &["true"], |config| {
        config["hooks"] = json!({
            "createRuntime": outside("createRuntime"), "createContainer": outside("createContainer"),
            "poststart": outside("poststart"), "poststop": outside("poststop"),
            // This one is looked for inside.
            "startContainer": [{ "path": "/witness", "args": ["witness", "write", "/tmp/started", "x"] }],
        });
    });
    world.runtime(["run", "--bundle", bundle.to_str().expect("plain ASCII"), &id(world)]).ok();
    assert!(bundle.join("rootfs/tmp/started").exists(), "the hook inside has run");
    let here = fs::read_link("/proc/thread-self/ns/mnt").expect("proc(5)");
    let said = fs::read_to_string(&log).expect("they ran");
    let names = ["createRuntime", "createContainer", "poststart", "poststop"];
    let statuses = ["creating", "creating", "running", "stopped"];
    for ((line, name), status) in said.lines().zip(names).zip(statuses) {
        let words: Vec<&str> = line.splitn(5, ' ').collect();
        assert_eq!(words[..3], [name, "blue", "sh"], "{line}");
        assert_eq!(words[3] == here.to_string_lossy(), name != "createContainer", "{line}");
        let told: Value = serde_json::from_str(words[4]).expect("the state is JSON");
        assert_eq!(told["id"], json!(id(world)));
        assert_eq!(told["bundle"], json!(bundle));
        // crun says "created" before it is.
        assert!(told["status"] == status || second_opinion::other_runtime().is_some(), "{line}");
    }
    assert_eq!(said.lines().count(), 4, "{said}");
});

both!(a_hook_that_takes_too_long_ends_the_creation, |world| {
    if second_opinion::is("crun") {
        return; // it gives the child's whole group no end, and waits
    }
    let output = run(world, &["echo", "never"], |config| {
        config["hooks"] =
            json!({ "createRuntime": [{ "path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1 }] });
    });
    assert_ne!(output.status, 0);
    assert_eq!(output.stdout, "");
});

/// What the specification demands since 1.2.1, and crun's annotations.
mod only_ours {
    use super::*;

    both!(a_container_whose_poststart_hook_fails_does_not_go_on, |world| {
        let log = world.dir.join("gone");
        let bundle = bundle(world, &["sleep-forever"], |config| {
            let gone = shell(&format!("echo gone >> {}", log.display()));
            config["hooks"] = json!({ "poststart": shell("echo no way >&2; exit 3"), "poststop": gone });
        });
        create(world, &bundle);
        let pid = state(world)["pid"].as_i64().expect("a number") as i32;
        let output = world.runtime(["start", &id(world)]);
        assert!(output.status == 1 && output.stderr.contains("poststart hook /bin/sh"), "{output}");
        until_gone(pid);
        world.runtime(["delete", &id(world)]).ok();
        assert_eq!(fs::read_to_string(&log).expect("it ran"), "gone\n");

        let output = world.runtime(["run", "--bundle", bundle.to_str().expect("plain ASCII"), &id(world)]);
        assert!(output.status == 1 && output.stderr.contains("no way"), "{output}");
        assert_eq!(world.runtime(["list", "--quiet"]).ok(), "");
        assert_eq!(fs::read_to_string(&log).expect("it ran"), "gone\ngone\n");
    });

    both!(a_poststop_hook_that_fails_keeps_nobody_from_the_rest, |world| {
        let log = world.dir.join("log");
        let output = run(world, &["true"], |config| {
            let both = [shell("exit 3"), shell(&format!("echo second >> {}", log.display()))];
            let both: Vec<Value> = both.into_iter().map(|hook| hook[0].clone()).collect();
            config["hooks"] = json!({ "poststop": both });
        });
        output.ok();
        assert!(output.stderr.contains("warning: poststop hook /bin/sh: exit status: 3"), "{output}");
        assert_eq!(fs::read_to_string(&log).expect("the second ran"), "second\n");
    });

    both!(what_the_hooks_of_a_container_have_made_is_taken_away_if_it_never_comes, |world| {
        let log = world.dir.join("log");
        let output = run(world, &["true"], |config| {
            let gone = shell(&format!("echo gone >> {}", log.display()));
            config["hooks"] =
                json!({ "createRuntime": shell("true"), "createContainer": shell("exit 4"), "poststop": gone });
        });
        assert!(output.status == 1 && output.stderr.contains("createContainer hook /bin/sh"), "{output}");
        assert_eq!(fs::read_to_string(&log).expect("it ran"), "gone\n");
    });

    both!(what_hooks_say_goes_where_the_bundle_says, |world| {
        let (said, complained) = (world.file("said", ""), world.file("complained", ""));
        run(world, &["true"], |config| {
            config["hooks"] = json!({
                "createRuntime": shell("echo outside; echo oh >&2"),
                "startContainer": [{ "path": "/witness", "args": ["witness", "echo", "inside"] }],
            });
            config["annotations"] = json!({ "run.oci.hooks.stdout": said, "run.oci.hooks.stderr": complained });
        })
        .ok();
        assert_eq!(fs::read_to_string(&said).expect("ours"), "outside\ninside\n");
        assert_eq!(fs::read_to_string(&complained).expect("ours"), "oh\n");
    });

    both!(a_hook_without_a_whole_path_is_an_error, |world| {
        let output = run(world, &["true"], |config| config["hooks"] = json!({ "createRuntime": [{ "path": "sh" }] }));
        assert!(output.status == 1 && output.stderr.contains("its path is not absolute"), "{output}");
    });
}
