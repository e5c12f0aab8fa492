//! A container whose `container.json` cannot be read: cut off with the power, on a disk that fails, written by hand.
//!
//! It is known by what needs no reading: its directory's name is its id, and a link in `names/` leads to it. Whoever meets
//! it gets an error that says which container it is and how to be rid of it; what is done about it is in `discard`.

use anyhow::Error;

use super::container::short;
use super::store::Paths;
use crate::hint::cured;

/// A container that is there and cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Its id, which is its directory's name.
    pub id: String,
    /// Its name, if it has claimed one.
    pub name: Option<String>,
    why: String,
}

impl Broken {
    /// The error that somebody gets who needs the container, with its cure.
    pub(super) fn error(paths: &Paths, id: &str, why: &Error) -> Error {
        let broken = Self { id: id.into(), name: paths.name_of(id), why: format!("{why:#}") };
        let (said, cure) = (broken.said(), broken.cure());
        cured(broken, said, cure)
    }

    /// The broken container that an error is about.
    pub fn of(error: &Error) -> Option<&Self> {
        error.chain().find_map(|cause| cause.downcast_ref())
    }

    /// That it is broken, in a person's words.
    pub(super) fn said(&self) -> String {
        let name = self.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
        format!("container {}{name} is broken", short(&self.id))
    }

    /// What to do about it.
    pub(super) fn cure(&self) -> String {
        format!("'podling rm --force {}' discards it", short(&self.id))
    }
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for Broken {}
