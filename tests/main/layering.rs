//! The one rule of `src/lib.rs`, held: a module names only modules in lower rows.
//!
//! The picture in `src/lib.rs` is read as it stands there, and every path in `src/` is compared with it. The sources are
//! cut into words first (comments and strings gone), so a rule is a pattern over words and a finding has a line.
//! Each rule is itself tried on a planted violation.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules of one row that may be named from beside after all, in this direction only: the narration owns a descriptor it
/// inherited.
const BESIDE: [(&str, &str); 1] = [("trace", "sys")];

/// A word of Rust (an identifier, `::`, or one other character) and its line.
#[derive(Debug, PartialEq)]
pub struct Word<'a>(pub &'a str, pub usize);

/// Cuts source text into words. Comments, strings and character literals are left out; a lifetime is a word.
pub fn words(source: &str) -> Vec<Word<'_>> {
    let bytes = source.as_bytes();
    let mut words = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < bytes.len() {
        let start = at;
        let rest = &source[at..];
        if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else if rest.starts_with("/*") {
            at += rest.find("*/").map_or(rest.len(), |end| end + 2);
        } else if let Some(length) = string_length(rest) {
            at += length;
        } else if bytes[at] == b'\'' {
            let character = rest[1..].char_indices().nth(1).is_some_and(|(end, c)| c == '\'' && end > 0);
            at += match rest[1..].strip_prefix('\\') {
                Some(escape) => 2 + escape[1..].find('\'').map_or(1, |end| end + 2),
                None if character => 2 + rest[1..].chars().next().map_or(0, char::len_utf8),
                None => 1,
            };
        } else if bytes[at].is_ascii_alphanumeric() || bytes[at] == b'_' {
            at += rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            words.push(Word(&source[start..at], line));
        } else if rest.starts_with("::") {
            at += 2;
            words.push(Word("::", line));
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
            if !bytes[start].is_ascii_whitespace() {
                words.push(Word(&source[start..at], line));
            }
        }
        line += source[start..at].matches('\n').count();
    }
    words
}

/// The length of the string literal that `rest` starts with, if it does (`"…"`, `r#"…"#`, and `b` or `c` before either).
fn string_length(rest: &str) -> Option<usize> {
    let prefix = rest.len() - rest.trim_start_matches(['b', 'c', 'r']).len();
    let raw = rest[..prefix].ends_with('r');
    let hashes = rest[prefix..].len() - rest[prefix..].trim_start_matches('#').len();
    if prefix > 2 || (hashes > 0 && !raw) || !rest[prefix + hashes..].starts_with('"') {
        return None;
    }
    let body = prefix + hashes + 1;
    if raw {
        let end = format!("\"{}", "#".repeat(hashes));
        return Some(body + rest[body..].find(&end).map_or(rest.len() - body, |at| at + end.len()));
    }
    let mut escaped = false;
    for (at, byte) in rest.bytes().enumerate().skip(body) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    Some(rest.len())
}

/// Reads the map: `//! row 2   linux · image    mechanisms: …`.
fn rows(map: &str) -> HashMap<String, u32> {
    let mut rows = HashMap::new();
    for line in map.lines().filter_map(|line| line.strip_prefix("//! row ")) {
        let (number, rest) = line.split_once(' ').unwrap_or((line, ""));
        let names = rest.trim_start().split("  ").next().unwrap_or("");
        for name in names.split('·') {
            rows.insert(name.trim().to_owned(), number.parse().expect("a row has a number"));
        }
    }
    rows
}

/// The modules of the root that a file names, with lines: `crate::x`, `podling::x`, `super::…::x` where it leads so far.
fn names<'a>(path: &Path, words: &[Word<'a>]) -> Vec<(&'a str, usize)> {
    // How many `super` lead from this file to the root: src/cli/mod.rs 1, src/cli/run.rs 2, src/lib.rs 0.
    let depth = path.components().count() - usize::from(path.ends_with("mod.rs") || path.ends_with("lib.rs"));
    let mut inner = Vec::new(); // the brace depths of the `mod x {` we are in
    let mut braces = 0;
    let mut found = Vec::new();
    for at in 0..words.len() {
        let word = |offset: usize| words.get(at + offset).map_or("", |word| word.0);
        match word(0) {
            "{" => braces += 1,
            "}" => {
                inner.retain(|depth| *depth < braces);
                braces -= 1;
            }
            "mod" if word(2) == "{" => inner.push(braces + 1),
            "crate" | "podling" if word(1) == "::" => found.push((word(2), words[at].1)),
            "super" if at == 0 || words[at - 1].0 != "::" => {
                let mut supers = 1;
                while word(supers * 2) == "super" && word(supers * 2 - 1) == "::" {
                    supers += 1;
                }
                if supers >= depth + inner.len() && depth > 0 {
                    found.push((word(supers * 2), words[at].1));
                }
            }
            _ => {}
        }
    }
    found
}

/// Every breach in one file; `path` is relative to `src/`.
fn breaches(path: &Path, source: &str, rows: &HashMap<String, u32>) -> Vec<String> {
    let words = words(source);
    let first = path.components().next().map(|part| part.as_os_str().to_string_lossy().into_owned());
    let module = first.unwrap_or_default().trim_end_matches(".rs").to_owned();
    let is_map = module == "lib";
    let may_clone = ["linux/process.rs", "linux/reaper.rs"].iter().any(|file| path == Path::new(file));
    let mut breaches = Vec::new();
    let mut breach = |line: usize, text: String| breaches.push(format!("src/{}:{line}: {text}", path.display()));

    let Some(row) = rows.get(&module).copied().or(is_map.then_some(u32::MAX)) else {
        breach(1, format!("the map in src/lib.rs does not say in which row `{module}` is"));
        return breaches;
    };
    for (named, line) in names(path, &words) {
        match rows.get(named) {
            _ if named == module || is_map => {}
            _ if named == "{" || named == "*" => breach(line, "name modules of the root one by one".into()),
            Some(other) if *other < row || BESIDE.contains(&(&module, named)) => {}
            Some(other) => breach(line, format!("row {row}, `{module}`, names `{named}` of row {other}")),
            None => breach(line, format!("`{named}` is no module of the map in src/lib.rs")),
        }
    }
    for (at, Word(word, line)) in words.iter().enumerate() {
        let next = words.get(at + 1).map_or("", |word| word.0);
        match *word {
            "unsafe" if module != "sys" => breach(*line, "unsafe code outside src/sys.rs".into()),
            "unsafe_code" if module != "sys" => breach(*line, "src/sys.rs alone may allow unsafe code".into()),
            "clone3" if !["sys", "runtime"].contains(&module.as_str()) && !may_clone && next != ":" => {
                breach(*line, "only linux::process, linux::reaper and podling-runtime clone".into());
            }
            "oci_spec" | "jiff" | "serde" if module == "linux" => {
                breach(*line, format!("a chapter can use src/linux without `{word}`"));
            }
            _ => {}
        }
    }
    breaches
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).expect("a source directory").map(|entry| entry.expect("readable").path()) {
        if entry.is_dir() {
            files.extend(sources(&entry));
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            files.push(entry);
        }
    }
    files
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn the_map() -> HashMap<String, u32> {
    rows(&fs::read_to_string(root().join("src/lib.rs")).expect("the map"))
}

#[test]
fn a_module_names_only_modules_in_lower_rows() {
    let (src, rows) = (root().join("src"), the_map());
    let files = sources(&src);
    assert!(files.len() > 10, "the sources are not where they were");
    let breaches: Vec<String> = files
        .iter()
        .flat_map(|file| {
            let source = fs::read_to_string(file).expect("readable");
            breaches(file.strip_prefix(&src).expect("below src"), &source, &rows)
        })
        .collect();
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

#[test]
fn the_map_is_read_as_it_stands_there() {
    let rows = the_map();
    let row = |name: &str| rows.get(name).copied();
    assert_eq!(
        [row("sys"), row("handover"), row("image"), row("engine"), row("cli"), row("bin")].map(|r| r.unwrap_or(99)),
        [0, 1, 2, 3, 5, 6]
    );
}

/// What the rules say of one planted file.
fn planted(path: &str, source: &str) -> Vec<String> {
    breaches(Path::new(path), source, &the_map())
}

#[test]
fn planted_breaches_are_found_with_their_line() {
    for (path, source, expected) in [
        (
            "engine/launch.rs",
            "\nuse crate::runtime::plan;",
            "src/engine/launch.rs:2: row 3, `engine`, names `runtime` of row 3",
        ),
        (
            "linux/mount.rs",
            "fn f() { crate::engine::store::lock() }",
            "src/linux/mount.rs:1: row 1, `linux`, names `engine` of row 3",
        ),
        (
            "image/pull.rs",
            "use super::super::engine::Engine;",
            "src/image/pull.rs:1: row 2, `image`, names `engine` of row 3",
        ),
        (
            "image/mod.rs",
            "mod tests { use super::super::cli; }",
            "src/image/mod.rs:1: row 2, `image`, names `cli` of row 5",
        ),
        ("monitor/mod.rs", "use crate::{sys, engine};", "src/monitor/mod.rs:1: name modules of the root one by one"),
        (
            "bin/podling.rs",
            "fn main() { podling::api::main() }",
            "src/bin/podling.rs:1: `api` is no module of the map in src/lib.rs",
        ),
        ("utils.rs", "", "src/utils.rs:1: the map in src/lib.rs does not say in which row `utils` is"),
        ("linux/pty.rs", "let x = unsafe { f() };", "src/linux/pty.rs:1: unsafe code outside src/sys.rs"),
        ("linux/pty.rs", "#![allow(unsafe_code)]", "src/linux/pty.rs:1: src/sys.rs alone may allow unsafe code"),
        (
            "engine/userns.rs",
            "sys::clone3(0, None)",
            "src/engine/userns.rs:1: only linux::process, linux::reaper and podling-runtime clone",
        ),
        (
            "linux/caps.rs",
            "use oci_spec::runtime::Spec;",
            "src/linux/caps.rs:1: a chapter can use src/linux without `oci_spec`",
        ),
    ] {
        assert_eq!(planted(path, source), [expected]);
    }
}

#[test]
fn what_only_looks_like_a_breach_is_none() {
    for (path, source) in [
        ("engine/launch.rs", "// use crate::runtime;\n/* crate::cli */ use crate::linux::mount;"),
        (
            "linux/mount.rs",
            r##"const S: &str = "\"unsafe crate::engine"; let r = br#"crate::cli "quoted""#; let c = '"'; unsafely()"##,
        ),
        ("image/pull.rs", "use super::layout; mod tests { use super::*; use super::super::layout; }"),
        ("image/deep/er.rs", "use super::super::layout;"),
        ("runtime/create.rs", "match sys::clone3(flags, None)? {}"),
        ("linux/pty.rs", "fn f<'a>(x: &'a str) -> char { '\\'' }"),
        ("trace.rs", "crate::sys::inherited(fd)"),
        ("bin/podling.rs", "fn main() -> std::process::ExitCode { podling::cli::main() }"),
    ] {
        assert_eq!(planted(path, source), [""; 0], "{source}");
    }
}

#[test]
fn a_finding_after_strings_of_several_lines_has_the_right_line() {
    let source = "const A: &str = \"one\ntwo\";\n/* three\nfour */\nuse crate::cli;";
    assert_eq!(planted("engine/a.rs", source), ["src/engine/a.rs:5: row 3, `engine`, names `cli` of row 5"]);
}
