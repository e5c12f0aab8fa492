//! A student's folder: his files, a Cargo package that makes programs of them, and how far he is.
//!
//! ```text
//! my-exercises/
//!   Cargo.toml                    one program for each exercise that was started
//!   05-cgroups/pids-limit/        main.rs, task.md
//!   .podling-learn.json           what was tried and passed
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use podling::hint::hinted;
use serde::{Deserialize, Serialize};

use crate::catalogue::{Catalogue, Exercise};

/// The file by which a student's folder is known.
const RECORD: &str = ".podling-learn.json";
/// Its name, where there is none yet.
pub const NAME: &str = "my-exercises";

/// What happened with one exercise.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Record {
    /// How often it was checked.
    pub checks: u32,
    /// How many of the three hints were shown.
    pub hints: usize,
    /// Whether it has passed; it stays passed.
    pub passed: bool,
    /// What the last check saw that failed: the test's message, and what the program wrote.
    #[serde(default)]
    pub last: Option<Failure>,
}

/// A failure, kept so that a hint can be about it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Failure {
    pub message: String,
    pub output: String,
}

/// How far a student is.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Progress {
    /// The exercise that was started last.
    pub current: Option<String>,
    pub exercises: BTreeMap<String, Record>,
}

/// The folder.
pub struct Folder {
    pub root: PathBuf,
    pub progress: Progress,
}

impl Folder {
    /// The folder that `start` stands in or above, or else `my-exercises` below it.
    pub fn find(start: &Path) -> Result<Self> {
        let above = start.ancestors().find(|dir| dir.join(RECORD).is_file()).map(Path::to_owned);
        let root = above.or_else(|| Some(start.join(NAME)).filter(|dir| dir.join(RECORD).is_file()));
        let root = root.ok_or_else(|| hinted("you have not started an exercise here", "podling-learn start"))?;
        Self::open(&root)
    }

    pub fn open(root: &Path) -> Result<Self> {
        let path = root.join(RECORD);
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let progress = serde_json::from_str(&text)
            .with_context(|| format!("{} is not as podling-learn wrote it; remove it to begin anew", path.display()))?;
        Ok(Self { root: root.to_owned(), progress })
    }

    /// A new one.
    pub fn create(root: &Path) -> Result<Self> {
        fs::create_dir_all(root).with_context(|| format!("making {}", root.display()))?;
        let folder = Self { root: root.to_owned(), progress: Progress::default() };
        folder.save()?;
        Ok(folder)
    }

    pub fn record(&mut self, exercise: &Exercise) -> &mut Record {
        self.progress.exercises.entry(exercise.id.clone()).or_default()
    }

    pub fn has_passed(&self, exercise: &Exercise) -> bool {
        self.progress.exercises.get(&exercise.id).is_some_and(|record| record.passed)
    }

    /// Writes down how far the student is: a new file takes the old one's place, so that no moment loses it.
    pub fn save(&self) -> Result<()> {
        let (new, path) = (self.root.join(format!("{RECORD}.new")), self.root.join(RECORD));
        let text = serde_json::to_string_pretty(&self.progress)?;
        fs::write(&new, text + "\n")
            .and_then(|()| fs::rename(&new, &path))
            .with_context(|| format!("writing {}", path.display()))
    }

    /// Where an exercise's files are.
    pub fn place(&self, exercise: &Exercise) -> PathBuf {
        self.root.join(exercise.place())
    }

    pub fn has_started(&self, exercise: &Exercise) -> bool {
        self.place(exercise).is_dir()
    }

    /// Puts the author's files there, each if it is not there yet; and the program into Cargo.toml.
    pub fn start(&mut self, catalogue: &Catalogue, exercise: &Exercise) -> Result<()> {
        let place = self.place(exercise);
        fs::create_dir_all(&place).with_context(|| format!("making {}", place.display()))?;
        for name in exercise.files()? {
            if !place.join(&name).exists() {
                put(&exercise.dir.join("starter").join(&name), &place.join(&name))?;
            }
        }
        put(&exercise.dir.join("task.md"), &place.join("task.md"))?;
        self.record(exercise);
        self.progress.current = Some(exercise.id.clone());
        self.save()?;
        self.write_package(catalogue)
    }

    /// The author's files again; what the student wrote is kept beside them, under a name that nothing has yet.
    pub fn reset(&mut self, exercise: &Exercise) -> Result<Vec<PathBuf>> {
        let place = self.place(exercise);
        if !self.has_started(exercise) {
            bail!("{} was not started", exercise.id);
        }
        let mut kept = Vec::new();
        for name in exercise.files()? {
            let (theirs, own) = (exercise.dir.join("starter").join(&name), place.join(&name));
            if own.exists() && fs::read(&own)? != fs::read(&theirs)? {
                let free = (1..=u32::MAX)
                    .map(|number| place.join(format!("{name}.before-reset-{number}")))
                    .find(|path| !path.exists());
                let aside = free.context("a free name")?;
                fs::rename(&own, &aside).with_context(|| format!("renaming {}", own.display()))?;
                kept.push(aside);
            }
            put(&theirs, &own)?;
        }
        *self.record(exercise) = Record::default();
        self.save()?;
        Ok(kept)
    }

    /// The programs that were started, as a Cargo package of its own: editors understand it, and `cargo run --bin ID` works.
    fn write_package(&self, catalogue: &Catalogue) -> Result<()> {
        let started = catalogue.exercises.iter().filter(|exercise| exercise.is_program() && self.has_started(exercise));
        let programs = started.map(|exercise| (exercise.id.clone(), exercise.place().join("main.rs")));
        write_package(&self.root, programs)
    }
}

/// Cargo.toml for programs, each with its name and its source. They use what the chapters use to speak to the kernel.
pub fn write_package(root: &Path, programs: impl Iterator<Item = (String, PathBuf)>) -> Result<()> {
    let mut text = String::from(PACKAGE);
    for (name, path) in programs {
        text += &format!("\n[[bin]]\nname = {name:?}\npath = {:?}\n", path.to_string_lossy());
    }
    let path = root.join("Cargo.toml");
    // Untouched if it says so already: Cargo would look at everything again.
    if fs::read_to_string(&path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    fs::write(root.join("Cargo.lock"), LOCK).with_context(|| format!("writing {}/Cargo.lock", root.display()))
}

const PACKAGE: &str = r#"# Written by podling-learn: one program for each exercise that you have started.
[workspace]

[package]
name = "my-exercises"
version = "0.1.0"
edition = "2024"
publish = false

[dependencies]
anyhow = "1"
libc = "0.2"
nix = { version = "0.31", features = ["fs", "hostname", "mount", "mqueue", "poll", "process", "resource", "sched", "signal", "socket", "term", "time", "uio", "user"] }

[profile.dev]
debug = "line-tables-only"
"#;

/// The versions with which podling itself was tested: a build needs no network if podling was built here.
const LOCK: &str = include_str!("../../Cargo.lock");

fn put(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).map(drop).with_context(|| format!("copying {} to {}", from.display(), to.display()))
}
