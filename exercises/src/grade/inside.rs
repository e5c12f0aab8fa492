//! Inside the grading container: the checker, as its root, checks one exercise of a student who is somebody else.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::catalogue::{Catalogue, names};
use crate::check::{self, Answer};
use crate::folder::write_package;
use crate::outcome::Checked;
use crate::student;

#[derive(Debug, Args)]
pub struct Options {
    exercise: String,
    /// Who the student is in the container.
    uid: u32,
}

/// Numbers for students: none that people or services usually have, and below what a user's subordinate ids reach.
pub const FIRST_STUDENT: u32 = 30_000;
pub const STUDENTS: u32 = 30_000;

/// Checks, and writes the result where only root can.
pub fn run(options: &Options) -> Result<u8> {
    student::is(options.uid);
    let catalogue = Catalogue::read(Path::new("/grader/exercises"))?;
    let exercise = catalogue.find(&options.exercise)?;
    let (work, files) = (Path::new("/work"), Path::new("/work").join(exercise.place()));
    fs::create_dir_all(&files)?;
    for name in names(Path::new("/grader/files"))? {
        fs::copy(Path::new("/grader/files").join(&name), files.join(name))?;
    }
    write_package(work, [(exercise.id.clone(), exercise.place().join("main.rs"))].into_iter())?;
    // Cargo compares times: they must come along.
    command("cp", &["-a", "/grader-target", "/work/target"])?;
    let owner = format!("{0}:{0}", options.uid);
    command("chown", &["-R", "--no-dereference", &owner, "/work"])?;
    let checked = match check::compile(work, exercise)? {
        Ok(program) => check::check(&Answer { exercise, files, program })?,
        Err(words) => Checked::not_compiled(exercise, &words),
    };
    fs::write("/grader/out/result.json.new", serde_json::to_string(&checked)?)?;
    fs::rename("/grader/out/result.json.new", "/grader/out/result.json")?;
    Ok(0)
}

fn command(program: &str, words: &[&str]) -> Result<()> {
    let status = Command::new(program).args(words).status().with_context(|| format!("running {program}"))?;
    ensure!(status.success(), "{program} {}: {status}", words.join(" "));
    Ok(())
}
