//! The shape of a chapter: each has the same sections in the same order, so that a reader knows where he is, and an
//! instructor knows what each will ask of a class. And its quiz: three questions about concepts, each with an explanation.

use std::fs;

use super::page::{Page, headings, root};

/// The sections of a chapter.
const SECTIONS: [&str; 10] = [
    "Predict",
    "Build",
    "See it",
    "Break it",
    "Why no daemon here",
    "From the chapter to the engine",
    "Check yourself",
    "Exercises",
    "Clean up",
    "Man pages",
];

/// How the table at a chapter's top begins.
const FRONT: &str = "| Minutes | Difficulty | Needs | Kernel | New system calls |";

/// What a page in `chapters/` lacks.
fn faults(page: &Page) -> Vec<String> {
    let mut faults = Vec::new();
    let sections: Vec<_> = headings(&page.text, 2).into_iter().map(|(name, _)| name).collect();
    if sections != SECTIONS {
        faults.push(format!("{}: its sections are {sections:?}, and not {SECTIONS:?}", page.name));
    }
    for (wanted, what) in [
        (FRONT, "the table at its top"),
        ("**The sentence you will be able to defend:**", "the sentence that a reader will be able to defend"),
        ("<summary>For instructors</summary>", "notes for instructors"),
        ("([checked](", "a claim that a test checks"),
        ("{{#quiz ", "a quiz"),
    ] {
        if !page.text.contains(wanted) {
            faults.push(format!("{}: {what} is missing: {wanted}", page.name));
        }
    }
    faults
}

/// What is wrong with a quiz.
fn quiz_faults(text: &str) -> Vec<String> {
    let quiz: toml::Table = match toml::from_str(text) {
        Ok(quiz) => quiz,
        Err(error) => return vec![error.to_string()],
    };
    let questions = quiz.get("questions").and_then(toml::Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut faults = Vec::new();
    if questions.len() != 3 {
        faults.push(format!("{} questions, not three", questions.len()));
    }
    for (at, question) in questions.iter().enumerate() {
        let has = |key: &str| question.get(key).is_some();
        let prompted = question.get("prompt").is_some_and(|prompt| prompt.get("prompt").is_some());
        let answered = question.get("answer").is_some_and(|answer| answer.get("answer").is_some());
        if !(has("type") && prompted && answered && has("context")) {
            faults.push(format!("question {} has no type, prompt, answer or context (the explanation)", at + 1));
        }
    }
    faults
}

#[test]
fn every_chapter_has_its_sections_and_its_quiz() {
    let mut found = Vec::new();
    for page in Page::all().iter().filter(|page| page.name.starts_with("chapters/")) {
        found.extend(faults(page));
    }
    for entry in fs::read_dir(root().join("book/quizzes")).expect("the quizzes") {
        let path = entry.expect("readable").path();
        let text = fs::read_to_string(&path).expect("readable");
        found.extend(quiz_faults(&text).iter().map(|fault| format!("{}: {fault}", path.display())));
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn every_page_is_in_the_table_of_contents() {
    let summary = Page::read("SUMMARY.md").text;
    let pages = Page::all().into_iter().map(|page| page.name).filter(|name| name != "SUMMARY.md");
    let missing: Vec<_> = pages.filter(|name| !summary.contains(&format!("({name})"))).collect();
    assert!(missing.is_empty(), "not in SUMMARY.md: {missing:?}");
}

#[test]
fn planted_faults_of_shape_are_found() {
    let page = Page { name: "chapters/x.md".into(), path: "x.md".into(), text: "# X\n\n## Predict\n".into() };
    assert_eq!(faults(&page).len(), 6);
    let question = "[[questions]]\ntype = \"Tracing\"\nprompt.prompt = \"a\"\nanswer.answer = \"b\"\n";
    assert_eq!(quiz_faults(&question.repeat(3)).len(), 3, "no explanations");
    let explained = format!("{question}context = \"c\"\n");
    assert_eq!(quiz_faults(&explained.repeat(3)).len(), 0);
    assert_eq!(quiz_faults(&explained.repeat(2)).len(), 1, "two questions");
    assert_eq!(quiz_faults("[[").len(), 1);
}
