//! What belongs to the program itself: when it runs, where, and what it is told of the machine.

use serde_json::json;

use crate::runtime::{bundle, create, id, run};

/// The other runtimes of Debian 12 are older than these words.
mod only_ours {
    use super::*;

    both!(a_program_is_as_urgent_as_the_bundle_says, |world| {
        // proc(5): nice is field 19, the policy field 41; 3 is SCHED_BATCH.
        let output = run(world, &["cat", "/proc/self/stat"], |config| {
            config["process"]["scheduler"] = json!({ "policy": "SCHED_BATCH", "nice": 7 });
        });
        let after_name = output.ok().rsplit_once(") ").expect("a name").1.to_owned();
        let field = |number: usize| after_name.split(' ').nth(number - 3).expect("a field").to_owned();
        assert_eq!((field(19).as_str(), field(41).as_str()), ("7", "3"));

        let output = run(world, &["disk-priority"], |config| {
            config["process"]["ioPriority"] = json!({ "class": "IOPRIO_CLASS_BE", "priority": 6 });
        });
        assert_eq!(output.ok(), (2 << 13 | 6).to_string());
        let output = run(world, &["true"], |config| {
            config["process"]["scheduler"] = json!({ "policy": "SCHED_FIFO", "nice": 7 });
        });
        output.fails(1);
        assert!(output.stderr.contains("process.scheduler: SCHED_FIFO has no nice value"), "{output}");
        // The specification's own names of two flags, which the library that reads bundles has otherwise.
        run(world, &["true"], |config| {
            let flags = ["SCHED_FLAG_RESET_ON_FORK"];
            config["process"]["scheduler"] = json!({ "policy": "SCHED_OTHER", "flags": flags });
        })
        .ok();
    });

    as_user!(who_may_not_be_urgent_is_told, |world| {
        let output = run(world, &["true"], |config| {
            config["process"]["scheduler"] = json!({ "policy": "SCHED_FIFO", "priority": 10 });
        });
        output.fails(1);
        assert!(output.stderr.contains("setting the scheduling policy: Operation not permitted"), "{output}");
    });

    both!(a_program_is_told_of_the_machine_what_the_bundle_says, |world| {
        let output = run(world, &["cat", "/proc/self/personality"], |config| {
            config["linux"]["personality"] = json!({ "domain": "LINUX32" });
        });
        assert_eq!(output.ok(), "00000008");
        let output = run(world, &["true"], |config| {
            config["linux"]["personality"] = json!({ "domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"] });
        });
        output.fails(1);
        assert!(output.stderr.contains("linux.personality") && output.stderr.contains("ADDR_NO_RANDOMIZE"), "{output}");
    });

    both!(memory_comes_from_the_nodes_that_the_bundle_names, |world| {
        let policy = |mode: &str, nodes: &str| json!({ "mode": mode, "nodes": nodes });
        let output = run(world, &["cat", "/proc/self/numa_maps"], |config| {
            config["linux"]["memoryPolicy"] = policy("MPOL_BIND", "0");
        });
        assert!(output.ok().lines().any(|line| line.contains(" bind:0")), "{output}");
        let output = run(world, &["true"], |config| config["linux"]["memoryPolicy"] = policy("MPOL_BIND", "7000"));
        output.fails(1);
        assert!(output.stderr.contains("setting the memory policy: Invalid argument"), "{output}");
        let output = run(world, &["true"], |config| config["linux"]["memoryPolicy"] = policy("MPOL_BIND", "all"));
        output.fails(1);
        assert!(output.stderr.contains("linux.memoryPolicy: \"all\" is no list of nodes"), "{output}");
    });

    both!(an_exec_runs_on_the_processors_that_it_names, |world| {
        let bundle = bundle(world, &["sleep-forever"], |config| {
            config["linux"]["personality"] = json!({ "domain": "LINUX32" });
        });
        create(world, &bundle);
        world.runtime(["start", &id(world)]).ok();
        let exec = |affinity: serde_json::Value, words: &[&str]| {
            let words = [&["/witness"], words].concat();
            let process = json!({
                "args": words, "cwd": "/", "user": {"uid": 0, "gid": 0},
                "execCPUAffinity": affinity,
            });
            let file = world.file("process.json", process.to_string());
            world.runtime(["exec", "--process", file.to_str().expect("plain ASCII"), &id(world)])
        };
        let output = exec(json!({ "initial": "0" }), &["status", "Cpus_allowed_list"]);
        assert_eq!(output.ok(), "Cpus_allowed_list 0");
        let output = exec(json!({ "initial": "0", "final": "1" }), &["status", "Cpus_allowed_list"]);
        // On a machine of one processor there is no second to go to.
        assert!(output.stdout == "Cpus_allowed_list 1\n" || output.stderr.contains("execCPUAffinity"), "{output}");
        // What the container's section says holds for whoever comes later, too.
        assert_eq!(exec(json!(null), &["cat", "/proc/self/personality"]).ok(), "00000008");
        world.runtime(["delete", "--force", &id(world)]).ok();
    });
}
