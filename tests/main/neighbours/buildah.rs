//! Buildah on podling-runtime, and Podman's `build`, which is Buildah inside.
//!
//! Buildah has no monitor: it calls the runtime, copies what the program says, asks `state` until it has ended, and deletes.

use std::path::PathBuf;
use std::process::Command;

use super::controlling;
use crate::podman::Podman;
use crate::running::{Input, Output, Running};
use crate::setup::setup;
use crate::world::{Who, World};

/// The kinds of isolation that use a runtime; an ordinary user's default is the second.
const ISOLATIONS: [&str; 2] = ["--isolation=oci", "--isolation=rootless"];

/// Buildah with a store of this world's own.
pub struct Buildah<'a> {
    world: &'a World,
    dir: PathBuf,
}

impl<'a> Buildah<'a> {
    pub fn new(world: &'a World) -> Self {
        let dir = world.directory("buildah");
        // It keeps a cache there.
        world.directory("buildah/tmp");
        // Root may not everywhere set limits as high as Buildah's own.
        world.file(
            "buildah/containers.conf",
            "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1000:1000\"]\n",
        );
        Self { world, dir }
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = self.world.command("buildah");
        command.env("BUILDAH_RUNTIME", setup().bin("podling-runtime")).env("TMPDIR", self.dir.join("tmp"));
        command.env("CONTAINERS_CONF", self.dir.join("containers.conf")).arg("--storage-driver=vfs");
        command.arg("--root").arg(self.dir.join("root")).arg("--runroot").arg(self.dir.join("run")).args(words);
        command
    }

    pub fn call(&self, words: &[&str]) -> Output {
        Running::start(self.command(words), Input::Empty).wait()
    }

    /// `buildah VERB FLAGS… WORDS…`, with root's cgroups below this world's own.
    fn contained(&self, verb: &str, words: &[&str]) -> Output {
        let parent = format!("--cgroup-parent=/{}buildah", self.world.tag());
        let parent: &[&str] = if self.world.who == Who::Root { &[&parent] } else { &[] };
        self.call(&[&[verb, "--network=none"], parent, words].concat())
    }

    /// Has it take a stock image of ours; its name there.
    fn give(&self, image: &str) -> String {
        let archive = self.world.dir.join("ours.tar").display().to_string();
        self.world.podling(["save", "-q", "-o", &archive, self.world.image(image)]).ok();
        self.call(&["pull", "-q", &format!("docker-archive:{archive}")]).ok();
        format!("localhost/{image}")
    }

    /// A working container of an image that it has; its name.
    pub fn from(&self, image: &str) -> String {
        self.contained("from", &["--pull-never", image]).ok().to_owned()
    }

    /// `buildah run FLAGS… CONTAINER WORDS…`
    pub fn run(&self, flags: &[&str], container: &str, words: &[&str]) -> Output {
        self.call(&[&["run", "--network=none"], flags, &[container], words].concat())
    }
}

both!(buildah_runs_commands_on_our_runtime, |world| {
    let buildah = Buildah::new(world);
    let container = buildah.from(&buildah.give("witness"));
    for isolation in ISOLATIONS {
        let run = |flags: &[&str], words: &[&str]| buildah.run(&[&[isolation], flags].concat(), &container, words);
        run(&[], &["/witness", "exit", "7"]).fails(7);
        assert_eq!(run(&[], &["/witness", "pid"]).ok(), "1", "{isolation}");
        let ids = run(&["--user=1000:2000"], &["/witness", "ids"]);
        assert!(ids.ok().starts_with("Uid 1000 1000 1000 1000\nGid 2000 2000 2000 2000"), "{ids}");
        assert_eq!(run(&["--workingdir=/etc", "--env=A=B"], &["/witness", "cwd"]).ok(), "/etc");
        let complained = run(&[], &["/witness", "complain", "to", "stderr"]);
        complained.ok();
        assert_eq!((complained.stdout.as_str(), complained.stderr.as_str()), ("", "to stderr\n"));
        let shared = world.directory("shared");
        let volume = format!("--volume={}:/shared:ro", shared.display());
        let refused = run(&[&volume], &["/witness", "write", "/shared/new", "x"]);
        assert!(refused.stderr.contains("Read-only file system"), "{refused}");
        let missing = run(&[], &["no-such-program"]);
        assert!(missing.stderr.contains("exec: \"no-such-program\": executable file not found in $PATH"), "{missing}");
        let closed = run(&[], &["/etc/passwd"]);
        assert!(closed.stderr.contains("exec: \"/etc/passwd\": permission denied"), "{closed}");
        assert!(missing.status != 0 && closed.status != 0);
    }
    // What it writes is in the image that it becomes.
    buildah.run(&[], &container, &["/witness", "write", "/tmp/made", "by us"]).ok();
    let archive = world.dir.join("made.tar").display().to_string();
    buildah.call(&["commit", "-q", &container, &format!("oci-archive:{archive}:localhost/made:1")]).ok();
    world.podling(["load", "-q", "-i", &archive]).ok();
    assert_eq!(world.podling(["run", "--rm", "--network=none", "localhost/made:1", "cat", "/tmp/made"]).ok(), "by us");
});

both!(buildah_gives_a_terminal_and_input, |world| {
    let buildah = Buildah::new(world);
    let container = buildah.from(&buildah.give("busybox"));
    let mut reading = Running::start(buildah.command(&["run", "--network=none", &container, "cat"]), Input::Pipe);
    reading.write("typed");
    assert_eq!(reading.wait().ok(), "typed");
    // Buildah hands the size on while the program begins.
    let script = "until [ \"$(stty size 2>/dev/null)\" = '24 80' ]; do :; done; tty";
    let inner = buildah.command(&["run", "--network=none", "-t", &container, "sh", "-c", script]);
    assert_eq!(Running::start_on_terminal(controlling(world, &inner)).wait().ok().trim_end(), "/dev/pts/0");
});

/// A build that uses what a runtime is needed for.
const CONTAINERFILE: &str = "FROM localhost/difficult AS first
RUN echo made > /made && id -u > /whose && rm /data/noted
RUN --mount=type=tmpfs,target=/scratch grep -q ' /scratch tmpfs ' /proc/mounts
RUN --mount=type=bind,source=word,target=/word cat /word > /heard
USER 1000
WORKDIR /home/inner
RUN [\"sh\", \"-c\", \"id -u; pwd\"]
FROM localhost/difficult
COPY --from=first /made /whose /heard /
RUN rm -r /data/replaced && mkdir /data/replaced && cat /made /whose /heard > /all
CMD [\"cat\", \"/all\"]
";

/// Has a build tool build [`CONTAINERFILE`], and podling run what came of it.
fn builds(world: &World, build: impl Fn(&[&str]) -> Output, save: impl FnOnce(&str)) {
    let context = world.directory("context");
    world.file("context/word", "a word\n");
    world.file("context/Containerfile", CONTAINERFILE);
    world.file("context/Failing", "FROM localhost/difficult\nRUN exit 9\n");
    let path = context.to_str().expect("plain ASCII");
    let output = build(&["-t", "localhost/built:1", path]);
    output.ok();
    assert!(output.to_string().contains("\n1000\n/home/inner\n"), "{output}");
    let failing = context.join("Failing").display().to_string();
    let failed = build(&["-f", &failing, path]);
    assert!(failed.status != 0 && failed.stderr.contains("exit status 9"), "{failed}");
    let archive = world.dir.join("built.tar").display().to_string();
    let _ = std::fs::remove_file(&archive); // an earlier build's; no tool writes over it
    save(&archive);
    world.podling(["load", "-q", "-i", &archive]).ok();
    let run = |words: &[&str]| {
        let output = world.podling([&["run", "--rm", "--network=none", "localhost/built:1"], words].concat());
        output.ok().to_owned()
    };
    assert_eq!(run(&[]), "made\n0\na word");
    assert_eq!(run(&["ls", "/data/replaced"]), "");
}

both!(buildah_builds_on_our_runtime_and_we_run_what_it_built, |world| {
    let buildah = Buildah::new(world);
    buildah.give("difficult");
    for isolation in ISOLATIONS {
        let save = |archive: &str| {
            buildah
                .call(&["push", "-q", "localhost/built:1", &format!("docker-archive:{archive}:localhost/built:1")])
                .ok();
        };
        let build = |words: &[&str]| buildah.contained("build", &[&[isolation, "--no-cache"], words].concat());
        builds(world, build, save);
    }
});

both!(podman_builds_on_our_runtime_and_we_run_what_it_built, |world| {
    let podman = Podman::new(world);
    podman.give("difficult", "oci-archive");
    let parent = format!("--cgroup-parent=/{}", podman.cgroup);
    let parent: &[&str] = if world.who == Who::Root { &[&parent] } else { &[] };
    let build = |words: &[&str]| podman.call(&[&["build", "--network=none"], parent, words].concat());
    let save = |archive: &str| drop(podman.call(&["save", "-q", "-o", archive, "localhost/built:1"]));
    builds(world, build, save);
});
