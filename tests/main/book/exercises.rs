//! A chapter's page names its exercises, all of them, with their stars and minutes as they are. So does the instructors'
//! table; and their timetable of a term has each exercise in one of its sessions.

use std::fs;
use std::path::Path;

use super::page::{Page, root};

const INSTRUCTORS: &str = "reference/instructors.md";

/// What is said of an exercise in the book.
struct Exercise {
    id: String,
    kind: String,
    stars: String,
    minutes: String,
}

impl Exercise {
    fn read(dir: &Path) -> Self {
        let text = fs::read_to_string(dir.join("exercise.toml")).expect("an exercise has one");
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix('='));
            line.unwrap_or_else(|| panic!("{} has {key}", dir.display())).trim().trim_matches('"').to_owned()
        };
        let stars = "★".repeat(value("stars").parse().expect("a number"));
        let id = dir.file_name().expect("a folder").to_string_lossy().into_owned();
        Self { id, kind: value("kind"), stars, minutes: value("minutes") }
    }

    /// How it stands in its chapter's page, up to the sentence about it.
    fn entry(&self) -> String {
        format!("- **`{}`** ({}, {} minutes): ", self.id, self.stars, self.minutes)
    }

    /// How it stands in the instructors' table, up to what was measured.
    fn row(&self, chapter: &str) -> String {
        let number = chapter.split('-').next().unwrap_or_default().trim_start_matches('0');
        format!("| `{}` | {number} | {} | {} | {} | ", self.id, self.kind, self.stars, self.minutes)
    }
}

/// All exercises, by the name of their chapter.
fn chapters() -> Vec<(String, Vec<Exercise>)> {
    let names = |dir: &Path| {
        let entries = fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("readable").path());
        entries.filter(|path| path.is_dir()).collect::<Vec<_>>()
    };
    let chapters = names(&root().join("exercises")).into_iter().map(|chapter| {
        let name = chapter.file_name().expect("a folder").to_string_lossy().into_owned();
        (name, chapter)
    });
    let numbered = chapters.filter(|(name, _)| name.starts_with(|first: char| first.is_ascii_digit()));
    numbered.map(|(name, dir)| (name, names(&dir).iter().map(|dir| Exercise::read(dir)).collect())).collect()
}

/// What is wrong with a page's list of exercises.
fn faults(page: &str, wanted: &[String]) -> Vec<String> {
    let missing = wanted.iter().filter(|entry| !page.lines().any(|line| line.starts_with(entry.as_str())));
    let missing = missing.map(|entry| format!("there is no line that begins with {entry}"));
    let listed = page.lines().filter(|line| line.starts_with("- **`") && line.contains(" minutes): "));
    let unknown = listed.filter(|line| !wanted.iter().any(|entry| line.starts_with(entry.as_str())));
    missing.chain(unknown.map(|line| format!("no exercise is so: {line}"))).collect()
}

/// What is wrong with the instructors' page: rows that must begin so, exercises that must be in a session of the term.
fn guide_faults(page: &str, rows: &[String], ids: &[&str]) -> Vec<String> {
    let missing = rows.iter().filter(|row| !page.lines().any(|line| line.starts_with(row.as_str())));
    let missing = missing.map(|row| format!("there is no line that begins with {row}"));
    let listed = page.lines().filter(|line| line.starts_with("| `"));
    let unknown = listed.filter(|line| !rows.iter().any(|row| line.starts_with(row.as_str())));
    let term = page.split_once("**One term**").map_or("", |(_, rest)| rest.split("\n## ").next().unwrap_or(rest));
    let homeless = ids.iter().filter(|id| term.matches(&format!("`{id}`")).count() != 1);
    let homeless = homeless.map(|id| format!("{id} is not in one session of the term's table"));
    missing.chain(unknown.map(|line| format!("no exercise is so: {line}"))).chain(homeless).collect()
}

#[test]
fn a_chapter_lists_its_exercises() {
    let chapters = chapters();
    assert!(!chapters.is_empty(), "no chapter has exercises");
    for (name, exercises) in chapters {
        let wanted: Vec<_> = exercises.iter().map(Exercise::entry).collect();
        let page = Page::read(&format!("chapters/{name}.md"));
        let faults = faults(&page.text, &wanted);
        assert!(faults.is_empty(), "{}: {faults:#?}", page.name);
    }
}

#[test]
fn instructors_find_each_exercise_in_their_tables() {
    let chapters = chapters();
    let rows =
        |(name, exercises): &(String, Vec<Exercise>)| exercises.iter().map(|it| it.row(name)).collect::<Vec<_>>();
    let rows: Vec<_> = chapters.iter().flat_map(rows).collect();
    let ids: Vec<_> = chapters.iter().flat_map(|(_, exercises)| exercises.iter().map(|it| &*it.id)).collect();
    let faults = guide_faults(&Page::read(INSTRUCTORS).text, &rows, &ids);
    assert!(faults.is_empty(), "{INSTRUCTORS}: {faults:#?}");
}

#[test]
fn a_planted_fault_in_a_list_is_found() {
    let wanted = ["- **`one`** (★, 10 minutes): ".to_owned()];
    assert!(faults("- **`one`** (★, 10 minutes): do.\n", &wanted).is_empty());
    assert_eq!(faults("- **`one`** (★★, 10 minutes): do.\n", &wanted).len(), 2);
    assert_eq!(faults("", &wanted).len(), 1);
}

#[test]
fn a_planted_fault_in_the_instructors_tables_is_found() {
    let count = |page: &str| guide_faults(page, &["| `one` | 1 | bug | ★ | 10 | ".to_owned()], &["one"]).len();
    assert_eq!(count("**One term**\n\n| 1 | `one` |\n\n## All\n\n| `one` | 1 | bug | ★ | 10 | 0.5 |\n"), 0);
    assert_eq!(count("**One term**\n\n| 1 | `one` |\n\n## All\n\n| `one` | 1 | bug | ★ | 15 | 0.5 |\n"), 2, "minutes");
    assert_eq!(count("**One term**\n\n## All\n\n| `one` | 1 | bug | ★ | 10 | 0.5 |\n"), 1, "in no session");
    assert_eq!(count("**One term**\n\n| 1 | `one` |\n"), 1, "not in the table");
}
