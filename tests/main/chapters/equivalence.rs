//! A chapter's container and the engine's, looked at by the same program: what a chapter makes in the open is what the
//! engine makes with care.

use std::collections::BTreeSet;

use super::mount::bare_root;
use crate::world::World;

/// Which namespaces the container of each chapter has for itself.
const OWN: [(&str, &[&str]); 4] = [
    ("chapter02_user_namespace", &["user"]),
    ("chapter03_mount", &["mnt", "user"]),
    ("chapter04_pid", &["mnt", "pid", "user"]),
    ("chapter06_ipc", &["ipc", "mnt", "pid", "user", "uts"]),
];

/// What the witness says in the container of a chapter…
fn in_chapter(world: &World, chapter: &str, words: &[&str]) -> String {
    if chapter < "chapter03" {
        return world.chapter(chapter, [&["witness"], words].concat()).ok().to_owned();
    }
    world.chapter(chapter, [&["--root", &bare_root(world), "/witness"], words].concat()).ok().to_owned()
}

/// … and in one of the engine's.
fn in_engine(world: &World, words: &[&str]) -> String {
    let flags = ["run", "--rm", "--network=none", world.image("witness")];
    world.podling([&flags, words].concat()).ok().to_owned()
}

/// The names of the lines in which two texts differ.
fn differences(one: &str, other: &str) -> BTreeSet<String> {
    let pairs = one.lines().zip(other.lines()).filter(|(one, other)| one != other);
    pairs.map(|(one, _)| one.split(' ').next().unwrap_or_default().to_owned()).collect()
}

/// The lines that begin with one of these words.
fn lines(text: &str, words: &[&str]) -> Vec<String> {
    let begins = |line: &&str| line.split(' ').next().is_some_and(|word| words.contains(&word));
    text.lines().filter(begins).map(str::to_owned).collect()
}

both!(each_chapter_has_one_namespace_more_and_the_engine_has_them_all, |world| {
    let host = world.program("witness", ["namespaces"]).ok().to_owned();
    let engine = differences(&host, &in_engine(world, &["namespaces"]));
    for (chapter, own) in OWN {
        let own: BTreeSet<String> = own.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(differences(&host, &in_chapter(world, chapter, &["namespaces"])), own, "{chapter}");
        // Root's containers need no user namespace.
        assert!(own.iter().all(|name| engine.contains(name) || name == "user"), "{engine:?}");
    }
});

as_user!(a_chapter_maps_ids_as_the_engine_does, |world| {
    let maps = ["uid_map", "gid_map"];
    let engine = lines(&in_engine(world, &["ids"]), &maps);
    for (chapter, _) in OWN {
        assert_eq!(lines(&in_chapter(world, chapter, &["ids"]), &maps), engine, "{chapter}");
    }
});

both!(a_chapter_s_root_and_proc_are_mounted_as_the_engine_s, |world| {
    let facts = |text: &str| {
        let root = lines(text, &["/"]).iter().map(|line| line.split(' ').nth(1).map(str::to_owned)).collect::<Vec<_>>();
        (root, lines(text, &["/proc"]))
    };
    assert_eq!(facts(&in_chapter(world, "chapter04_pid", &["mounts"])), facts(&in_engine(world, &["mounts"])));
});

both!(a_chapter_s_program_is_process_1_as_the_engine_s, |world| {
    assert_eq!(in_chapter(world, "chapter04_pid", &["pid"]), in_engine(world, &["pid"]));
});
