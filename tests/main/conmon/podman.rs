//! Podman with podling-monitor in conmon's place, on our runtime; `./test swaps` repeats it on crun and runc.

use std::os::unix::net::UnixDatagram;

use super::*;
use crate::podman::Podman;
use crate::running::until;
use crate::world::Who;

/// Podman on our monitor, with this image in its store.
fn podman<'w>(world: &'w World, image: &str) -> Podman<'w> {
    let ours = setup().bin("podling-monitor");
    let podman = Podman::on(
        world,
        &second_opinion::runtime(),
        if std::env::var_os("CM_REAL").is_some() { None } else { Some(&ours) },
    );
    podman.give(image, "docker-archive");
    podman
}

/// Podman on its terminal of 24 rows and 80 columns.
fn on_terminal(podman: &Podman, words: &[String]) -> Running {
    let mut command = podman.command();
    command.args(words);
    Running::start_on_terminal(crate::neighbours::controlling(podman.world, &command))
}

fn told(podman: &Podman, name: &str, field: &str) -> String {
    podman.call(&["inspect", "--format", &format!("{{{{{field}}}}}"), name]).ok().to_owned()
}

/// Until the container's log is this.
fn until_logged(podman: &Podman, name: &str, log: &str) {
    until("it speaks", || (podman.call(&["logs", name]).ok() == log).then_some(()));
}

both!(run_logs_stop_and_exit_status, |world| {
    let podman = podman(world, "witness");
    let info = podman.call(&["info", "--format", "{{.Host.Conmon.Version}}"]);
    assert_eq!(info.ok(), concat!("conmon version 2.1.12, podling-monitor ", env!("CARGO_PKG_VERSION")));
    podman.run(&["--rm"], &["exit", "7"]).fails(7);
    let output = podman.run(&["--rm"], &["complain", "to", "stderr"]);
    output.ok();
    assert_eq!((output.stdout.as_str(), output.stderr.lines().last()), ("", Some("to stderr")));
    podman.run(&["-d", "--name=box"], &["until-term", "5"]).ok();
    let monitor = told(&podman, "box", ".State.ConmonPid");
    assert_eq!(fs::read_link(format!("/proc/{monitor}/exe")).expect("it runs"), setup().bin("podling-monitor"));
    until_logged(&podman, "box", "ready");
    podman.call(&["stop", "box"]).ok();
    assert_eq!(podman.call(&["wait", "box"]).ok(), "5");
    until_logged(&podman, "box", "ready\nasked to end");
    assert_eq!(told(&podman, "box", ".State.Status"), "exited");
    podman.call(&["start", "box"]).ok();
    podman.call(&["kill", "box"]).ok();
    assert_eq!(podman.call(&["wait", "box"]).ok(), "137");
    podman.call(&["rm", "box"]).ok();
});

both!(what_cannot_be_run_is_said_with_podman_s_status, |world| {
    let podman = podman(world, "witness");
    let missing = podman.run(&["--rm", "--entrypoint=/nope"], &[]);
    let complaint = missing.fails(127).to_lowercase();
    assert!(complaint.contains("no such file or directory") || complaint.contains("not found"), "{missing}");
    podman.run(&["--rm", "--entrypoint=/proc"], &[]).fails(126);
    assert_eq!(podman.call(&["ps", "-aq"]).ok(), "");
});

both!(input_output_and_their_ends, |world| {
    let podman = podman(world, "witness");
    let mut command = podman.command();
    command.args(podman.run_words(&["--rm", "-i"], "witness", &["cat"]));
    let mut running = Running::start(command, Input::Pipe);
    running.write("one\ntwo");
    assert_eq!(running.wait().ok(), "one\ntwo");
    let much = podman.run(&["--rm"], &["lines", "100000"]);
    assert_eq!((much.ok().lines().count(), much.stdout.lines().last()), (100_000, Some("line 100000")));
    podman.run(&["-d", "--name=box"], &["lines", "1000"]).ok();
    podman.call(&["wait", "box"]).ok();
    until("all is logged", || (podman.call(&["logs", "box"]).ok().lines().count() == 1000).then_some(()));
    assert_eq!(podman.call(&["logs", "--tail=1", "box"]).ok(), "line 1000");
});

both!(logs_can_be_followed_and_a_container_attached_to, |world| {
    let podman = podman(world, "witness");
    podman.run(&["-d", "--name=box"], &["until-term", "3"]).ok();
    let follow = |words: &[&str]| {
        let mut command = podman.command();
        command.args(words);
        Running::start(command, Input::Empty)
    };
    let mut logs = follow(&["logs", "-f", "box"]);
    assert_eq!(logs.line(), "ready");
    let monitor = told(&podman, "box", ".State.ConmonPid");
    let sockets = || {
        let fds = fs::read_dir(format!("/proc/{monitor}/fd")).expect("it runs").flatten();
        fds.filter(|fd| fs::read_link(fd.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"))).count()
    };
    let before = sockets();
    let attached = follow(&["attach", "--no-stdin", "--sig-proxy=false", "box"]);
    until("it is attached", || (sockets() > before).then_some(()));
    podman.call(&["stop", "box"]).ok();
    assert_eq!(attached.wait().ok(), "asked to end");
    assert_eq!(logs.wait().ok(), "ready\nasked to end");
});

both!(a_terminal_is_resized_left_and_come_back_to, |world| {
    let podman = podman(world, "busybox");
    let mut shell = on_terminal(&podman, &podman.run_words(&["-it", "--name=box"], "busybox", &["sh"]));
    shell.expect("# ");
    shell.write("stty size\n");
    shell.expect("24 80\r\n");
    shell.resize(50, 132);
    let terminal = PathBuf::from(format!("/proc/{}/fd/0", told(&podman, "box", ".State.Pid")));
    let terminal = File::options().read(true).write(true).open(terminal).expect("its terminal");
    until("the size changes", || (podling::sys::window_size(terminal.as_fd()) == Ok((50, 132))).then_some(()));
    drop(terminal);
    shell.write("stty size\n");
    shell.expect("50 132\r\n");
    // Podman sees the keys only when they come one by one.
    until("it has let go", || {
        shell.write("\u{10}");
        nix::poll::poll(&mut [], 20_u8).expect("only a moment");
        shell.write("\u{11}");
        nix::poll::poll(&mut [], 20_u8).expect("only a moment");
        shell.child.try_wait().expect("our own child")
    });
    assert_eq!(shell.wait().status, 0);
    assert_eq!(told(&podman, "box", ".State.Status"), "running");
    let mut again = on_terminal(&podman, &["attach", "box"].map(Into::into));
    // The shell has taken the first key for "the line before".
    again.write("\u{15}exit 6\n");
    again.wait();
    assert_eq!(podman.call(&["wait", "box"]).ok(), "6");
});

both!(exec_in_all_its_kinds, |world| {
    let podman = podman(world, "busybox");
    let mut command = podman.command();
    command.args(podman.run_words(&["-d", "--init", "--name=box"], "busybox", &["sleep", "1000"]));
    Running::start(command, Input::Empty).wait().ok();
    let output = podman.call(&["exec", "box", "sh", "-c", "echo out; echo err >&2; exit 9"]);
    assert_eq!((output.fails(9).lines().last(), output.stdout.as_str()), (Some("err"), "out\n"));
    podman.call(&["exec", "box", "true"]).ok();
    podman.call(&["exec", "box", "no-such-program"]).fails(127);
    let mut command = podman.command();
    command.args(["exec", "-i", "box", "cat"]);
    let mut reading = Running::start(command, Input::Pipe);
    reading.write("typed");
    assert_eq!(reading.wait().ok(), "typed");
    podman
        .call(&["exec", "-d", "box", "sh", "-c", "mkfifo /tmp/here; read word < /tmp/here; echo $word > /tmp/heard"])
        .ok();
    until("the session waits", || (podman.call(&["exec", "box", "test", "-p", "/tmp/here"]).status == 0).then_some(()));
    podman.call(&["exec", "box", "sh", "-c", "echo detached > /tmp/here"]).ok();
    until("it has heard", || (podman.call(&["exec", "box", "cat", "/tmp/heard"]).stdout == "detached\n").then_some(()));
    let mut shell = on_terminal(&podman, &["exec", "-it", "box", "sh"].map(Into::into));
    shell.expect("# ");
    shell.write("stty size; exit 4\n");
    shell.expect("24 80\r\n");
    assert_eq!(shell.wait().status, 4);
    podman.call(&["rm", "-f", "-t0", "box"]).ok();
});

both!(a_restart_policy_is_applied_by_the_exit_command, |world| {
    let podman = podman(world, "witness");
    podman.run(&["-d", "--name=box", "--restart=on-failure:2"], &["exit", "3"]).ok();
    until("it has been tried three times", || {
        let told = told(&podman, "box", ".RestartCount}} {{.State.Status}} {{.State.ExitCode");
        (told == "2 exited 3").then_some(())
    });
});

both!(a_time_that_is_up_and_a_log_that_is_not_kept, |world| {
    let podman = podman(world, "witness");
    podman.run(&["--rm", "--timeout=1"], &["sleep-forever"]).fails(255);
    let output = podman.run(&["--name=box", "--log-driver=none"], &["echo", "not kept"]);
    assert_eq!(output.ok(), "not kept");
    podman.call(&["logs", "box"]).fails(125);
    let through = podman.run(&["--rm", "--log-driver=passthrough"], &["echo", "straight", "through"]);
    assert_eq!(through.ok(), "straight through");
});

both!(descriptors_are_passed_on_and_no_others, |world| {
    let podman = podman(world, "witness");
    let inner = podman.command();
    let mut command = world.command("sh");
    command.args(["-c", r#"exec "$@" 3<containers.conf"#, "sh"]).arg(inner.get_program()).args(inner.get_args());
    command.args(podman.run_words(&["--rm", "--preserve-fds=1"], "witness", &["fds"]));
    for (name, value) in inner.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    let seen = Running::start(command, Input::Empty).wait();
    let numbers: Vec<_> = seen.ok().lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(numbers, ["0", "1", "2", "3"], "{seen}");
});

both!(a_service_tells_systemd_that_it_is_ready, |world| {
    let podman = podman(world, "witness");
    let manager = world.dir.join("run/manager");
    let listening = UnixDatagram::bind(&manager).expect("our own directory");
    fs::set_permissions(&manager, std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("our own socket");
    let mut command = podman.command();
    command.env("NOTIFY_SOCKET", &manager);
    command.args(podman.run_words(&["--rm", "--sdnotify=container"], "witness", &["notify", "READY=1"]));
    Running::start(command, Input::Empty).wait().ok();
    let mut told = Vec::new();
    let mut word = [0; 100];
    // Podman says for itself which process is the service's main one.
    while told.last().is_none_or(|last: &String| last != "READY=1") {
        let count = listening.recv(&mut word).expect("a word");
        told.push(String::from_utf8_lossy(&word[..count]).trim().to_owned());
    }
    assert!(told.iter().all(|word| word == "READY=1" || word.starts_with("MAINPID=")), "{told:?}");
});

both!(a_health_check_is_an_exec_session, |world| {
    let podman = podman(world, "witness");
    for (check, status) in [(r#"["/witness", "true"]"#, 0), (r#"["/witness", "false"]"#, 1)] {
        let health = format!("--health-cmd={check}");
        podman.run(&["-d", "--name=box", "--health-interval=disable", &health], &["sleep-forever"]).ok();
        assert_eq!(podman.call(&["healthcheck", "run", "box"]).status, status, "{check}");
        podman.call(&["rm", "-f", "-t0", "box"]).ok();
    }
});

/// As root Podman 4.3 starts no pod on crun or runc in the cgroup tree that the runs with those get; it is the same with conmon.
mod only_ours {
    use super::*;

    both!(a_pod_of_two, |world| {
        let podman = podman(world, "witness");
        let parent = format!("--cgroup-parent=/{}", podman.cgroup);
        let parent: &[&str] = if world.who == Who::Root { &[&parent] } else { &[] };
        let infra = ["--infra-image=localhost/witness", "--infra-command=/witness sleep-forever", "--network=none"];
        podman.call(&[&["pod", "create", "--name=pod"], &infra[..], parent].concat()).ok();
        let member = ["run", "--pod=pod"];
        podman.call(&[&member[..], &["-d", "--name=a", "localhost/witness", "until-term"]].concat()).ok();
        podman.call(&[&member[..], &["-d", "--name=b", "localhost/witness", "until-term"]].concat()).ok();
        let of = |name: &str| podman.call(&["exec", name, "/witness", "namespaces"]).ok().to_owned();
        let shared = |text: &str, kind: &str| text.lines().find(|line| line.starts_with(kind)).map(str::to_owned);
        let (a, b) = (of("a"), of("b"));
        assert_eq!(shared(&a, "ipc"), shared(&b, "ipc"));
        assert_ne!(shared(&a, "mnt"), shared(&b, "mnt"));
        podman.call(&["pod", "stop", "-t1", "pod"]).ok();
        podman.call(&["pod", "rm", "-f", "-t0", "pod"]).ok();
        assert_eq!(podman.call(&["ps", "-aq"]).ok(), "");
    });
}

both!(after_its_monitor_was_killed_podman_finds_its_way, |world| {
    let podman = podman(world, "witness");
    podman.run(&["-d", "--name=box"], &["until-term", "7"]).ok();
    let [monitor, pid] =
        ["ConmonPid", "Pid"].map(|which| told(&podman, "box", &format!(".State.{which}")).parse().expect("a pid"));
    kill(Pid::from_raw(monitor), Signal::SIGKILL).expect("it runs");
    until_gone(monitor);
    assert_eq!(podman.call(&["exec", "box", "/witness", "echo", "alive"]).ok(), "alive");
    assert_eq!(podman.call(&["ps", "--format={{.Names}}"]).ok(), "box");
    podman.remove_orphan("box");
    until_gone(pid);
    assert_eq!(podman.call(&["ps", "-aq"]).ok(), "");
    // Nothing of the container is left beside Podman's own files.
    let exits = fs::read_dir(world.dir.join("run/podman/tmp/exits")).map_or(0, Iterator::count);
    assert_eq!(exits, 0);
});

both!(whoever_kills_podman_in_the_foreground_ends_its_container_s_input, |world| {
    let podman = podman(world, "witness");
    let mut command = podman.command();
    command.args(podman.run_words(&["-i", "--name=box", "--sig-proxy=false"], "witness", &["cat"]));
    let mut running = Running::start(command, Input::Pipe);
    running.write("typed\n");
    until("it runs", || (podman.call(&["ps", "-q"]).ok() != "").then_some(()));
    running.signal(Signal::SIGKILL);
    running.wait();
    // Rootless, an inner half of Podman lives on for a moment; its end is the client's.
    assert_eq!(podman.call(&["wait", "box"]).ok(), "0");
    until_logged(&podman, "box", "typed");
});
