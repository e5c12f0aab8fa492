//! podling-learn: the exercises of podling's book, given out, checked, explained; and graded, a whole class at once.
//!
//! Reading order: [`catalogue`] (what an exercise is), [`check`] (how an answer is tested), then what is built on it: for the
//! student [`folder`], [`hints`], [`watch`]; for the instructor [`pack`], [`grade`]; for the author [`prove`].
//!
//! The exit status says what came of it, and keeps the student's mistakes apart from the machine's: 0 passed, 1 wrong,
//! 2 does not compile, 3 this machine cannot run it (with the cure), 125 podling-learn itself failed.

mod catalogue;
mod check;
mod flow;
mod folder;
mod grade;
mod hints;
mod outcome;
mod pack;
mod play;
mod podling_program;
mod prove;
mod report;
mod scratch;
mod student;
mod tell;
mod watch;

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use podling::hint::{first_paragraph, hinted, render};

use crate::catalogue::{Catalogue, Exercise};
use crate::check::Answer;
use crate::folder::{Failure, Folder, NAME};
use crate::outcome::{Checked, Outcome};

/// Our own failure, as it is with all of podling's programs.
const OWN_FAILURE: u8 = 125;

/// Exercises for podling's book, which check themselves
///
/// Without a command: tells how far you are, and what comes next.
#[derive(Parser)]
#[command(
    name = "podling-learn",
    version,
    after_help = "Exit status: 0 passed, 1 wrong, 2 does not compile, \
    3 this machine cannot run it (the cure is said), 125 podling-learn itself failed."
)]
struct Options {
    /// The exercises [default: the directory `exercises` of podling's sources]
    #[arg(long, value_name = "DIRECTORY", env = "PODLING_EXERCISES", global = true)]
    exercises: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Tell whether this machine can run the exercises, and what cures it
    Doctor,
    #[command(flatten)]
    WithExercises(WithExercises),
    /// What runs inside the grading container
    #[command(hide = true)]
    Inside(grade::inside::Options),
    /// Play the other side in a check
    #[command(hide = true, subcommand)]
    Play(play::Part),
}

/// What is about exercises, and so wants to know where they are.
#[derive(Subcommand)]
enum WithExercises {
    /// List the exercises
    List {
        /// Exercises or chapters; all, if none is named
        names: Vec<String>,
    },
    /// Begin an exercise: its files are put into my-exercises/
    Start {
        /// The exercise; the next one, if none is named
        id: Option<String>,
    },
    /// Check your answer
    Check {
        /// The exercise; the one started last, if none is named
        id: Option<String>,
        /// Check again whenever a file is saved
        #[arg(long)]
        watch: bool,
        /// Print the result as JSON
        #[arg(long, conflicts_with = "watch")]
        json: bool,
    },
    /// Give a hint: first what can be seen from the last check, then one more of three each time
    Hint { id: Option<String> },
    /// Begin an exercise anew; what you wrote is kept beside it
    Reset { id: Option<String> },
    /// Explain an exercise that you have passed
    Explain { id: Option<String> },
    /// Tell how far you are
    Status,
    /// Grade a folder of submissions, each in a container of its own
    Grade(grade::Options),
    /// Put the exercises into an archive, for students or for instructors
    Pack(pack::Options),
    /// Prove that exercises are sound: starters fail, solutions pass, mutants get their messages
    Prove(prove::Options),
}

fn main() -> ExitCode {
    let outcome = Options::try_parse().map_err(refuse).and_then(act);
    ExitCode::from(outcome.unwrap_or_else(|error| {
        eprint!("{}", render(&error));
        OWN_FAILURE
    }))
}

/// A wrong command line, in one line; `--help` is no error.
fn refuse(error: clap::Error) -> anyhow::Error {
    if !error.use_stderr() {
        error.exit();
    }
    hinted(first_paragraph(&error.to_string()), "podling-learn --help")
}

fn act(options: Options) -> Result<u8> {
    let here = env::current_dir().context("the current directory")?;
    match options.command.unwrap_or(Command::WithExercises(WithExercises::Status)) {
        Command::Doctor => podling_program::doctor(),
        Command::Inside(options) => grade::inside::run(&options),
        Command::Play(part) => play::play(part),
        Command::WithExercises(command) => {
            let catalogue = Catalogue::read(&here.join(place_of_exercises(options.exercises, &here)?))?;
            with_exercises(command, &catalogue, &here)
        }
    }
}

fn with_exercises(command: WithExercises, catalogue: &Catalogue, here: &Path) -> Result<u8> {
    // The student's folder, and which exercise is meant.
    let of = |id: Option<&str>| -> Result<_> {
        let folder = Folder::find(here)?;
        let exercise = chosen(catalogue, &folder, id)?;
        Ok((folder, exercise))
    };
    match command {
        WithExercises::List { names } => tell::list(&catalogue.select(&names)?, Folder::find(here).ok().as_ref()),
        WithExercises::Start { id } => return start(catalogue, here, id.as_deref()),
        WithExercises::Check { id, watch: true, .. } => {
            let (mut folder, exercise) = of(id.as_deref())?;
            return watch::watch(catalogue, &mut folder, exercise);
        }
        WithExercises::Check { id, json, .. } => {
            let (mut folder, exercise) = of(id.as_deref())?;
            let checked = check(&mut folder, exercise)?;
            if json {
                println!("{}", serde_json::to_string_pretty(&checked)?);
            } else {
                print!("{}", tell::checked(&checked, exercise, next(catalogue, Some(&folder))));
            }
            return Ok(checked.outcome.status());
        }
        WithExercises::Hint { id } => {
            let (mut folder, exercise) = of(id.as_deref())?;
            print!("{}", hint(&mut folder, exercise)?);
        }
        WithExercises::Reset { id } => {
            let (mut folder, exercise) = of(id.as_deref())?;
            let kept = folder.reset(exercise)?;
            println!("{} is as it was given out.", exercise.id);
            for path in kept {
                println!("What you had written is now {}", path.display());
            }
        }
        WithExercises::Explain { id } => {
            let (folder, exercise) = of(id.as_deref())?;
            if !folder.has_passed(exercise) {
                let cure = format!("podling-learn hint {}", exercise.id);
                return Err(hinted(format!("{} is explained when you have passed it", exercise.id), cure));
            }
            print!("{}", flow::flowed(&exercise.text("explain.md")?));
        }
        WithExercises::Grade(options) => return grade::grade(catalogue, &options),
        WithExercises::Pack(options) => pack::pack(catalogue, &options)?,
        WithExercises::Prove(options) => return prove::prove(catalogue, &options),
        WithExercises::Status => tell::status(catalogue, Folder::find(here).ok().as_ref()),
    }
    Ok(0)
}

/// Where the exercises are: as said, or in podling's sources, in which we stand or from which we were built.
fn place_of_exercises(said: Option<PathBuf>, here: &Path) -> Result<PathBuf> {
    if let Some(said) = said {
        return Ok(said);
    }
    let above = here.ancestors().map(|dir| dir.join("exercises")).find(|dir| dir.join("kit.sh").is_file());
    let built_from = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    above.or_else(|| Some(built_from).filter(|dir| dir.join("kit.sh").is_file())).ok_or_else(|| {
        hinted("the exercises are not here", "say where: --exercises DIRECTORY, or export PODLING_EXERCISES=DIRECTORY")
    })
}

/// The exercise that a command is about: the named one, which must have been started, or the one started last.
fn chosen<'a>(catalogue: &'a Catalogue, folder: &Folder, id: Option<&str>) -> Result<&'a Exercise> {
    let id = id.map(str::to_owned).or_else(|| folder.progress.current.clone());
    let exercise =
        catalogue.find(&id.ok_or_else(|| hinted("you have not started an exercise yet", "podling-learn start"))?)?;
    if !folder.has_started(exercise) {
        return Err(hinted(
            format!("you have not started {}", exercise.id),
            format!("podling-learn start {}", exercise.id),
        ));
    }
    Ok(exercise)
}

/// What comes next: the first in order that has not passed.
fn next<'a>(catalogue: &'a Catalogue, folder: Option<&Folder>) -> Option<&'a Exercise> {
    catalogue.exercises.iter().find(|exercise| !folder.is_some_and(|folder| folder.has_passed(exercise)))
}

fn start(catalogue: &Catalogue, here: &Path, id: Option<&str>) -> Result<u8> {
    let mut folder = match Folder::find(here) {
        Ok(folder) => folder,
        Err(_) if here.starts_with(&catalogue.root) => {
            return Err(hinted("your answers do not belong among the exercises' sources", "cd elsewhere, then start"));
        }
        Err(_) => Folder::create(&here.join(NAME))?,
    };
    let Some(exercise) = id.map(|id| catalogue.find(id)).transpose()?.or_else(|| next(catalogue, Some(&folder))) else {
        println!("You have passed all exercises.");
        return Ok(0);
    };
    folder.start(catalogue, exercise)?;
    print!("{}", tell::begun(exercise, &folder)?);
    Ok(0)
}

/// Checks a student's answer, and remembers what came of it.
fn check(folder: &mut Folder, exercise: &Exercise) -> Result<Checked> {
    let files = folder.place(exercise);
    for name in exercise.files()? {
        if !files.join(&name).is_file() {
            let cure = format!("podling-learn reset {}", exercise.id);
            return Err(hinted(format!("{} is missing", files.join(name).display()), cure));
        }
    }
    let checked = match check::compile(&folder.root, exercise)? {
        Ok(program) => check::check(&Answer { exercise, files, program })?,
        Err(words) => Checked::not_compiled(exercise, &words),
    };
    let record = folder.record(exercise);
    record.checks += 1;
    record.passed |= checked.outcome.status() == 0;
    record.last = match checked.outcome.clone() {
        Outcome::Wrong { message, output, .. } => Some(Failure { message, output }),
        Outcome::NotCompiled { output } => Some(Failure { message: String::new(), output }),
        _ => None,
    };
    folder.save()?;
    Ok(checked)
}

/// What can be seen, then the next of the three hints.
fn hint(folder: &mut Folder, exercise: &Exercise) -> Result<String> {
    let record = folder.record(exercise);
    let mut text = String::new();
    for seen in hints::live(record.last.as_ref()) {
        text += &format!("Seen: {seen}\n\n");
    }
    let shown = record.hints.min(exercise.hints.len() - 1);
    record.hints = shown + 1;
    let of = exercise.hints.len();
    text += &format!("Hint {} of {of}: {}\n", shown + 1, exercise.hints[shown].trim());
    folder.save()?;
    Ok(flow::flowed(&text))
}

/// A path that must be a directory, by what it is for.
fn directory(path: &Path, what: &str) -> Result<()> {
    if !path.is_dir() {
        bail!("{what} {} is no directory", path.display());
    }
    Ok(())
}
