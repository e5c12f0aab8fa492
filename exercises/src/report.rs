//! Grades as people and programs read them.

use anyhow::Result;
use serde_json::json;

use crate::grade::Graded;
use crate::outcome::{Checked, Outcome, Tested};

/// A row for each student, a column for each exercise would be too wide: the sum, and what is not passed.
pub fn table(graded: &[Graded]) -> String {
    let width = graded.iter().map(|student| student.student.len()).max().unwrap_or(0).max("student".len());
    let mut text = format!("{:<width$}  points      not passed\n", "student");
    for student in graded {
        let open = student.exercises.iter().filter(|checked| checked.outcome.status() != 0);
        let open: Vec<_> = open.map(|checked| format!("{} ({})", checked.id, checked.outcome.word())).collect();
        let points = format!("{}/{}", student.points, student.of);
        text += &format!("{:<width$}  {points:<10}  {}\n", student.student, open.join(", "));
    }
    text
}

/// JUnit's XML: a suite for each student, a case for each test. What this machine cannot tell is skipped, not failed.
pub fn junit(graded: &[Graded]) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for student in graded {
        let cases: Vec<_> = student.exercises.iter().flat_map(cases).collect();
        let count = |kind: &str| cases.iter().filter(|case| case.contains(kind)).count();
        text += &format!(
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\">\n{}  </testsuite>\n",
            escape(&student.student),
            cases.len(),
            count("<failure"),
            count("<skipped"),
            cases.concat(),
        );
    }
    text + "</testsuites>\n"
}

fn cases(checked: &Checked) -> Vec<String> {
    let whole = Tested { name: "answer".into(), title: checked.title.clone(), of: 0, outcome: checked.outcome.clone() };
    let tests = if checked.tests.is_empty() { vec![whole] } else { tests(checked) };
    tests.iter().map(|test| case(&checked.id, test)).collect()
}

/// The tests of an exercise. If its answer does not compile then the first has the compiler's words, for all of them.
fn tests(checked: &Checked) -> Vec<Tested> {
    let mut tests = checked.tests.clone();
    if let (Outcome::NotCompiled { .. }, Some(first)) = (&checked.outcome, tests.first_mut()) {
        first.outcome = checked.outcome.clone();
    }
    tests
}

fn case(id: &str, test: &Tested) -> String {
    let inner = match &test.outcome {
        Outcome::Passed => String::new(),
        Outcome::Collected => "      <system-out>collected, for a person to read</system-out>\n".to_owned(),
        Outcome::Wrong { message, output, .. } => {
            format!("      <failure message=\"{}\">{}</failure>\n", escape(message), escape(output))
        }
        Outcome::NotCompiled { output } => {
            format!("      <failure message=\"it does not compile\">{}</failure>\n", escape(output))
        }
        Outcome::Unfit { lacks, cure } => format!("      <skipped message=\"{}: {}\"/>\n", escape(lacks), escape(cure)),
        Outcome::Broken { message } => format!("      <skipped message=\"{}\"/>\n", escape(message)),
    };
    let (class, name) = (escape(id), escape(&test.title));
    format!("    <testcase classname=\"{class}\" name=\"{name}\">\n{inner}    </testcase>\n")
}

/// What XML would take for its own; and what it has no place for at all.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for char in text.chars() {
        match char {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\n' | '\t' => escaped.push(char),
            char if char.is_control() => escaped.push('\u{fffd}'),
            char => escaped.push(char),
        }
    }
    escaped
}

/// Gradescope's results.json (its autograder specification): a score and a status for each test.
pub fn gradescope(student: &Graded) -> Result<String> {
    let tests = student.exercises.iter().flat_map(|checked| tests(checked).into_iter().map(move |it| (checked, it)));
    let tests: Vec<_> = tests
        .filter(|(_, test)| !test.outcome.says_nothing())
        .map(|(checked, test)| {
            let passed = test.outcome == Outcome::Passed;
            json!({
                "name": format!("{}: {}", checked.id, test.title),
                "score": if passed { test.of } else { 0 },
                "max_score": test.of,
                "status": if passed { "passed" } else { "failed" },
                "output": match &test.outcome {
                    Outcome::Wrong { message, .. } => message.clone(),
                    Outcome::NotCompiled { output } => format!("{}\n{output}", test.outcome.word()).trim_end().to_owned(),
                    other => other.word().to_owned(),
                },
            })
        })
        .collect();
    Ok(serde_json::to_string_pretty(&json!({ "score": student.points, "visibility": "visible", "tests": tests }))?
        + "\n")
}
