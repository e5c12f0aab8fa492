//! *You may import only what you have already built.* Each chapter writes its own mechanism in the open and imports from
//! podling's library what earlier chapters have taught; and each stays short enough to be read in one sitting.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use crate::layering::{Word, root, words};

/// What a reader has built after each chapter, as the modules of podling's library in which the hardened version lives.
/// (From the start there are the two of row 0: the calls that nix lacks, and the narration.)
const BUILT: [(&str, &[&str]); 10] = [
    ("chapter01_fork", &["linux::foreground", "linux::poll", "linux::process"]),
    ("chapter02_user_namespace", &["linux::caps", "linux::idmap", "linux::namespace", "linux::userns"]),
    ("chapter03_mount", &["linux::mount", "linux::overlay", "linux::rootfs"]),
    ("chapter04_pid", &[]),
    ("chapter05_cgroups", &["linux::cgroup"]),
    ("chapter06_ipc", &["linux::ipc"]),
    ("chapter07_images", &["image"]),
    ("chapter08_monitor", &["linux::pty", "linux::terminal", "monitor"]),
    ("chapter09_systemd", &["linux::dbus"]),
    ("chapter10_pods", &[]),
];
const FROM_THE_START: [&str; 3] = ["hint", "sys", "trace"];

/// How long a chapter's program may be, in lines.
const LONGEST: usize = 150;

/// Modules that hold others: of these the path's second part counts, too.
const SHELVES: [&str; 1] = ["linux"];

/// What a source names of podling's library, with lines: `use podling::linux::{mount, caps}` names `linux::mount` and
/// `linux::caps`; a whole shelf (`linux::*`, or `linux` alone) names the shelf, which is on nobody's list.
fn imports<'a>(words: &[Word<'a>]) -> Vec<(String, usize)> {
    let word = |at: usize| words.get(at).map_or("", |word: &Word<'a>| word.0);
    let mut found = Vec::new();
    for at in (0..words.len()).filter(|at| word(*at) == "podling" && word(at + 1) == "::") {
        for (module, after) in members(words, at + 2) {
            if SHELVES.contains(&module) && word(after) == "::" {
                let inner = members(words, after + 1);
                found.extend(inner.into_iter().map(|(name, at)| (format!("{module}::{name}"), words[at - 1].1)));
            } else {
                found.push((module.to_owned(), words[after - 1].1));
            }
        }
    }
    found
}

/// The name at `at`, or those of the group `{…}` there: each with where the words after it begin.
fn members<'a>(words: &[Word<'a>], at: usize) -> Vec<(&'a str, usize)> {
    if words.get(at).is_none_or(|word| word.0 != "{") {
        return words.get(at).map(|word| (word.0, at + 1)).into_iter().collect();
    }
    let (mut depth, mut found) = (0, Vec::new());
    for here in at..words.len() {
        match words[here].0 {
            "{" => depth += 1,
            "}" if depth == 1 => break,
            "}" => depth -= 1,
            name if depth == 1 && ["{", ","].contains(&words[here - 1].0) && name != "," => {
                found.push((name, here + 1));
            }
            _ => {}
        }
    }
    found
}

/// Everything that is wrong with one chapter's source.
fn breaches(chapter: &str, source: &str) -> Vec<String> {
    let number = BUILT.iter().position(|(name, _)| *name == chapter).expect("a chapter of the list");
    let earlier = BUILT[..number].iter().flat_map(|(_, modules)| modules.iter().copied());
    let allowed: BTreeSet<&str> = earlier.chain(FROM_THE_START).collect();
    let words = words(source);
    let unknown = imports(&words).into_iter().filter(|(module, _)| !allowed.contains(module.as_str()));
    let mut breaches: Vec<String> = unknown
        .map(|(module, line)| format!("{chapter}.rs:{line}: no chapter before this one has built podling::{module}"))
        .collect();
    let lines = source.lines().count();
    if lines > LONGEST {
        breaches.push(format!("{chapter}.rs: {lines} lines; a chapter has at most {LONGEST}"));
    }
    breaches
}

fn chapters() -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("chapters")).expect("the package chapters");
    let paths = entries.map(|entry| entry.expect("readable").path());
    paths.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("chapter"))).collect()
}

#[test]
fn a_chapter_imports_only_what_was_built_before_and_is_short() {
    let chapters = chapters();
    assert!(!chapters.is_empty(), "the chapters are not where they were");
    let breaches: Vec<String> = chapters
        .iter()
        .flat_map(|path| {
            let name = path.file_stem().expect("a name").to_string_lossy();
            breaches(&name, &fs::read_to_string(path).expect("readable"))
        })
        .collect();
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

#[test]
fn a_planted_import_of_what_comes_later_is_found() {
    let planted = |chapter, source: &str| breaches(chapter, source);
    assert_eq!(
        planted(
            "chapter02_user_namespace",
            "use podling::trace;\nuse podling::linux::{\n  process,\n  mount::{self, Reach}};"
        ),
        ["chapter02_user_namespace.rs:4: no chapter before this one has built podling::linux::mount"]
    );
    assert_eq!(
        planted("chapter01_fork", "fn f() { podling::linux::process::clone() }"),
        ["chapter01_fork.rs:1: no chapter before this one has built podling::linux::process"]
    );
    assert_eq!(
        planted("chapter09_systemd", "use podling::{trace, linux::dbus, sys::{self, Side}};"),
        ["chapter09_systemd.rs:1: no chapter before this one has built podling::linux::dbus"]
    );
    assert_eq!(
        planted("chapter10_pods", "use podling::linux;\nuse podling::linux::*;").len(),
        2,
        "a whole shelf is on nobody's list"
    );
    assert_eq!(planted("chapter10_pods", "use podling::linux::{cgroup, dbus};"), [""; 0]);
    assert_eq!(planted("chapter10_pods", &"\n".repeat(LONGEST + 1)).len(), 1, "too long");
}
