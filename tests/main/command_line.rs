//! The command line itself: help, misuse, and that `alias podman=podling` holds for how words are written.

use crate::world::World;

/// What a command line that is wrong is answered, under the line itself.
fn misuse(world: &World, text: &mut String, words: &[&str]) {
    let output = world.podling(words);
    text.push_str(&format!("$ podling {}\n{}{}[{}]\n", words.join(" "), output.stdout, output.stderr, output.status));
}

both!(help_of_the_program_and_of_run_are_on_standard_output, |world| {
    world.snapshot("help", world.podling(["--help"]).ok());
    assert_eq!(world.podling(["help"]).ok(), world.podling(["--help"]).ok());
    world.snapshot("help_run", world.podling(["run", "--help"]).ok());
    world.snapshot("help_container", world.podling(["container", "--help"]).ok());
    // -h is run's --hostname, and elsewhere help.
    assert_eq!(world.podling(["ps", "-h"]).ok(), world.podling(["help", "ps"]).ok());
    assert!(world.podling(["run", "-h"]).fails(125).contains("flag needs an argument: -h"));
});

both!(every_verb_has_help, |world| {
    let help = world.podling(["--help"]).ok().to_owned();
    let commands = help.split("Commands:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap_or_default();
    let verbs: Vec<_> = commands.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(verbs.len() > 30, "{help}");
    for verb in verbs {
        let said = world.podling([verb, "--help"]).ok().to_owned();
        assert!(said.contains(&format!("Usage: podling {verb}")), "{said}");
    }
});

both!(what_is_wrong_with_a_command_line_is_said_in_a_line, |world| {
    let mut text = String::new();
    for words in [
        &["nosuch"][..],
        &["pss"],
        &["container", "nosuch"],
        &["--nosuch", "ps"],
        &["ps", "--nosuch"],
        &["ps", "--formt", "x"],
        &["ps", "--all=perhaps"],
        &["ps", "-x"],
        &["ps", "--format"],
        &["ps", "extra"],
        &["ps", "--sort", "colour"],
        &["ps", "--filter", "colour=red"],
        &["ps", "--filter", "name"],
        &["ps", "--filter", "status=asleep"],
        &["ps", "--filter", "exited=x"],
        &["ps", "--last", "2", "--latest"],
        &["ps", "--format", "{{.Id"],
        &["run"],
        &["run", "-d", "-a", "stdin", "x"],
        &["run", "--platform", "windows/amd64", "x"],
        &["exec"],
        &["stop"],
        &["stop", "-a", "x"],
        &["stop", "-t", "soon", "x"],
        &["kill", "-s", "WHAT", "x"],
        &["rm", "nosuch"],
        &["rmi"],
        &["rmi", "-a", "x"],
        &["tag", "x"],
        &["tag", "x", "UPPER"],
        &["untag", "nosuch"],
        &["history", "nosuch"],
        &["image", "inspect", "nosuch"],
        &["images", "--filter", "colour=red"],
        &["pull", "--creds", ":x", "y"],
        &["pull", "--platform", "linux", "y"],
        &["save", "--format", "zip", "x"],
        &["load", "-i", "/nonexistent"],
        &["import", "/nonexistent"],
        &["login", "--password-stdin", "r"],
        &["logout", "nowhere.example"],
        &["start", "-a", "x", "y"],
        &["--cgroup-manager", "none", "ps"],
        &["--explain=xml", "ps"],
    ] {
        misuse(world, &mut text, words);
    }
    world.snapshot("misuse", &text);
});

both!(switches_take_values_and_words_after_the_image_are_the_programs, |world| {
    let image = world.image("witness");
    world
        .podling(["create", "--network=none", "--name=a", "--tty=false", "-i=true", image, "show", "-it", "--rm"])
        .ok();
    world.podling(["create", "--network", "none", "--name", "b", "--pids-limit", "-1", image, "--", "x"]).ok();
    let said = world.podling(["ps", "-a", "--no-trunc", "--format", "{{.Names}} {{.Command}}"]).ok().to_owned();
    assert!(said.contains(" show -it --rm") && said.contains(" -- x"), "{said}");
    assert_eq!(world.podling(["container", "ls", "--all=false", "-q"]).ok(), "");
});

both!(a_reader_that_stops_is_no_error, |world| {
    let image = world.image("witness");
    world.podling(["create", "--network=none", image]).ok();
    let podling = crate::setup::setup().bin("podling");
    let line = format!("{} ps -a --format '{{{{json .}}}}' | true; echo ${{PIPESTATUS[0]}}", podling.display());
    let output = world.program("bash", ["-c", &line]);
    assert_eq!(output.stderr, "", "{output}");
});
