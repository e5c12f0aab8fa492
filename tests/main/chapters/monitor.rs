//! Chapter 8: the command may end in any way; the container goes on, and how it ended is still known.

use std::fs;
use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getsid};

use crate::running::{Input, Output, Running, until, until_gone};
use crate::setup::setup;
use crate::world::World;

use super::forbid_user_namespaces;

const CHAPTER: &str = "chapter08_monitor";

fn run(world: &World, words: &[&str]) -> Output {
    world.chapter(CHAPTER, words)
}

fn place(world: &World, name: &str) -> PathBuf {
    world.dir.join("run/chapter08").join(name)
}

fn pid(world: &World, name: &str) -> i32 {
    fs::read_to_string(place(world, name).join("pid")).expect("it was started").parse().expect("a number")
}

/// The parent of a process.
fn parent(pid: i32) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let after_name = stat.rsplit_once(')').expect("a name in parentheses").1;
    after_name.split_whitespace().nth(1).expect("the fourth field").parse().expect("a number")
}

both!(the_command_ends_and_the_container_goes_on, |world| {
    let script = "trap 'exit 7' TERM; echo hello; echo oops >&2; sleep 1000 & wait";
    assert_eq!(run(world, &["start", "one", "sh", "-c", script]).ok(), "one");
    let container = pid(world, "one");
    assert_eq!(run(world, &["ls"]).ok(), format!("one: running, process {container}"));
    let monitor = parent(container);
    let command = fs::read_to_string(format!("/proc/{monitor}/cmdline")).expect("it runs");
    assert!(command.contains("chapter08_monitor"), "the parent is the monitor, not init: {command}");
    let own = getsid(None).expect("our own");
    for process in [container, monitor] {
        assert_ne!(getsid(Some(Pid::from_raw(process))).expect("it runs"), own, "it left our session");
    }
    assert_ne!(getsid(Some(Pid::from_raw(monitor))), Ok(Pid::from_raw(monitor)), "and leads none");
    assert_eq!(fs::read_link(format!("/proc/{monitor}/cwd")).expect("it runs"), PathBuf::from("/"));
    until("it hears signals", || run(world, &["logs", "one"]).ok().contains("oops").then_some(()));
    kill(Pid::from_raw(container), Signal::SIGTERM).expect("it runs");
    run(world, &["wait", "one"]).fails(7);
    assert_eq!(run(world, &["logs", "one"]).ok(), "hello\noops");
    assert_eq!(run(world, &["ls"]).ok(), "one: ended with 7");
    run(world, &["wait", "one"]).fails(7);
    run(world, &["rm", "one"]).ok();
    assert_eq!(run(world, &["ls"]).ok(), "");
    until_gone(monitor);
});

both!(a_status_is_known_however_it_came_about, |world| {
    // A signal from inside reaches process 1 only if it has a handler: there a child of it dies, and it tells.
    for (script, status) in [("exit 0", 0), ("exit 3", 3), ("sh -c 'kill -TERM $$'; exit $?", 143)] {
        run(world, &["start", "one", "sh", "-c", script]).ok();
        assert_eq!(run(world, &["wait", "one"]).status, status, "{script}");
        run(world, &["rm", "one"]).ok();
    }
    run(world, &["start", "killed", "sleep", "1000"]).ok();
    kill(Pid::from_raw(pid(world, "killed")), Signal::SIGKILL).expect("it runs");
    run(world, &["wait", "killed"]).fails(137);
    run(world, &["rm", "killed"]).ok();
});

both!(what_cannot_be_started_is_said_and_leaves_no_name, |world| {
    let said = run(world, &["start", "x", "no-such-program"]).fails(127).to_owned();
    assert_eq!(said, "Error: exec: \"no-such-program\": executable file not found in $PATH");
    run(world, &["start", "x", "/etc/passwd"]).fails(126);
    let said = run(world, &["start", "--root", "/no/such/place", "x", "true"]).fails(125).to_owned();
    assert!(said.starts_with("Error: ") && said.contains("/no/such/place"), "{said}");
    let said = forbid_user_namespaces(world, CHAPTER, &["start", "x", "true"]);
    assert!(said.fails(125).contains("Error: making a user namespace: "), "{said}");
    assert!(said.fails(125).contains("\nhint: "), "{said}");
    assert_eq!(run(world, &["ls"]).ok(), "");
    for name in ["", "a/b", "..", ".x"] {
        run(world, &["start", name, "true"]).fails(125);
    }
    run(world, &["start", "x", "sleep", "1000"]).ok();
    let taken = run(world, &["start", "x", "true"]).fails(125).to_owned();
    assert_eq!(taken, "Error: the name x is taken\nhint: chapter08_monitor rm x");
    assert_eq!(run(world, &["rm", "x"]).fails(125), "Error: x is running");
    kill(Pid::from_raw(pid(world, "x")), Signal::SIGKILL).expect("it runs");
    run(world, &["wait", "x"]).fails(137);
    run(world, &["rm", "x"]).ok();
    assert_eq!(run(world, &["wait", "x"]).fails(125), "Error: there is no container x");
    let mut command = world.command(setup().chapter(CHAPTER));
    command.env_remove("XDG_RUNTIME_DIR").arg("ls");
    let said = Running::start(command, Input::Empty).wait();
    assert!(said.fails(125).starts_with("Error: XDG_RUNTIME_DIR is not set\nhint: export XDG_RUNTIME_DIR="), "{said}");
});

/// `start` with the command or the monitor killed at an event of theirs.
fn start_and_kill(world: &World, fault: &str) -> Output {
    let mut command = world.command(setup().chapter(CHAPTER));
    command.env("PODLING_FAULT", fault).args(["start", "victim", "sh", "-c", "echo said; exit 7"]);
    Running::start(command, Input::Empty).wait()
}

both!(a_command_killed_at_any_moment_loses_nothing, |world| {
    // The attack on who keeps containers alive: its manager is killed. Here the command is, after each thing it asked for.
    let told = run(world, &["--explain=json", "start", "victim", "true"]);
    let events = told.stderr.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let events: Vec<_> = events.filter(|event| event["actor"] == "chapter").collect();
    assert!(events.len() >= 2, "it forks and waits: {told}");
    run(world, &["wait", "victim"]).ok();
    run(world, &["rm", "victim"]).ok();
    for number in 1..=events.len() {
        start_and_kill(world, &format!("chapter:{number}")).fails(137);
        // At once: also before the monitor has done anything, nobody may take it for one that was killed.
        run(world, &["wait", "victim"]).fails(7);
        assert_eq!(run(world, &["logs", "victim"]).ok(), "said");
        run(world, &["rm", "victim"]).ok();
    }
});

both!(a_command_killed_while_it_waits_or_watches_loses_nothing, |world| {
    run(world, &["start", "-t", "box", "sh", "-c", "read answer; exit 7"]).ok();
    for words in [["wait", "box"], ["attach", "box"]] {
        let running = world.spawn_chapter(CHAPTER, words);
        let blocked = format!("/proc/{}/wchan", running.pid());
        until("it waits", || {
            fs::read_to_string(&blocked).ok().filter(|place| place.trim() != "0" && !place.is_empty())
        });
        running.signal(Signal::SIGKILL);
        assert_eq!(running.wait().status, 137);
    }
    assert!(run(world, &["ls"]).ok().starts_with("box: running"));
    let mut answering = world.command(setup().chapter(CHAPTER));
    answering.args(["attach", "box"]);
    let mut answering = Running::start(answering, Input::Pipe);
    answering.write("x\n");
    assert_eq!(answering.wait().status, 7);
    run(world, &["rm", "box"]).ok();
});

both!(a_killed_monitor_is_told_apart_and_leaves_a_name_that_can_be_freed, |world| {
    run(world, &["start", "orphan", "sleep", "1000"]).ok();
    let container = pid(world, "orphan");
    let monitor = parent(container);
    kill(Pid::from_raw(monitor), Signal::SIGKILL).expect("it runs");
    until_gone(monitor);
    // Its container is an orphan now, and nobody will ever know how it ends.
    assert_eq!(run(world, &["ls"]).ok(), "orphan: lost");
    let said = run(world, &["wait", "orphan"]).fails(125).to_owned();
    assert!(said.starts_with("Error: its monitor was killed, and with it what it knew"), "{said}");
    let said = run(world, &["attach", "orphan"]).fails(125).to_owned();
    assert!(said.starts_with("Error: nobody is at its door: it has ended, or its monitor has"), "{said}");
    kill(Pid::from_raw(container), Signal::SIGKILL).expect("it runs on");
    run(world, &["rm", "orphan"]).ok();
});

both!(a_monitor_killed_at_any_moment_hangs_nobody, |world| {
    let told = run(world, &["--explain=json", "start", "victim", "true"]);
    let count = told.stderr.lines().filter(|line| line.contains(r#""actor":"monitor""#)).count();
    assert!(count > 4, "{told}");
    run(world, &["wait", "victim"]).ok();
    run(world, &["rm", "victim"]).ok();
    for number in 1..=count {
        // Three processes are this actor, one after another; whichever it was, the command ends and the name comes free.
        start_and_kill(world, &format!("monitor:{number}"));
        if place(world, "victim").exists() {
            let known = run(world, &["wait", "victim"]).status;
            assert!([7, 125].contains(&known), "monitor:{number} {known}");
            run(world, &["rm", "victim"]).ok();
        }
    }
});

both!(who_is_attached_types_sees_and_leaves, |world| {
    run(
        world,
        &["start", "-t", "tty", "sh", "-c", "stty -echo; echo ready; while read word; do echo got $word; done; exit 3"],
    )
    .ok();
    until("it is ready", || run(world, &["logs", "tty"]).ok().contains("ready").then_some(()));
    let attach = || {
        let mut command = world.command("setsid");
        command.args(["--ctty", "--"]).arg(setup().chapter(CHAPTER)).args(["attach", "tty"]);
        Running::start_on_terminal(command)
    };
    let mut first = attach();
    let mut second = attach();
    until("both are at the door", || {
        let sockets = fs::read_to_string("/proc/net/unix").expect("proc");
        let door = place(world, "tty").join("attach").display().to_string();
        // The door itself, and one end of each connection, bear its name.
        (sockets.lines().filter(|line| line.ends_with(&door)).count() >= 3).then_some(())
    });
    first.write("one\r");
    first.expect("got one");
    second.expect("got one");
    // The keys that lead away. The container and the other person stay.
    first.write("\x10\x11");
    assert_eq!(first.wait().status, 0);
    second.write("two\r");
    second.expect("got two");
    // The end of input, as the container's terminal understands it.
    second.write("\x04");
    assert_eq!(second.wait().status, 3);
    let log = run(world, &["logs", "tty"]);
    assert!(log.ok().contains("got one\r\ngot two"), "{log}");
    assert!(run(world, &["attach", "tty"]).fails(125).starts_with("Error: nobody is at its door: "));
    run(world, &["rm", "tty"]).ok();
});

both!(ctrl_c_is_the_containers, |world| {
    let script = "stty -echo; trap 'echo caught; exit 9' INT; while :; do read word; echo got $word; done";
    run(world, &["start", "-t", "tty", "sh", "-c", script]).ok();
    let mut command = world.command("setsid");
    command.args(["--ctty", "--"]).arg(setup().chapter(CHAPTER)).args(["attach", "tty"]);
    let mut attached = Running::start_on_terminal(command);
    // An answer says that our terminal is raw by now: before, Ctrl-C would end the command.
    attached.write("one\r");
    attached.expect("got one");
    attached.write("\x03");
    assert_eq!(attached.wait().status, 9);
    assert!(run(world, &["logs", "tty"]).ok().contains("caught"));
    run(world, &["rm", "tty"]).ok();
});

both!(it_ends_with_the_status_that_the_engine_records, |world| {
    let image = world.image("busybox");
    for (script, status) in [("exit 7", 7), ("exit 0", 0), ("no-such-program", 127)] {
        run(world, &["start", "one", "sh", "-c", script]).ok();
        let chapter = run(world, &["wait", "one"]).status;
        run(world, &["rm", "one"]).ok();
        world.podling(["run", "-d", "--network=none", "--name=one", image, "sh", "-c", script]).ok();
        let engine: i32 = world.podling(["wait", "one"]).ok().parse().expect("a number");
        world.podling(["rm", "one"]).ok();
        assert_eq!((chapter, engine), (status, status), "{script}");
    }
});

both!(nothing_of_the_callers_stays_open_in_it, |world| {
    // A pipe that a monitor holds keeps its reader waiting: `chapter08_monitor start …` in `$(…)` would never end.
    let script = format!("exec 9>/dev/full; {} start held sleep 1000", setup().chapter(CHAPTER).display());
    assert_eq!(world.program("sh", ["-c", &script]).ok(), "held");
    let container = pid(world, "held");
    for process in [container, parent(container)] {
        let open = fs::read_dir(format!("/proc/{process}/fd")).expect("it runs");
        let open = open.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
        let open: Vec<_> = open.map(|target| target.display().to_string()).collect();
        assert!(!open.iter().any(|target| target.contains("full")), "{open:?}");
    }
    kill(Pid::from_raw(container), Signal::SIGKILL).expect("it runs");
    run(world, &["wait", "held"]).fails(137);
    run(world, &["rm", "held"]).ok();
});

both!(its_help_teaches, |world| {
    world.snapshot("chapter08_help", run(world, &["--help"]).ok());
    let said = run(world, &["start", "alone"]).fails(125).to_owned();
    assert_eq!(
        said,
        "Error: the following required arguments were not provided: <PROGRAM>...\nhint: see 'chapter08_monitor --help'"
    );
});
