//! Containers as a person meets them: run, watch, enter, stop, remove.

use nix::sys::signal::Signal;

use crate::running::{Output, until_exists};
use crate::second_opinion::{self, other_runtime};
use crate::world::World;

/// `podling run --rm --network=none FLAGS… witness WORDS…`
#[track_caller]
fn run(world: &World, flags: &[&str], words: &[&str]) -> Output {
    world.podling([&["run", "--rm", "--network=none"], flags, &[world.image("witness")], words].concat())
}

/// `podling run -d --network=none --name=NAME witness WORDS…`; it is up when this returns.
#[track_caller]
fn start(world: &World, name: &str, words: &[&str]) {
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

// ---------------------------------------------------------------------------------------- what the program sees

both!(descriptors_of_the_caller_do_not_reach_the_program, |world| {
    let fds = run(world, &[], &["fds"]);
    assert_eq!(fds.ok(), "0 /dev/null\n1 pipe\n2 pipe");
});

both!(environment_directory_user_and_host_name_are_as_asked, |world| {
    let env = run(world, &["-e", "COLOUR=blue", "--hostname=box"], &["env"]);
    let env: Vec<_> = env.ok().lines().map(str::to_owned).collect();
    for wanted in ["COLOUR=blue", "HOSTNAME=box", "HOME=/root", "container=podling"] {
        assert!(env.iter().any(|line| line == wanted), "{wanted} is not in {env:?}");
    }
    assert_eq!(run(world, &["--hostname=box"], &["hostname"]).ok(), "box");
    assert_eq!(run(world, &["-w", "/etc"], &["cwd"]).ok(), "/etc");
    let ids = run(world, &["-u", "somebody"], &["ids"]);
    assert!(ids.ok().starts_with("Uid 1000 1000 1000 1000\nGid 1000 1000 1000 1000\nGroups 2000\n"), "{ids}");
    let ids = run(world, &["-u", "5:6"], &["ids"]);
    assert!(ids.ok().starts_with("Uid 5 5 5 5\nGid 6 6 6 6\n"), "{ids}");
});

both!(default_privileges_are_podmans, |world| {
    let caps = run(world, &[], &["caps"]);
    // chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service sys_chroot setfcap
    let expected = "CapInh 0000000000000000\nCapPrm 00000000800405fb\nCapEff 00000000800405fb\n\
                    CapBnd 00000000800405fb\nCapAmb 0000000000000000";
    assert_eq!(caps.ok(), expected);
    assert_eq!(run(world, &[], &["status", "NoNewPrivs", "Seccomp"]).ok(), "NoNewPrivs 0\nSeccomp 2");
    let none = run(world, &["--cap-drop=all", "--security-opt=no-new-privileges"], &["caps"]);
    assert!(none.ok().lines().all(|line| line.ends_with(" 0000000000000000")), "{none}");
    let security = ["--security-opt=no-new-privileges", "--security-opt=seccomp=unconfined"];
    assert_eq!(run(world, &security, &["status", "NoNewPrivs", "Seccomp"]).ok(), "NoNewPrivs 1\nSeccomp 0");
    let one = run(world, &["--cap-drop=all", "--cap-add=net_admin"], &["caps"]);
    assert!(one.ok().contains("CapEff 0000000000001000"), "{one}");
});

both!(only_a_loopback_device_is_in_a_network_of_none, |world| {
    assert_eq!(run(world, &[], &["interfaces"]).ok(), "lo");
});

both!(the_program_is_pid_1_unless_init_is, |world| {
    assert_eq!(run(world, &[], &["pid"]).ok(), "1");
    let below_init = run(world, &["--init"], &["pid"]);
    if second_opinion::is("runc") {
        // Its threads and helpers have used up some numbers.
        assert_ne!(below_init.ok(), "1");
    } else {
        assert_eq!(below_init.ok(), "2");
    }
});

both!(an_init_reaps_orphans_passes_signals_on_and_tells_nothing_of_the_host, |world| {
    let image = world.image("busybox");
    // The orphan ends, is reaped by pid 1, and its /proc entry is gone; a zombie's would stay.
    let script = "orphan=$(sh -c '(exec sleep 0.01) >/dev/null & echo $!'); while [ -e /proc/$orphan ]; do :; done; \
                  trap 'exit 5' TERM; echo up; while :; do sleep 0.01; done";
    world.podling(["run", "-d", "--name=a", "--network=none", "--init", image, "sh", "-c", script]).ok();
    world.spawn(["logs", "-f", "a"]).expect("up");
    let words = world.podling(["exec", "a", "cat", "/proc/1/cmdline"]).ok().to_owned();
    assert!(words.contains("podling-init") && !words.contains("bundle") && !words.contains("--root"), "{words}");
    // catatonit, which is the init below another runtime, is a program like any other and can be looked into.
    if other_runtime().is_none() {
        world.podling(["exec", "a", "cat", "/proc/1/environ"]).fails(1);
    }
    world.podling(["stop", "a"]).ok();
    let code = world.podling(["inspect", "--format={{.State.ExitCode}} {{.HostConfig.Init}}", "a"]).ok().to_owned();
    assert_eq!(code, "5 true", "SIGTERM came through");
});

both!(a_program_below_init_has_the_terminal, |world| {
    let script = "trap 'exit 4' INT; echo ready; while :; do sleep 0.01; done";
    let words = ["run", "--rm", "-it", "--network=none", "--init", world.image("busybox"), "sh", "-c", script];
    let mut program = world.spawn_on_terminal(words);
    program.expect("ready");
    // Ctrl-C goes to the group in the terminal's foreground: the program's, not pid 1's.
    program.write("\x03");
    assert_eq!(program.wait().status, 4);
});

both!(an_init_needs_its_own_pid_namespace_and_a_missing_program_is_told_below_it, |world| {
    let said = run(world, &["--init", "--pid=host"], &["pid"]);
    assert!(said.fails(125).contains("--init needs a PID namespace of the container's own"), "{said}");
    let said = world.podling(["run", "--rm", "--init", "--network=none", world.image("busybox"), "nosuch"]);
    // Below another runtime the init is catatonit, which has one status for all that it cannot do.
    said.fails(if other_runtime().is_none() { 127 } else { 1 });
});

both!(mounts_in_a_container_are_these, |world| {
    let mounts = run(world, &[], &["mounts"]);
    let mut targets: Vec<_> =
        mounts.ok().lines().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    targets.retain(|line| !line.starts_with("/etc/") && !line.starts_with("/run/"));
    for wanted in ["/ overlay", "/proc proc", "/dev tmpfs", "/dev/pts devpts", "/dev/shm tmpfs", "/dev/mqueue mqueue"] {
        assert!(targets.iter().any(|line| line == wanted), "{wanted} is not in\n{mounts}");
    }
});

// ----------------------------------------------------------------------------------------------------- storage

both!(bind_mounts_are_seen_from_both_sides, |world| {
    let shared = world.directory("shared");
    world.file("shared/letter", "from outside\n");
    let writable = format!("{}:/mnt", shared.display());
    assert_eq!(run(world, &["-v", &writable], &["cat", "/mnt/letter"]).ok(), "from outside");
    run(world, &["-v", &writable], &["write", "/mnt/answer", "from inside"]).ok();
    assert_eq!(std::fs::read_to_string(shared.join("answer")).ok().as_deref(), Some("from inside"));
    let read_only = format!("{}:/mnt:ro", shared.display());
    let refused = run(world, &["-v", &read_only], &["write", "/mnt/answer", "x"]);
    assert_eq!(refused.fails(1), "/mnt/answer: Read-only file system (os error 30)");
});

both!(a_volume_outlives_its_containers, |world| {
    run(world, &["-v", "kept:/data"], &["write", "/data/file", "kept"]).ok();
    assert_eq!(run(world, &["-v", "kept:/data"], &["cat", "/data/file"]).ok(), "kept");
    assert_eq!(world.podling(["volume", "ls", "-q"]).ok(), "kept");
    world.podling(["volume", "rm", "kept"]).ok();
    assert_eq!(world.podling(["volume", "ls", "-q"]).ok(), "");
});

both!(a_read_only_container_can_write_to_its_tmpfs_only, |world| {
    let flags = ["--read-only", "--tmpfs=/scratch"];
    let refused = run(world, &flags, &["write", "/file", "x"]);
    assert_eq!(refused.fails(1), "/file: Read-only file system (os error 30)");
    run(world, &flags, &["write", "/scratch/file", "x"]).ok();
});

both!(layers_and_whiteouts_make_one_tree, |world| {
    let image = world.image("layers");
    let see = |words: &[&str]| world.podling([&["run", "--rm", "--network=none", image], words].concat());
    assert_eq!(
        see(&["cat", "/changed", "/merged/old", "/merged/new", "/replaced/new", "/link"]).ok(),
        "middle\nlower\nmiddle\nmiddle\nupper"
    );
    see(&["cat", "/gone"]).fails(1);
    assert_eq!(see(&["ls", "/replaced"]).ok(), "new");
    assert_eq!(see(&["ls", "/merged"]).ok(), "new\nold");
});

both!(files_are_copied_in_and_out, |world| {
    start(world, "store", &["until-term"]);
    let letter = world.file("letter", "hello\n");
    let letter = letter.to_str().expect("plain ASCII");
    world.podling(["cp", letter, "store:/tmp/letter"]).ok();
    assert_eq!(world.podling(["exec", "store", "/witness", "cat", "/tmp/letter"]).ok(), "hello");
    let back = world.dir.join("tmp/.back");
    world.podling(["cp", "store:/etc/passwd", back.to_str().expect("plain ASCII")]).ok();
    assert!(std::fs::read_to_string(&back).is_ok_and(|text| text.starts_with("root:x:0:0")));
    world.podling(["rm", "-f", "store"]).ok();
});

both!(what_a_container_wrote_is_there_when_it_starts_again, |world| {
    let image = world.image("witness");
    world.podling(["run", "--network=none", "--name=writer", image, "write", "/tmp/note", "still here"]).ok();
    let note = world.dir.join("tmp/.note");
    world.podling(["cp", "writer:/tmp/note", note.to_str().expect("plain ASCII")]).ok();
    assert_eq!(std::fs::read_to_string(note).ok().as_deref(), Some("still here"));
    world.podling(["rm", "writer"]).ok();
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
