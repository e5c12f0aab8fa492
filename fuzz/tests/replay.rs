//! The seeds, replayed: what a fuzzer begins with, and whatever has ever made a target fail.

use std::collections::BTreeSet;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use fuzz::TARGETS;

fn seeds() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds")
}

/// The names in a directory; without `only_directories` all.
fn names(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).expect("it is in the repository").flatten();
    entries
        .filter(|entry| entry.path().is_dir() || directory != seeds())
        .map(|it| it.file_name().display().to_string())
        .collect()
}

fn replay(target: &str) {
    let (_, body) = TARGETS.iter().find(|known| known.0 == target).expect("a target");
    let directory = seeds().join(target);
    let failed: Vec<String> = names(&directory)
        .into_iter()
        .filter(|name| {
            let data = fs::read(directory.join(name)).expect("it is in the repository");
            catch_unwind(|| body(&data)).is_err()
        })
        .collect();
    assert!(failed.is_empty(), "these fail again: {failed:?} (cargo run -p fuzz --bin {target} FILE)");
}

macro_rules! replays {
    ($($target:ident),*) => {
        $(#[test]
        fn $target() {
            replay(stringify!($target));
        })*

        #[test]
        fn every_target_is_replayed_and_has_seeds() {
            let known: BTreeSet<String> = TARGETS.iter().map(|target| target.0.to_owned()).collect();
            assert_eq!(BTreeSet::from([$(stringify!($target).to_owned()),*]), known);
            assert_eq!(names(&seeds()), known, "the directories of seeds");
            for target in known {
                let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fuzz_targets/{target}.rs"));
                assert!(program.exists() && !names(&seeds().join(&target)).is_empty(), "{target}");
            }
        }
    };
}

replays!(attach, config_json, conmon, handover, layer, log_lines, manifest, reference, words);

#[test]
fn the_seeds_that_are_made_are_as_make_writes_them() {
    let made = env::temp_dir().join(format!("podling-seeds-{}", std::process::id()));
    fs::create_dir(&made).expect("a directory of our own");
    for file in ["make", "container.json"] {
        fs::copy(seeds().join(file), made.join(file)).expect("it is in the repository");
    }
    let status = Command::new("python3").arg(made.join("make")).status().expect("python3 is installed");
    assert!(status.success());
    for (target, _) in TARGETS {
        for name in names(&made.join(target)) {
            let (new, kept) = (made.join(target).join(&name), seeds().join(target).join(&name));
            assert!(fs::read(&new).ok() == fs::read(&kept).ok(), "{target}/{name} is another: run fuzz/seeds/make");
        }
    }
    fs::remove_dir_all(made).expect("our own directory");
}
