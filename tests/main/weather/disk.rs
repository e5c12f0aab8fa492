//! A disk that is full: the store's, the run directory's, a log's, or one that is none of ours.

use std::fs;

use super::{Small, can_mount, no_room, tree};
use crate::setup::setup;
use crate::world::World;

fn archive(image: &str) -> String {
    setup().archive(image).to_str().expect("plain ASCII").to_owned()
}

/// What the hint must begin with where the store is full.
fn cure(world: &World) -> String {
    let store = world.data().display().to_string();
    format!("hint: {store} is full: 'podling system df' shows what is there, 'podling system prune' removes ")
}

both!(a_full_store_is_said_with_its_cure_and_nothing_is_left_half_made, |world| {
    if !can_mount() {
        return;
    }
    let registry = world.registry();
    let small = Small::mount(world, world.data(), "12m");
    let image = world.image("witness");
    world.podling(["create", "--network=none", "--name=keep", image, "exit", "7"]).ok();
    world.podling(["run", "-d", "--network=none", "--name=runs", image, "until-term"]).ok();
    let (large, remote) = (archive("busybox"), format!("{registry}/busybox"));
    small.leave(0);
    let before = tree(&small.dir);
    let commands: [&[&str]; 13] = [
        &["load", "-q", "-i", &large],
        &["pull", "-q", &remote],
        &["import", "-q", &large, "imported"],
        &["create", "--network=none", image],
        &["run", "--network=none", image],
        &["run", "-d", "--network=none", image],
        &["start", "keep"],
        &["start", "-a", "keep"],
        &["cp", &large, "runs:/tmp/large"],
        &["commit", "-q", "runs", "committed"],
        &["volume", "create", "full"],
        &["tag", image, "another"],
        &["rename", "keep", "kept"],
    ];
    for words in commands {
        let output = world.podling(words);
        let (_, hint) = no_room(&output);
        assert!(hint.is_some_and(|hint| hint.starts_with(&cure(world))), "{output}");
        assert_eq!(tree(&small.dir), before, "{output}");
    }
    // What needs no room works.
    assert_eq!(world.podling(["ps", "-q"]).ok().lines().count(), 1);
    world.podling(["exec", "runs", "/witness", "true"]).ok();
    small.make_room();
    assert_eq!(world.podling(["start", "-a", "keep"]).status, 7);
    world.podling(["rm", "-f", "--time=0", "runs"]).ok();
    world.podling(["load", "-q", "-i", &large]).ok();
    small.end();
});

both!(the_cure_for_a_full_store_makes_room, |world| {
    if !can_mount() {
        return;
    }
    let small = Small::mount(world, world.data(), "8m");
    world.image("busybox");
    small.leave(4);
    let wanted = archive("layers");
    let output = world.podling(["load", "-q", "-i", &wanted]);
    let hint = no_room(&output).1.expect("a cure").to_owned();
    for command in hint.split('\'').filter(|quoted| quoted.starts_with("podling ")) {
        let words = command.split(' ').skip(1).chain(command.ends_with("prune").then_some("--force"));
        world.podling(words).ok();
    }
    assert!(hint.contains("--all"), "{hint}");
    world.podling(["system", "prune", "--all", "--force"]).ok();
    world.podling(["load", "-q", "-i", &wanted]).ok();
    small.end();
});

both!(whichever_write_meets_the_end_of_the_store_the_container_runs_or_it_is_said, |world| {
    if !can_mount() {
        return;
    }
    let small = Small::mount(world, world.data(), "12m");
    let image = world.image("witness");
    // Unpacked beforehand: that takes more room than all the rest.
    world.podling(["run", "--rm", "--network=none", image, "true"]).ok();
    for pages in 0..8 {
        small.leave(pages);
        let run = world.podling(["run", "--network=none", "--name=it", image, "exit", "7"]);
        let ran = run.status == 7;
        assert!(ran || no_room(&run).1.is_some(), "{run}");
        assert!(ran || pages < 7, "so much is enough: {run}");
        small.make_room();
        world.podling(["rm", "-f", "it"]).ok();
        assert_eq!(tree(&world.data().join("containers")), [""; 0], "{pages}");
        assert_eq!(tree(&world.data().join("names")), [""; 0], "{pages}");
    }
    small.end();
});

/// runc and crun keep files of their own there, and have their own words for a full disk.
mod only_ours {
    use super::*;

    both!(a_full_run_directory_is_named_and_nothing_is_lost, |world| {
        if !can_mount() {
            return;
        }
        let small = Small::mount(world, world.run_dir(), "400k");
        let image = world.image("witness");
        world.podling(["create", "--network=none", "--name=keep", image, "exit", "7"]).ok();
        world.podling(["run", "-d", "--network=none", "--name=runs", image, "until-term"]).ok();
        let expected = format!("hint: {} is full: 'du -ahx {}'", small.dir.display(), world.dir.join("run").display());
        let mut pages = 0;
        loop {
            small.leave(pages);
            let run = world.podling(["run", "--rm", "--network=none", image, "exit", "7"]);
            if pages == 0 {
                assert!(no_room(&run).1.is_some_and(|hint| hint.starts_with(&expected)), "{run}");
                let started = world.podling(["start", "-a", "keep"]);
                assert!(no_room(&started).1.is_some_and(|hint| hint.starts_with(&expected)), "{started}");
                let copied = world.podling(["cp", "keep:/etc/passwd", "-"]);
                assert!(no_room(&copied).1.is_some_and(|hint| hint.starts_with(&expected)), "{copied}");
                world.podling(["exec", "runs", "/witness", "true"]).ok();
                world.podling(["stop", "runs"]).ok();
                world.podling(["rm", "runs"]).ok();
            }
            small.make_room();
            if run.status == 7 {
                break;
            }
            no_room(&run);
            assert_eq!(world.podling(["ps", "-aq"]).ok().lines().count(), 1, "only the one that is kept: {run}");
            pages += 2;
            assert!(pages < 60, "so much is enough: {run}");
        }
        assert_eq!(world.podling(["start", "-a", "keep"]).status, 7);
        small.end();
    });
}

both!(a_full_disk_costs_a_container_log_lines_and_nothing_else, |world| {
    if !can_mount() {
        return;
    }
    // conmon, too, lets the container go on and its lines be lost; but it leaves half a line that Podman cannot read.
    let small = Small::mount(world, world.dir.join("logs"), "64k");
    let log = format!("--log-opt=path={}", small.dir.join("log").display());
    for driver in ["k8s-file", "json-file"] {
        let driver = format!("--log-driver={driver}");
        let image = world.image("busybox");
        let mut run = world.spawn_with_input(["run", "-i", "--name=x", "--network=none", &driver, &log, image, "sh"]);
        run.write("echo before\n");
        run.expect("before\n");
        small.leave(1);
        run.write("i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo line $i; done; echo through\n");
        run.expect("through\n");
        small.make_room();
        run.write("echo after; exit 3\n");
        assert_eq!(run.wait().status, 3);
        let logs = world.podling(["logs", "x"]);
        let lines: Vec<&str> = logs.ok().lines().collect();
        assert_eq!((lines[0], lines[1], lines[lines.len() - 1]), ("before", "line 1", "after"), "{logs}");
        assert!(!lines.contains(&"through"), "there was room after all: {logs}");
        world.podling(["rm", "x"]).ok();
        fs::remove_file(small.dir.join("log")).expect("a log");
    }
    small.end();
});

both!(how_a_container_ended_is_known_though_it_has_filled_the_disk, |world| {
    if !can_mount() {
        return;
    }
    let small = Small::mount(world, world.data(), "8m");
    let image = world.image("busybox");
    let mut run = world.spawn_with_input(["run", "-i", "--name=x", "--network=none", image, "sh"]);
    run.write("echo begun\n");
    run.expect("begun\n");
    small.leave(0);
    run.write("yes >/tmp/much 2>/dev/null; exit 3\n");
    assert_eq!(run.wait().status, 3);
    assert_eq!(world.podling(["inspect", "--format={{.State.Status}} {{.State.ExitCode}}", "x"]).ok(), "exited 3");
    small.make_room();
    small.end();
});

both!(a_third_place_that_is_full_is_named_without_a_cure_of_ours, |world| {
    if !can_mount() {
        return;
    }
    let small = Small::mount(world, world.dir.join("elsewhere"), "64k");
    let image = world.image("witness");
    let file = small.dir.join("saved.tar");
    let output = world.podling(["save", "-q", "-o", file.to_str().expect("plain ASCII"), image]);
    let (said, hint) = no_room(&output);
    assert!(said.starts_with(&format!("Error: writing {}: ", file.display())) && hint.is_none(), "{output}");
    assert_eq!(tree(&small.dir), [""; 0]);
    small.end();
});

as_root!(a_device_that_takes_nothing_is_not_removed, |world| {
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    let full = world.dir.join("full");
    mknod(&full, SFlag::S_IFCHR, Mode::S_IRWXU, makedev(1, 7)).expect("root makes devices");
    let output = world.podling(["save", "-q", "-o", full.to_str().expect("plain ASCII"), world.image("witness")]);
    assert_eq!(no_room(&output).1, None, "{output}");
    assert!(full.exists());
});
