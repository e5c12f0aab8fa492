//! Limits: what is asked for holds or is an error, and what asks for nothing needs nothing.

use serde_json::json;

use crate::runtime::run;
use crate::second_opinion;
use crate::world::Who;

both!(a_file_of_the_group_may_be_named_itself, |world| {
    if second_opinion::other_runtime().is_some() {
        return; // the others know the names of the controllers' files alone
    }
    let output = run(world, &["cat", "/sys/fs/cgroup/cgroup.max.depth"], |config| {
        config["linux"]["resources"] = json!({ "unified": { "cgroup.max.depth": "3" } });
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("there are namespaces");
        if !namespaces.iter().any(|it| it["type"] == "cgroup") {
            namespaces.push(json!({ "type": "cgroup" }));
        }
    });
    // A user to whom no group was given can limit nothing, and is told.
    assert!(output.stdout == "3\n" || (world.who == Who::User && output.status == 1), "{output}");
});

/// The others want the controller though nothing is limited, and runc takes version 1's words and forgets them.
mod only_ours {
    use super::*;

    both!(who_asks_for_no_limit_needs_no_controller, |world| {
        // Podman 5.4 says "unlimited" where others say nothing, and containerd's ctr asks for as large a share as everybody has.
        let output = run(world, &["echo", "free"], |config| {
            config["linux"]["resources"] = json!({
                "pids": { "limit": -1 },
                "memory": { "limit": -1, "swap": -1 },
                "cpu": { "quota": -1, "period": 100_000, "shares": 1024 },
            });
        });
        assert_eq!(output.ok(), "free");
    });

    both!(what_version_2_has_not_is_refused_by_name, |world| {
        for (resources, named) in [
            (json!({ "memory": { "swappiness": 10 } }), "memory.swappiness"),
            (json!({ "memory": { "kernel": 1_000_000 } }), "memory.kernel"),
            (json!({ "memory": { "kernelTCP": 1_000_000 } }), "memory.kernelTCP"),
            (json!({ "memory": { "disableOOMKiller": true } }), "memory.disableOOMKiller"),
            (json!({ "memory": { "useHierarchy": false } }), "memory.useHierarchy"),
            (json!({ "cpu": { "realtimePeriod": 1000 } }), "cpu.realtimeRuntime, realtimePeriod"),
            (json!({ "blockIO": { "leafWeight": 10 } }), "blockIO.leafWeight"),
            (
                json!({ "blockIO": { "weightDevice": [{ "major": 8, "minor": 0, "leafWeight": 10 }] } }),
                "blockIO.leafWeight",
            ),
            (json!({ "network": { "classID": 1 } }), "network"),
        ] {
            let output = run(world, &["true"], |config| config["linux"]["resources"] = resources);
            output.fails(1);
            assert!(output.stderr.contains(&format!("linux.resources.{named}: cgroup version 2")), "{output}");
        }
    });
}
