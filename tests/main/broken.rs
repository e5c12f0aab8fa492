//! A container whose `container.json` cannot be read: it hides no other, nothing it may use is taken from it, and
//! `rm --force` gets rid of it.

use std::fs;
use std::path::PathBuf;

use crate::running::{Output, until_gone};
use crate::world::World;

/// What a power cut, a failing disk or a person's editor may leave.
const RUINS: [(&str, &str); 4] =
    [("empty", ""), ("cut off", r#"{"id": "0123"#), ("another type", "[]"), ("without fields", "{}")];

fn create(world: &World, name: &str) -> String {
    let name = format!("--name={name}");
    world.podling(["create", "--network=none", &name, world.image("witness")]).ok().to_owned()
}

fn config(world: &World, id: &str) -> PathBuf {
    world.data().join("containers").join(id).join("container.json")
}

/// The same for root and user, whose stores are at different places.
#[track_caller]
fn snapshot(world: &World, name: &str, said: &str) {
    world.snapshot(name, &said.replace(&*world.data().to_string_lossy(), "$DATA"));
}

fn ruin(world: &World, id: &str) {
    fs::write(config(world, id), RUINS[1].1).expect("it was created");
}

/// It did its work, and said of the broken container once which one it is and what can be done.
#[track_caller]
fn warned(output: &Output, id: &str) {
    let lines: Vec<_> = output.stderr.lines().collect();
    assert_eq!((output.status, lines.len()), (0, 1), "{output}");
    assert!(lines[0].starts_with("podling: warning: container ") && lines[0].contains(&id[..12]), "{output}");
    assert!(lines[0].ends_with(&format!("'podling rm --force {}' discards it", &id[..12])), "{output}");
}

both!(who_lists_gets_the_others_and_a_warning, |world| {
    create(world, "sound");
    let id = create(world, "ruin");
    for (_, content) in RUINS {
        fs::write(config(world, &id), content).expect("it was created");
        let listed = world.podling(["ps", "-a", "--format={{.Names}}"]);
        warned(&listed, &id);
        assert_eq!(listed.ok(), "sound");
    }
    snapshot(world, "broken_warning", &world.podling(["ps", "-aq"]).stderr);
    for words in
        [&["info"][..], &["system", "df"], &["images", "--format=json"], &["port", "--all"], &["stop", "--all"]]
    {
        warned(&world.podling(words), &id);
    }
    // Without --force nobody asked for it to go.
    let removed = world.podling(["rm", "--all"]);
    warned(&removed, &id);
    assert!(config(world, &id).exists());
    world.podling(["rm", "--force", "ruin"]).ok();
});

both!(what_it_may_use_is_not_removed, |world| {
    let image = world.image("witness");
    world.podling(["volume", "create", "kept"]).ok();
    let id = create(world, "ruin");
    ruin(world, &id);
    let mut said = String::new();
    for words in [
        &["rmi", image][..],
        &["image", "prune", "-af"],
        &["volume", "rm", "kept"],
        &["volume", "prune", "-f"],
        &["system", "prune", "-af", "--volumes"],
    ] {
        let output = world.podling(words);
        assert!(output.status == 125 || output.status == 2, "{output}");
        said += &format!("{}\n{}[{}]\n", words.join(" "), output.stderr, output.status);
    }
    snapshot(world, "broken_may_use", &said);
    assert_eq!(world.podling(["volume", "ls", "-q"]).ok(), "kept");
    assert_eq!(world.podling(["images", "-q"]).ok().lines().count(), 1);
    world.podling(["rm", "-f", "ruin"]).ok();
    world.podling(["rmi", image]).ok();
    world.podling(["volume", "prune", "-f"]).ok();
});

both!(verbs_about_it_say_what_is_wrong, |world| {
    let id = create(world, "ruin");
    ruin(world, &id);
    let mut said = String::new();
    for words in [
        &["start", "ruin"][..],
        &["inspect", "ruin"],
        &["rm", "ruin"],
        &["logs", &id],
        &["create", "--name=ruin", "witness"],
    ] {
        let output = world.podling(words);
        assert_eq!(output.stdout, "", "{output}");
        said += &format!("{}\n{}\n", words[0], output.fails(125));
    }
    snapshot(world, "broken_verbs", &said);
    // Its name can be had, by whoever insists.
    let new = world.podling(["create", "--replace", "--name=ruin", "--network=none", world.image("witness")]);
    assert_ne!(new.ok(), id);
    assert_eq!(world.podling(["ps", "-aq", "--no-trunc"]).ok(), new.ok());
});

both!(who_insists_gets_rid_of_it_and_of_what_runs_of_it, |world| {
    let image = world.image("witness");
    let ids = ["one", "two", "three"].map(|name| {
        let name = format!("--name={name}");
        world.podling(["run", "-d", "--network=none", &name, image, "until-term"]).ok().to_owned()
    });
    let pid = |id: &String| world.podling(["inspect", "--format={{.State.Pid}}", id]).ok().parse().expect("a pid");
    let pids: Vec<i32> = ids.iter().map(pid).collect();
    for id in &ids {
        ruin(world, id);
    }
    assert_eq!(world.podling(["rm", "-f", "one"]).ok(), "one");
    assert_eq!(world.podling(["rm", "-f", &ids[1][..12]]).ok(), &ids[1][..12]);
    for pid in &pids[..2] {
        until_gone(*pid);
    }
    let gone = world.podling(["rm", "-f", "one"]);
    assert_eq!((gone.ok(), gone.stderr.as_str()), ("", ""));
    // The third is left to the end of its world: `rm --force --all`, and then nothing may be left of it, no process,
    // mount, cgroup, name or file.
});

both!(a_reset_takes_it_along, |world| {
    let image = world.image("witness");
    let id = world.podling(["run", "-d", "--network=none", image, "until-term"]).ok().to_owned();
    ruin(world, &id);
    world.podling(["system", "reset", "-f"]).ok();
    assert_eq!(world.podling(["ps", "-aq"]).ok(), "");
});
