//! Pictures of the book that podling draws itself, held true: what stands in the file is what it draws today, with other
//! numbers. `./test bless` draws them anew.

use std::fs;

use podling::cli::tree::svg;
use podling::engine::tree::Tree;

use super::page::root;
use crate::running::until;

/// Below the book's `src`.
const TREE: &str = "engine/tree.svg";

as_user!(the_tree_in_the_book_is_what_podling_draws, |world| {
    let image = world.image("busybox");
    let programs: [(&str, &[&str], &[&str]); 3] = [
        ("web", &["--network=none"], &["sleep", "infinity"]),
        ("log", &["--network=container:web"], &["sleep", "infinity"]),
        ("box", &["--network=none"], &["sh", "-c", "sleep 1000 & exec sleep infinity"]),
    ];
    for (name, flags, program) in programs {
        world.podling([&["run", "-d", "--name", name], flags, &[image], program].concat()).ok();
    }
    let read = || -> Tree { serde_json::from_str(world.podling(["tree", "--format=json"]).ok()).expect("JSON") };
    let mut tree = until("all have begun", || {
        let tree = read();
        let programs = tree.containers.iter().flat_map(|it| &it.processes);
        (programs.filter(|it| it.command.starts_with("sleep ")).count() == 4).then_some(tree)
    });
    assert_eq!(svg::draw(&tree, false), format!("{}\n", world.podling(["tree", "--format=svg"]).ok()));
    rename(&mut tree);
    let (drawn, file) = (svg::draw(&tree, false), format!("book/src/{TREE}"));
    if let Some(dir) = std::env::var_os("PODLING_BLESS") {
        fs::write(std::path::PathBuf::from(dir).join(file), drawn).expect("the picture can be written");
    } else {
        let stands = fs::read_to_string(root().join(&file)).unwrap_or_default();
        assert!(stands == drawn, "{file} is not what podling draws (./test bless draws it anew):\n{drawn}");
    }
});

/// Numbers and names that are the same on every machine.
fn rename(tree: &mut Tree) {
    tree.you.user = "student".into();
    let all: Vec<i32> = tree.containers.iter().flat_map(|it| &it.processes).map(|it| it.pid).collect();
    let number = |pid: i32| all.iter().position(|it| *it == pid).map_or(1, |at| 4001 + at as i32);
    for member in tree.containers.iter_mut().flat_map(|it| &mut it.processes) {
        (member.pid, member.parent) = (number(member.pid), number(member.parent));
    }
}
