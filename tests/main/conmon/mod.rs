//! podling-monitor in conmon's place: its words and pipes one by one, beside the real conmon, and below Podman.

mod beside;
mod podman;

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podling::linux::ipc::{SockType, reach};
use serde_json::{Value, json};

use crate::monitored::{bundle, process};
use crate::running::{Input, Output, Running, until_exists, until_gone};
use crate::second_opinion;
use crate::setup::setup;
use crate::world::World;

/// podling-monitor under the name that makes it conmon.
fn ours(world: &World) -> PathBuf {
    let link = world.dir.join("conmon");
    if !link.exists() {
        std::os::unix::fs::symlink(setup().bin("podling-monitor"), &link).expect("our own directory");
    }
    link
}

/// A conmon that was called as Podman calls it, with fifos for pipes.
struct Called<'w> {
    world: &'w World,
    id: String,
    /// The bundle of a container; of an exec session a directory in its place.
    bundle: PathBuf,
    /// The container's.
    runtime_root: PathBuf,
    first: Option<Running>,
    sync: BufReader<File>,
    attach: BufReader<File>,
    start: File,
}

/// The options that every call has.
fn common(id: &str, bundle: &Path, runtime_root: &Path) -> Vec<String> {
    let path = |name: &str| bundle.join(name).display().to_string();
    let runtime = second_opinion::runtime().display().to_string();
    let root = runtime_root.display().to_string();
    let pairs = [
        ["-c", id],
        ["-u", id],
        ["-r", &runtime],
        ["-b", &bundle.display().to_string()],
        ["-p", &path("pidfile")],
        ["-n", "name"],
        ["--exit-dir", &path("exits")],
        ["--persist-dir", &path("persist")],
        ["--runtime-arg", "--root"],
        ["--runtime-arg", &root],
        ["--conmon-pidfile", &path("conmon.pid")],
        ["--log-level", "warning"],
    ];
    ["--api-version", "1", "--full-attach", "--syslog"].into_iter().chain(pairs.concat()).map(Into::into).collect()
}

impl<'w> Called<'w> {
    /// Calls `conmon` for a container with a shell script.
    fn container(world: &'w World, conmon: &Path, script: &str, further: &[&str]) -> Self {
        let bundle = bundle(world, "c", script, further.contains(&"-t"));
        let log = format!("k8s-file:{}", bundle.join("log").display());
        let log = ["-l", &log];
        let log: &[&str] = if further.contains(&"-l") { &[] } else { &log };
        Self::call(world, conmon, &bundle, &bundle.join("runtime"), &[log, further].concat())
    }

    /// Calls `conmon` for an exec session in this container.
    fn session(&self, conmon: &Path, arguments: &[&str], further: &[&str]) -> Self {
        let bundle = self.world.directory("session");
        let spec = bundle.join("process.json");
        let terminal = further.contains(&"-t");
        fs::write(&spec, process(arguments, terminal).to_string()).expect("our own directory");
        let spec = spec.display().to_string();
        let exec = ["-l", "none", "-e", "--exec-attach", "--exec-process-spec", &spec];
        Self::call(self.world, conmon, &bundle, &self.runtime_root, &[&exec, further].concat())
    }

    fn call(world: &'w World, conmon: &Path, bundle: &Path, runtime_root: &Path, further: &[&str]) -> Self {
        for sub in ["exits", "persist"] {
            fs::create_dir_all(bundle.join(sub)).expect("our own directory");
        }
        let fifos = ["sync", "start", "attach-pipe"].map(|name| world.dir.join(name));
        for fifo in &fifos {
            let _ = fs::remove_file(fifo);
            nix::unistd::mkfifo(fifo, nix::sys::stat::Mode::S_IRWXU).expect("our own directory");
        }
        // Read without waiting for a writer; written to without waiting for a reader.
        let read = |fifo: &Path| {
            let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(fifo);
            BufReader::new(file.expect("our own fifo"))
        };
        let (sync, attach) = (read(&fifos[0]), read(&fifos[2]));
        let start = OpenOptions::new().read(true).write(true).open(&fifos[1]).expect("our own fifo");
        let mut command = world.command("sh");
        command.args(["-c", r#"exec "$@" 5>sync 6<start 7>attach-pipe"#, "sh"]).arg(conmon);
        let id = world.tag() + "box";
        command.args(common(&id, bundle, runtime_root)).args(further);
        command.env("_OCI_SYNCPIPE", "5").env("_OCI_STARTPIPE", "6").env("_OCI_ATTACHPIPE", "7");
        let first = Some(Running::start(command, Input::Empty));
        let (bundle, runtime_root) = (bundle.to_owned(), runtime_root.to_owned());
        Self { world, id, bundle, runtime_root, first, sync, attach, start }
    }

    /// A byte on the start pipe.
    fn give_leave(&mut self) {
        self.start.write_all(b"\0").expect("our own fifo");
    }

    /// What the process that was called has said, and how it ended.
    fn first(&mut self) -> Output {
        self.first.take().expect("asked once").wait()
    }

    /// The container's pid.
    fn created(&mut self) -> i32 {
        self.give_leave();
        let first = self.first();
        assert_eq!(first.ok(), "");
        let told = self.told();
        told["data"].as_i64().unwrap_or_else(|| panic!("{told}")) as i32
    }

    /// The next line on the sync pipe.
    fn told(&mut self) -> Value {
        let line = line(&mut self.sync);
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    fn runtime(&self, words: &[&str]) -> Output {
        let root = self.runtime_root.display().to_string();
        self.world.program(second_opinion::runtime(), [&["--root", &root], words].concat())
    }

    fn start(&self) {
        self.runtime(&["start", &self.id]).ok();
    }

    fn connect(&self) -> UnixStream {
        reach(&self.bundle.join("attach"), SockType::SeqPacket).expect("it listens")
    }

    /// What the exit file says.
    fn exit(&self) -> String {
        let file = self.bundle.join("exits").join(&self.id);
        until_exists(&file);
        fs::read_to_string(file).expect("an exit file")
    }

    /// The monitor's pid, as it is told.
    fn monitor(&self) -> i32 {
        let told = fs::read_to_string(self.bundle.join("conmon.pid")).expect("it is written before the first one ends");
        told.parse().unwrap_or_else(|_| panic!("digits only: {told:?}"))
    }

    /// What the log keeps of one stream, without times.
    fn logged(&self, stream: &str) -> Vec<String> {
        let log = fs::read_to_string(self.bundle.join("log")).unwrap_or_default();
        let lines = log.lines().map(|line| line.split_once(' ').expect("a time").1);
        lines.filter_map(|line| line.strip_prefix(stream)).map(str::to_owned).collect()
    }
}

impl Drop for Called<'_> {
    fn drop(&mut self) {
        if self.bundle.join("config.json").exists() {
            let _ = self.runtime(&["delete", "--force", &self.id]);
        }
        // Where the real one was called, nobody knows it by its pid but this file.
        if let Ok(Ok(pid)) = fs::read_to_string(self.bundle.join("conmon.pid")).map(|pid| pid.parse()) {
            until_gone(pid);
        }
    }
}

/// The next line of a pipe, or what comes before its end.
fn line(pipe: &mut BufReader<File>) -> String {
    let mut line = String::new();
    loop {
        match pipe.read_line(&mut line) {
            // Also before the writer has opened it.
            Ok(0) if line.is_empty() && !ended(pipe.get_ref()) => {}
            Ok(_) => return line,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => wait(pipe.get_ref()),
            Err(error) => panic!("a pipe: {error}"),
        }
    }
}

/// A fifo hangs up once it has had a writer and has none any more; before the first it does not.
fn ended(pipe: &File) -> bool {
    let mut fds = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, 20_u8).expect("a descriptor");
    fds[0].revents().is_some_and(|events| events == PollFlags::POLLHUP)
}

fn wait(pipe: &File) {
    let timeout = PollTimeout::try_from(std::time::Duration::from_secs(30)).expect("short");
    let ready = poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], timeout);
    assert_eq!(ready, Ok(1), "nothing is told");
}

/// All that an attached client gets until the connection ends: standard output and standard error.
fn heard(client: &mut UnixStream) -> (String, String) {
    let mut streams = [Vec::new(), Vec::new()];
    let mut packet = [0; 8193];
    while let Ok(count @ 1..) = client.read(&mut packet) {
        streams[usize::from(packet[0]) - 2].extend_from_slice(&packet[1..count]);
    }
    let [out, err] = streams.map(|stream| String::from_utf8_lossy(&stream).into_owned());
    (out, err)
}

as_root!(nothing_is_started_before_the_start_pipe_says_so, |world| {
    let mut called = Called::container(world, &ours(world), "exit 0", &[]);
    let first = called.first.as_ref().expect("it was called").pid();
    let children = || fs::read_to_string(format!("/proc/{first}/task/{first}/children")).expect("it runs");
    // It stands before the pipe: in read(2), with nobody below it and nothing made.
    crate::running::until("it waits on the pipe", || {
        let call = fs::read_to_string(format!("/proc/{first}/syscall")).expect("it runs");
        call.starts_with(&format!("{} 0x6 ", libc::SYS_read)).then_some(())
    });
    assert_eq!(children(), "");
    assert!(!called.bundle.join("attach").exists() && !called.bundle.join("conmon.pid").exists());
    called.created();
    called.start();
    assert_eq!(called.exit(), "0");
});

as_root!(what_its_caller_left_open_stays_open_until_the_end_and_is_the_container_s_never, |world| {
    let fifo = world.dir.join("held");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("our own directory");
    let held = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&fifo).expect("our own fifo");
    let conmon = world.file("conmon-with-more", format!("#!/bin/sh\nexec {} \"$@\" 8>held\n", ours(world).display()));
    fs::set_permissions(&conmon, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("our own file");
    let exits = ["--exit-command", "/bin/sh", "--exit-command-arg", "-c", "--exit-command-arg"];
    let tell = format!("ls /proc/self/fd >{}/seen", world.dir.display());
    let script = "cd /proc/$$/fd; echo *; read end";
    let mut called = Called::container(world, &conmon, script, &[&exits[..], &[&tell, "-i"]].concat());
    called.created();
    let mut client = called.connect();
    called.start();
    let mut packet = [0; 100];
    let count = client.read(&mut packet).expect("output");
    // 3 is the directory that is being listed.
    assert_eq!(&packet[..count], b"\x020 1 2 3\n");
    assert!(!ended(&held), "it is closed while the container runs");
    client.write_all(b"\n").expect("room");
    assert_eq!(called.exit(), "0");
    assert!(ended(&held), "it is open after the end was told");
    let seen = world.dir.join("seen");
    until_gone(called.monitor());
    assert_eq!(fs::read_to_string(seen).expect("it was run"), "0\n1\n2\n3\n", "3 is the directory");
});

as_root!(a_failure_of_its_own_is_told_on_the_sync_pipe, |world| {
    let mut called = Called::container(world, &ours(world), "exit 0", &["-l", "k8s-file:/no/such/directory/log"]);
    called.give_leave();
    assert_eq!(called.first().ok(), "");
    let told = called.told();
    assert_eq!(told["data"], -1);
    let message = told["message"].as_str().expect("a message");
    assert_eq!(message, "opening the log /no/such/directory/log: No such file or directory (os error 2)");
});

as_root!(a_runtime_s_long_complaint_fits_what_podman_reads_at_once, |world| {
    let script = "#!/bin/sh\nyes 'no \"such\" thing' | head -c 100000 >&2\nexit 1\n";
    let runtime = world.file("runtime", script);
    fs::set_permissions(&runtime, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("our own file");
    let mut called = Called::container(world, &ours(world), "", &["-r", &runtime.display().to_string()]);
    called.give_leave();
    called.first().ok();
    let line = line(&mut called.sync);
    assert!(line.len() <= 4096 && line.contains(r#"no \"such\" thing\nno"#), "{line}");
    assert!(line.starts_with(r#"{"data": -1, "message": "no"#) && line.ends_with("}\n"), "{line}");
});

as_root!(whoever_asks_during_an_exit_delay_gets_the_exit_command_at_once, |world| {
    let exits = ["--exit-command", "/bin/cp", "--exit-command-arg", "exits", "--exit-command-arg"];
    let copy = world.dir.join("copy");
    let script = format!("#!/bin/sh\nprintf later >{}\n", copy.display());
    let command = world.file("later", script);
    fs::set_permissions(&command, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("our own file");
    let command = command.display().to_string();
    let further = [exits[0], &command, "--exit-delay", "3600"];
    let mut called = Called::container(world, &ours(world), "exit 4", &further);
    called.created();
    let mut client = called.connect();
    called.start();
    heard(&mut client);
    assert_eq!(called.exit(), "4");
    assert!(!copy.exists());
    kill(Pid::from_raw(called.monitor()), Signal::SIGTERM).expect("it waits");
    until_gone(called.monitor());
    assert_eq!(fs::read_to_string(copy).expect("it was run"), "later");
});

both!(it_answers_to_its_version_help_and_mistakes, |world| {
    let conmon = ours(world);
    let version = concat!("conmon version 2.1.12\npodling-monitor ", env!("CARGO_PKG_VERSION"));
    assert_eq!(world.program(&conmon, ["--version"]).ok(), version);
    // Podman asks the program that it was told of, whatever its name is.
    assert_eq!(world.program(setup().bin("podling-monitor"), ["--version"]).ok(), version);
    let help = world.program(&conmon, ["--help"]);
    assert!(help.ok().contains("-b, --bundle VALUE") && !help.stdout.contains("restore-arg"), "{help}");
    let sound = ["-c", "x", "-u", "x", "-r", "/bin/true", "-b", ".", "--full-attach"];
    for (words, complaint) in [
        (&["--nope"][..], "unknown option --nope (conmon --help prints those that are known)"),
        (&["-c"], "nothing follows --cid"),
        (&[], "no container id: use --cid"),
        (&["-c", "x"], "no id of container or session: use --cuuid"),
        (&["-c", "x", "-u", "x"], "no runtime: use --runtime"),
        (&["-c", "x", "-u", "x", "-r", "/nope"], "runtime /nope: ENOENT: No such file or directory"),
        (&sound, "no log driver: use --log-path"),
        (&[&sound[..], &["-l", "smoke:/x"]].concat(), "no such log driver: smoke"),
        (&[&sound[..], &["-l", "k8s-file"]].concat(), "--log-path 'k8s-file' names no file"),
        (
            &[&sound[..], &["-l", "x", "--log-tag", "t"]].concat(),
            "--log-tag is for the journal; a log file has no place for it",
        ),
        (
            &[&sound[..], &["-l", "none", "-T", "soon"]].concat(),
            "--timeout: \"soon\" is no number: invalid digit found in string",
        ),
        (&[&sound[..], &["-l", "none", "-e"]].concat(), "no process to run: use --exec-process-spec"),
        (&[&sound[..], &["-l", "none", "--log-level", "loud"]].concat(), "no such log level: loud"),
        (
            &[&sound[..], &["-l", "none", "--seccomp-notify-socket", "s"]].concat(),
            "--seccomp-notify-socket: plugins for seccomp notifications are not to be had here",
        ),
        (
            &[&sound[..], &["-l", "none", "--exit-delay=-1"]].concat(),
            "--exit-delay: no number of seconds: invalid digit found in string",
        ),
    ] {
        let output = world.program(&conmon, words);
        assert_eq!(output.fails(1), format!("conmon: {complaint}"), "{words:?}");
        // The real one refuses as well, in words of its own.
        if !words.contains(&"--seccomp-notify-socket") {
            world.program("/usr/bin/conmon", words).fails(1);
        }
    }
    let left = fs::read_dir(&world.dir).expect("our own directory").flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name()).filter(|name| name == "attach" || name == "ctl").collect();
    assert!(left.is_empty(), "{left:?}");
});
