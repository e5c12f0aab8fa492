//! What must be so whoever was killed: nobody is said to run who does not, those who had no part in it are as they were, and
//! what was removed has left nothing.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use crate::leftovers;
use crate::setup::setup;
use crate::world::World;

/// Everything that there is of a world: processes, mounts, cgroups, held locks, files.
#[derive(Debug)]
pub struct Picture(BTreeSet<String>);

impl Picture {
    /// Now. `names`: what its cgroups may be called.
    pub fn of(world: &World, names: &[String]) -> Self {
        Self(leftovers::all(world, names).into_iter().collect())
    }

    /// Only the processes, with what they have mounted.
    pub fn processes_of(world: &World) -> Self {
        Self(leftovers::all(world, &[]).into_iter().filter(|line| line.contains("process ")).collect())
    }

    /// Nothing has come and nothing has gone since. What is about to end has a moment for it.
    #[track_caller]
    pub fn holds(&self, world: &World, names: &[String], what: &str) {
        let deadline = Instant::now() + Duration::from_secs(5);
        let only_processes = self.0.iter().all(|line| line.contains("process "));
        loop {
            let now = if only_processes { Self::processes_of(world) } else { Self::of(world, names) };
            if now.0 == self.0 {
                return;
            }
            let more: Vec<_> = now.0.difference(&self.0).collect();
            let less: Vec<_> = self.0.difference(&now.0).collect();
            assert!(Instant::now() < deadline, "{what}\nleft behind: {more:#?}\ngone: {less:#?}");
            let _ = nix::poll::poll(&mut [], 5_u8);
        }
    }
}

/// What podling says of each container is so: its program runs if and only if it is said to.
#[track_caller]
pub fn is_true(world: &World, what: &str) {
    let format = "{{.ID}} {{.Names}} {{.State}}";
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let listed = world.podling(["ps", "--all", "--no-trunc", "--format", format]);
        assert_eq!(listed.status, 0, "{what}: {listed}");
        let lies: Vec<String> = listed.stdout.lines().filter_map(lie).collect();
        if lies.is_empty() {
            return;
        }
        // A program may end, or begin, in this moment.
        assert!(Instant::now() < deadline, "{what}:\n{}", lies.join("\n"));
        let _ = nix::poll::poll(&mut [], 5_u8);
    }
}

fn lie(line: &str) -> Option<String> {
    let [id, _, state] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("three words: {line}") };
    let said = state == "running" || state == "paused";
    let programs = leftovers::programs_of(id);
    let runs = !programs.is_empty();
    (said != runs).then(|| format!("{line}, but its processes are {programs:?}"))
}

/// Makes old what is new in the image store. A blob without a name stays for an hour, in case another program is still
/// copying its image, and what has arrived of a broken download for a day: so that is what a killed command may leave.
pub fn an_hour_later(world: &World) {
    for directory in ["images/blobs/sha256", "images/partial"] {
        for entry in fs::read_dir(world.data().join(directory)).into_iter().flatten().flatten() {
            let file = fs::File::options().write(true).open(entry.path()).expect("our own file");
            file.set_modified(std::time::SystemTime::UNIX_EPOCH).expect("a file's date can be set");
        }
    }
}

/// The path of a stock image's archive.
pub fn archive(name: &str) -> String {
    setup().archive(name).display().to_string()
}
