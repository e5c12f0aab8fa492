//! Skips: loud, counted, and known beforehand.
//!
//! A test that this machine cannot run says so on standard error (past the harness, which hides the output of tests that
//! pass) and passes. Every pair of test and reason must be listed in `tests/skips.txt`; one that is not fails.

use std::io::Write;

const KNOWN: &str = include_str!("../skips.txt");

/// Skips the current test (the caller returns), or fails it if `tests/skips.txt` does not list this pair.
#[track_caller]
pub fn skip(reason: &str) {
    let thread = std::thread::current();
    let test = thread.name().expect("the harness names its threads after the tests");
    assert!(known(test, reason), "{test} may not be skipped ({reason}): tests/skips.txt does not list it");
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {reason}");
}

/// A line is `REASON: TEST`; `*` at either end of TEST stands for anything.
fn known(test: &str, reason: &str) -> bool {
    KNOWN.lines().filter_map(|line| line.split_once(": ")).any(|(why, pattern)| {
        let middle = pattern.trim_start_matches('*').trim_end_matches('*');
        why == reason
            && match (pattern.starts_with('*'), pattern.ends_with('*')) {
                (true, true) => test.contains(middle),
                (true, false) => test.ends_with(middle),
                (false, true) => test.starts_with(middle),
                (false, false) => test == middle,
            }
    })
}

#[test]
fn only_listed_skips_are_known() {
    assert!(known("anything::root", "not started by root"));
    assert!(!known("anything::root", "I did not feel like it"));
    assert!(!known("skip::only_listed_skips_are_known", "not started by root"));
}
