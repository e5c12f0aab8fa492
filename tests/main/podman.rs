//! Podman beside podling: our runtime below it, and its archives in our store. Podman is the program whose place we take, so
//! what it relies upon is the contract.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::running::{Input, Output, Running, until_gone};
use crate::setup::setup;
use crate::world::{Who, World};

/// Podman with podling-runtime, or with podling-monitor as well, in a store of this world's own.
///
/// Podman keeps its locks in a shared memory that all of a user's stores share, and makes it anew where a store is new: several
/// at once need `lock_type = "file"`.
pub struct Podman<'a> {
    pub world: &'a World,
    /// Below which root's containers get their cgroups.
    pub cgroup: String,
}

impl<'a> Podman<'a> {
    /// On our runtime.
    pub fn new(world: &'a World) -> Self {
        Self::on(world, &setup().bin("podling-runtime"), None)
    }

    /// On this runtime, and on this monitor if not on conmon.
    pub fn on(world: &'a World, runtime: &Path, monitor: Option<&Path>) -> Self {
        // Root may not everywhere set limits as high as Podman's, nor has every machine a controller that counts processes.
        let monitor = monitor.map(|path| format!("conmon_path = [\"{}\"]\n", path.display()));
        let conf = format!(
            "[engine]\nlock_type = \"file\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n{2}\
             runtime = \"podling\"\ntmp_dir = \"{0}/run/podman/tmp\"\n[engine.runtimes]\npodling = [\"{1}\"]\n\
             [containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1000:1000\"]\npids_limit = 0\n\
             [network]\nnetwork_config_dir = \"{0}/run/podman/networks\"\n",
            world.dir.display(),
            runtime.display(),
            monitor.unwrap_or_default(),
        );
        world.file("containers.conf", conf);
        Self { world, cgroup: format!("{}-podman", crate::runtime::id(world)) }
    }

    pub fn command(&self) -> Command {
        let dir = &self.world.dir;
        let mut command = self.world.command("podman");
        command.env("CONTAINERS_CONF", dir.join("containers.conf")).arg("--storage-driver=vfs");
        command.arg("--root").arg(dir.join("home/podman")).arg("--runroot").arg(dir.join("run/podman"));
        command
    }

    pub fn call(&self, arguments: &[&str]) -> Output {
        let mut command = self.command();
        command.args(arguments);
        Running::start(command, Input::Empty).wait()
    }

    /// `run FLAGS… IMAGE WORDS…`, with no network and with root's cgroups below this world's own.
    pub fn run_words(&self, flags: &[&str], image: &str, words: &[&str]) -> Vec<String> {
        let parent = format!("--cgroup-parent=/{}", self.cgroup);
        let parent: &[&str] = if self.world.who == Who::Root { &[&parent] } else { &[] };
        let image = format!("localhost/{image}");
        [&["run", "--network=none"], parent, flags, &[&image], words].concat().into_iter().map(str::to_owned).collect()
    }

    /// `podman run FLAGS… witness WORDS…`
    pub fn run(&self, flags: &[&str], words: &[&str]) -> Output {
        let mut command = self.command();
        command.args(self.run_words(flags, "witness", words));
        Running::start(command, Input::Empty).wait()
    }

    /// `rm -f` of a container whose monitor was killed. Podman 5.4 complains the first time that it does not know how the
    /// container ended, which is true, and removes it the second time.
    pub fn remove_orphan(&self, name: &str) {
        let words = ["rm", "-f", "-t0", name];
        let first = self.call(&words);
        if first.status != 0 {
            assert!(first.stderr.contains("exit code could not be retrieved"), "{first}");
            self.call(&words).ok();
        }
    }

    /// `podling save`, then `podman load`.
    pub fn give(&self, image: &str, format: &str) {
        let file = self.world.dir.join(format!("ours-{format}.tar")).display().to_string();
        self.world.podling(["save", "-q", "--format", format, "-o", &file, self.world.image(image)]).ok();
        self.call(&["load", "-q", "-i", &file]).ok();
    }
}

/// Ends what Podman leaves behind for its next call: a process that holds a user's namespaces, and root's cgroups.
impl Drop for Podman<'_> {
    fn drop(&mut self) {
        if self.world.who == Who::User {
            self.call(&["system", "migrate"]);
            return;
        }
        let top = PathBuf::from("/sys/fs/cgroup");
        let hierarchies = fs::read_dir(&top).into_iter().flatten().flatten().map(|entry| entry.path());
        for group in hierarchies.chain([top.clone()]).map(|hierarchy| hierarchy.join(&self.cgroup)) {
            // Podman does not wait until a container's monitor, which lives below, has gone.
            let deadline = Instant::now() + Duration::from_secs(10);
            while group.exists() && Instant::now() < deadline {
                remove_cgroup(&group);
            }
        }
    }
}

fn remove_cgroup(directory: &Path) {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).for_each(|path| remove_cgroup(&path));
    let _ = fs::remove_dir(directory);
}

both!(images_go_from_us_to_podman_and_back, |world| {
    let podman = Podman::new(world);
    for format in ["docker-archive", "oci-archive"] {
        podman.give("layers", format);
        let theirs = world.dir.join(format!("theirs-{format}.tar")).display().to_string();
        let name = format!("localhost/from-podman/{format}:1");
        podman.call(&["tag", "layers", &name]).ok();
        podman.call(&["save", "-q", "--format", format, "-o", &theirs, &name]).ok();
        podman.call(&["rmi", "-af"]).ok();
        world.podling(["load", "-q", "-i", &theirs]).ok();
        let words = ["run", "--rm", "--network=none", &name, "cat", "/changed"];
        assert_eq!(world.podling(words).ok(), "middle", "{format}");
    }
});

/// The runtime below Podman is ours, whichever is below podling.
mod only_ours {
    use super::*;

    both!(podman_runs_enters_and_stops_containers_on_our_runtime, |world| {
        let podman = Podman::new(world);
        podman.give("witness", "docker-archive");
        podman.run(&["--rm"], &["exit", "7"]).fails(7);
        assert_eq!(podman.run(&["--rm"], &["pid"]).ok(), "1");
        podman.run(&["-d", "--name=box"], &["until-term"]).ok();
        assert_eq!(podman.call(&["exec", "box", "/witness", "echo", "inside"]).ok(), "inside");
        podman.call(&["exec", "box", "/witness", "exit", "9"]).fails(9);
        assert_eq!(podman.call(&["ps", "--format={{.Names}}"]).ok(), "box");
        podman.call(&["stop", "box"]).ok();
        assert_eq!(podman.call(&["logs", "box"]).ok(), "ready\nasked to end");
        let ended = podman.call(&["inspect", "--format={{.State.ExitCode}} {{.OCIRuntime}}", "box"]);
        assert_eq!(ended.ok(), "0 podling");
        podman.call(&["rm", "box"]).ok();
    });
}

/// What the book says of Podman's processes, beside Docker's (`docker.rs`) and ours (`lifecycle.rs`).
mod when_processes_are_killed {
    use super::*;

    fn told(podman: &Podman, field: &str) -> String {
        podman.call(&["inspect", "--format", &format!("{{{{{field}}}}}"), "box"]).ok().to_owned()
    }

    /// `kill -9`, and until it is gone.
    fn kill_and_wait(pid: i32, signal: Signal) {
        kill(Pid::from_raw(pid), signal).expect("it runs");
        until_gone(pid);
    }

    as_user!(podman_needs_its_command_no_more_once_a_container_runs, |world| {
        let podman = Podman::new(world);
        podman.give("witness", "docker-archive");
        let mut command = podman.command();
        // Its inner half gets a SIGTERM when its outer half dies, and would pass it on.
        command.args(["run", "--sig-proxy=false", "--network=none", "--name=box", "localhost/witness", "until-term"]);
        let mut running = Running::start(command, Input::Empty);
        assert_eq!(running.line(), "ready");
        running.signal(Signal::SIGKILL);
        running.wait();
        assert_eq!(told(&podman, ".State.Status"), "running");
        podman.call(&["stop", "box"]).ok();
        assert_eq!(podman.call(&["wait", "box"]).ok(), "0");
        podman.call(&["rm", "box"]).ok();
    });

    as_user!(without_conmon_a_container_goes_on_and_its_end_is_known_to_nobody, |world| {
        let podman = Podman::new(world);
        podman.give("witness", "docker-archive");
        podman.run(&["-d", "--name=box"], &["until-term", "7"]).ok();
        let [conmon, pid] =
            ["ConmonPid", "Pid"].map(|which| told(&podman, &format!(".State.{which}")).parse().expect("a pid"));
        kill_and_wait(conmon, Signal::SIGKILL);
        assert_eq!(podman.call(&["exec", "box", "/witness", "echo", "alive"]).ok(), "alive");
        kill_and_wait(pid, Signal::SIGTERM);
        // It ended with 7, and nobody was told.
        let waited = podman.call(&["wait", "box"]);
        assert!(waited.status != 0 || waited.stdout.trim() != "7", "{waited}");
        podman.remove_orphan("box");
    });
}
