//! Each exercise is sound: starters fail every test, solutions pass, mutants are told what they did wrong. And the proof
//! can fail: planted faults.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::learn_with;
use crate::running::{Input, Running, patience};
use crate::setup::setup;
use crate::skip::skip;
use crate::world::World;

/// A chapter's exercises, each twice at the same time: it must be the same. (Some wait for wrong answers to hang, so all of
/// them go side by side.)
fn sound(world: &World, chapter: &str) {
    let prepared = &setup().exercises();
    let (place, path) = (prepared.catalogue.join(chapter), prepared.prepared.display().to_string());
    let ids =
        fs::read_dir(place).expect("the chapter's exercises").map(|exercise| exercise.expect("readable").file_name());
    let ids: Vec<_> = ids.map(|id| id.to_string_lossy().into_owned()).collect();
    // Each of many wrong answers may have its checks wait in vain, and several chapters are proved at a time.
    let patience = patience().max(Duration::from_secs(300));
    let once = |id: &str| {
        let mut command = world.command(setup().bin("podling-learn"));
        command.arg("--exercises").arg(&prepared.catalogue).args(["prove", "--prepared", &path, id]);
        Running::start(command, Input::Empty).wait_within(patience)
    };
    let twice = |id: &str| {
        std::thread::scope(|threads| {
            let other = threads.spawn(|| once(id));
            (once(id), other.join().expect("a proof says what is wrong, and does not panic"))
        })
    };
    let said: Vec<_> = std::thread::scope(|threads| {
        let each: Vec<_> = ids.iter().map(|id| threads.spawn(|| twice(id))).collect();
        each.into_iter().map(|thread| thread.join().expect("as above")).collect()
    });
    for (first, second) in said {
        if first.status == 3 {
            first.stdout.lines().filter_map(|line| line.split_once("cannot be tried here: ")).for_each(|it| skip(it.1));
            continue;
        }
        first.ok();
        assert_eq!(first.stdout, second.stdout, "twice at once gives the same");
    }
}

as_user!(chapter01, |world| sound(world, "01-fork"));
as_user!(chapter02, |world| sound(world, "02-user-namespace"));
as_user!(chapter03, |world| sound(world, "03-mount"));
as_user!(chapter04, |world| sound(world, "04-pid"));
as_user!(chapter06, |world| sound(world, "06-ipc"));
as_user!(chapter07, |world| sound(world, "07-images"));
as_user!(chapter08, |world| sound(world, "08-monitor"));
as_user!(chapter09, |world| sound(world, "09-systemd"));
as_user!(chapter10, |world| sound(world, "10-pods"));

/// An exercise in a catalogue of this world's own: that of the honest exit status as a shell script, with these changes.
pub fn planted(world: &World, changes: &[(&str, &str)]) -> PathBuf {
    let exercise = |name: &str| format!("planted/01-fork/seven/{name}");
    for dir in ["", "/01-fork", "/01-fork/seven"] {
        world.directory(&format!("planted{dir}"));
    }
    for dir in ["starter", "solution", "mutants"] {
        world.directory(&exercise(dir));
    }
    let usual = [
        (
            "exercise.toml",
            "title = 'Seven'\nkind = 'predict'\nminutes = 1\nstars = 1\nhints = ['a', 'b', 'c']\n\
             [[test]]\nname = 'seven'\ntitle = 'it is seven'\npoints = 2\n",
        ),
        ("task.md", "What is three and four?\n"),
        (
            "check.sh",
            "seven() { [ \"$(answer sum)\" != 8 ] || wrong 'that is one too many'; same 'the sum' 7 \"$(answer sum)\"; }\n",
        ),
        ("starter/answers.toml", "# three and four\nsum = \"?\"\n"),
        ("solution/answers.toml", "# three and four\nsum = \"7\"\n"),
        (
            "mutants/eight.patch",
            "Expect: one too many\n--- a/answers.toml\n+++ b/answers.toml\n@@ -2 +2 @@\n-sum = \"7\"\n+sum = \"8\"\n",
        ),
        ("explain.md", "It is seven.\n"),
    ];
    for (name, text) in usual {
        let text = changes.iter().find(|(changed, _)| *changed == name).map_or(text, |(_, text)| *text);
        world.file(&exercise(name), text);
    }
    let kit = fs::read(setup().exercises().catalogue.join("kit.sh")).expect("the kit");
    world.file("planted/kit.sh", kit);
    world.dir.join("planted")
}

/// What is said of it.
fn said(world: &World, status: i32, changes: &[(&str, &str)]) -> String {
    let catalogue = planted(world, changes);
    let said = learn_with(world, &catalogue, ["prove"]);
    assert_eq!(said.status, status, "{said}");
    said.stdout.trim_end().to_owned()
}

as_user!(a_sound_exercise_is_called_sound, |world| {
    assert_eq!(said(world, 0, &[]), "01-fork/seven: 1 tests, 1 mutants: sound");
});

as_user!(who_is_about_to_end_is_not_left_behind, |world| {
    let check = "seven() { sleep 0.3 & [ \"$(answer sum)\" != 8 ] || wrong 'that is one too many'; same 'the sum' 7 \"$(answer sum)\"; }\n";
    assert_eq!(said(world, 0, &[("check.sh", check)]), "01-fork/seven: 1 tests, 1 mutants: sound");
});

as_user!(planted_faults_are_found, |world| {
    let finds = |fault: &str, changes: &[(&str, &str)]| {
        let said = said(world, 1, changes);
        assert!(said.contains(fault), "{fault}\n{said}");
    };
    let eight_of_nine =
        "Expect: one too many\n--- a/answers.toml\n+++ b/answers.toml\n@@ -1 +1 @@\n-sum = \"9\"\n+sum = \"8\"\n";
    finds("starter: passes the test seven", &[("starter/answers.toml", "sum = \"7\"\n")]);
    finds(
        "solution: fails the test seven: the sum is '9', and should be '7'",
        &[("solution/answers.toml", "sum = \"9\"\n"), ("mutants/eight.patch", eight_of_nine)],
    );
    finds("eight: the patch does not apply", &[("mutants/eight.patch", eight_of_nine)]);
    finds(
        "eight: is told [\"the sum is '8', and should be '7'\"], not \"one too many\"",
        &[("check.sh", "seven() { same 'the sum' 7 \"$(answer sum)\"; }\n")],
    );
    finds("eight: passes", &[("check.sh", "seven() { answer sum >/dev/null; }\n")]);
    finds(
        "task.md gives away a line of the solution: long_secret",
        &[
            ("solution/answers.toml", "# three and four\nsum = \"7\"\nlong_secret = \"forty-two\"\n"),
            ("task.md", "Hm.\nlong_secret = \"forty-two\"\n"),
        ],
    );
    finds(
        "solution: leaves 1 processes behind",
        &[("check.sh", "seven() { sleep 1000 & same 'the sum' 7 \"$(answer sum)\"; }\n")],
    );
    finds("the test seven ended with 127 and said nothing", &[("check.sh", "seven() { nonsense; }\n")]);
});

as_user!(what_the_machine_lacks_is_no_proof, |world| {
    assert_eq!(
        said(world, 3, &[("check.sh", "seven() { unfit 'there is no moon' 'wait for the night'; }\n")]),
        "01-fork/seven: cannot be tried here: there is no moon"
    );
});
