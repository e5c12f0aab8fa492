//! The README's transcript, held true: its commands are run, and what they print must be what the README shows.
//!
//! `UPDATE_README=1 cargo test --test main readme` writes what they print today.

use std::fs;
use std::path::Path;

use crate::second_opinion::other_runtime;

const BLOCK: &str = "```console\n";

/// What differs from run to run and from machine to machine: words become their kind, columns are not counted.
fn normalised(world: &crate::world::World, text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    // Ages are "Less than a second ago", "2 seconds ago": how long the commands took.
    let ages = ["Less than a second", "1 second", "About a second"];
    let timed = lines.map(|line| {
        let line = ages.iter().fold(line, |line, age| line.replace(age, "N seconds"));
        let words: Vec<_> = line.split(' ').collect();
        let words = words.iter().enumerate().map(|(at, word)| {
            let is_number = word.parse::<u32>().is_ok();
            let is_age = is_number && words.get(at + 1) == Some(&"seconds");
            // The second process of a container has the pid 2, unless its runtime's own threads and processes had some.
            let is_pid = is_number && words.get(at + 1) == Some(&"ps") && other_runtime().is_some();
            if is_age || is_pid { "N" } else { word }
        });
        words.collect::<Vec<_>>().join(" ")
    });
    timed.map(|line| world.redact(&line)).collect()
}

both!(the_transcript_is_true, |world| {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = fs::read_to_string(&path).expect("the README");
    let start = readme.find(BLOCK).expect("the README has a transcript") + BLOCK.len();
    let block = &readme[start..start + readme[start..].find("```").expect("the block ends")];

    let mut transcript = String::new();
    for command in block.lines().filter_map(|line| line.strip_prefix("$ ")) {
        let output = world.program("sh", ["-c", &format!("{command} 2>&1")]);
        transcript += &format!("$ {command}\n{}", output.stdout);
    }
    if std::env::var_os("UPDATE_README").is_some() {
        return fs::write(&path, readme.replace(block, &transcript)).expect("the README can be written");
    }
    assert_eq!(normalised(world, &transcript), normalised(world, block), "\n{transcript}");
});
