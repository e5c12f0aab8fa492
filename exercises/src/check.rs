//! Checking: the student's program is compiled, then each test of check.sh is run in a shell of its own.
//!
//! A test looks at facts: what /proc says of the running program, the files that it left, its exit status. It says what it
//! found by its own exit status (0 passed, 1 wrong, 3 this machine cannot) and by a text in a file that is named to it;
//! kit.sh has the functions for this. Its output is kept for the student to see, and never believed.
//!
//! The subtlety is what stays behind. A wrong answer may leave processes, a stopped one, a thousand. So whoever checks is
//! their subreaper: all that a test started ends up as a child of ours, and is killed before the next test.

use std::collections::BTreeSet;
use std::env;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::poll::PollTimeout;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, gettid};
use podling::hint::cured;
use podling::linux::process::{Process, Stat};

use crate::catalogue::{Exercise, Test};
use crate::outcome::{Checked, Outcome, Tested, worst};
use crate::scratch::Scratch;
use crate::student;

/// How much of a test's output is shown, in bytes.
const MOST_SHOWN: u64 = 16 << 10;
/// How large a file may grow that a test or the program in it writes, in KiB. More of output is an answer by itself.
const MOST_WRITTEN: u64 = 32 << 10;

/// An answer to an exercise, ready to be tested.
pub struct Answer<'a> {
    pub exercise: &'a Exercise,
    /// The student's files.
    pub files: PathBuf,
    /// The compiled program, if the exercise asks for one.
    pub program: Option<PathBuf>,
}

/// Compiles what a student's folder has for the exercise. `Err` inside: the compiler's words.
pub fn compile(folder: &Path, exercise: &Exercise) -> Result<Result<Option<PathBuf>, String>> {
    if !exercise.is_program() {
        return Ok(Ok(None));
    }
    let built = cargo(folder, &["--bin", &exercise.id])?;
    Ok(match built {
        Ok(target) => Ok(Some(target.join("debug").join(&exercise.id))),
        Err(words) => Err(words),
    })
}

/// `cargo build`, without a network if all libraries are here: where they are from podling's own build. Returns the target
/// directory, or the compiler's words.
pub fn cargo(folder: &Path, which: &[&str]) -> Result<Result<PathBuf, String>> {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| folder.join("target"), PathBuf::from);
    let mut words = String::new();
    for offline in [&["--offline"][..], &[]] {
        let mut command = student::command("cargo");
        command.args(["build", "--quiet", "--color=never"]).args(offline).args(which).current_dir(folder);
        let output = command.env("CARGO_TARGET_DIR", &target).stdin(Stdio::null()).output();
        let output = output.map_err(|error| cured(error, "running cargo", "install Rust as https://rustup.rs says"))?;
        words = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            break;
        }
        // Only a library that is not here makes Cargo speak of it.
        if !words.contains("--offline") {
            return Ok(Err(words));
        }
    }
    eprint!("{words}");
    Ok(Ok(target))
}

/// Runs all tests of an exercise on an answer.
pub fn check(answer: &Answer) -> Result<Checked> {
    Ok(check_counting(answer)?.0)
}

/// The same, and how many processes were left behind.
pub fn check_counting(answer: &Answer) -> Result<(Checked, usize)> {
    let exercise = answer.exercise;
    set_child_subreaper(true).context("becoming the parent of what the tests leave behind")?;
    let (mut tests, mut left) = (Vec::new(), 0);
    for test in &exercise.tests {
        let (outcome, behind) = run(answer, test)?;
        left += behind;
        tests.push(Tested { name: test.name.clone(), title: test.title.clone(), of: test.points, outcome });
    }
    let outcome = if tests.is_empty() { written(answer)? } else { worst(tests.iter().map(|test| &test.outcome)) };
    Ok((Checked { id: exercise.id.clone(), title: exercise.title.clone(), outcome, tests }, left))
}

/// A text can only be looked at for being there.
fn written(answer: &Answer) -> Result<Outcome> {
    for name in answer.exercise.files()? {
        let own = fs::read_to_string(answer.files.join(&name)).unwrap_or_default();
        if own.trim().is_empty() || own == fs::read_to_string(answer.exercise.dir.join("starter").join(&name))? {
            let message = format!("{name} is as it was given out: write your answer into it");
            return Ok(Outcome::wrong(message));
        }
    }
    Ok(Outcome::Collected)
}

/// Runs one test; and says how many processes it left.
fn run(answer: &Answer, test: &Test) -> Result<(Outcome, usize)> {
    let exercise = answer.exercise;
    let scratch = Scratch::new()?;
    let (verdict, output) = (scratch.path.join("verdict"), scratch.path.join("output"));
    let script = r#"ulimit -f "$1" && . "$2" && . "$3" && "$4""#;
    let mut command = Command::new("bash");
    command
        .args(["-c", script, "check", &MOST_WRITTEN.to_string()])
        .args([exercise.dir.join("../../kit.sh"), exercise.dir.join("check.sh"), PathBuf::from(&test.name)])
        .env("VERDICT", &verdict)
        .env("ANSWER", &answer.files)
        .env("STUDENT", student::prefix())
        .env("LEARN", env::current_exe().context("where podling-learn is")?)
        .env("LC_ALL", "C")
        // An error of the student's program is one line of its output, which a backtrace would bury.
        .env_remove("RUST_BACKTRACE")
        .current_dir(scratch.work()?)
        .stdin(Stdio::null())
        .stdout(File::create(&output)?)
        .stderr(File::options().append(true).open(&output)?)
        .process_group(0);
    if let Some(program) = &answer.program {
        command.env("PROGRAM", student::program(program, &scratch.path)?).env("PROGRAM_FILE", program);
    }
    let child = command.spawn().map_err(|error| cured(error, "running bash", "install bash"))?;
    let shell = Process::open(Pid::from_raw(child.id().cast_signed()))?.context("the shell is our child")?;
    let in_time = shell.await_end(PollTimeout::try_from(patience(test)).unwrap_or(PollTimeout::MAX))?;
    let status = if in_time { Some(shell.reap()?.status()) } else { None };
    if status == Some(0) {
        let_end();
    }
    let left = kill_all_children();
    let said = fs::read_to_string(&verdict).unwrap_or_default();
    let loud = fs::metadata(&output)?.len() >= MOST_WRITTEN << 10;
    let output = shown(&output)?;
    let wrong = |message: String| Outcome::Wrong { message, output: output.clone(), late: status.is_none() };
    let outcome = match (said.split_once('\n').unwrap_or_default(), status) {
        (("wrong", message), _) => wrong(message.trim_end().to_owned()),
        (("unfit", lack), _) => {
            let (lacks, cure) = lack.trim_end().split_once('\n').unwrap_or((lack.trim_end(), ""));
            Outcome::Unfit { lacks: lacks.to_owned(), cure: cure.to_owned() }
        }
        _ if loud => wrong("it writes without end".to_owned()),
        (_, Some(0)) => Outcome::Passed,
        (_, None) => wrong(format!("it had not ended after {} seconds, and was killed", patience(test).as_secs())),
        (_, Some(status)) => Outcome::Broken {
            message: format!("{}: the test {} ended with {status} and said nothing: {output}", exercise.id, test.name),
        },
    };
    Ok((outcome, left))
}

/// How long a test may take. Where everything is slow (an emulated processor), whoever runs us says so.
fn patience(test: &Test) -> Duration {
    let least = env::var("PODLING_TEST_PATIENCE").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    Duration::from_secs(test.seconds.max(least))
}

/// Waits a little for who is about to end: a test that has passed has seen the last that a program does, and not its end.
fn let_end() {
    let deadline = Instant::now() + Duration::from_secs(2);
    while Instant::now() < deadline && children().into_iter().any(lives) {
        thread::sleep(Duration::from_millis(5));
    }
}

/// Kills everything that descends from us, as far as we may: who orphans his children gives them to us, their subreaper.
/// Returns how many were found living.
fn kill_all_children() -> usize {
    let mut found: BTreeSet<_> = children().into_iter().filter(|child| lives(*child)).collect();
    student::kill_everything();
    loop {
        for child in children() {
            if lives(child) {
                found.insert(child);
            }
            let _ = kill(child, Signal::SIGKILL);
        }
        if waitpid(None, None).is_err() {
            return found.len();
        }
    }
}

fn lives(pid: Pid) -> bool {
    Stat::of(pid).is_ok_and(|stat| stat.is_some_and(|stat| stat.lives()))
}

/// Our children, as /proc tells them.
fn children() -> Vec<Pid> {
    let path = format!("/proc/self/task/{}/children", gettid());
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().filter_map(|word| word.parse().ok()).map(Pid::from_raw).collect()
}

/// The output as it is shown: not too much of it, and nothing that a terminal would obey.
fn shown(path: &Path) -> Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MOST_SHOWN)))?;
    let mut bytes = Vec::new();
    file.take(MOST_SHOWN).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().filter(|line| !tells_of_a_kill(line)).collect();
    let text: String =
        lines.join("\n").chars().filter(|char| *char == '\n' || *char == '\t' || !char.is_control()).collect();
    Ok(text.trim_end().to_owned())
}

/// Whether it is what a check's shell says of a process that was killed: `…/check.sh: line 7:  4305 Killed   sleep 1000`.
/// The check has killed it, and means nobody by that.
fn tells_of_a_kill(line: &str) -> bool {
    let Some((_, rest)) = line.split_once(".sh: line ") else { return false };
    let words: Vec<_> = rest.split_whitespace().take(3).collect();
    matches!(*words, [number, pid, "Killed"]
        if number.strip_suffix(':').is_some_and(|it| it.parse::<u32>().is_ok()) && pid.parse::<u32>().is_ok())
}
