//! The exercises, and the program that gives them out and grades them: that each exercise is sound, that a student finds
//! his way, and that a class is graded whatever is in its submissions.

mod grading;
mod proofs;
mod student;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::running::Output;
use crate::setup::{Setup, cargo, copy_program, elsewhere, make_directory, run, setup, target_directory};
use crate::world::World;

/// The exercises, where an ordinary user can read them.
pub struct Prepared {
    /// As instructors get them, unpacked.
    pub catalogue: PathBuf,
    /// Every answer whose fate is known beforehand, compiled.
    pub prepared: PathBuf,
}

impl Prepared {
    pub fn make(setup: &Setup) -> Self {
        if let Some(elsewhere) = elsewhere() {
            copy_program(&elsewhere.join("podling-learn"), &setup.bin("podling-learn"));
            return Self { catalogue: elsewhere.join("exercises"), prepared: elsewhere.join("prepared") };
        }
        let (root, target) = (Path::new(env!("CARGO_MANIFEST_DIR")), target_directory());
        run(Command::new(cargo()).args(["build", "--quiet", "--package=exercises"]).current_dir(root));
        copy_program(&target.join("debug/podling-learn"), &setup.bin("podling-learn"));
        let learn = |words: &[&str]| {
            let mut command = Command::new(setup.bin("podling-learn"));
            run(command.args(words).env("PODLING_EXERCISES", root.join("exercises")));
        };
        let (catalogue, prepared) = (setup.dir.join("exercises"), setup.dir.join("prepared"));
        let (pack, compiled) = (setup.dir.join("pack.tar.gz"), target.join("exercises"));
        learn(&["pack", "instructor", "--output", &pack.to_string_lossy()]);
        make_directory(&catalogue);
        run(Command::new("tar").arg("-xzf").arg(&pack).arg("-C").arg(&catalogue).arg("--strip-components=1"));
        // What is compiled stays, so that the next run need not do it again; the user gets a copy without the rest.
        learn(&["prove", "--prepare", &compiled.to_string_lossy()]);
        make_directory(&prepared);
        let copy = r#"tar -C "$1" --exclude=./target -c . | tar -C "$2" -x"#;
        run(Command::new("sh").args(["-c", copy, "sh"]).args([&compiled, &prepared]));
        run(Command::new("chmod").args(["-R", "a+rX"]).args([&catalogue, &prepared]));
        Self { catalogue, prepared }
    }
}

/// podling-learn with the exercises at `catalogue`, run by whoever acts in this world.
fn learn_with(world: &World, catalogue: &Path, words: impl IntoIterator<Item: AsRef<OsStr>>) -> Output {
    setup().exercises();
    let before = ["--exercises".as_ref(), catalogue.as_os_str()].map(OsStr::to_owned);
    let words = words.into_iter().map(|word| word.as_ref().to_owned());
    world.program(setup().bin("podling-learn"), before.into_iter().chain(words))
}
