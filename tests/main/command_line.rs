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
        &["pod", "create"],
        &["kube", "play", "x"],
        &["generate", "systemd", "x"],
        &["build", "."],
        &["network", "create", "x"],
        &["healthcheck", "run", "x"],
        &["container", "checkpoint", "x"],
        &["image", "mount", "x"],
        &["help", "pod"],
        &["run", "--health-cmd", "true", "x"],
        &["run", "--pod", "x", "y"],
        &["run", "--ip=10.1.2.3", "x"],
        &["run", "--memory-swappiness=10", "x"],
        &["create", "--secret", "x", "y"],
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

both!(a_place_that_is_said_is_stronger_than_one_in_the_environment, |world| {
    let [said, environment] = ["said", "environment"].map(|name| world.directory(name).display().to_string());
    let place = |words: [&str; 5]| {
        let mut command = world.command("podling");
        command.env("PODLING_ROOT", &environment).args(words);
        let output = crate::running::Running::start(command, crate::running::Input::Empty).wait();
        output.ok().to_owned()
    };
    let format = "--format={{.Store.GraphRoot}}";
    assert_eq!(place(["--root", &said, "system", "info", format]), said);
    assert_eq!(place(["system", "info", "--root", &said, format]), said);
    assert_eq!(place(["--log-level", "warn", "system", "info", format]), environment);
});

both!(a_reader_that_stops_is_no_error, |world| {
    let image = world.image("witness");
    world.podling(["create", "--network=none", image]).ok();
    let podling = crate::setup::setup().bin("podling");
    let line = format!("{} ps -a --format '{{{{json .}}}}' | true; echo ${{PIPESTATUS[0]}}", podling.display());
    let output = world.program("bash", ["-c", &line]);
    assert_eq!(output.stderr, "", "{output}");
});

both!(a_shell_is_told_which_words_may_follow, |world| {
    let image = world.image("witness");
    world.podling(["create", "--network=none", "--name=one", image]).ok();
    let tab = |words: &[&str]| world.podling([&["__complete"], words].concat()).ok().replace('\n', " ");
    assert_eq!(tab(&["st"]), "start stop stats");
    assert_eq!(tab(&["container", "in"]), "init inspect");
    assert_eq!(tab(&["run", "--rm", "--pull"]), "--pull");
    assert_eq!(tab(&["ps", "--sort", "na"]), "names");
    assert_eq!(tab(&["rm", "-f", ""]), "one");
    assert_eq!(tab(&["exec", ""]), "", "it does not run");
    assert_eq!(tab(&["run", "-it", "wit"]), "witness:latest witness");
    assert_eq!(tab(&["run", "witness", ""]), "", "the program's words are not ours");
    assert_eq!(tab(&["run", "-v", ""]), "", "files: the shell knows them");
    assert_eq!(tab(&["--cgroup-manager", "sy"]), "", "a value before the verb is left to the shell");
    assert_eq!(tab(&["completion", "z"]), "zsh");
    // What bash does at a tab.
    let script = "source <(podling completion bash); COMP_LINE='podling rm o' COMP_POINT=12; _podling; echo \"${COMPREPLY[*]}\"; \
                  COMP_LINE='podling rmi witness:la' COMP_POINT=22; _podling; echo \"${COMPREPLY[*]}\"";
    assert_eq!(world.program("bash", ["-c", script]).ok(), "one\nlatest");
    for shell in ["zsh", "fish"] {
        assert!(world.podling(["completion", shell]).ok().contains("podling __complete") || shell == "zsh");
    }
    world.podling(["completion", "tcsh"]).fails(125);
});

both!(the_monitor_and_the_log_level_do_what_they_say, |world| {
    let image = world.image("witness");
    let monitor = crate::setup::setup().bin("podling-monitor");
    let monitor = monitor.to_str().expect("plain ASCII");
    let run = |flags: &[&str]| world.podling([flags, &["run", "--rm", "--network=none", image, "exit", "7"]].concat());
    assert_eq!(run(&["--monitor", monitor]).status, 7);
    assert_eq!(run(&["--conmon", "podling-monitor"]).status, 7);
    let mut text = String::new();
    for program in ["/bin/true", "/nonexistent", "no-such-monitor"] {
        text.push_str(run(&["--monitor", program]).fails(125));
        text.push('\n');
    }
    world.snapshot("no_monitor", &text);
    assert!(run(&["--log-level=debug"]).stderr.contains("execve"), "debug narrates");
    assert_eq!(run(&["--log-level=error"]).stderr, "");
});
