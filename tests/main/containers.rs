//! Containers as a person meets them: run, watch, enter, stop, remove.

use nix::sys::signal::Signal;

use crate::running::{Output, until_exists};
use crate::second_opinion;
use crate::world::World;

/// `podling run --rm --network=none FLAGS… witness WORDS…`
#[track_caller]
pub fn run(world: &World, flags: &[&str], words: &[&str]) -> Output {
    world.podling([&["run", "--rm", "--network=none"], flags, &[world.image("witness")], words].concat())
}

/// `podling run -d --network=none --name=NAME witness WORDS…`; it is up when this returns.
#[track_caller]
pub fn start(world: &World, name: &str, words: &[&str]) {
    let name = format!("--name={name}");
    world.podling([&["run", "-d", "--network=none", &name, world.image("witness")], words].concat()).ok();
}

#[track_caller]
fn status(world: &World, name: &str) -> String {
    world.podling(["inspect", "--format", "{{.State.Status}}", name]).ok().to_owned()
}

// -------------------------------------------------------------------------------------------- how it ends

both!(exit_status_is_the_programs, |world| {
    for status in [0, 1, 42, 255] {
        assert_eq!(run(world, &[], &["exit", &status.to_string()]).status, status);
    }
});

both!(who_is_killed_by_a_signal_ends_with_128_and_its_number, |world| {
    // As pid 1 a program is immune to its own signals; its child is not, and --init is pid 1 here.
    run(world, &["--init"], &["signal", "9"]).fails(137);
    run(world, &["--init"], &["signal", "15"]).fails(143);
});

both!(a_missing_program_is_127_and_one_that_cannot_be_executed_126, |world| {
    let missing = run(world, &["--entrypoint=/no/such/program"], &[]);
    assert!(missing.fails(127).starts_with("Error: "), "{missing}");
    let data = run(world, &["--entrypoint=/etc/passwd"], &[]);
    assert!(data.fails(126).contains("permission denied") || data.stderr.contains("Permission denied"), "{data}");
});

both!(a_container_that_is_removed_on_exit_leaves_no_trace, |world| {
    run(world, &["--name=brief"], &[]).ok();
    assert_eq!(world.podling(["ps", "-aq"]).ok(), "");
    run(world, &["--name=brief"], &[]).ok();
});

// -------------------------------------------------------------------------------------- what goes in and out

both!(both_streams_arrive_where_they_belong, |world| {
    let output = run(world, &[], &["echo", "to", "standard", "output"]);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("to standard output\n", ""));
    let output = run(world, &[], &["complain", "to", "standard", "error"]);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("", "to standard error\n"));
});

both!(much_output_arrives_whole, |world| {
    assert_eq!(run(world, &[], &["bytes", "3000000"]).ok().len(), 3_000_000);
});

both!(standard_input_is_empty_unless_asked_for, |world| {
    let image = world.image("witness");
    let words = ["run", "--rm", "--network=none", image, "cat"];
    assert_eq!(world.podling_with_input(words, "hello\n").ok(), "");
    let words = ["run", "--rm", "-i", "--network=none", image, "cat"];
    assert_eq!(world.podling_with_input(words, "hello\nagain\n").ok(), "hello\nagain");
});

both!(a_terminal_is_one_on_all_three_streams_and_knows_its_size, |world| {
    let image = world.image("witness");
    let seen = world.spawn_on_terminal(["run", "--rm", "-it", "--network=none", image, "tty"]).wait();
    assert_eq!(seen.ok(), "stdin terminal\r\nstdout terminal\r\nstderr terminal\r");
    let size = world.spawn_on_terminal(["run", "--rm", "-it", "--network=none", image, "size"]).wait();
    assert_eq!(size.ok(), "24 80\r");
});

both!(detach_keys_leave_the_container_running, |world| {
    let image = world.image("witness");
    let mut terminal = world.spawn_on_terminal(["run", "-it", "--network=none", "--name=left", image, "until-term"]);
    terminal.expect("ready");
    terminal.write("\x10\x11");
    terminal.wait().ok();
    assert_eq!(status(world, "left"), "running");
    world.podling(["stop", "left"]).ok();
    world.podling(["rm", "left"]).ok();
});

both!(what_an_attached_client_types_reaches_the_program, |world| {
    let image = world.image("witness");
    world.podling(["create", "-i", "--network=none", "--name=listener", image, "cat"]).ok();
    let mut client = world.spawn_with_input(["start", "--attach", "--interactive", "listener"]);
    client.write("over the wire\n");
    assert_eq!(client.wait().ok(), "over the wire");
    world.podling(["rm", "listener"]).ok();
});

both!(signals_to_podling_reach_the_program, |world| {
    let image = world.image("witness");
    let mut running = world.spawn(["run", "--rm", "--network=none", image, "until-term"]);
    assert_eq!(running.line(), "ready");
    running.signal(Signal::SIGTERM);
    assert_eq!(running.wait().ok(), "ready\nasked to end");
});

// ------------------------------------------------------------------------------------------------- its life

both!(a_container_in_the_background_is_listed_until_it_is_removed, |world| {
    let image = world.image("witness");
    let id = world.podling(["run", "-d", "--network=none", "--name=worker", image, "until-term"]).ok().to_owned();
    assert_eq!(id.len(), 64, "{id}");
    assert_eq!(world.podling(["ps", "--format", "{{.Names}} {{.State}}"]).ok(), "worker running");
    assert_eq!(world.podling(["ps", "-q"]).ok(), &id[..12]);
    assert_eq!(world.podling(["stop", "worker"]).ok(), "worker");
    assert_eq!(world.podling(["ps", "-q"]).ok(), "");
    assert_eq!(world.podling(["ps", "-a", "--format", "{{.Names}} {{.State}}"]).ok(), "worker exited");
    assert_eq!(world.podling(["rm", &id[..6]]).ok(), &id[..6]);
    assert_eq!(world.podling(["ps", "-aq"]).ok(), "");
});

both!(a_container_can_be_created_started_stopped_and_started_again, |world| {
    let image = world.image("witness");
    world.podling(["create", "--network=none", "--name=again", image, "until-term"]).ok();
    assert_eq!(status(world, "again"), "created");
    for _ in 0..2 {
        assert_eq!(world.podling(["start", "again"]).ok(), "again");
        assert_eq!(status(world, "again"), "running");
        world.podling(["stop", "again"]).ok();
        assert_eq!(status(world, "again"), "exited");
    }
    world.podling(["restart", "again"]).ok();
    assert_eq!(status(world, "again"), "running");
    world.podling(["rm", "--force", "again"]).ok();
});

both!(a_program_that_ignores_the_stop_signal_is_killed, |world| {
    start(world, "deaf", &["sleep-forever"]);
    world.podling(["stop", "--time", "1", "deaf"]).ok();
    assert_eq!(world.podling(["inspect", "--format", "{{.State.ExitCode}}", "deaf"]).ok(), "137");
    world.podling(["rm", "deaf"]).ok();
});

both!(kill_sends_the_signal_that_was_named, |world| {
    start(world, "target", &["until-term"]);
    // Before it is ready, a signal to a pid 1 is lost.
    world.spawn(["logs", "-f", "target"]).expect("ready");
    world.podling(["kill", "--signal", "TERM", "target"]).ok();
    assert_eq!(world.podling(["wait", "target"]).ok(), "0");
    world.podling(["kill", "target"]).fails(125);
    world.podling(["rm", "target"]).ok();
});

both!(a_running_container_is_removed_only_by_force, |world| {
    start(world, "busy", &["until-term"]);
    let refused = world.podling(["rm", "busy"]);
    assert_eq!(refused.status, 2, "{refused}");
    world.podling(["rm", "--force", "busy"]).ok();
});

both!(wait_tells_how_it_ended, |world| {
    start(world, "quick", &["exit", "3"]);
    assert_eq!(world.podling(["wait", "quick"]).ok(), "3");
    world.podling(["rm", "quick"]).ok();
});

both!(a_renamed_container_answers_to_its_new_name_only, |world| {
    start(world, "before", &["until-term"]);
    world.podling(["rename", "before", "before"]).ok();
    world.podling(["rename", "before", "after"]).ok();
    assert_eq!(status(world, "after"), "running");
    world.podling(["inspect", "--type=container", "before"]).fails(125);
    world.podling(["rm", "-f", "after"]).ok();
});

both!(a_time_limit_ends_the_container, |world| {
    let image = world.image("witness");
    let output = world.podling(["run", "--network=none", "--name=limited", "--timeout=1", image, "sleep-forever"]);
    output.fails(255); // as Podman has it
    world.podling(["rm", "limited"]).ok();
});

// ------------------------------------------------------------------------------------------------------ logs

both!(logs_keep_what_was_said, |world| {
    start(world, "speaker", &["lines", "5"]);
    world.podling(["wait", "speaker"]).ok();
    assert_eq!(world.podling(["logs", "speaker"]).ok(), "line 1\nline 2\nline 3\nline 4\nline 5");
    assert_eq!(world.podling(["logs", "--tail", "2", "speaker"]).ok(), "line 4\nline 5");
    let with_times = world.podling(["logs", "--timestamps", "--tail=1", "speaker"]);
    assert_eq!(world.redact(with_times.ok()), "<time> line 5");
    world.podling(["rm", "speaker"]).ok();
});

both!(logs_that_are_followed_end_with_the_container, |world| {
    start(world, "source", &["until-term"]);
    let mut follower = world.spawn(["logs", "--follow", "source"]);
    assert_eq!(follower.line(), "ready");
    world.podling(["stop", "source"]).ok();
    assert_eq!(follower.wait().ok(), "ready\nasked to end");
    world.podling(["rm", "source"]).ok();
});

// ------------------------------------------------------------------------------------------------------ exec

both!(exec_enters_a_running_container, |world| {
    start(world, "host", &["until-term"]);
    let exec =
        |flags: &[&str], words: &[&str]| world.podling([&["exec"], flags, &["host", "/witness"], words].concat());
    assert_eq!(exec(&[], &["echo", "inside"]).ok(), "inside");
    exec(&[], &["exit", "9"]).fails(9);
    assert_eq!(exec(&["-w", "/etc"], &["cwd"]).ok(), "/etc");
    assert!(exec(&["-e", "COLOUR=blue"], &["env"]).ok().lines().any(|line| line == "COLOUR=blue"));
    assert!(exec(&["-u", "somebody"], &["ids"]).ok().contains("Uid 1000 1000 1000 1000\nGid 1000 1000 1000 1000"));
    // runc stands between, with a pipe of its own.
    let input = if second_opinion::is("runc") { "pipe" } else { "/dev/null" };
    assert_eq!(exec(&[], &["fds"]).ok(), format!("0 {input}\n1 pipe\n2 pipe"));
    world.podling(["exec", "host", "/no/such/program"]).fails(127);
    world.podling(["exec", "host", "/etc/passwd"]).fails(126);
    let words = ["exec", "-i", "host", "/witness", "cat"];
    assert_eq!(world.podling_with_input(words, "typed\n").ok(), "typed");
    let terminal = world.spawn_on_terminal(["exec", "-it", "host", "/witness", "tty"]).wait();
    assert_eq!(terminal.ok(), "stdin terminal\r\nstdout terminal\r\nstderr terminal\r");
    world.podling(["exec", "-d", "host", "/witness", "write", "/tmp/done", "x"]).ok();
    crate::running::until("the detached program has written", || {
        (exec(&[], &["cat", "/tmp/done"]).status == 0).then_some(())
    });
    world.podling(["rm", "-f", "host"]).ok();
});

// ------------------------------------------------------------------------------------------------- small files

both!(pid_and_id_are_written_where_asked, |world| {
    let files = world.directory("files");
    let (pid, id) = (files.join("pid"), files.join("id"));
    let flags = [format!("--pidfile={}", pid.display()), format!("--cidfile={}", id.display())];
    let image = world.image("witness");
    let said =
        world.podling(["run", "-d", "--network=none", &flags[0], &flags[1], image, "until-term"]).ok().to_owned();
    until_exists(&pid);
    let pid = std::fs::read_to_string(pid).expect("it exists");
    assert!(std::path::Path::new(&format!("/proc/{}", pid.trim())).exists(), "{pid}");
    assert_eq!(std::fs::read_to_string(id).ok().map(|id| id.trim().to_owned()), Some(said.clone()));
    world.podling(["rm", "-f", &said]).ok();
});
