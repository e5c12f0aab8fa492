//! The exercises as their authors wrote them: a folder each, below a folder for each chapter.
//!
//! ```text
//! exercises/05-cgroups/pids-limit/
//!   exercise.toml   title, kind, minutes, points, needs, hints, tests
//!   task.md         what is asked
//!   starter/        the student's files, as he gets them: main.rs, answers.toml, answer.md or run.sh
//!   check.sh        one shell function a test (on ../../kit.sh); what it looks at are facts: /proc, files, exit statuses
//!   solution/       the files of starter/, solved
//!   mutants/        wrong answers as patches of solution/, each with the message that it must get
//!   explain.md      what there was to learn; shown after passing
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use podling::hint::hinted;
use serde::Deserialize;

/// What is asked of the student.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Write the missing mechanism.
    Fill,
    /// Find what is wrong.
    Bug,
    /// Say what will happen; the machine is then asked.
    Predict,
    /// Add to a program that works.
    Extend,
    /// Find a number out.
    Measure,
    /// Break out of a container that is too weak, or mend it.
    Attack,
    /// Explain in words, for a person to read.
    Written,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Fill => "fill in",
            Self::Bug => "find the bug",
            Self::Predict => "predict",
            Self::Extend => "extend",
            Self::Measure => "measure",
            Self::Attack => "attack",
            Self::Written => "write",
        }
    }
}

/// One thing that is looked at, and what it is worth.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Test {
    /// The function of check.sh.
    pub name: String,
    /// What holds if it passes, as a sentence.
    pub title: String,
    /// What it is worth.
    pub points: u32,
    /// How long it may take, in seconds.
    #[serde(default = "usual_time")]
    pub seconds: u64,
}

fn usual_time() -> u64 {
    20
}

/// The text of exercise.toml.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    title: String,
    kind: Kind,
    minutes: u32,
    stars: u8,
    #[serde(default)]
    needs: Vec<String>,
    hints: [String; 3],
    #[serde(default, rename = "test")]
    tests: Vec<Test>,
}

/// One exercise.
#[derive(Debug, Clone)]
pub struct Exercise {
    /// Its folder's name, by which people call it.
    pub id: String,
    /// The folder of its chapter: `05-cgroups`.
    pub chapter: String,
    pub title: String,
    pub kind: Kind,
    pub minutes: u32,
    pub stars: u8,
    /// What the machine must have, for people to read; what it has is asked by the tests themselves.
    pub needs: Vec<String>,
    /// From a nudge to nearly the answer.
    pub hints: [String; 3],
    /// Empty for written ones.
    pub tests: Vec<Test>,
    /// Where the author's files are.
    pub dir: PathBuf,
}

impl Exercise {
    fn read(chapter: &str, dir: &Path) -> Result<Self> {
        let text = fs::read_to_string(dir.join("exercise.toml"))?;
        let Manifest { title, kind, minutes, stars, needs, hints, tests } = toml::from_str(&text)?;
        let id = name_of(dir);
        if tests.is_empty() != (kind == Kind::Written) {
            bail!("written exercises have no tests, and all others have some");
        }
        let (chapter, dir) = (chapter.to_owned(), dir.to_owned());
        Ok(Self { id, chapter, title, kind, minutes, stars, needs, hints, tests, dir })
    }

    /// Where it is in a student's folder, and below the author's: `05-cgroups/pids-limit`.
    pub fn place(&self) -> PathBuf {
        Path::new(&self.chapter).join(&self.id)
    }

    /// All that can be had for it.
    pub fn points(&self) -> u32 {
        self.tests.iter().map(|test| test.points).sum()
    }

    /// One of its texts: task.md, explain.md.
    pub fn text(&self, name: &str) -> Result<String> {
        let path = self.dir.join(name);
        fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
    }

    /// The names of the student's files: those of starter/.
    pub fn files(&self) -> Result<Vec<String>> {
        names(&self.dir.join("starter"))
    }

    /// Whether it is a program to compile.
    pub fn is_program(&self) -> bool {
        self.dir.join("starter/main.rs").exists()
    }
}

/// All exercises below a folder, in the order of the chapters and then of their difficulty.
pub struct Catalogue {
    pub root: PathBuf,
    pub exercises: Vec<Exercise>,
}

impl Catalogue {
    pub fn read(root: &Path) -> Result<Self> {
        let mut exercises = Vec::new();
        let chapters = names(root).with_context(|| format!("looking for exercises in {}", root.display()))?;
        for chapter in chapters.iter().filter(|name| name.starts_with(|first: char| first.is_ascii_digit())) {
            for id in names(&root.join(chapter))? {
                let dir = root.join(chapter).join(id);
                let exercise = Exercise::read(chapter, &dir);
                exercises.push(exercise.with_context(|| format!("the exercise {}", dir.display()))?);
            }
        }
        if exercises.is_empty() {
            return Err(hinted(
                format!("there are no exercises in {}", root.display()),
                "say where they are: --exercises DIRECTORY, or export PODLING_EXERCISES=DIRECTORY",
            ));
        }
        exercises.sort_by_key(|exercise| (exercise.chapter.clone(), exercise.stars, exercise.minutes));
        for (at, exercise) in exercises.iter().enumerate() {
            if exercises[..at].iter().any(|other| other.id == exercise.id) {
                bail!("two exercises are named {}", exercise.id);
            }
        }
        Ok(Self { root: root.to_owned(), exercises })
    }

    /// The exercise that somebody names: by its id, by its place, or by a beginning that only one id has.
    pub fn find(&self, name: &str) -> Result<&Exercise> {
        let name = name.trim_end_matches('/');
        let exactly = |exercise: &&Exercise| exercise.id == name || exercise.place() == Path::new(name);
        if let Some(exercise) = self.exercises.iter().find(exactly) {
            return Ok(exercise);
        }
        match *self.exercises.iter().filter(|exercise| exercise.id.starts_with(name)).collect::<Vec<_>>() {
            [exercise] => Ok(exercise),
            [] => Err(hinted(format!("there is no exercise {name}"), "podling-learn list")),
            ref several => {
                let ids: Vec<_> = several.iter().map(|exercise| &*exercise.id).collect();
                Err(hinted(format!("{name} may mean {}", ids.join(" or ")), "write more of it"))
            }
        }
    }

    /// Those that somebody names, each an exercise or a chapter (`5`, `05-cgroups`); all, if he names none.
    pub fn select(&self, names: &[String]) -> Result<Vec<&Exercise>> {
        if names.is_empty() {
            return Ok(self.exercises.iter().collect());
        }
        let mut chosen = Vec::new();
        for name in names {
            let number = name.parse::<u8>().ok().map(|number| format!("{number:02}-"));
            let of_chapter = |exercise: &&Exercise| {
                exercise.chapter == *name || number.as_ref().is_some_and(|number| exercise.chapter.starts_with(number))
            };
            let before = chosen.len();
            chosen.extend(self.exercises.iter().filter(of_chapter));
            if chosen.len() == before {
                chosen.push(self.find(name)?);
            }
        }
        Ok(chosen)
    }
}

/// The names in a directory, sorted; hidden ones are not for us.
pub fn names(dir: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))?;
    let mut names = entries.map(|entry| Ok(name_of(&entry?.path()))).collect::<Result<Vec<_>>>()?;
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    Ok(names)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
