//! Chapter 9: what a service and its manager say to each other, with a test in the manager's place. That systemd
//! understands it is tried in `delegated::units`, where one runs.

use std::fs;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podling::linux::namespace::{Namespace, identity};

use super::{root_with, without_user_namespaces};
use crate::manager::Manager;
use crate::running::{Input, Output, Running, until_gone};
use crate::setup::setup;
use crate::world::World;

const CHAPTER: &str = "chapter09_systemd";
const HELLO: &str = "chapter09_hello";

fn run(world: &World, words: &[&str]) -> Output {
    world.chapter(CHAPTER, words)
}

/// `chapter09_systemd run WORDS…`, as the manager's service.
fn service(manager: &Manager, world: &World, words: &[&str]) -> Command {
    let mut command = world.command(setup().chapter(CHAPTER));
    command.env("NOTIFY_SOCKET", &manager.address).arg("run").args(words);
    command
}

/// The process that the manager is to watch from now on.
fn hear_main(manager: &Manager) -> i32 {
    let told = manager.hear();
    let pid = told.strip_prefix("READY=1\nMAINPID=").unwrap_or_else(|| panic!("{told}"));
    pid.parse().expect("a number")
}

/// The parent of a process.
pub fn parent(pid: i32) -> i32 {
    let stat = podling::linux::process::Stat::of(Pid::from_raw(pid)).expect("proc");
    stat.expect("it runs").parent
}

/// The children of a process; none if there is no such process.
pub fn children(pid: i32) -> Vec<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().map(|child| child.parse().expect("a number")).collect()
}

/// The only child of a process.
pub fn child(pid: i32) -> i32 {
    let [child] = children(pid)[..] else { panic!("{pid} has {:?} and not one child", children(pid)) };
    child
}

/// What /proc says of a process, with spaces for the zeros between words.
pub fn told(pid: i32, file: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{file}")).expect("it runs").replace('\0', " ")
}

both!(a_container_is_handed_over_and_nobody_of_ours_stays, |world| {
    for manager in [Manager::on_path(world), Manager::abstractly(world)] {
        let started = Running::start(service(&manager, world, &["box", "sleep", "1000"]), Input::Empty);
        let starter = started.pid().as_raw();
        let main = hear_main(&manager);
        // It holds no output of ours: our pipes are the container's.
        until_gone(starter);
        let parent =
            told(main, "stat").rsplit_once(')').expect("a name").1.split_whitespace().nth(1).map(str::to_owned);
        assert_ne!(parent, Some(starter.to_string()));
        let program = child(main);
        assert_eq!(told(program, "cmdline"), "sleep 1000 ");
        let inside = told(program, "status");
        assert!(inside.lines().any(|line| line.starts_with("NSpid:") && line.ends_with("\t2")), "{inside}");
        let environment = told(program, "environ");
        assert!(!environment.contains("NOTIFY_SOCKET") && !environment.contains("LISTEN"), "{environment}");
        // What systemd sends at a stop. Process 1 passes it on, and ends as the program ended.
        kill(Pid::from_raw(main), Signal::SIGTERM).expect("it runs");
        until_gone(main);
        started.wait().ok();
    }
});

both!(what_cannot_be_started_is_told_to_the_manager_as_well, |world| {
    let manager = Manager::on_path(world);
    let fails = |words: &[&str], status| {
        let said = Running::start(service(&manager, world, words), Input::Empty).wait();
        let said = said.fails(status).to_owned();
        assert_eq!(manager.hear(), format!("STATUS={}", said.replace('\n', "; ")));
        said
    };
    let missing = "Error: exec: \"no-such-program\": executable file not found in $PATH";
    assert_eq!(fails(&["x", "no-such-program"], 127), missing);
    fails(&["x", "/etc/passwd"], 126);
    assert!(fails(&["--root", "/no/such/place", "x", "true"], 125).contains("/no/such/place"));
});

both!(without_a_manager_that_it_understands_it_starts_nothing, |world| {
    let said = run(world, &["run", "box", "sleep", "1000"]).fails(125).to_owned();
    assert!(said.starts_with("Error: NOTIFY_SOCKET is not set\nhint: a unit runs this"), "{said}");
    for (address, why) in [
        ("vsock:2:1234", "Address family not supported by protocol"),
        ("relative", "Address family not supported by protocol"),
        (&format!("/{}", "x".repeat(120)), "File name too long"),
    ] {
        let manager = Manager { socket: UnixDatagram::unbound().expect("a socket"), address: address.into() };
        let said = Running::start(service(&manager, world, &["box", "sleep", "1000"]), Input::Empty).wait();
        assert!(said.fails(125).starts_with(&format!("Error: NOTIFY_SOCKET={address}: {why}")), "{said}");
    }
});

/// Runs a command as systemd would that holds a listening socket: it is descriptor 3, and `LISTEN_PID` is `whose`.
fn with_socket(command: &Command, socket: OwnedFd, world: &World, whose: &str) -> Running {
    let script = format!("export LISTEN_FDS=1 LISTEN_PID={whose}; exec \"$0\" \"$@\" 3<&0 </dev/null");
    let mut shell = world.command("sh");
    shell.args(["-c", &script]).arg(command.get_program()).args(command.get_args());
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.stdin(socket);
    Running::start(shell, Input::Given)
}

/// What a server says to who connects.
pub fn greeting(mut server: impl Read) -> String {
    let mut said = String::new();
    server.read_to_string(&mut said).expect("it answers and closes");
    said
}

both!(sockets_are_passed_to_the_program_whatever_its_number_is_inside, |world| {
    let root = root_with(world, &[HELLO]);
    let words = ["--root", root.to_str().expect("plain ASCII"), "box", "/chapter09_hello", "--idle=60"];
    let manager = Manager::on_path(world);
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a loopback device");
    let address = tcp.local_addr().expect("bound");
    let path = world.dir.join("run/hello");
    let unix = UnixListener::bind(&path).expect("our own directory");
    for (socket, kind) in [(OwnedFd::from(tcp), "tcp"), (OwnedFd::from(unix), "unix")] {
        // Before anybody serves: who comes early waits and is not refused.
        let early: Box<dyn Read> = match kind {
            "tcp" => Box::new(TcpStream::connect(address).expect("somebody listens")),
            _ => Box::new(UnixStream::connect(&path).expect("somebody listens")),
        };
        let started = with_socket(&service(&manager, world, &words), socket, world, "$$");
        let main = hear_main(&manager);
        assert_eq!(greeting(early), "hello from process 2 on box\n", "{kind}");
        // It needs no network for that, and has none.
        let network = |pid| identity(Pid::from_raw(pid), Namespace::Network).expect("it runs");
        assert_ne!(network(main), network(std::process::id() as i32));
        let environment = told(child(main), "environ");
        assert!(environment.contains("LISTEN_PID=2 ") && environment.contains("LISTEN_FDS=1 "), "{environment}");
        kill(Pid::from_raw(main), Signal::SIGTERM).expect("it runs");
        until_gone(main);
        started.wait().ok();
    }
});

both!(a_socket_for_another_process_is_not_taken, |world| {
    let listening = || OwnedFd::from(TcpListener::bind("127.0.0.1:0").expect("a loopback device"));
    let hello = world.command(setup().chapter(HELLO));
    let said = with_socket(&hello, listening(), world, "1").wait();
    let nothing = "Error: no socket was passed to this process (LISTEN_FDS, LISTEN_PID)";
    assert_eq!(said.fails(125), nothing);
    assert_eq!(world.chapter(HELLO, [""; 0]).fails(125), nothing);
    // The container's program gets none either, and the machine's network as before.
    let root = root_with(world, &[HELLO]);
    let words = ["--root", root.to_str().expect("plain ASCII"), "box", "/chapter09_hello"];
    let manager = Manager::on_path(world);
    let started = with_socket(&service(&manager, world, &words), listening(), world, "1");
    until_gone(hear_main(&manager));
    assert!(started.wait().stderr.contains(nothing));
});

both!(a_wrong_number_of_sockets_is_refused, |world| {
    for (count, why) in [("2", "LISTEN_FDS=2, and they are not all open"), ("many", "LISTEN_FDS=many: invalid digit")] {
        let script = format!("LISTEN_FDS={count} LISTEN_PID=$$ exec \"$0\"");
        let said = world.program("sh", ["-c", &script, setup().chapter(HELLO).to_str().expect("plain ASCII")]);
        assert!(said.fails(125).starts_with(&format!("Error: {why}")), "{said}");
    }
});

both!(who_serves_leaves_when_nobody_comes, |world| {
    let listening = TcpListener::bind("127.0.0.1:0").expect("a loopback device");
    let address = listening.local_addr().expect("bound");
    let mut hello = world.command(setup().chapter(HELLO));
    hello.arg("--idle=1");
    let again = listening.try_clone().expect("a second descriptor");
    let served = with_socket(&hello, listening.into(), world, "$$");
    assert!(greeting(TcpStream::connect(address).expect("it listens")).starts_with("hello from process "));
    served.wait().ok();
    // The socket is still there: its owner holds it, and can have it served by another.
    let late = TcpStream::connect(address).expect("it listens");
    let served = with_socket(&hello, again.into(), world, "$$");
    assert!(greeting(late).starts_with("hello from process "));
    served.wait().ok();
});

both!(a_unit_says_what_is_wanted, |world| {
    let told = |words: &[&str]| {
        let text = run(world, &[&["print"], words].concat()).ok().to_owned();
        // Root's are started by another target.
        text.replace("multi-user.target", "default.target")
    };
    let simple = told(&["box", "sh", "-c", "echo \"$HOME\" 100% \\\n done"]);
    let socket = told(&["web", "--socket", "/run/web%1", "--restart=always", "--root", "home", "/hello", "-x"]);
    world.snapshot("chapter09_units", &format!("{simple}\n{socket}"));
    let said = run(world, &["print", "box", "--root", "/no/such/place", "true"]).fails(125).to_owned();
    assert_eq!(said, "Error: /no/such/place: No such file or directory");
});

both!(bad_names_and_addresses_are_refused_before_systemd_is_asked, |world| {
    for name in ["", "a b", "../x", "a/b", ".x", "a@b", "ä", &"x".repeat(65)] {
        for verb in [&["install", "--", name, "true"][..], &["uninstall", "--", name]] {
            let said = run(world, verb).fails(125).to_owned();
            assert!(said.starts_with(&format!("Error: {name:?} is no name for a container\nhint: ")), "{said}");
        }
    }
    for address in ["", "localhost:80", "0", "127.0.0.1", "127.0.0.1:0", "/", "x/y", "/a b", "/a\nb", &"/x".repeat(54)]
    {
        let said = run(world, &["install", "--socket", address, "box", "true"]).fails(125).to_owned();
        assert!(said.starts_with(&format!("Error: {address:?} is no address to listen on\nhint: a port")), "{said}");
    }
    let said = run(world, &["install", "--restart=sometimes", "box", "true"]).fails(125).to_owned();
    assert!(said.starts_with("Error: invalid value 'sometimes' for '--restart <WHEN>'"), "{said}");
});

both!(who_has_no_systemd_is_told_where_to_get_one, |world| {
    // As after su. Where systemd is not even installed, that is said.
    if world.who == crate::world::Who::Root && Path::new("/run/systemd/system").exists() {
        return;
    }
    for verb in [&["install", "box", "true"][..], &["uninstall", "box"]] {
        let mut command = world.command(setup().chapter(CHAPTER));
        command.env_remove("XDG_RUNTIME_DIR").env_remove("DBUS_SESSION_BUS_ADDRESS").args(verb);
        let said = Running::start(command, Input::Empty).wait();
        let said = said.fails(125).to_owned();
        assert!(said.starts_with("Error: systemctl --"), "{said}");
        let cures = ["\nhint: log in at the console or by ssh", "\nhint: without systemd there is chapter08_monitor"];
        assert!(cures.iter().any(|cure| said.contains(cure)), "{said}");
    }
    let mut command = world.command(setup().chapter(CHAPTER));
    command.env("PATH", "/no/programs").args(["install", "box", "true"]);
    let said = Running::start(command, Input::Empty).wait();
    let said = said.fails(125).to_owned();
    assert!(said.ends_with("No such file or directory\nhint: without systemd there is chapter08_monitor"), "{said}");
});

both!(a_machine_that_forbids_namespaces_is_told_apart, |world| {
    let manager = Manager::on_path(world);
    let command = without_user_namespaces(world, &service(&manager, world, &["box", "true"]));
    let said = Running::start(command, Input::Empty).wait();
    assert!(said.fails(125).starts_with("Error: making a user namespace: "), "{said}");
    assert!(said.fails(125).contains("\nhint: "), "{said}");
    assert!(manager.hear().contains("; hint: "), "on one line");
});

both!(it_says_what_it_asks_of_the_kernel, |world| {
    let manager = Manager::abstractly(world);
    let said = Running::start(service(&manager, world, &["--explain=json", "box", "true"]), Input::Empty).wait();
    until_gone(hear_main(&manager));
    let events =
        said.stderr.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("an object a line"));
    let told: Vec<_> =
        events.filter(|event| event["topic"] == "chapter 9").map(|event| event["call"].clone()).collect();
    assert_eq!(told, ["execve", "sendto"], "{said}");
});

both!(their_help_teaches, |world| {
    world.snapshot("chapter09_help", run(world, &["--help"]).ok());
    world.snapshot("chapter09_install_help", run(world, &["install", "--help"]).ok());
    world.snapshot("chapter09_hello_help", world.chapter(HELLO, ["--help"]).ok());
    let said = run(world, &["install", "alone"]).fails(125).to_owned();
    assert!(said.starts_with("Error: the following required arguments were not provided: <PROGRAM>..."), "{said}");
});
