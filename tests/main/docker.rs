//! Docker's daemon, for comparison: who may use it, and what is left when it is killed. The book says both, and says them of
//! this daemon: a real one, in a mount and network namespace of its own.
//!
//! Nobody's machine gets a daemon for this: `./test` unpacks the packages below `target` and installs nothing.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::neighbours::containerd;
use crate::running::{Input, Output, Running, until, until_gone};
use crate::setup::setup;
use crate::skip::skip;
use crate::world::World;

/// A dockerd beside a containerd, as an installation has them, and the client that talks to it.
struct Docker<'a> {
    world: &'a World,
    /// Where its programs are.
    programs: PathBuf,
    /// Below which its containers get their cgroups.
    cgroup: String,
    containerd: Child,
    daemon: Child,
}

impl<'a> Docker<'a> {
    /// Starts a daemon with these further flags, and waits until it answers. None, and a skip, where Docker is not at hand.
    fn start(world: &'a World, flags: &[&str]) -> Option<Self> {
        let Some(programs) = programs() else {
            skip("no Docker unpacked");
            return None;
        };
        let cgroup = format!("{}docker", world.tag());
        let (containerd, _) = containerd::start(world, &[&programs], &["-m", "-n"]);
        let daemon = daemon(world, &programs, containerd.id(), &cgroup, flags);
        let docker = Self { world, programs, cgroup, containerd, daemon };
        until("dockerd answers", || (docker.call(&["version"]).status == 0).then_some(()));
        Some(docker)
    }

    /// `docker ARGUMENTS…`, as root.
    fn call(&self, arguments: &[&str]) -> Output {
        Running::start(self.command(arguments), Input::Empty).wait()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.world.command(self.programs.join("docker"));
        command.arg("--host").arg(format!("unix://{}", socket(self.world).display())).args(arguments);
        command
    }

    /// `docker run -d --name NAME FLAGS… witness WORDS…`
    fn background(&self, name: &str, words: &[&str]) {
        let flags = ["run", "-d", "--network=none", "--stop-timeout=1", "--name", name, "localhost/witness"];
        self.call(&[&flags, words].concat()).ok();
    }

    fn load_witness(&self) {
        let file = self.world.dir.join("witness.tar").display().to_string();
        let image = self.world.image("witness");
        self.world.podling(["save", "-q", "--format=docker-archive", "-o", &file, image]).ok();
        self.call(&["load", "-q", "-i", &file]).ok();
    }

    fn told(&self, name: &str, field: &str) -> String {
        self.call(&["inspect", "--format", &format!("{{{{{field}}}}}"), name]).ok().to_owned()
    }

    /// `kill -9`, as an accident would.
    fn kill(&mut self) {
        self.daemon.kill().expect("our own child");
        self.daemon.wait().expect("our own child");
    }

    /// After [`Docker::kill`]: a new one on the same store.
    fn come_back(&mut self, flags: &[&str]) {
        self.daemon = daemon(self.world, &self.programs, self.containerd.id(), &self.cgroup, flags);
        until("dockerd answers again", || (self.call(&["version"]).status == 0).then_some(()));
    }
}

impl Drop for Docker<'_> {
    fn drop(&mut self) {
        let all = self.call(&["ps", "-aq"]).stdout;
        let all: Vec<&str> = all.split_whitespace().collect();
        self.call(&[&["rm", "-f"], &all[..]].concat());
        for daemon in [&mut self.daemon, &mut self.containerd] {
            let pid = nix::unistd::Pid::from_raw(daemon.id().cast_signed());
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
            let _ = daemon.wait();
        }
        let script = "mount -t cgroup2 none /mnt && rmdir /mnt/$0";
        let _ = Command::new("unshare").args(["-m", "sh", "-c", script, &self.cgroup]).stderr(Stdio::null()).status();
    }
}

fn socket(world: &World) -> PathBuf {
    world.dir.join("docker.sock")
}

/// A dockerd in the namespaces of its containerd, which it asks to run things.
fn daemon(world: &World, programs: &Path, containerd: u32, cgroup: &str, flags: &[&str]) -> Child {
    let dir = world.dir.join("docker");
    let mut command = containerd::service(world, &[programs], "nsenter");
    command.args(["-m", "-n", "-t", &containerd.to_string(), "dockerd", "--bridge=none", "--iptables=false"]);
    command.arg("--ip6tables=false").arg(format!("--containerd={}", world.dir.join("containerd/socket").display()));
    command.arg(format!("--host=unix://{}", socket(world).display())).arg(format!("--cgroup-parent=/{cgroup}"));
    for (flag, sub) in [("data-root", "data"), ("exec-root", "exec"), ("pidfile", "pid")] {
        command.arg(format!("--{flag}={}", dir.join(sub).display()));
    }
    command.args(flags).spawn().expect("nsenter")
}

/// The directory with docker, dockerd, containerd and its shim.
fn programs() -> Option<PathBuf> {
    Some(containerd::unpacked()).filter(|dir| dir.join("dockerd").exists())
}

as_root!(whoever_may_write_to_dockers_socket_is_root, |world| {
    let group = nix::unistd::Group::from_gid(setup().user.gid.into()).ok().flatten().expect("the user's group").name;
    let Some(docker) = Docker::start(world, &["--group", &group]) else { return };
    docker.load_witness();
    let secret = world.file("secret", "root's secret");
    fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("its own file");
    let as_user = |arguments: &[&str]| {
        let mut command = docker.command(arguments);
        command.env("HOME", "/").uid(setup().user.uid).gid(setup().user.gid);
        Running::start(command, Input::Empty).wait()
    };
    // By himself he may not; through the daemon he may, and nobody asked him for a password.
    let mut by_himself = world.command("cat");
    by_himself.arg(&secret).uid(setup().user.uid).gid(setup().user.gid);
    assert_ne!(Running::start(by_himself, Input::Empty).wait().status, 0);
    let inside = format!("/host{}", secret.display());
    let run = ["run", "--rm", "--network=none", "-v", "/:/host", "localhost/witness"];
    assert_eq!(as_user(&[&run[..], &["cat", &inside]].concat()).ok(), "root's secret");
});

as_root!(a_docker_that_was_killed_leaves_its_containers_and_nobody_to_ask, |world| {
    let Some(mut docker) = Docker::start(world, &[]) else { return };
    docker.load_witness();
    docker.background("ending", &["until-term", "7"]);
    docker.background("staying", &["until-term"]);
    let [ending, staying]: [i32; 2] =
        ["ending", "staying"].map(|name| docker.told(name, ".State.Pid").parse().expect("a pid"));
    docker.kill();
    // The containers are children of their shims, and go on.
    for pid in [ending, staying] {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the container's process is there");
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:\t")).expect("a parent");
        let parent = fs::read_to_string(format!("/proc/{parent}/comm")).expect("its parent is there");
        assert!(parent.starts_with("containerd-shim"), "{parent}");
    }
    // Nobody can be asked about them.
    assert!(docker.call(&["ps"]).fails(1).contains("Cannot connect to the Docker daemon"));
    // One ends meanwhile, by itself. Its shim knows how, and tells the next daemon.
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(ending), nix::sys::signal::Signal::SIGTERM).expect("it runs");
    until_gone(ending);
    docker.come_back(&[]);
    assert_eq!(docker.told("ending", ".State.ExitCode"), "7");
    // And the other, which nothing was wrong with, is ended by the daemon that comes back.
    until("the daemon has ended what it found", || (docker.told("staying", ".State.Status") == "exited").then_some(()));
    assert!(!Path::new(&format!("/proc/{staying}")).exists());
});

as_root!(with_live_restore_they_are_still_there_when_docker_comes_back, |world| {
    let Some(mut docker) = Docker::start(world, &["--live-restore"]) else { return };
    docker.load_witness();
    docker.background("staying", &["until-term"]);
    let pid = docker.told("staying", ".State.Pid");
    docker.kill();
    docker.come_back(&["--live-restore"]);
    assert_eq!(docker.told("staying", ".State.Status"), "running");
    assert_eq!(docker.told("staying", ".State.Pid"), pid);
});
