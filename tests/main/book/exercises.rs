//! A chapter's page names its exercises, all of them, with their stars and minutes as they are.

use std::fs;
use std::path::Path;

use super::page::{Page, root};

/// How an exercise stands in its chapter's page, up to the sentence about it.
fn entry(exercise: &Path) -> String {
    let text = fs::read_to_string(exercise.join("exercise.toml")).expect("an exercise has one");
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix('='));
        line.unwrap_or_else(|| panic!("{} has {key}", exercise.display())).trim().parse::<usize>().expect("a number")
    };
    let id = exercise.file_name().expect("a folder").to_string_lossy();
    format!("- **`{id}`** ({}, {} minutes): ", "★".repeat(value("stars")), value("minutes"))
}

/// What is wrong with a page's list of exercises.
fn faults(page: &str, wanted: &[String]) -> Vec<String> {
    let missing = wanted.iter().filter(|entry| !page.lines().any(|line| line.starts_with(entry.as_str())));
    let missing = missing.map(|entry| format!("there is no line that begins with {entry}"));
    let listed = page.lines().filter(|line| line.starts_with("- **`") && line.contains(" minutes): "));
    let unknown = listed.filter(|line| !wanted.iter().any(|entry| line.starts_with(entry.as_str())));
    missing.chain(unknown.map(|line| format!("no exercise is so: {line}"))).collect()
}

#[test]
fn a_chapter_lists_its_exercises() {
    let exercises = root().join("exercises");
    let mut chapters = fs::read_dir(exercises).expect("exercises").map(|entry| entry.expect("readable").path());
    let chapters: Vec<_> = chapters.by_ref().filter(|path| path.join("../kit.sh").exists() && path.is_dir()).collect();
    let mut checked = 0;
    for chapter in chapters {
        let name = chapter.file_name().expect("a folder").to_string_lossy().into_owned();
        if !name.starts_with(|first: char| first.is_ascii_digit()) {
            continue;
        }
        let entries = fs::read_dir(&chapter).expect("a chapter's exercises");
        let wanted: Vec<_> = entries.map(|exercise| entry(&exercise.expect("readable").path())).collect();
        let page = Page::read(&format!("chapters/{name}.md"));
        let faults = faults(&page.text, &wanted);
        assert!(faults.is_empty(), "{}: {faults:#?}", page.name);
        checked += 1;
    }
    assert!(checked > 0, "no chapter has exercises");
}

#[test]
fn a_planted_fault_in_a_list_is_found() {
    let wanted = ["- **`one`** (★, 10 minutes): ".to_owned()];
    assert!(faults("- **`one`** (★, 10 minutes): do.\n", &wanted).is_empty());
    assert_eq!(faults("- **`one`** (★★, 10 minutes): do.\n", &wanted).len(), 2);
    assert_eq!(faults("", &wanted).len(), 1);
}
