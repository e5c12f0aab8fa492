//! containerd on podling-runtime: a daemon of the test's own, the shim that it starts for each container, and its client `ctr`;
//! as root, and as an ordinary user below `podling unshare`.
//!
//! Directories and socket are the test's. What containerd and its shim have at fixed places (`/run/containerd`) is in the
//! test's directory, too, by a mount that nobody else sees; and so is a tree of control groups, of version 2 alone.
//!
//! `ctr` ends a moment after a container, and in this moment may lose what the container said last (1.6 does so with any
//! runtime). So what a test reads is said by a program that goes on, or written to a file, or is an exit status.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::controlling;
use crate::running::{Input, Output, Running, until, until_exists, until_gone};
use crate::setup::{self, elsewhere, setup};
use crate::skip::skip;
use crate::world::{Who, World};

/// The daemon's view of the machine; it leaves its pid, by which others join it. What it asks systemd stays reachable.
const VIEW: &str = r#"mount --make-rprivate / &&
    for dir in systemd dbus; do
        [ ! -d "/run/$dir" ] || { mkdir -p "$2/$dir" && mount --rbind "/run/$dir" "$2/$dir"; } || exit
    done && mount --rbind "$2" /run &&
    { [ "$0" = user ] || { umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && ip link set lo up; }; } &&
    echo $$ > "$1" && shift 2 && exec containerd "$@""#;

/// The directory with containerd, its shim and its client: unpacked by `./test`, else installed.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::iter::once(unpacked()).chain(std::env::split_paths(&path));
    places.find(|dir| ["containerd", "containerd-shim-runc-v2", "ctr"].iter().all(|name| dir.join(name).exists()))
}

/// Where `./test` has unpacked them, with Docker's.
pub fn unpacked() -> PathBuf {
    elsewhere().unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target")).join("docker")
}

/// A daemon's command, which writes to this world's `daemons.log` and finds other programs in these directories.
pub fn service(world: &World, programs: &[&Path], wrapper: impl AsRef<std::ffi::OsStr>) -> Command {
    let log = world.dir.join("daemons.log");
    let log = fs::OpenOptions::new().create(true).append(true).open(log).expect("our own file");
    if world.who == Who::User {
        setup::give_to_user(&world.dir.join("daemons.log"));
    }
    let mut command = world.command(wrapper);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = programs.iter().map(PathBuf::from).chain(std::env::split_paths(&path));
    command.env("PATH", std::env::join_paths(path).expect("no colons"));
    command.stdin(Stdio::null()).stderr(log.try_clone().expect("a second descriptor")).stdout(log);
    command
}

/// Starts containerd in new namespaces of these kinds, and waits for its socket. Returns what was started, and the daemon's pid.
pub fn start(world: &World, programs: &[&Path], namespaces: &[&str]) -> (Child, Pid) {
    let dir = world.directory("containerd");
    let _ = fs::remove_file(dir.join("socket")); // of one that was killed
    let (mut command, who) = match world.who {
        Who::Root => (service(world, programs, "unshare"), "root"),
        Who::User => (service(world, programs, setup().bin("podling")), "user"),
    };
    if world.who == Who::User {
        command.args(["unshare", "unshare"]);
    }
    command
        .args(namespaces)
        .args(["sh", "-c", VIEW, who])
        .arg(dir.join("pid"))
        .arg(world.directory("containerd/fixed"));
    command.args(["--config", "/dev/null"]);
    for (flag, sub) in [("root", "data"), ("state", "run"), ("address", "socket")] {
        command.arg(format!("--{flag}")).arg(dir.join(sub));
    }
    let child = command.spawn().expect("it was built, or is a part of util-linux");
    until_exists(&dir.join("socket"));
    let pid = fs::read_to_string(dir.join("pid")).expect("it was written before the socket was made");
    (child, Pid::from_raw(pid.trim().parse().expect("a pid")))
}

/// A containerd of this world's.
pub struct Containerd<'a> {
    world: &'a World,
    programs: PathBuf,
    /// Where `runc` is podling-runtime.
    links: PathBuf,
    daemon: Child,
    pid: Pid,
}

const IMAGE: &str = "localhost/witness:latest";

impl<'a> Containerd<'a> {
    /// Starts a daemon, and gives it our witness. None, and a skip, where containerd is not at hand.
    pub fn start(world: &'a World) -> Option<Self> {
        let Some(programs) = programs() else {
            skip("no containerd unpacked or installed");
            return None;
        };
        let links = world.directory("links");
        symlink(setup().bin("podling-runtime"), links.join("runc")).expect("our own directory");
        let (daemon, pid) = start(world, &[&links, &programs], &["-m"]);
        let containerd = Self { world, programs, links, daemon, pid };
        containerd.give("witness");
        Some(containerd)
    }

    /// Has it import a stock image of ours; its name there.
    pub fn give(&self, image: &str) -> String {
        let archive = self.world.dir.join("ours.tar").display().to_string();
        let _ = fs::remove_file(&archive);
        self.world.podling(["save", "-q", "-o", &archive, self.world.image(image)]).ok();
        self.call(&["images", "import", &archive]).ok();
        format!("localhost/{image}:latest")
    }

    /// `ctr WORDS…`. Its namespace is also the name of root's control groups.
    pub fn command<T: AsRef<std::ffi::OsStr>>(&self, words: &[T]) -> Command {
        let mut command = self.world.command("nsenter");
        if self.world.who == Who::User {
            command.args(["-U", "--preserve-credentials"]);
        }
        command.args(["-m", "-t", &self.pid.to_string()]).arg(self.programs.join("ctr"));
        command.arg("--address").arg(self.world.dir.join("containerd/socket"));
        command.arg("--namespace").arg(format!("{}ctr", self.world.tag())).args(words);
        command
    }

    pub fn call<T: AsRef<std::ffi::OsStr>>(&self, words: &[T]) -> Output {
        Running::start(self.command(words), Input::Empty).wait()
    }

    /// `run FLAGS… IMAGE ID WORDS…`, on our runtime.
    pub fn run_words(flags: &[&str], image: &str, id: &str, words: &[&str]) -> Vec<String> {
        let runtime = format!("--runc-binary={}", setup().bin("podling-runtime").display());
        [&["run", &runtime], flags, &[image, id], words].concat().into_iter().map(str::to_owned).collect()
    }

    /// `ctr run FLAGS… witness ID /witness WORDS…` (it knows of no entry point)
    pub fn run(&self, flags: &[&str], id: &str, words: &[&str]) -> Output {
        self.call(&Self::run_words(flags, IMAGE, id, &[&["/witness"], words].concat()))
    }

    /// The line of `tasks list` about this container: its pid and its status.
    pub fn task(&self, id: &str) -> Option<(i32, String)> {
        let list = self.call(&["tasks", "list"]);
        let line = list.ok().lines().find_map(|line| Some(line.strip_prefix(id)?.trim().to_owned()))?;
        let (pid, status) = line.split_once(char::is_whitespace)?;
        Some((pid.parse().ok()?, status.trim().to_owned()))
    }

    fn until_it_is(&self, id: &str, status: &str) {
        until(status, || self.task(id).filter(|(_, is)| is == status));
    }

    /// `kill -9`, and a new daemon in its place.
    fn come_back(&mut self) {
        kill(self.pid, Signal::SIGKILL).expect("it runs");
        self.daemon.wait().expect("our own child");
        (self.daemon, self.pid) = start(self.world, &[&self.links, &self.programs], &["-m"]);
    }
}

/// A shim goes with its container: the world insists on it.
impl Drop for Containerd<'_> {
    fn drop(&mut self) {
        for id in self.call(&["tasks", "list", "-q"]).stdout.split_whitespace() {
            self.call(&["tasks", "delete", "--force", id]);
        }
        let _ = kill(self.pid, Signal::SIGTERM);
        let _ = self.daemon.wait();
    }
}

both!(ctr_runs_enters_and_ends_containers_on_our_runtime, |world| {
    let Some(containerd) = Containerd::start(world) else { return };
    let mut run = Containerd::run_words(&["--rm"], IMAGE, "once", &["/witness", "until-term", "7"]);
    let mut attached = Running::start(containerd.command(&run), Input::Empty);
    assert_eq!(attached.line(), "ready");
    containerd.call(&["tasks", "kill", "--signal=SIGTERM", "once"]).ok();
    attached.wait().fails(7);
    // Created by one command and started by another; the runtime is the `runc` that the daemon finds.
    containerd.call(&["containers", "create", &containerd.give("busybox"), "box", "sleep", "1000"]).ok();
    containerd.call(&["tasks", "start", "--detach", "box"]).ok();
    let (pid, status) = containerd.task("box").expect("it was started");
    assert_eq!(status, "RUNNING");
    let exec = |status| ["tasks", "exec", "--exec-id=short", "box", "sh", "-c", status];
    containerd.call(&exec("exit 9")).fails(9);
    containerd.call(&exec("test $(cat /proc/1/comm) = sleep")).ok();
    let script = "echo $(id -u):$(id -g) in $(pwd); exec sleep 1000";
    let long = ["--exec-id=long", "--user=1000:2000", "--cwd=/etc", "box", "sh", "-c", script];
    let mut session = Running::start(containerd.command(&[&["tasks", "exec"], &long[..]].concat()), Input::Empty);
    assert_eq!(session.line(), "1000:2000 in /etc");
    let list = containerd.call(&["tasks", "ps", "box"]);
    assert!(list.ok().lines().count() == 3 && list.stdout.contains("long"), "{list}");
    assert!(list.stdout.contains(&format!("\n{pid} ")), "{list}");
    containerd.call(&["tasks", "kill", "--exec-id=long", "--signal=SIGKILL", "box"]).ok();
    session.wait().fails(137);
    containerd.call(&["tasks", "kill", "--signal=SIGKILL", "box"]).ok();
    containerd.until_it_is("box", "STOPPED");
    let deleted = containerd.call(&["tasks", "delete", "box"]);
    deleted.ok();
    assert!(deleted.stderr.contains("exit code 137"), "{deleted}");
    containerd.call(&["containers", "delete", "box"]).ok();
    // The id is free again.
    run.splice(4.., ["box", "/witness", "exit", "3"].map(str::to_owned));
    containerd.call(&run).fails(3);
});

as_root!(ctr_pauses_and_resumes, |world| {
    let Some(containerd) = Containerd::start(world) else { return };
    containerd.run(&["--detach"], "box", &["sleep-forever"]).ok();
    containerd.call(&["tasks", "pause", "box"]).ok();
    assert_eq!(containerd.task("box").expect("it is there").1, "PAUSED");
    containerd.call(&["tasks", "resume", "box"]).ok();
    assert_eq!(containerd.task("box").expect("it is there").1, "RUNNING");
    // All processes, and not only the first.
    containerd.call(&["tasks", "kill", "--all", "--signal=SIGKILL", "box"]).ok();
    containerd.until_it_is("box", "STOPPED");
});

both!(ctr_gives_a_terminal, |world| {
    let Some(containerd) = Containerd::start(world) else { return };
    // ctr hands the size on while the program begins.
    let script = ["sh", "-c", "until [ \"$(stty size 2>/dev/null)\" = '24 80' ]; do :; done; tty; exec sleep 1000"];
    let run = Containerd::run_words(&["--tty"], &containerd.give("busybox"), "box", &script);
    let mut first = Running::start_on_terminal(controlling(world, &containerd.command(&run)));
    first.expect("/dev/pts/0");
    let exec = [&["tasks", "exec", "--tty", "--exec-id=one", "box"], &script[..]].concat();
    let mut session = Running::start_on_terminal(controlling(world, &containerd.command(&exec)));
    session.expect("/dev/pts/1");
    containerd.call(&["tasks", "kill", "--signal=SIGKILL", "box"]).ok();
    assert_eq!((first.wait().status, session.wait().status), (137, 137));
});

// The shim looks for it in the file that `--log` names, and knows some of it by its words.
both!(what_our_runtime_says_reaches_ctr, |world| {
    let Some(containerd) = Containerd::start(world) else { return };
    let says = |output: &Output, text: &str| assert_eq!(output.fails(1), format!("ctr: {text}"));
    let image = containerd.give("busybox");
    let missing = "exec: \"no-such-program\": executable file not found in $PATH: unknown";
    let closed = "exec: \"/etc/passwd\": permission denied: unknown";
    for (program, said) in [("no-such-program", missing), ("/etc/passwd", closed)] {
        let words = Containerd::run_words(&["--rm"], &image, "bad", &[program]);
        says(&containerd.call(&words), &format!("failed to create shim task: OCI runtime create failed: {said}"));
    }
    containerd.run(&["--detach"], "box", &["sleep-forever"]).ok();
    for (program, said) in [("no-such-program", missing), ("/etc/passwd", closed)] {
        let exec = containerd.call(&["tasks", "exec", "--exec-id=one", "box", program]);
        says(&exec, &format!("OCI runtime exec failed: {said}"));
    }
    // The shim would freeze it first, and who has no control group cannot.
    let checkpoint = containerd.call(&["tasks", "checkpoint", "box"]);
    let no = match world.who {
        Who::Root => "checkpoint: this runtime does not know how to freeze a container into files",
        Who::User => "OCI runtime pause failed: cannot pause container box: it has no cgroup of its own",
    };
    assert!(checkpoint.fails(1).contains(no), "{checkpoint}");
    assert_eq!(containerd.task("box").expect("it is there").1, "RUNNING");
    containerd.call(&["tasks", "kill", "--signal=SIGKILL", "box"]).ok();
    containerd.until_it_is("box", "STOPPED");
    // Nobody is there any more, which is no fault of the runtime's.
    says(&containerd.call(&["tasks", "kill", "box"]), "process already finished: not found");
});

both!(containers_outlive_a_daemon_that_is_killed_and_end_with_their_shim, |world| {
    let Some(mut containerd) = Containerd::start(world) else { return };
    containerd.run(&["--detach"], "box", &["sleep-forever"]).ok();
    let (pid, _) = containerd.task("box").expect("it was started");
    containerd.come_back();
    assert_eq!(containerd.task("box"), Some((pid, "RUNNING".into())));
    containerd.call(&["tasks", "exec", "--exec-id=one", "box", "/witness", "exit", "9"]).fails(9);
    // Without its shim nobody could say how it ends. So the daemon ends it, by `delete --force`.
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let shim = status.lines().find_map(|line| line.strip_prefix("PPid:")).expect("a parent");
    kill(Pid::from_raw(shim.trim().parse().expect("a pid")), Signal::SIGKILL).expect("it runs");
    until_gone(pid);
    until("the daemon has noticed", || containerd.task("box").is_none().then_some(()));
    containerd.call(&["containers", "delete", "box"]).ok();
    containerd.run(&["--rm"], "box", &["exit", "7"]).fails(7);
});
