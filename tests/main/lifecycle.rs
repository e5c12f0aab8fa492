//! A container's whole life: who starts it again, who waits, what two commands at once do, and the order it is told in.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::running::{until, until_gone};
use crate::second_opinion::{self, other_runtime};
use crate::world::World;

fn told(world: &World, name: &str, field: &str) -> String {
    world.podling(["inspect", "--format", &format!("{{{{{field}}}}}"), name]).ok().to_owned()
}

fn start(world: &World, name: &str, flags: &[&str], words: &[&str]) {
    let name = format!("--name={name}");
    let begin = ["run", "-d", "--network=none", &name];
    world.podling([&begin[..], flags, &[world.image("witness")], words].concat()).ok();
}

// ------------------------------------------------------------------------------------- started again, without a daemon

both!(who_fails_is_started_again_as_often_as_was_said, |world| {
    start(world, "failing", &["--restart=on-failure:2"], &["exit", "3"]);
    until("it was started twice more, and ended", || {
        let now = world.podling(["inspect", "--format={{.RestartCount}} {{.State.Status}}", "failing"]);
        (now.ok() == "2 exited").then_some(())
    });
    assert_eq!(told(world, "failing", ".State.ExitCode"), "3");
    start(world, "content", &["--restart=on-failure"], &["exit", "0"]);
    assert_eq!(world.podling(["wait", "content"]).ok(), "0");
    assert_eq!(told(world, "content", ".RestartCount"), "0");
});

both!(who_is_always_started_again_stays_down_once_stopped, |world| {
    for policy in ["always", "unless-stopped"] {
        start(world, policy, &[&format!("--restart={policy}")], &["exit", "0"]);
        until("it was started again", || (told(world, policy, ".RestartCount") != "0").then_some(()));
        world.podling(["stop", policy]).ok();
        assert_eq!(told(world, policy, ".State.Status"), "exited");
        world.podling(["rm", policy]).ok();
    }
});

// ------------------------------------------------------------------------------------------------- stop, start, wait

both!(stop_sends_the_signal_that_was_chosen, |world| {
    let image = world.image("busybox");
    let script = "trap 'exit 7' USR1; echo ready; while :; do sleep 0.05; done";
    let flags = ["run", "-d", "--network=none", "--name=chosen", "--stop-signal=USR1"];
    world.podling([&flags[..], &[image, "sh", "-c", script]].concat()).ok();
    assert_eq!(world.spawn(["logs", "-f", "chosen"]).line(), "ready");
    world.podling(["stop", "chosen"]).ok();
    assert_eq!(told(world, "chosen", ".State.ExitCode"), "7");
    world.podling(["stop", "chosen"]).ok();
});

both!(starting_what_runs_changes_nothing, |world| {
    start(world, "steady", &[], &["until-term"]);
    let pid = told(world, "steady", ".State.Pid");
    assert_eq!(world.podling(["start", "steady"]).ok(), "steady");
    assert_eq!(told(world, "steady", ".State.Pid"), pid);
});

both!(wait_takes_several_and_conditions, |world| {
    start(world, "one", &[], &["exit", "1"]);
    start(world, "two", &[], &["exit", "2"]);
    assert_eq!(world.podling(["wait", "one", "two"]).ok(), "1\n2");
    start(world, "up", &[], &["until-term"]);
    world.podling(["wait", "--condition=running", "up"]).ok();
    // It runs, but only when it says so it listens to a request to end.
    until("it is ready", || world.podling(["logs", "up"]).ok().contains("ready").then_some(()));
    let waiting = world.spawn(["wait", "--condition=stopped", "up"]);
    world.podling(["stop", "up"]).ok();
    assert_eq!(waiting.wait().ok(), "0");
});

// ------------------------------------------------------------------------------------------------- all at once

both!(of_two_that_remove_one_container_both_find_it_gone, |world| {
    start(world, "contested", &[], &["until-term"]);
    let both = [world.spawn(["rm", "-f", "contested"]), world.spawn(["rm", "-f", "contested"])];
    for removal in both {
        removal.wait().ok();
    }
    assert_eq!(world.podling(["ps", "-aq"]).ok(), "");
});

both!(thirty_commands_at_once_leave_a_consistent_store, |world| {
    let image = world.image("witness");
    for name in ["a", "b", "c"] {
        start(world, name, &[], &["until-term"]);
    }
    let mut running = Vec::new();
    for round in 0..5 {
        let name = ["a", "b", "c"][round % 3];
        let fresh = format!("--name=new{round}");
        for words in [
            &["run", "--rm", "--network=none", image, "echo", "x"][..],
            &["run", "-d", "--network=none", &fresh, image, "until-term"],
            &["exec", name, "/witness", "echo", "y"],
            &["stop", name],
            &["start", name],
            &["ps", "-a"],
        ] {
            running.push(world.spawn(words));
        }
    }
    for command in running {
        let output = command.wait();
        // An exec may come while its container is stopped; nothing else may fail.
        assert!(output.status == 0 || output.command.contains(" exec "), "{output}");
    }
    let names = world.podling(["ps", "-a", "--format={{.Names}}"]).ok().to_owned();
    let mut names: Vec<_> = names.lines().collect();
    names.sort_unstable();
    assert_eq!(names, ["a", "b", "c", "new0", "new1", "new2", "new3", "new4"]);
});

both!(a_hundred_mixed_commands_at_once_leave_a_consistent_store, |world| {
    let image = world.image("witness");
    for name in ["a", "b"] {
        start(world, name, &[], &["until-term"]);
    }
    world.podling(["volume", "create", "shared"]).ok();
    let pulled = format!("{}/layers", world.registry());
    let mut running = Vec::new();
    for round in 0..9 {
        let name = ["a", "b"][round % 2];
        let [fresh, made, committed, tag] = ["fresh", "made", "committed", "tag"].map(|word| format!("{word}{round}"));
        let named = format!("--name={fresh}");
        let anonymous = format!("--name={made}");
        for words in [
            &["run", "--rm", "--network=none", "--volume=shared:/shared", image, "echo", "x"][..],
            &["run", "-d", "--network=none", &named, image, "until-term"],
            &["create", "--network=none", &anonymous, "--volume=/data", image, "true"],
            &["exec", name, "/witness", "echo", "y"],
            &["commit", "-q", name, &committed],
            &["tag", image, &tag],
            &["volume", "create", &made],
            &["rm", "--ignore", "--force", "--time=0", &fresh],
            &["pull", "-q", &pulled],
            &["image", "prune", "--force"],
            &["restart", "--time=0", name],
            &["ps", "-a"],
        ] {
            running.push(world.spawn(words));
        }
    }
    assert!(running.len() > 100);
    for command in running {
        let output = command.wait();
        // An exec may come while its container is stopped; nothing else may fail.
        assert!(output.status == 0 || output.command.contains(" exec "), "{output}");
    }
    let sorted = |words: &[&str]| {
        let mut lines: Vec<String> = world.podling(words).ok().lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    let names = sorted(&["ps", "-a", "--format={{.Names}}"]);
    for name in ["a", "b"].map(str::to_owned).into_iter().chain((0..9).map(|round| format!("made{round}"))) {
        assert!(names.contains(&name), "{name} of {names:?}");
    }
    let images = sorted(&["images", "--format={{.Repository}}"]);
    let volumes = sorted(&["volume", "ls", "-q"]);
    for round in 0..9 {
        for word in ["committed", "tag"] {
            assert!(images.contains(&format!("localhost/{word}{round}")), "{word}{round} of {images:?}");
        }
        assert!(volumes.contains(&format!("made{round}")), "{volumes:?}");
    }
    assert_eq!(world.podling(["exec", "a", "/witness", "echo", "alive"]).ok(), "alive");
});

// ------------------------------------------------------------------------------------------------- after an accident

/// Kills the monitor of a running container, and returns when it is gone.
fn kill_monitor(world: &World, id: &str) {
    let said = std::fs::read_to_string(world.run_dir().join(format!("containers/{id}/monitor.pid")));
    let said = said.expect("it has a monitor");
    let pid = said.split(' ').next().and_then(|pid| pid.parse().ok()).expect("PID START_TIME");
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("the monitor lives");
    until_gone(pid);
}

both!(the_command_line_may_be_killed_and_the_end_is_known_all_the_same, |world| {
    let run = ["run", "--network=none", "--name=box", world.image("witness"), "until-term"];
    let mut running = world.spawn(run);
    assert_eq!(running.line(), "ready");
    running.signal(Signal::SIGKILL);
    running.wait();
    assert_eq!(told(world, "box", ".State.Status"), "running");
    world.podling(["stop", "box"]).ok();
    assert_eq!(world.podling(["wait", "box"]).ok(), "0");
});

both!(a_cleanup_that_comes_late_leaves_the_next_end_to_its_own_monitor, |world| {
    start(world, "again", &[], &["until-term"]);
    let id = told(world, "again", ".Id");
    let said = std::fs::read_to_string(world.run_dir().join(format!("containers/{id}/monitor.pid")));
    let said = said.expect("it has a monitor");
    let monitor = Pid::from_raw(said.split(' ').next().and_then(|pid| pid.parse().ok()).expect("PID START_TIME"));
    let process: i32 = told(world, "again", ".State.Pid").parse().expect("a pid");
    kill(monitor, Signal::SIGSTOP).expect("the monitor lives");
    kill(Pid::from_raw(process), Signal::SIGKILL).expect("the program lives");
    until("it has ended and nobody knows how", || {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        (stat.is_empty() || stat.contains(") Z ")).then_some(())
    });
    // As the run before would have it, if its own were late.
    world.podling(["container", "cleanup", "again"]).ok();
    assert_eq!(told(world, "again", ".State.Status"), "running", "its monitor has not told of its end yet");
    kill(monitor, Signal::SIGCONT).expect("the monitor still lives");
    assert_eq!(world.podling(["wait", "again"]).ok(), "137");
});

both!(a_container_outlives_its_monitor_and_its_end_is_called_unknown, |world| {
    let ready = |times: usize| {
        // A runtime may leave before the program runs (runc does): a signal that comes before its handler is lost.
        let logs = || world.podling(["logs", "orphan"]).ok().matches("ready").count();
        until("it is ready once more", || (logs() == times).then_some(()));
    };
    start(world, "orphan", &[], &["until-term"]);
    ready(1);
    kill_monitor(world, &told(world, "orphan", ".Id"));
    assert_eq!(told(world, "orphan", ".State.Status"), "running");
    assert_eq!(world.podling(["exec", "orphan", "/witness", "echo", "alive"]).ok(), "alive");
    world.podling(["stop", "orphan"]).ok();
    assert_eq!(told(world, "orphan", ".State.ExitCode"), "-1");
    world.podling(["start", "orphan"]).ok();
    ready(2);
    world.podling(["stop", "orphan"]).ok();
    assert_eq!(told(world, "orphan", ".State.ExitCode"), "0");
});

both!(ports_of_what_ended_unseen_are_free_for_the_next, |world| {
    let image = world.image("witness");
    world.podling(["run", "-d", "--name=first", "-p", "127.0.0.1::80", image, "until-term"]).ok();
    let line = world.podling(["port", "first", "80/tcp"]).ok().to_owned();
    kill_monitor(world, &told(world, "first", ".Id"));
    let pid = told(world, "first", ".State.Pid").parse().expect("a pid");
    world.podling(["kill", "first"]).ok();
    until_gone(pid);
    let mapping = format!("{line}:80");
    world.podling(["run", "-d", "--name=second", "-p", &mapping, image, "until-term"]).ok();
    assert_eq!(told(world, "first", ".State.ExitCode"), "-1");
    world.podling(["rm", "-f", "second"]).ok();
});

both!(a_detached_session_leaves_nothing_and_is_told_of, |world| {
    start(world, "host", &[], &["until-term"]);
    world.podling(["exec", "-d", "host", "/witness", "exit", "5"]).ok();
    let sessions = world.run_dir().join("containers").join(told(world, "host", ".Id")).join("exec");
    until("the session's directory is gone", || {
        std::fs::read_dir(&sessions).is_ok_and(|mut entries| entries.next().is_none()).then_some(())
    });
    let died = ["events", "--stream=false", "--filter=event=exec_died", "--format={{.ContainerExitCode}}"];
    assert_eq!(world.podling(died).ok(), "5");
    assert_eq!(told(world, "host", ".ExecIDs"), "[]");
});

// ------------------------------------------------------------------------------------------------- the narration

/// What every machine narrates alike: the steps that have an order, not what it happens to mask or limit.
const MILESTONES: [(&str, &str, &str); 23] = [
    ("engine", "flock", "/lock"),
    ("engine", "mkdir", "partial"),
    ("engine", "rename", "container"),
    ("engine", "rename", "/bundle/config.json"),
    ("engine", "rename", "/monitor.json"),
    ("engine", "rename", "/process.json"),
    ("engine", "rename", "/partial/"),
    ("engine", "execve", ""),
    ("engine", "connect", ""),
    ("engine", "rmdir", ""),
    ("monitor", "setsid", ""),
    ("monitor", "prctl", ""),
    ("monitor", "execve", ""),
    ("monitor", "pidfd_open", ""),
    ("monitor", "rename", "exit.json"),
    ("runtime", "clone3", ""),
    ("runtime", "write", "exec.fifo"),
    ("init", "setsid", ""),
    ("init", "sethostname", ""),
    ("init", "pivot_root", ""),
    ("init", "read", "exec.fifo"),
    ("init", "capset", ""),
    ("init", "execve", ""),
];

both!(the_narration_of_a_run_has_its_order, |world| {
    let image = world.image("witness");
    let output = world.podling(["--explain=json", "run", "--rm", "--network=none", "--name=told", image, "echo", "hi"]);
    assert_eq!(output.ok(), "hi");
    // Of several processes that speak at once only the order within each is certain.
    let mut processes: Vec<(String, u64, String)> = Vec::new();
    for line in output.stderr.lines() {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        let word = |field: &str| event[field].as_str().unwrap_or_else(|| panic!("no {field} in {line}")).to_owned();
        let (actor, call, arguments) = (word("actor"), word("call"), word("arguments"));
        let topic = word("topic");
        assert!(topic == "part III" || topic.starts_with("chapter "), "{line}");
        assert!(!word("result").is_empty());
        let pid = event["pid"].as_u64().expect("a pid");
        if !MILESTONES.iter().any(|&(who, what, part)| who == actor && what == call && arguments.contains(part)) {
            continue;
        }
        let differs =
            |word: &&str| word.starts_with("--cgroup-manager=") || word.bytes().all(|byte| byte.is_ascii_digit());
        let arguments: Vec<_> = arguments.split(' ').filter(|word| !differs(word)).collect();
        let step = format!("{call} {}\n", arguments.join(" ").replace(&*world.data().to_string_lossy(), "$DATA"));
        match processes.iter_mut().find(|(who, number, _)| *who == actor && *number == pid) {
            Some((_, _, steps)) => steps.push_str(&step),
            None => processes.push((actor, pid, step)),
        }
    }
    processes.sort_by_key(|(actor, _, _)| ["engine", "monitor", "runtime", "init"].iter().position(|it| it == actor));
    let (below, above): (Vec<_>, _) = processes.into_iter().partition(|(who, _, _)| who == "runtime" || who == "init");
    let tell = |processes: &[(String, u64, String)]| -> String {
        let text: String = processes.iter().map(|(actor, _, steps)| format!("{actor}\n{steps}\n")).collect();
        text.replace(&*world.run_dir().to_string_lossy(), "$RUN")
    };
    let runtime = second_opinion::runtime();
    world.snapshot("narration_of_a_run", &tell(&above).replace(&*runtime.to_string_lossy(), "<runtime>"));
    // Another runtime tells nothing.
    if other_runtime().is_none() {
        // A user whose group nobody divided for him has no cgroup for his container.
        world.snapshot("narration_of_a_runtime", &tell(&below).replace(" into its cgroup", ""));
    }
});
