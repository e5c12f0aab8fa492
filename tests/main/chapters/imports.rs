//! *You may import only what you have already built.* Each chapter writes its own mechanism in the open and imports from
//! podling's library what earlier chapters have taught; and each stays short enough to be read in one sitting.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use crate::layering::{Word, root, words};

/// What a reader has built after each chapter, as the modules of podling's library in which the hardened version lives; or
/// of the chapters' own library, where it is put together of several. (From the start there are those of row 0: the calls
/// that nix lacks, the narration, errors with their cure.)
const BUILT: [(&str, &[&str]); 10] = [
    ("chapter01_fork", &["linux::foreground", "linux::poll", "linux::process"]),
    ("chapter02_user_namespace", &["linux::caps", "linux::idmap", "linux::namespace", "linux::userns"]),
    ("chapter03_mount", &["linux::mount", "linux::overlay", "linux::resolve", "linux::rootfs", "chapters::machine"]),
    ("chapter04_pid", &["linux::reaper", "chapters::container"]),
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
/// And how long a step of it, which the book shows between two pieces of text.
const LONGEST_STEP: usize = 40;

/// Modules that hold others: of these the path's second part counts, too.
const SHELVES: [&str; 1] = ["linux"];

/// What a source names of a library, with lines: `use podling::linux::{mount, caps}` names `linux::mount` and
/// `linux::caps`; a whole shelf (`linux::*`, or `linux` alone) names the shelf, which is on nobody's list.
fn imports<'a>(library: &str, words: &[Word<'a>]) -> Vec<(String, usize)> {
    let word = |at: usize| words.get(at).map_or("", |word: &Word<'a>| word.0);
    let mut found = Vec::new();
    for at in (0..words.len()).filter(|at| word(*at) == library && word(at + 1) == "::") {
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
    // A second program of a chapter begins with its number, too.
    let number = BUILT.iter().position(|(name, _)| name.split('_').next() == chapter.split('_').next());
    let number = number.expect("a chapter of the list");
    let earlier = BUILT[..number].iter().flat_map(|(_, modules)| modules.iter().copied());
    let allowed: BTreeSet<&str> = earlier.chain(FROM_THE_START).collect();
    let words = words(source);
    let unknown = imports("podling", &words).into_iter().filter(|(module, _)| !allowed.contains(module.as_str()));
    let unknown = unknown.map(|(module, line)| (format!("podling::{module}"), line));
    let later: BTreeSet<&str> = BUILT[number..].iter().flat_map(|(_, modules)| modules.iter().copied()).collect();
    let shared = imports("chapters", &words).into_iter().map(|(module, line)| (format!("chapters::{module}"), line));
    let mut breaches: Vec<String> = unknown
        .chain(shared.filter(|(module, _)| later.contains(module.as_str())))
        .map(|(module, line)| format!("{chapter}.rs:{line}: no chapter before this one has built {module}"))
        .collect();
    for step in source.split("// ANCHOR: ").skip(1) {
        let (name, rest) = step.split_once('\n').unwrap_or((step, ""));
        let lines = rest.split("// ANCHOR_END: ").next().unwrap_or_default().lines().count();
        if lines > LONGEST_STEP {
            breaches
                .push(format!("{chapter}.rs: the step {name} has {lines} lines; a step has at most {LONGEST_STEP}"));
        }
    }
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
        planted("chapter03_mount", "use chapters::{ask, machine};"),
        ["chapter03_mount.rs:1: no chapter before this one has built chapters::machine"]
    );
    assert_eq!(planted("chapter04_pid", "use chapters::{ask, machine};"), [""; 0]);
    assert_eq!(planted("chapter05_beside_it", "use podling::linux::reaper;"), [""; 0], "a second program of a chapter");
    assert_eq!(
        planted("chapter10_pods", "use podling::linux;\nuse podling::linux::*;").len(),
        2,
        "a whole shelf is on nobody's list"
    );
    assert_eq!(planted("chapter10_pods", "use podling::linux::{cgroup, dbus};"), [""; 0]);
    assert_eq!(planted("chapter10_pods", &"\n".repeat(LONGEST + 1)).len(), 1, "too long");
    let step = |lines| format!("// ANCHOR: all\n{}// ANCHOR_END: all\n", "\n".repeat(lines));
    assert_eq!(planted("chapter10_pods", &step(LONGEST_STEP)), [""; 0]);
    assert_eq!(planted("chapter10_pods", &step(LONGEST_STEP + 1)).len(), 1, "too long to be shown");
}
