//! The pages that are looked things up in: the glossary is in order and leads to where a term is taught, and the
//! instructors' table says of each chapter what the chapter says of itself.

use std::collections::BTreeSet;
use std::path::Path;

use super::page::{Page, root};

const GLOSSARY: &str = "reference/glossary.md";
const INSTRUCTORS: &str = "reference/instructors.md";

/// The entries of the glossary: `**term**: what it is. ([where](../page.md))`, a paragraph each.
fn entries(text: &str) -> Vec<(&str, &str)> {
    text.split("\n\n").filter_map(|paragraph| paragraph.trim().strip_prefix("**")?.split_once("**")).collect()
}

/// The pages that a text links to, from a page one directory down.
fn links(text: &str) -> Vec<&str> {
    let targets = text.split("](../").skip(1).filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target.split('#').next().unwrap_or(target)).collect()
}

/// Everything that is wrong with a glossary; `read` gives a page's text, if there is one of this name.
fn faults(text: &str, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let entries = entries(text);
    let mut faults = Vec::new();
    for pair in entries.windows(2) {
        let [(one, _), (next, _)] = pair else { continue };
        if one.to_lowercase() >= next.to_lowercase() {
            faults.push(format!("{next} stands after {one}"));
        }
    }
    for (term, meaning) in entries {
        let links = links(meaning);
        if links.is_empty() {
            faults.push(format!("{term} leads nowhere"));
        }
        // `whiteout, opaque` are two words for one entry, and a word in brackets only helps to sort.
        let word = term.split([',', '(']).next().unwrap_or(term).trim().to_lowercase();
        for link in links {
            match read(link) {
                None => faults.push(format!("{term}: there is no {link}")),
                Some(page) if !spoken(&page).contains(&word) => {
                    faults.push(format!("{term}: {link} does not speak of it"));
                }
                Some(_) => {}
            }
        }
    }
    faults
}

/// A page in small letters, with single spaces, without marks of emphasis and of code.
fn spoken(page: &str) -> String {
    let plain = page.to_lowercase().replace(['*', '`'], "");
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The minutes in the table at the top of a chapter.
fn minutes(chapter: &str) -> Option<&str> {
    let row = chapter.split_once("| Minutes |")?.1.lines().nth(2)?;
    row.split('|').nth(1).map(str::trim)
}

#[test]
fn the_glossary_is_in_order_and_leads_to_where_a_term_is_taught() {
    let text = Page::read(GLOSSARY).text;
    let read = |link: &str| std::fs::read_to_string(root().join("book/src").join(link)).ok();
    let faults = faults(&text, read);
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    assert!(entries(&text).len() > 50, "the entries were not found");
}

#[test]
fn instructors_are_told_of_each_chapter_what_it_says_of_itself() {
    let guide = Page::read(INSTRUCTORS).text;
    let rows = guide.lines().filter(|line| line.starts_with("| [") && line.contains("](../chapters/"));
    let mut seen = BTreeSet::new();
    for row in rows {
        let link = links(row)[0].to_owned();
        let chapter = Page::read(&link).text;
        let said = row.split('|').nth(2).map(str::trim);
        assert_eq!(said, minutes(&chapter), "{INSTRUCTORS}: the minutes of {link}");
        assert!(seen.insert(link), "{row} stands there twice");
    }
    assert!(seen.len() >= 7, "the rows were not found: {seen:?}");
}

#[test]
fn planted_faults_in_the_glossary_are_found() {
    let read = |link: &str| (Path::new(link) == Path::new("a.md")).then(|| "about the shim".to_owned());
    let count = |text: &str| faults(text, read).len();
    assert_eq!(count("# G\n\n**Shim**: it is. ([a](../a.md))\n"), 0);
    assert_eq!(count("# G\n\n**shim**: it is.\n"), 1, "no link");
    assert_eq!(count("# G\n\n**shim**: it is. ([a](../b.md))\n"), 1, "no such page");
    assert_eq!(count("# G\n\n**shell**: it is. ([a](../a.md))\n"), 1, "the page does not speak of it");
    assert_eq!(count("# G\n\n**shim**: ([a](../a.md))\n\n**about**: ([a](../a.md))\n"), 1, "order");
    assert_eq!(count("# G\n\n**shim**: ([a](../a.md))\n\n**shim**: ([a](../a.md))\n"), 1, "twice");
    assert_eq!(minutes("| Minutes | D |\n|---|---|\n| 45 | ★ |\n"), Some("45"));
}
