//! What people read.

use std::io::IsTerminal;

use anyhow::Result;

use crate::catalogue::{Catalogue, Exercise};
use crate::flow::flowed;
use crate::folder::Folder;
use crate::outcome::{Checked, Outcome};
use crate::podling_program;

/// A word in a colour, if there is a terminal to show it and nobody has refused (https://no-color.org).
pub fn paint(colour: u8, text: &str) -> String {
    let wanted = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if wanted { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
}
const RED: u8 = 31;
const GREEN: u8 = 32;
const YELLOW: u8 = 33;
const BOLD: u8 = 1;

/// The table of exercises.
pub fn list(exercises: &[&Exercise], folder: Option<&Folder>) {
    let width = exercises.iter().map(|exercise| exercise.id.len()).max().unwrap_or(0);
    let mut chapter = "";
    for exercise in exercises {
        if exercise.chapter != chapter {
            chapter = &exercise.chapter;
            println!("{}", paint(BOLD, chapter));
        }
        let mark = match folder {
            Some(folder) if folder.has_passed(exercise) => paint(GREEN, "✓"),
            Some(folder) if folder.has_started(exercise) => paint(YELLOW, "…"),
            _ => " ".into(),
        };
        let stars = "★".repeat(exercise.stars.into());
        let (id, kind, minutes) = (&exercise.id, exercise.kind.name(), exercise.minutes);
        println!("  {mark} {id:<width$}  {kind:<12}  {minutes:>3} min  {stars:<3}  {}", exercise.title);
    }
}

/// How far somebody is, chapter by chapter, and what comes next.
pub fn status(catalogue: &Catalogue, folder: Option<&Folder>) {
    let passed = |exercise: &&Exercise| folder.is_some_and(|folder| folder.has_passed(exercise));
    let mut chapters: Vec<&str> = catalogue.exercises.iter().map(|exercise| &*exercise.chapter).collect();
    chapters.dedup();
    for chapter in chapters {
        let of: Vec<_> = catalogue.exercises.iter().filter(|exercise| exercise.chapter == chapter).collect();
        let done = of.iter().copied().filter(passed).count();
        println!(
            "  {chapter:<20} {}{}  {done} of {}",
            paint(GREEN, &"█".repeat(done)),
            "░".repeat(of.len() - done),
            of.len()
        );
    }
    let done = catalogue.exercises.iter().filter(passed).count();
    println!("\n{done} of {} passed.", catalogue.exercises.len());
    match (folder, crate::next(catalogue, folder)) {
        (_, None) => println!("That is all of them."),
        (None, Some(first)) => {
            // Who has built the exercises alone is not sent for a program that is not there.
            if podling_program::find().is_ok() {
                println!("Whether this machine can run them all: podling-learn doctor");
            }
            println!("Begin with: podling-learn start {}", first.id);
        }
        (Some(folder), Some(next)) if folder.has_started(next) => {
            println!("Go on with {}: podling-learn check --watch {}", folder.place(next).display(), next.id);
        }
        (Some(_), Some(next)) => println!("Next: podling-learn start {}", next.id),
    }
}

/// What there is to do, after `start`.
pub fn begun(exercise: &Exercise, folder: &Folder) -> Result<String> {
    let place = folder.place(exercise);
    let worth = format!("{} · {} minutes · {} points", exercise.kind.name(), exercise.minutes, exercise.points());
    let title = paint(BOLD, &exercise.title);
    let mut text = format!("{title}\n{worth}\n\n{}\n", flowed(&exercise.text("task.md")?).trim_end());
    if !exercise.needs.is_empty() {
        text += &format!("\nNeeds: {}.\n", exercise.needs.join(", "));
    }
    text += "\nYour files:\n";
    for name in exercise.files()? {
        text += &format!("  {}\n", place.join(name).display());
    }
    text += &format!("Then: podling-learn check {0}     (or: podling-learn check --watch {0})\n", exercise.id);
    Ok(text)
}

/// What came of a check.
pub fn checked(checked: &Checked, exercise: &Exercise, next: Option<&Exercise>) -> String {
    let mut text = String::new();
    if let Outcome::NotCompiled { output } = &checked.outcome {
        return format!("{}\n{}", output.trim_end(), verdict(RED, "It does not compile."));
    }
    for test in &checked.tests {
        let mark = match &test.outcome {
            Outcome::Passed | Outcome::Collected => paint(GREEN, "✓"),
            Outcome::Wrong { .. } | Outcome::NotCompiled { .. } => paint(RED, "✗"),
            Outcome::Unfit { .. } | Outcome::Broken { .. } => paint(YELLOW, "?"),
        };
        text += &format!("{mark} {}\n", test.title);
        text += &reason(&test.outcome);
    }
    let id = &exercise.id;
    text += &match &checked.outcome {
        Outcome::Passed => {
            let next = next.map_or(String::new(), |next| format!("\nNext: podling-learn start {}", next.id));
            verdict(GREEN, "Passed.") + &format!("What there was to learn: podling-learn explain {id}{next}\n")
        }
        Outcome::Collected => verdict(GREEN, "Your answer is there. A person will read it."),
        Outcome::Wrong { message, .. } if checked.tests.is_empty() => verdict(RED, message),
        Outcome::Wrong { .. } => verdict(RED, "Not yet.") + &format!("Stuck? podling-learn hint {id}\n"),
        Outcome::Unfit { .. } => {
            verdict(YELLOW, "This machine cannot tell whether it is right. That is no fault of yours.")
        }
        Outcome::Broken { .. } => {
            verdict(YELLOW, "The check itself failed. That is no fault of yours; please report it.")
        }
        Outcome::NotCompiled { .. } => String::new(),
    };
    text
}

fn verdict(colour: u8, words: &str) -> String {
    format!("\n{}\n", paint(colour, words))
}

/// Why a test did not pass, indented below it.
fn reason(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Wrong { message, output, .. } => {
            let said =
                if output.is_empty() { String::new() } else { format!("    it wrote:\n{}", indent(&tail(output), 6)) };
            format!("{}{said}", indent(message, 4))
        }
        Outcome::Unfit { lacks, cure } if cure.is_empty() => indent(lacks, 4),
        Outcome::Unfit { lacks, cure } => indent(&format!("{lacks}\ncure: {cure}"), 4),
        Outcome::Broken { message } => indent(message, 4),
        Outcome::Passed | Outcome::Collected | Outcome::NotCompiled { .. } => String::new(),
    }
}

/// The last lines of much.
fn tail(text: &str) -> String {
    const LINES: usize = 12;
    let lines: Vec<_> = text.lines().collect();
    match lines.len().checked_sub(LINES) {
        None | Some(0) => text.to_owned(),
        Some(more) => format!("[{more} lines more before these]\n{}", lines[more..].join("\n")),
    }
}

fn indent(text: &str, by: usize) -> String {
    text.lines().map(|line| format!("{:by$}{line}\n", "")).collect()
}
