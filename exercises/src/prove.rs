//! Proving exercises, for their authors: that the checks let the right answer through, and nothing else.
//!
//! For each exercise: the starter compiles without a warning and fails *every* test; the solution passes, and leaves no
//! process behind (nor, therefore, a mount: an ordinary user's are in namespaces that end with their last process); each
//! mutant (a known wrong answer) is refused with the message it is meant to get; and no line of the solution is in the
//! students' pack.
//!
//! A mutant is a patch of solution/, whose first line says what the student must hear: `Expect: MESSAGE`, or a part of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf, absolute};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;
use podling::hint::cured;

use crate::catalogue::{Catalogue, Exercise, names};
use crate::check::{self, Answer};
use crate::folder::write_package;
use crate::outcome::{Checked, Outcome};
use crate::pack::{self, Audience};

#[derive(Debug, Args)]
pub struct Options {
    /// Exercises or chapters; all, if none is named
    names: Vec<String>,
    /// Only compile, into this directory
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "prepared")]
    prepare: Option<PathBuf>,
    /// Use what --prepare compiled, perhaps on another machine
    #[arg(long, value_name = "DIRECTORY")]
    prepared: Option<PathBuf>,
}

/// One answer whose fate is known beforehand.
struct Variant {
    name: String,
    expected: Expected,
}

enum Expected {
    FailsAll,
    Passes,
    /// With this message, or one that contains it.
    Refused(String),
}

/// `podling-learn prove`. Exit status: 0 all sound, 1 something is wrong, 3 something could not be tried here.
pub fn prove(catalogue: &Catalogue, options: &Options) -> Result<u8> {
    let exercises = catalogue.select(&options.names)?;
    let scratch = crate::scratch::Scratch::new()?;
    let place = match options.prepare.as_ref().or(options.prepared.as_ref()) {
        Some(dir) => absolute(dir)?,
        None => scratch.work()?,
    };
    let mut complaints = BTreeMap::new();
    if options.prepared.is_none() {
        complaints = prepare(&exercises, &place)?;
    }
    let (mut wrong, mut untried) = (0, 0);
    for exercise in exercises {
        let mut faults = complaints.remove(&exercise.id).unwrap_or_default();
        let mut lacks = BTreeSet::new();
        faults.extend(leaks(catalogue, exercise)?);
        if options.prepare.is_none() && faults.is_empty() {
            try_all(exercise, &place, &mut faults, &mut lacks)?;
        }
        let place = exercise.place();
        for fault in &faults {
            println!("{}: {fault}", place.display());
        }
        for lack in &lacks {
            println!("{}: cannot be tried here: {lack}", place.display());
        }
        if faults.is_empty() && lacks.is_empty() {
            let mutants = variants(exercise)?.len() - 2;
            println!("{}: {} tests, {mutants} mutants: sound", place.display(), exercise.tests.len());
        }
        wrong += usize::from(!faults.is_empty());
        untried += usize::from(!lacks.is_empty());
    }
    Ok(if wrong > 0 { 1 } else { u8::from(untried > 0) * 3 })
}

/// The starter, the solution, and the mutants.
fn variants(exercise: &Exercise) -> Result<Vec<Variant>> {
    let mut variants = vec![
        Variant { name: "starter".into(), expected: Expected::FailsAll },
        Variant { name: "solution".into(), expected: Expected::Passes },
    ];
    let dir = exercise.dir.join("mutants");
    for name in if dir.is_dir() { names(&dir)? } else { Vec::new() } {
        let text = fs::read_to_string(dir.join(&name))?;
        let expected = text.lines().next().and_then(|line| line.strip_prefix("Expect: "));
        let expected = expected.with_context(|| format!("{name} does not begin with `Expect: MESSAGE`"))?;
        let Some(name) = name.strip_suffix(".patch") else { bail!("{name} in {} is no .patch", dir.display()) };
        variants.push(Variant { name: name.to_owned(), expected: Expected::Refused(expected.trim().to_owned()) });
    }
    Ok(variants)
}

/// Puts the files of every variant into `place/ID/VARIANT`, and the program `program` beside them, all compiled at once.
/// Returns what the compiler complained of. What is as it was is not touched, so that a second time is quick.
fn prepare(exercises: &[&Exercise], place: &Path) -> Result<BTreeMap<String, Vec<String>>> {
    let (mut programs, mut complaints) = (Vec::new(), BTreeMap::<String, Vec<String>>::new());
    for exercise in exercises {
        for variant in variants(exercise)? {
            let new = crate::scratch::Scratch::new()?;
            let from = if variant.name == "starter" { "starter" } else { "solution" };
            for name in names(&exercise.dir.join(from))? {
                fs::copy(exercise.dir.join(from).join(&name), new.path.join(&name))?;
            }
            if matches!(variant.expected, Expected::Refused(_))
                && let Some(why) =
                    apply(&exercise.dir.join("mutants").join(format!("{}.patch", variant.name)), &new.path)?
            {
                complaints.entry(exercise.id.clone()).or_default().push(format!("{}: {why}", variant.name));
                continue;
            }
            let dir = place.join(&exercise.id).join(&variant.name);
            fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
            for name in names(&new.path)? {
                copy_if_changed(&new.path.join(&name), &dir.join(&name))?;
            }
            if exercise.is_program() {
                programs.push((dir.join("program"), program_name(exercise, &variant.name), dir.join("main.rs")));
            }
        }
    }
    if programs.is_empty() {
        return Ok(complaints);
    }
    for (id, more) in compile(place, programs.iter().map(|(_, name, source)| (name.clone(), source.clone())))? {
        complaints.entry(id).or_default().extend(more);
    }
    for (program, name, _) in &programs {
        let built = place.join("target/debug").join(name);
        if built.exists() {
            fs::copy(&built, program).with_context(|| format!("copying {}", built.display()))?;
        }
    }
    Ok(complaints)
}

fn copy_if_changed(from: &Path, to: &Path) -> Result<()> {
    let bytes = fs::read(from)?;
    if fs::read(to).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    fs::write(to, bytes).with_context(|| format!("writing {}", to.display()))
}

/// Compiles programs, each with its name and source; returns the compiler's complaints, by exercise.
fn compile(place: &Path, programs: impl Iterator<Item = (String, PathBuf)>) -> Result<BTreeMap<String, Vec<String>>> {
    let place = fs::canonicalize(place)?;
    write_package(
        &place,
        programs.map(|(name, source)| {
            (
                name,
                fs::canonicalize(&source)
                    .ok()
                    .and_then(|it| Some(it.strip_prefix(&place).ok()?.to_owned()))
                    .unwrap_or(source),
            )
        }),
    )?;
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--quiet", "--keep-going", "--message-format=short", "--color=never"]);
    // Hundreds of programs, of which nobody wants a backtrace.
    cargo.envs([("CARGO_PROFILE_DEV_DEBUG", "0"), ("CARGO_PROFILE_DEV_STRIP", "symbols")]);
    cargo.env("CARGO_TARGET_DIR", place.join("target")).current_dir(&place).stdin(Stdio::null());
    let output =
        cargo.output().map_err(|error| cured(error, "running cargo", "install Rust as https://rustup.rs says"))?;
    let words = String::from_utf8_lossy(&output.stderr);
    let mut complaints: BTreeMap<String, Vec<String>> = BTreeMap::new();
    // `ID/VARIANT/main.rs:LINE:COLUMN: warning: …`
    for line in words.lines() {
        let mut parts = line.splitn(3, '/');
        if let (Some(id), Some(variant), Some(rest)) = (parts.next(), parts.next(), parts.next())
            && rest.starts_with("main.rs:")
        {
            complaints.entry(id.to_owned()).or_default().push(format!("{variant}: {rest}"));
        }
    }
    if !output.status.success() && complaints.is_empty() {
        bail!("the exercises do not compile: {words}");
    }
    Ok(complaints)
}

fn program_name(exercise: &Exercise, variant: &str) -> String {
    format!("{}--{variant}", exercise.id)
}

/// Applies a patch to the files in a directory; returns why it does not apply.
fn apply(patch: &Path, dir: &Path) -> Result<Option<String>> {
    let mut command = Command::new("patch");
    command.args(["--quiet", "--strip=1", "--no-backup-if-mismatch", "--reject-file=-", "--directory"]).arg(dir);
    let output = command.stdin(File::open(patch)?).output();
    let output = output.map_err(|error| cured(error, "running patch", "install the package patch"))?;
    let words = String::from_utf8_lossy(&output.stdout);
    let first = words.lines().next().unwrap_or_default();
    Ok((!output.status.success()).then(|| format!("the patch does not apply: {first}")))
}

/// Checks every variant, and compares with what must come of it.
fn try_all(exercise: &Exercise, place: &Path, faults: &mut Vec<String>, lacks: &mut BTreeSet<String>) -> Result<()> {
    for variant in variants(exercise)? {
        let files = place.join(&exercise.id).join(&variant.name);
        let program = files.join("program");
        let answer = Answer { exercise, files, program: exercise.is_program().then_some(program) };
        let (checked, left) = check::check_counting(&answer)?;
        lacks.extend(checked.tests.iter().filter_map(|test| match &test.outcome {
            Outcome::Unfit { lacks, .. } => Some(lacks.clone()),
            _ => None,
        }));
        let found = compare(&checked, &variant.expected);
        faults.extend(found.into_iter().map(|fault| format!("{}: {fault}", variant.name)));
        if matches!(variant.expected, Expected::Passes) && left > 0 {
            faults.push(format!("{}: leaves {left} processes behind", variant.name));
        }
    }
    Ok(())
}

/// What is not as it must be.
fn compare(checked: &Checked, expected: &Expected) -> Vec<String> {
    let unfit = checked.tests.iter().any(|test| matches!(test.outcome, Outcome::Unfit { .. }));
    let broken = checked.tests.iter().filter_map(|test| match &test.outcome {
        Outcome::Broken { message } => Some(message.clone()),
        _ => None,
    });
    let mut faults: Vec<String> = broken.collect();
    let tests = checked.tests.iter();
    match expected {
        // A written answer that was not touched.
        Expected::FailsAll if checked.tests.is_empty() && checked.outcome.status() == 0 => {
            faults.push("is taken for an answer".to_owned());
        }
        Expected::FailsAll => {
            let passing = tests.filter(|test| test.outcome == Outcome::Passed);
            faults.extend(passing.map(|test| format!("passes the test {}", test.name)));
        }
        Expected::Passes => faults.extend(tests.filter_map(|test| match &test.outcome {
            Outcome::Wrong { message, output, .. } => {
                Some(format!("fails the test {}: {message} ({output})", test.name))
            }
            _ => None,
        })),
        Expected::Refused(_) if unfit => {}
        Expected::Refused(wanted) => {
            let messages: Vec<_> = tests
                .filter_map(|test| match &test.outcome {
                    Outcome::Wrong { message, .. } => Some(message.as_str()),
                    _ => None,
                })
                .collect();
            if messages.is_empty() {
                faults.push("passes".to_owned());
            } else if !messages.iter().any(|message| message.contains(wanted)) {
                faults.push(format!("is told {messages:?}, not {wanted:?}"));
            }
        }
    }
    faults
}

/// Lines of the solution that students could find in their pack. (Short ones, and those that the starter has, are nobody's
/// secret.)
fn leaks(catalogue: &Catalogue, exercise: &Exercise) -> Result<Vec<String>> {
    const SHORTEST: usize = 16;
    let lines = |dir: &str| -> Result<Vec<String>> {
        let mut lines = Vec::new();
        for name in names(&exercise.dir.join(dir))? {
            lines.extend(exercise.text(&format!("{dir}/{name}"))?.lines().map(|line| line.trim().to_owned()));
        }
        Ok(lines)
    };
    let known: BTreeSet<String> = lines("starter")?.into_iter().collect();
    let secrets = lines("solution")?.into_iter().filter(|line| line.len() >= SHORTEST && !known.contains(line));
    let secrets: BTreeSet<String> = secrets.filter(|line| !line.starts_with("//") && !line.starts_with('#')).collect();
    let mut leaks = Vec::new();
    for (name, path) in pack::files(catalogue, Audience::Student)? {
        if !name.starts_with(exercise.place()) {
            continue;
        }
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let found = secrets
            .iter()
            .find(|secret| text.lines().any(|line| line.trim() == **secret || line.contains(&format!("`{secret}`"))));
        leaks.extend(found.map(|secret| format!("{} gives away a line of the solution: {secret}", name.display())));
    }
    Ok(leaks)
}
