//! A student's way, from the first start to an exercise that is passed; with wrong answers on the way.
//!
//! The catalogue is a planted one whose answers are words: an ordinary user of the tests may have no compiler.

use std::fs;
use std::path::Path;

use super::learn_with;
use super::proofs::planted;
use crate::running::Output;
use crate::setup::setup;
use crate::world::World;

/// podling-learn in the student's directory.
fn learn(world: &World, words: &str) -> Output {
    learn_with(world, &planted(world, &[]), words.split_whitespace())
}

fn answer(world: &World, text: &str) {
    fs::write(world.dir.join("my-exercises/01-fork/seven/answers.toml"), text).expect("the student's file");
}

as_user!(a_student_finds_his_way, |world| {
    assert!(learn(world, "").ok().ends_with("0 of 1 passed.\nWhether this machine can run them all: podling-learn doctor\nBegin with: podling-learn start seven"));
    assert!(learn(world, "check").fails(125).contains("you have not started an exercise here"));
    let begun = learn(world, "start");
    assert!(begun.ok().contains("What is three and four?"), "{begun}");
    let untouched = learn(world, "check");
    assert!(untouched.status == 1 && untouched.stdout.contains("answers.toml has no answer for sum"), "{untouched}");
    answer(world, "sum = \"8\"\n");
    let wrong = learn(world, "check");
    assert!(wrong.status == 1 && wrong.stdout.contains("that is one too many"), "{wrong}");
    assert!(learn(world, "explain").fails(125).contains("seven is explained when you have passed it"));
    for (hint, said) in [(1, "a"), (2, "b"), (3, "c"), (3, "c")] {
        assert_eq!(learn(world, "hint").ok(), format!("Hint {hint} of 3: {said}"));
    }
    answer(world, "sum = \"7\"\n");
    assert!(learn(world, "check seven").ok().contains("Passed."));
    assert_eq!(learn(world, "explain").ok(), "It is seven.");
    assert!(learn(world, "").ok().contains("1 of 1 passed."));
    assert_eq!(learn(world, "start").ok(), "You have passed all exercises.");
});

as_user!(what_was_written_outlives_start_and_reset, |world| {
    learn(world, "start").ok();
    answer(world, "mine\n");
    learn(world, "start").ok();
    let own = world.dir.join("my-exercises/01-fork/seven");
    assert_eq!(fs::read_to_string(own.join("answers.toml")).expect("there"), "mine\n");
    assert!(learn(world, "reset").ok().contains("answers.toml.before-reset-1"));
    assert_eq!(fs::read_to_string(own.join("answers.toml.before-reset-1")).expect("kept"), "mine\n");
    assert!(fs::read_to_string(own.join("answers.toml")).expect("there").contains("sum = \"?\""));
});

as_user!(a_mistake_on_the_command_line_is_one_line_and_a_cure, |world| {
    let wrong = |words: &str| learn(world, words).fails(125).to_owned();
    assert_eq!(wrong("start nine"), "Error: there is no exercise nine\nhint: podling-learn list");
    assert_eq!(wrong("chekc"), "Error: unrecognized subcommand 'chekc'\nhint: podling-learn --help");
    learn(world, "start").ok();
    fs::remove_file(world.dir.join("my-exercises/01-fork/seven/answers.toml")).expect("the student's file");
    assert!(wrong("check").ends_with("answers.toml is missing\nhint: podling-learn reset seven"));
    fs::write(world.dir.join("my-exercises/.podling-learn.json"), "{").expect("the student's file");
    assert!(wrong("check").contains("remove it to begin anew"));
    let nowhere = learn_with(world, Path::new("/proc/nowhere"), ["list"]);
    assert!(nowhere.fails(125).contains("looking for exercises in /proc/nowhere"), "{nowhere}");
});

as_user!(a_machine_that_cannot_is_told_from_a_wrong_answer, |world| {
    let catalogue = planted(world, &[("check.sh", "seven() { unfit 'there is no moon' 'wait for the night'; }\n")]);
    learn_with(world, &catalogue, ["start"]).ok();
    let said = learn_with(world, &catalogue, ["check"]);
    assert_eq!(said.status, 3, "{said}");
    assert!(said.stdout.contains("there is no moon\n    cure: wait for the night"), "{said}");
});

as_user!(a_loud_or_endless_answer_is_ended, |world| {
    let wrong = |check: &str, wanted: &str| {
        let text = "title = 'Seven'\nkind = 'predict'\nminutes = 1\nstars = 1\nhints = ['a', 'b', 'c']\n\
             [[test]]\nname = 'seven'\ntitle = 'it is seven'\npoints = 2\nseconds = 1\n";
        let catalogue = planted(world, &[("check.sh", check), ("exercise.toml", text)]);
        learn_with(world, &catalogue, ["start"]).ok();
        let said = learn_with(world, &catalogue, ["check"]);
        assert!(said.status == 1 && said.stdout.contains(wanted), "{said}");
        assert!(said.stdout.len() < 100_000, "not all of it is shown");
    };
    wrong("seven() { yes; }\n", "it writes without end");
    if std::env::var_os("PODLING_TEST_PATIENCE").is_none() {
        wrong("seven() { setsid sleep 1000; }\n", "it had not ended after 1 seconds");
    }
});

as_user!(watching_checks_again_when_a_file_is_saved, |world| {
    let catalogue = planted(world, &[]);
    learn_with(world, &catalogue, ["start"]).ok();
    let mut command = world.command(setup().bin("podling-learn"));
    command.args(["--exercises".as_ref(), catalogue.as_os_str()]).args(["check", "--watch"]);
    let mut watching = crate::running::Running::start_on_terminal(command);
    watching.expect("answers.toml has no answer for sum");
    watching.expect("[q] quit");
    answer(world, "sum = \"8\"\n");
    watching.expect("that is one too many");
    watching.expect("[q] quit");
    watching.write("h");
    watching.expect("Hint 1 of 3: a");
    // The next that has not passed is this one. Its task comes first, and no check.
    watching.write("n");
    watching.expect("What is three and four?");
    watching.expect("[q] quit");
    answer(world, "sum = \"7\"\n");
    watching.expect("Passed.");
    watching.expect("[q] quit");
    watching.write("e");
    watching.expect("It is seven.");
    watching.write("q");
    assert_eq!(watching.wait().status, 0);
    // Without a terminal there are no keys.
    let said = learn_with(world, &catalogue, ["check", "--watch"]);
    assert!(said.fails(125).contains("watching needs a terminal"), "{said}");
});

as_user!(what_a_check_ends_itself_is_not_told_as_output, |world| {
    let check =
        "seven() { sh -c 'sleep 1000 & wait' & first_child $! >/dev/null; end $!; wrong 'that is one too many'; }\n";
    let by_hand = "seven() { sleep 1000 & kill -KILL $!; wait $!; wrong 'that is one too many'; }\n";
    for check in [check, by_hand] {
        let catalogue = planted(world, &[("check.sh", check)]);
        learn_with(world, &catalogue, ["start"]).ok();
        let said = learn_with(world, &catalogue, ["check"]);
        assert!(said.status == 1 && !said.stdout.contains("it wrote"), "{said}");
    }
});

as_user!(exercises_may_be_named_from_here, |world| {
    planted(world, &[]);
    let here = |words: &[&str]| learn_with(world, Path::new("planted"), words);
    assert_eq!(here(&["prove", "--prepare", "answers"]).ok(), "01-fork/seven: 1 tests, 1 mutants: sound");
    assert_eq!(here(&["prove", "--prepared", "answers"]).ok(), "01-fork/seven: 1 tests, 1 mutants: sound");
});
