//! What a page of the book is made of, as far as it can be checked: fences, sections, and orders to the checker.
//!
//! An order is an HTML comment on a line of its own, which no reader sees: `<!-- skip: needs Docker's daemon -->` stands
//! above the fence it is about.

use std::fs;
use std::path::{Path, PathBuf};

/// A Markdown file.
pub struct Page {
    /// Its path below the book's `src`, or `README.md`.
    pub name: String,
    pub path: PathBuf,
    pub text: String,
}

/// A fenced block: what stands between two lines of three backquotes or more.
#[derive(Debug)]
pub struct Fence<'a> {
    /// What follows the backquotes: `console`, `rust,ignore`.
    pub label: &'a str,
    pub body: &'a str,
    /// The line of the opening backquotes, from 1.
    pub line: usize,
    /// Why it is not to be run, if it is not: `<!-- skip: REASON -->` above it.
    pub skip: Option<&'a str>,
    /// Patterns of what the machine chooses, in this fence and in those after it: `<!-- varies: REGEX -->` above.
    pub varies: Vec<&'a str>,
}

/// The directory of the project, or where the book lies in a virtual machine.
pub fn root() -> PathBuf {
    crate::setup::elsewhere().unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into())
}

impl Page {
    /// A page by its name.
    pub fn read(name: &str) -> Self {
        let path = if name == "README.md" { root().join(name) } else { root().join("book/src").join(name) };
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("reading {}: {e}", path.display()));
        Self { name: name.to_owned(), path, text }
    }

    /// All pages of the book, by name.
    pub fn all() -> Vec<Self> {
        let src = root().join("book/src");
        let mut names = Vec::new();
        find(&src, &src, &mut names);
        names.sort();
        names.iter().map(|name| Self::read(name)).collect()
    }

    pub fn fences(&self) -> Vec<Fence<'_>> {
        fences(&self.text)
    }

    /// `page.md:12`, for messages.
    pub fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.name)
    }
}

fn find(src: &Path, dir: &Path, names: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap_or_else(|e| panic!("reading {}: {e}", dir.display())) {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            find(src, &path, names);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            names.push(path.strip_prefix(src).expect("below it").to_string_lossy().into_owned());
        }
    }
}

/// `<!-- WORD: REST -->`, on a line of its own.
fn order(line: &str) -> Option<(&str, &str)> {
    line.trim().strip_prefix("<!--")?.strip_suffix("-->")?.trim().split_once(": ")
}

/// The fences of a text, in order. One that is not closed ends with the text.
pub fn fences(text: &str) -> Vec<Fence<'_>> {
    let (mut found, mut skip, mut varies) = (Vec::<Fence>::new(), None, Vec::new());
    let mut open: Option<(&str, &str, usize, usize)> = None;
    let mut at = 0;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let start = at;
        at += line.len();
        let bare = line.trim();
        let ticks = &bare[..bare.len() - bare.trim_start_matches('`').len()];
        match open {
            Some((fence, label, body, opened)) => {
                if ticks.len() >= fence.len() && bare == ticks {
                    let (skip, varies) = (skip.take(), std::mem::take(&mut varies));
                    found.push(Fence { label, body: &text[body..start], line: opened, skip, varies });
                    open = None;
                }
            }
            None if ticks.len() >= 3 => open = Some((ticks, bare[ticks.len()..].trim(), at, number + 1)),
            None => match order(line) {
                Some(("skip", why)) => skip = Some(why.trim()),
                Some(("varies", pattern)) => varies.push(pattern.trim()),
                _ => {}
            },
        }
    }
    if let Some((_, label, body, line)) = open {
        found.push(Fence { label, body: &text[body..], line, skip, varies });
    }
    found
}

/// The headings of one level (`##` is 2), with their lines; those inside fences are code.
pub fn headings(text: &str, level: usize) -> Vec<(&str, usize)> {
    let mark = format!("{} ", "#".repeat(level));
    let inside: Vec<_> = fences(text).iter().map(|fence| (fence.line, fence.body.lines().count())).collect();
    let is_code = |line: usize| inside.iter().any(|(start, lines)| line > *start && line <= start + lines);
    let lines = text.lines().enumerate().map(|(at, line)| (line, at + 1));
    lines
        .filter(|(_, at)| !is_code(*at))
        .filter_map(|(line, at)| Some((line.strip_prefix(&mark)?.trim(), at)))
        .collect()
}

#[test]
fn fences_are_found_with_their_orders() {
    let text = "a\n<!-- skip: no daemon -->\n```console\n$ x\n```\n<!-- varies: pid (\\d+) -->\n````text\n```\n````\n```\nopen";
    let found = fences(text);
    let seen: Vec<_> = found.iter().map(|f| (f.label, f.body, f.line, f.skip, f.varies.clone())).collect();
    assert_eq!(seen[0], ("console", "$ x\n", 3, Some("no daemon"), vec![]));
    assert_eq!(seen[1], ("text", "```\n", 7, None, vec!["pid (\\d+)"]));
    assert_eq!(seen[2], ("", "open", 10, None, vec![]));
}

#[test]
fn headings_in_code_are_no_headings() {
    assert_eq!(headings("## One\n```sh\n## two\n```\n## Three\n### four\n", 2), [("One", 1), ("Three", 5)]);
}
