//! Inputs that nobody thought of: for each thing that a stranger may hand to podling, a function that reads it and says
//! what must hold whatever it was.
//!
//! cargo-fuzz calls these functions with what it makes up (`fuzz_targets/`, three lines each), and `cargo test -p fuzz`
//! with the seeds: small files by hand or by `seeds/make`, named after what they try, and every input that has ever found a
//! fault. So what was mended stays mended without a nightly compiler.
//!
//! A property is an assertion. That nothing panics, nothing is written where it does not belong, no time and no memory is
//! spent beyond what the input is worth, goes without saying; what each function holds besides stands at its head.

// That a target panics is how it speaks. Inputs are small: counting their bytes needs no library.
#![allow(clippy::missing_panics_doc, clippy::naive_bytecount)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs};

mod attach;
mod config_json;
mod conmon;
mod handover;
mod layer;
mod log_lines;
mod manifest;
mod reference;
mod words;

pub use attach::attach;
pub use config_json::config_json;
pub use conmon::conmon;
pub use handover::handover;
pub use layer::layer;
pub use log_lines::log_lines;
pub use manifest::manifest;
pub use reference::reference;
pub use words::words;

/// What a target is called, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All of them; `seeds/` has a directory for each.
pub const TARGETS: [Target; 9] = [
    ("attach", attach),
    ("config_json", config_json),
    ("conmon", conmon),
    ("handover", handover),
    ("layer", layer),
    ("log_lines", log_lines),
    ("manifest", manifest),
    ("reference", reference),
    ("words", words),
];

/// A target's program: cargo-fuzz's, or without it one that runs the files it is given (`cargo run -p fuzz --bin layer
/// FILE…`), so that a crash can be looked at with a stable compiler and a debugger.
#[macro_export]
macro_rules! target {
    ($target:path) => {
        #[cfg(fuzzing)]
        libfuzzer_sys::fuzz_target!(|data: &[u8]| $target(data));
        #[cfg(not(fuzzing))]
        fn main() -> std::process::ExitCode {
            $crate::run_files($target)
        }
    };
}

/// Runs a target on each file that the command line names.
pub fn run_files(target: fn(&[u8])) -> ExitCode {
    for file in env::args_os().skip(1).map(PathBuf::from) {
        match fs::read(&file) {
            Ok(data) => target(&data),
            Err(error) => {
                eprintln!("{}: {error}", file.display());
                return ExitCode::FAILURE;
            }
        }
        println!("{}: as it should be", file.display());
    }
    ExitCode::SUCCESS
}

/// A new directory, which goes when this does. Not by a random name: a fuzzer that runs an input twice shall see the same.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("podling-fuzz-{}-{number}", std::process::id()));
        fs::create_dir(&path).expect("a temporary directory of our own");
        Self(path)
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).expect("our own directory");
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        open_up(&self.0);
        let parent = fs::File::open(env::temp_dir()).expect("there it was made");
        let name = self.0.file_name().expect("it has a name").to_owned();
        podling::image::layer::remove_all(std::os::fd::AsFd::as_fd(&parent), &name).expect("our own directory");
    }
}

/// Lets its owner into every directory: a layer may have shut him out.
fn open_up(directory: &Path) {
    let _ = fs::set_permissions(directory, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

/// Cuts the first byte off an input: a choice between so many ways to go on.
fn choice(data: &[u8], ways: u8) -> (u8, &[u8]) {
    data.split_first().map_or((0, data), |(first, rest)| (first % ways, rest))
}
