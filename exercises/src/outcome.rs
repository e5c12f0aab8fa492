//! What came of checking an exercise.

use serde::{Deserialize, Serialize};

use crate::catalogue::{Exercise, Test};

/// What one test, or a whole exercise, ended with. In the order of what matters more to whoever grades.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    Passed,
    /// Written in words, for a person to read.
    Collected,
    /// The answer is wrong; the message is about the student's mistake, the output is what was said meanwhile.
    Wrong {
        message: String,
        output: String,
        /// It was ended because it took too long: on a busy machine perhaps not its own fault.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        late: bool,
    },
    /// The compiler refused it.
    NotCompiled {
        output: String,
    },
    /// This machine cannot run it: no fault of the student's.
    Unfit {
        lacks: String,
        cure: String,
    },
    /// The test itself went wrong: no fault of the student's either.
    Broken {
        message: String,
    },
}

impl Outcome {
    /// Wrong, and this is why.
    pub fn wrong(message: impl Into<String>) -> Self {
        Self::Wrong { message: message.into(), output: String::new(), late: false }
    }

    /// The exit status that means it.
    pub fn status(&self) -> u8 {
        match self {
            Self::Passed | Self::Collected => 0,
            Self::Wrong { .. } => 1,
            Self::NotCompiled { .. } => 2,
            Self::Unfit { .. } => 3,
            Self::Broken { .. } => 125,
        }
    }

    pub fn word(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Collected => "collected",
            Self::Wrong { .. } => "wrong",
            Self::NotCompiled { .. } => "does not compile",
            Self::Unfit { .. } => "cannot run here",
            Self::Broken { .. } => "check failed",
        }
    }

    /// Whether nobody can tell from it what the student can do.
    pub fn says_nothing(&self) -> bool {
        matches!(self, Self::Unfit { .. } | Self::Broken { .. })
    }
}

/// A test with what came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Tested {
    pub name: String,
    pub title: String,
    /// What it is worth.
    pub of: u32,
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// An exercise with what came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Checked {
    pub id: String,
    pub title: String,
    /// The worst of its tests, or why there was none.
    #[serde(flatten)]
    pub outcome: Outcome,
    pub tests: Vec<Tested>,
}

impl Checked {
    /// An exercise of which no test was run: the same is said of each.
    pub fn untested(exercise: &Exercise, whole: Outcome, each: &Outcome) -> Self {
        let test = |test: &Test| Tested {
            name: test.name.clone(),
            title: test.title.clone(),
            of: test.points,
            outcome: each.clone(),
        };
        let tests = exercise.tests.iter().map(test).collect();
        Self { id: exercise.id.clone(), title: exercise.title.clone(), outcome: whole, tests }
    }

    /// Its answer does not compile. The compiler's words are said once, and not of each test.
    pub fn not_compiled(exercise: &Exercise, words: &str) -> Self {
        let (whole, each) = (words.to_owned(), String::new());
        Self::untested(exercise, Outcome::NotCompiled { output: whole }, &Outcome::NotCompiled { output: each })
    }

    /// Whether something was ended for taking too long.
    pub fn is_late(&self) -> bool {
        let late = |outcome: &Outcome| matches!(outcome, Outcome::Wrong { late: true, .. });
        late(&self.outcome) || self.tests.iter().any(|test| late(&test.outcome))
    }

    /// What the student gets.
    pub fn points(&self) -> u32 {
        self.tests.iter().filter(|test| test.outcome == Outcome::Passed).map(|test| test.of).sum()
    }

    /// What could be had: tests that say nothing about the student do not count.
    pub fn of(&self) -> u32 {
        self.tests.iter().filter(|test| !test.outcome.says_nothing()).map(|test| test.of).sum()
    }
}

/// The first failure that is the student's, else what else there is.
pub fn worst<'a>(outcomes: impl Iterator<Item = &'a Outcome> + Clone) -> Outcome {
    let rank = |outcome: &&Outcome| match outcome {
        Outcome::NotCompiled { .. } => 0,
        Outcome::Wrong { .. } => 1,
        Outcome::Broken { .. } => 2,
        Outcome::Unfit { .. } => 3,
        Outcome::Collected => 4,
        Outcome::Passed => 5,
    };
    outcomes.min_by_key(rank).cloned().unwrap_or(Outcome::Passed)
}
