//! Network devices of the machine in a container.

use serde_json::{Value, json};

use crate::running::Output;
use crate::runtime::{bundle, id};
use crate::second_opinion;
use crate::world::World;

/// Runs a bundle in a network namespace of the test's own, in which `script` has made devices.
fn run(world: &World, script: &str, words: &[&str], change: impl FnOnce(&mut Value)) -> Output {
    let bundle = bundle(world, words, change);
    let script = format!("{script} && exec \"$0\" --root \"$1\" run --bundle \"$2\" \"$3\"");
    let root = world.dir.join("run/runtime");
    let words = [second_opinion::runtime(), root, bundle, id(world).into()];
    let before = ["--net", "--", "sh", "-ec", &script].map(Into::into);
    world.program("unshare", [&before[..], &words[..]].concat())
}

/// A pair of devices with an address, and another one beside.
const PAIR: &str = "ip link add here0 type veth peer name other0 && ip addr add 10.77.0.1/24 dev here0 && \
    ip -6 addr add fd00:77::1/64 dev here0 nodad && ip link set here0 up && ip link set other0 up";

/// The specification has it since 1.3: the other runtimes of Debian 12 are older.
mod only_ours {
    use super::*;

    as_root!(a_device_of_the_machine_moves_into_the_container, |world| {
        let files = ["cat", "/proc/net/dev", "/proc/net/fib_trie", "/proc/net/if_inet6"];
        let output = run(world, PAIR, &files, |config| {
            config["linux"]["netDevices"] = json!({ "here0": { "name": "eth%d" }, "other0": {} });
        });
        let said = output.ok();
        for seen in ["eth0:", "other0:", "10.77.0.1", "fd000077000000000000000000000001"] {
            assert!(said.contains(seen), "{seen}: {output}");
        }
        assert!(!said.contains("here0"), "{output}");
    });

    as_root!(a_device_that_cannot_move_is_named, |world| {
        let refused = |devices: Value, own: bool| {
            let output = run(world, PAIR, &["true"], |config| {
                config["linux"]["netDevices"] = devices;
                if !own {
                    let all = config["linux"]["namespaces"].as_array_mut().expect("there are namespaces");
                    all.retain(|it| it["type"] != "network");
                }
            });
            output.fails(1);
            output.stderr.clone()
        };
        let said = refused(json!({ "nothing0": {} }), true);
        assert!(said.contains("linux.netDevices: nothing0: there is no such network device"), "{said}");
        let said = refused(json!({ "here0": { "name": "lo" } }), true);
        assert!(said.contains("the container has a network device lo already"), "{said}");
        let said = refused(json!({ "here0": { "name": "far/too" } }), true);
        assert!(said.contains("\"far/too\" is no name of a network device"), "{said}");
        let said = refused(json!({ "here0": {} }), false);
        assert!(said.contains("no network namespace of its own"), "{said}");
    });

    as_user!(a_user_has_no_device_to_give, |world| {
        let bundle =
            bundle(world, &["true"], |config| config["linux"]["netDevices"] = json!({ "lo": { "name": "eth0" } }));
        let output = world.runtime(["run", "--bundle", bundle.to_str().expect("plain ASCII"), &id(world)]);
        output.fails(1);
        assert!(output.stderr.contains("linux.netDevices: entering the container's network namespace"), "{output}");
    });
}
