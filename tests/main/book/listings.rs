//! Code in the book is code of the project: a listing includes lines of a file (`{{#include PATH:ANCHOR}}`), between two
//! comments `ANCHOR: name` and `ANCHOR_END: name` there. So a listing cannot grow old, and it compiles.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::page::{Page, root};

/// Rust that is no listing may be this long: an expression or a signature that the text speaks of.
const LONGEST_ASIDE: usize = 3;

/// What a fence may be labelled with. `text` is what nobody runs: pictures, files of other systems.
const LABELS: [&str; 10] = ["rust,ignore", "console", "text", "bob", "toml", "json", "yaml", "ini", "sh", "c"];

/// `PATH:ANCHOR` of each `{{#include PATH:ANCHOR}}` in a text.
fn includes(text: &str) -> Vec<(&str, Option<&str>)> {
    let rest = text.split("{{#include ").skip(1);
    let inner = rest.filter_map(|rest| rest.split_once("}}").map(|(inner, _)| inner.trim()));
    inner.map(|inner| inner.split_once(':').map_or((inner, None), |(path, anchor)| (path, Some(anchor)))).collect()
}

/// The anchors of a source file.
fn anchors(source: &str) -> Vec<&str> {
    source.lines().filter_map(|line| line.trim().strip_prefix("// ANCHOR: ")).map(str::trim).collect()
}

/// Everything that is wrong with the fences of a page.
fn faults(page: &Page) -> Vec<String> {
    let mut faults = Vec::new();
    for fence in page.fences() {
        let mut fault = |what: String| faults.push(format!("{}: {what}", page.at(fence.line)));
        if !LABELS.contains(&fence.label) {
            fault(format!("a fence labelled {:?}; there are: {}", fence.label, LABELS.join(" ")));
        }
        let own = fence.body.lines().filter(|line| !line.trim().is_empty() && !line.contains("{{#include ")).count();
        if fence.label.starts_with("rust") && own > LONGEST_ASIDE {
            fault(format!("{own} lines of Rust that are not included from a file"));
        }
        if fence.skip.is_some_and(str::is_empty) {
            fault("skipped without a reason".into());
        }
    }
    for (file, anchor) in includes(&page.text) {
        let path = page.path.parent().unwrap_or(Path::new("")).join(file);
        match (fs::read_to_string(&path), anchor) {
            (Err(error), _) => faults.push(format!("{}: including {file}: {error}", page.name)),
            (Ok(source), Some(anchor)) if !anchors(&source).contains(&anchor) => {
                faults.push(format!("{}: {file} has no anchor {anchor}", page.name));
            }
            _ => {}
        }
    }
    faults
}

/// The project's files that a page names, and that are not there: `src/…`, `tests/…` and the like between backquotes.
fn gone(page: &Page) -> Vec<String> {
    let quoted = page.text.split('`').skip(1).step_by(2);
    let paths = quoted.filter(|word| {
        ["src/", "tests/", "benches/", "chapters/", "exercises/", "book/"].iter().any(|top| word.starts_with(top))
    });
    let paths = paths.filter(|path| !path.contains(char::is_whitespace));
    paths.filter(|path| !root().join(path).exists()).map(|path| format!("{}: there is no {path}", page.name)).collect()
}

/// The anchors of the chapters' programs that no page includes.
fn unused(pages: &[Page], file: &str, source: &str) -> Vec<String> {
    let used: BTreeSet<&str> = pages
        .iter()
        .flat_map(|page| includes(&page.text))
        .filter(|(path, _)| Path::new(path).file_name().is_some_and(|name| name == file))
        .filter_map(|(_, anchor)| anchor)
        .collect();
    anchors(source)
        .into_iter()
        .filter(|anchor| !used.contains(anchor))
        .map(|anchor| format!("{file}: {anchor}"))
        .collect()
}

#[test]
fn every_listing_is_included_and_every_fence_labelled() {
    let faults: Vec<String> = Page::all().iter().flat_map(|page| [faults(page), gone(page)].concat()).collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn every_anchor_of_a_chapter_with_a_page_is_shown() {
    let pages = Page::all();
    let mut unshown = Vec::new();
    for entry in fs::read_dir(root().join("chapters")).expect("the package chapters") {
        let path = entry.expect("readable").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let has_a_page = pages.iter().any(|page| page.text.contains(&name));
        if name.starts_with("chapter") && has_a_page {
            unshown.extend(unused(&pages, &name, &fs::read_to_string(&path).expect("readable")));
        }
    }
    assert!(unshown.is_empty(), "anchors that no page includes:\n{}", unshown.join("\n"));
}

#[test]
fn planted_faults_in_listings_are_found() {
    let here = root().join("book/src/planted.md");
    let page = |text: &str| Page { name: "planted.md".into(), path: here.clone(), text: text.into() };
    let count = |text: &str| faults(&page(text)).len();
    assert_eq!(count("```rust,ignore\n{{#include ../../chapters/chapter01_fork.rs:fork}}\n```\n"), 0);
    assert_eq!(
        count("```rust,ignore\n{{#include ../../chapters/chapter01_fork.rs:spoon}}\n```\n"),
        1,
        "no such anchor"
    );
    assert_eq!(count("```rust,ignore\n{{#include ../../chapters/chapter99.rs:fork}}\n```\n"), 1, "no such file");
    assert_eq!(count("```rust,ignore\nlet a;\nlet b;\nlet c;\nlet d;\n```\n"), 1, "pasted");
    assert_eq!(count("```\nx\n```\n"), 1, "unlabelled");
    assert_eq!(gone(&page("`src/lib.rs`, `src/gone.rs` and `src/x y`")), ["planted.md: there is no src/gone.rs"]);
    let source = "// ANCHOR: shown\n// ANCHOR_END: shown\n// ANCHOR: hidden\n";
    let pages = [page("{{#include ../x/some.rs:shown}}")];
    assert_eq!(unused(&pages, "some.rs", source), ["some.rs: hidden"]);
}
