//! `podling run` as a service: what its manager is told, and the sockets that it hands on. That systemd understands it is
//! tried in `delegated::units`, where one runs.

use std::net::TcpListener;
use std::process::Command;

use crate::manager::Manager;
use crate::running::{Input, Output, Running};
use crate::setup::setup;
use crate::world::World;

/// `podling run --name=box FLAGS… witness WORDS…`, as the manager's service.
fn service(world: &World, manager: &Manager, flags: &[&str], words: &[&str]) -> Output {
    let mut command = world.command(setup().bin("podling"));
    command.env("NOTIFY_SOCKET", &manager.address).args(["run", "--name=box", "--network=none"]);
    command.args(flags).arg(world.image("witness")).args(words);
    Running::start(command, Input::Empty).wait()
}

/// The word by which the manager learns which process to watch.
fn watch(world: &World) -> String {
    format!("MAINPID={}", world.podling(["inspect", "--format={{.State.ConmonPid}}", "box"]).ok())
}

both!(a_container_says_by_itself_that_it_is_ready_and_nothing_else, |world| {
    for (manager, flags) in [
        (Manager::on_path(world), &["-d"][..]),
        (Manager::abstractly(world), &["-d", "--sdnotify=container", "-u=1000"]),
    ] {
        service(world, &manager, flags, &["sleep-forever"]).ok();
        assert_eq!(manager.hear(), watch(world));
        assert_eq!(manager.hear(), "BARRIER=1");
        let say = |word: &str| {
            let socket = "NOTIFY_SOCKET=/run/notify/notify.sock";
            world.podling(["exec", "-e", socket, "box", "/witness", "notify", word]).ok();
        };
        say("MAINPID=1");
        say("READY=1\nSTATUS=at your service");
        assert_eq!(manager.hear(), "READY=1");
        assert!(manager.has_heard_all());
        world.podling(["rm", "-f", "-t0", "box"]).ok();
    }
});

both!(its_program_is_told_where, |world| {
    let manager = Manager::on_path(world);
    let told = service(world, &manager, &["--rm"], &["env"]);
    assert!(told.ok().lines().any(|line| line == "NOTIFY_SOCKET=/run/notify/notify.sock"), "{told}");
    service(world, &manager, &["--rm", "--read-only"], &["notify", "READY=1"]).ok();
    assert_eq!(manager.hear(), "READY=1", "the main process is the one that systemd has started");
    assert!(manager.has_heard_all());
});

both!(it_is_ready_when_it_is_started_if_nobody_inside_will_say, |world| {
    let manager = Manager::on_path(world);
    service(world, &manager, &["-d", "--sdnotify=conmon"], &["sleep-forever"]).ok();
    assert_eq!(manager.hear(), watch(world) + "\nREADY=1");
    assert_eq!(manager.hear(), "BARRIER=1");
    assert_eq!(world.podling(["inspect", "--format={{.Config.sdNotifyMode}}", "box"]).ok(), "conmon");
    world.podling(["exec", "box", "/witness", "ls", "/run/notify"]).fails(1);
    world.podling(["rm", "-f", "-t0", "box"]).ok();
    let told = service(world, &manager, &["--rm", "--sdnotify=conmon"], &["env"]);
    assert!(!told.ok().contains("NOTIFY"), "{told}");
    assert_eq!(manager.hear(), "READY=1");
});

both!(nothing_is_said_if_that_is_wished, |world| {
    let manager = Manager::on_path(world);
    let told = service(world, &manager, &["--rm", "--sdnotify=ignore"], &["env"]);
    assert!(!told.ok().contains("NOTIFY"), "{told}");
    assert!(manager.has_heard_all());
});

both!(a_manager_that_has_gone_ends_no_container, |world| {
    let manager = Manager::on_path(world);
    let address = manager.address.clone();
    drop(manager.socket);
    let manager = Manager { socket: std::os::unix::net::UnixDatagram::unbound().expect("a socket"), address };
    let told = service(world, &manager, &["--rm", "--sdnotify=conmon"], &["echo", "served"]);
    assert_eq!(told.ok(), "served");
    let said = format!("podling: telling systemd, NOTIFY_SOCKET={}: Connection refused", manager.address);
    assert_eq!(told.stderr.trim_end(), said, "in one line, and the container has run");
});

both!(health_is_not_what_it_waits_for, |world| {
    let said = world.podling(["run", "--rm", "--sdnotify=healthy", "none"]);
    assert!(said.fails(125).contains("podling makes no health checks"), "{said}");
});

/// Runs a command as systemd would that holds a listening socket: it is descriptor 3, and meant for process `whose`.
fn with_socket(world: &World, whose: &str, flags: &[&str], words: &[&str]) -> Output {
    let script = format!(
        "export LISTEN_FDS=1 LISTEN_FDNAMES=web LISTEN_PID={whose}; exec \"$0\" \"$@\" 3<&0 4<$HOME </dev/null"
    );
    let mut shell: Command = world.command("sh");
    shell.args(["-c", &script]).arg(setup().bin("podling")).args(["run", "--rm", "--network=none"]).args(flags);
    shell.arg(world.image("witness")).args(words);
    shell.stdin(std::os::fd::OwnedFd::from(TcpListener::bind("127.0.0.1:0").expect("a loopback device")));
    Running::start(shell, Input::Given).wait()
}

/// The descriptors of a list after standard error, with what they are.
fn further(listed: &Output) -> Vec<String> {
    let kinds = listed.ok().lines().map(|line| line.split(['[', '/']).next().unwrap_or(line).to_owned());
    kinds.skip(3).collect()
}

both!(sockets_that_systemd_opened_are_the_container_s, |world| {
    assert_eq!(further(&with_socket(world, "$$", &[], &["fds"])), ["3 socket"]);
    let told = with_socket(world, "$$", &[], &["env"]);
    for variable in ["LISTEN_FDS=1", "LISTEN_PID=1", "LISTEN_FDNAMES=web"] {
        assert!(told.ok().lines().any(|line| line == variable), "{told}");
    }
    // What is preserved comes after them.
    assert_eq!(further(&with_socket(world, "$$", &["--preserve-fds=1"], &["fds"])), ["3 socket", "4 "]);
    let said = with_socket(world, "$$", &["--preserve-fds=2"], &["fds"]);
    assert!(said.fails(125).contains("file descriptor 5 is not open"), "{said}");
});

both!(sockets_that_were_meant_for_another_are_not, |world| {
    assert_eq!(further(&with_socket(world, "1", &[], &["fds"])), [""; 0]);
    let told = with_socket(world, "1", &[], &["env"]);
    assert!(!told.ok().contains("LISTEN"), "{told}");
});
