//! The root file system changes while a container is made in it: a directory on the way becomes a symlink between two looks.
//! Another container that shares a volume does this as fast as it likes.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Attacker, text};
use crate::runtime::{bundle, create, id};
use crate::second_opinion::other_runtime;
use crate::world::World;

/// How often a container is made while the attacker spins.
const ROUNDS: usize = 40;

/// In a bundle's root, the directory `name` changes places with a link to a directory of the host, which must stay empty.
struct Swapped {
    here: PathBuf,
    outside: PathBuf,
    _attacker: Attacker,
}

impl Swapped {
    fn start(world: &World, bundle: &Path, name: &str) -> Self {
        let (here, link) = (bundle.join("rootfs").join(name), bundle.join("rootfs/link"));
        world.directory(&format!("bundle/rootfs/{name}"));
        let outside = world.directory("outside");
        symlink(&outside, &link).expect("our own directory");
        let attacker = Attacker::start(world, &["exchange", text(&here), text(&link)]);
        Self { here, outside, _attacker: attacker }
    }

    /// Shows that the attack is one: whoever looks first and then uses the path makes things outside.
    fn defeats_who_looks_first(&self, make: impl Fn(&Path) -> std::io::Result<()>) {
        let landed = (0..1_000_000).any(|_| {
            let seen = fs::symlink_metadata(&self.here).is_ok_and(|it| it.is_dir());
            seen && make(&self.here).is_ok() && !self.is_harmless()
        });
        assert!(landed, "the attacker is too slow to prove anything");
        for entry in fs::read_dir(&self.outside).expect("ours").flatten() {
            fs::remove_dir_all(entry.path()).or_else(|_| fs::remove_file(entry.path())).expect("it landed there");
        }
    }

    fn is_harmless(&self) -> bool {
        fs::read_dir(&self.outside).expect("ours").next().is_none()
    }
}

fn run(world: &World, bundle: &Path) -> crate::running::Output {
    world.runtime(["run", "--bundle", text(bundle), &id(world)])
}

fn mount(config: &mut Value, mount: Value) {
    config["mounts"].as_array_mut().expect("there are mounts").push(mount);
}

// Not every release of runc and crun withstands these.
mod only_ours {
    use super::*;

    both!(a_mount_lands_inside_whatever_is_exchanged_on_its_way, |world| {
        // CVE-2021-30465; CVE-2024-45310 for the directories and files that are made to mount on.
        let file = world.file("file", "");
        let bundle = bundle(world, &["true"], |config| {
            mount(config, json!({"destination": "/in/door", "type": "tmpfs", "source": "tmpfs"}));
            mount(config, json!({"destination": "/in/a/b/c", "type": "tmpfs", "source": "tmpfs"}));
            let options = ["bind"];
            mount(config, json!({"destination": "/in/f", "type": "bind", "source": file, "options": options}));
        });
        let swapped = Swapped::start(world, &bundle, "in");
        swapped.defeats_who_looks_first(|here| fs::create_dir(here.join("probe")));
        for _ in 0..ROUNDS {
            let output = run(world, &bundle);
            assert!(swapped.is_harmless(), "{output}");
            assert!(!output.stderr.contains("panicked"), "{output}");
        }
    });

    both!(a_working_directory_is_made_inside_whatever_is_exchanged_on_its_way, |world| {
        let bundle = bundle(world, &["cwd"], |config| config["process"]["cwd"] = json!("/in/work/deep"));
        let swapped = Swapped::start(world, &bundle, "in");
        swapped.defeats_who_looks_first(|here| fs::create_dir_all(here.join("work/deep")));
        for _ in 0..ROUNDS {
            let output = run(world, &bundle);
            assert!(swapped.is_harmless(), "{output}");
            assert!(output.status != 0 || output.ok().ends_with("/work/deep"), "{output}");
        }
    });

    both!(devices_are_made_inside_whatever_is_exchanged_for_dev, |world| {
        // CVE-2026-41579, CVE-2026-47766 as a race.
        let bundle = bundle(world, &["true"], |config| {
            let mounts = config["mounts"].as_array_mut().expect("there are mounts");
            mounts.retain(|mount| !mount["destination"].as_str().is_some_and(|place| place.starts_with("/dev")));
        });
        let swapped = Swapped::start(world, &bundle, "dev");
        swapped.defeats_who_looks_first(|here| fs::write(here.join("null"), ""));
        for _ in 0..ROUNDS {
            let output = run(world, &bundle);
            assert!(swapped.is_harmless(), "{output}");
        }
    });

    both!(proc_is_mounted_on_no_link_that_was_exchanged_for_it, |world| {
        // CVE-2019-19921, CVE-2023-27561 as a race: the program either sees the kernel's proc or does not run.
        let bundle = bundle(world, &["cat", "/proc/self/comm"], |_| {});
        let swapped = Swapped::start(world, &bundle, "proc");
        for _ in 0..ROUNDS {
            let output = run(world, &bundle);
            assert!(swapped.is_harmless(), "{output}");
            assert!(output.status != 0 || output.ok() == "witness", "{output}");
        }
    });
}

both!(a_process_enters_no_directory_outside_whatever_is_exchanged_for_it, |world| {
    // CVE-2024-21626 on exec, as a race: the container's own program exchanges the directory for a link to a descriptor.
    let bundle = bundle(world, &["sleep-forever"], |_| {});
    let rootfs = bundle.join("rootfs");
    world.directory("bundle/rootfs/in");
    create(world, &bundle);
    world.runtime(["start", &id(world)]).ok();
    for fd in 3..12 {
        let link = rootfs.join(format!("fd{fd}"));
        symlink(format!("/proc/self/fd/{fd}"), &link).expect("our own directory");
        for cwd in [format!("/proc/self/fd/{fd}"), format!("/fd{fd}"), format!("/fd{fd}/..")] {
            let output = world.runtime(["exec", "--cwd", &cwd, &id(world), "/witness", "cwd"]);
            assert!(output.status != 0 || output.ok().starts_with('/'), "{output}");
            assert!(!output.stdout.contains("unreachable"), "{output}");
        }
        let _attacker = Attacker::start(world, &["exchange", text(&rootfs.join("in")), text(&link)]);
        for _ in 0..3 {
            let output = world.runtime(["exec", "--cwd", "/in", &id(world), "/witness", "cwd"]);
            assert!(output.status != 0 || output.ok().starts_with('/'), "{output}");
        }
    }
    world.runtime(["delete", "--force", &id(world)]).ok();
});

both!(no_descriptor_is_a_working_directory_of_run_or_exec, |world| {
    // CVE-2024-21626, as its first exploits were written: from the command line, and from the image.
    let image = world.image("witness");
    world.podling(["run", "-d", "--name=box", "--network=none", image, "until-term"]).ok();
    for fd in 3..16 {
        let directory = format!("/proc/self/fd/{fd}");
        for words in [
            &["run", "--rm", "--network=none", "-w", &directory, image][..],
            &["exec", "-w", &directory, "box", "/witness"],
        ] {
            let output = world.podling([words, &["cwd"]].concat());
            assert!(output.status != 0 || output.ok().starts_with('/'), "{output}");
            assert!(output.stdout.is_empty() || other_runtime().is_some(), "{output}");
        }
    }
    world.podling(["rm", "-f", "-t0", "box"]).ok();
});
