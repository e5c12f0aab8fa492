//! The ledger of claims: what the book says about daemons, and the test that would fail if it were false.
//!
//! `book/claims.toml` names sentence and test. On its page the sentence is followed by a link to the book's list of claims,
//! and that list is made from the ledger; so neither a claim without a test nor a test without its claim can hide.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde::Deserialize;

use super::page::{Page, root};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ledger {
    claim: Vec<Claim>,
}

/// A sentence, and what holds it true.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Claim {
    /// What the list of claims links to, one word: `kill-the-cli`.
    id: String,
    page: String,
    sentence: String,
    /// Tests of this program, without `::root` or `::user`.
    tests: Vec<String>,
}

/// On one line, with single spaces.
fn folded(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// How a claim's link begins on a page.
const LINK: &str = "([checked](";

/// Everything that does not fit between ledger, pages and tests.
fn faults(ledger: &Ledger, pages: &[Page], tests: &BTreeSet<String>) -> Vec<String> {
    let mut faults = Vec::new();
    let mut ids = BTreeSet::new();
    for claim in &ledger.claim {
        let mut fault = |what: &str| faults.push(format!("claim {}: {what}", claim.id));
        if !ids.insert(&claim.id) {
            fault("there are two of this id");
        }
        let up = "../".repeat(claim.page.matches('/').count());
        let wanted = format!("{} {LINK}{up}claims.md#{}))", folded(&claim.sentence), claim.id);
        match pages.iter().find(|page| page.name == claim.page) {
            None => fault(&format!("there is no page {}", claim.page)),
            Some(page) if !folded(&page.text).contains(&wanted) => {
                fault(&format!("{} does not say: {wanted}", page.name));
            }
            Some(_) => {}
        }
        if claim.tests.is_empty() {
            fault("no test holds it");
        }
        for test in claim.tests.iter().filter(|test| !tests.contains(*test)) {
            fault(&format!("there is no test {test}"));
        }
    }
    for page in pages {
        let (links, claims) =
            (page.text.matches(LINK).count(), ledger.claim.iter().filter(|claim| claim.page == page.name).count());
        if links != claims {
            faults.push(format!("{}: {links} sentences are called checked, the ledger has {claims}", page.name));
        }
    }
    faults
}

/// The list of claims as a page of the book.
fn list(ledger: &Ledger) -> String {
    let mut list = "# What is checked\n\n\
        Each of these sentences stands in this book, and each has a test that would fail if it were false. A test is run\n\
        with `cargo test --test main NAME`. This page is made from `book/claims.toml`.\n"
        .to_owned();
    for claim in &ledger.claim {
        let tests: Vec<_> = claim.tests.iter().map(|test| format!("`{test}`")).collect();
        let (id, page) = (&claim.id, &claim.page);
        list += &format!(
            "\n<a id=\"{id}\"></a>\n\n> {}\n\n[{page}]({page}) · {}\n",
            folded(&claim.sentence),
            tests.join(" · ")
        );
    }
    list
}

/// The names of this program's tests, without who acts in them.
fn tests() -> BTreeSet<String> {
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(program).arg("--list").output().expect("this program runs");
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    let names = listed.lines().filter_map(|line| line.strip_suffix(": test"));
    names.map(|name| name.trim_end_matches("::root").trim_end_matches("::user").to_owned()).collect()
}

fn ledger() -> Ledger {
    let text = fs::read_to_string(root().join("book/claims.toml")).expect("the ledger");
    toml::from_str(&text).unwrap_or_else(|error| panic!("book/claims.toml: {error}"))
}

#[test]
fn every_claim_has_its_sentence_and_its_test() {
    let faults = faults(&ledger(), &Page::all(), &tests());
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn the_list_of_claims_is_the_ledger() {
    let (path, wanted) = (root().join("book/src/claims.md"), list(&ledger()));
    if std::env::var_os("PODLING_BLESS").is_some() {
        return fs::write(&path, wanted).expect("the page can be written");
    }
    assert_eq!(fs::read_to_string(&path).unwrap_or_default(), wanted, "./test bless makes it anew");
}

#[test]
fn planted_faults_in_the_ledger_are_found() {
    let page = |text: &str| Page { name: "part/p.md".into(), path: "p.md".into(), text: text.into() };
    let claim = |test: &str| Claim {
        id: "id".into(),
        page: "part/p.md".into(),
        sentence: "It is\nso.".into(),
        tests: vec![test.into()],
    };
    let tests: BTreeSet<String> = ["a::test".into()].into();
    let count = |claims: Vec<Claim>, text: &str| faults(&Ledger { claim: claims }, &[page(text)], &tests).len();
    let said = "Well: It\nis so. ([checked](../claims.md#id))";
    assert_eq!(count(vec![claim("a::test")], said), 0);
    assert_eq!(count(vec![claim("no::test")], said), 1, "no such test");
    assert_eq!(count(vec![], said), 1, "called checked, and nobody does");
    assert_eq!(count(vec![claim("a::test")], "It is otherwise. ([checked](../claims.md#id))"), 1);
    assert_eq!(count(vec![claim("a::test"), claim("a::test")], said), 2, "twice in the ledger, once on the page");
}
