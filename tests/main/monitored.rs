//! A container with nothing around it but its monitor: a bundle, a `monitor.json`, and the test in the engine's place.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use podling::handover::{ExitRecord, LogConfig, LogDriver, MonitorConfig, StartReport, Stdin, Task, packet};
use podling::linux::ipc::{SockType, reach};
use serde_json::json;

use crate::running::until_gone;
use crate::second_opinion;
use crate::setup::setup;
use crate::world::World;

/// A container with nothing around it but its monitor.
pub struct Monitored<'w> {
    world: &'w World,
    pub config: MonitorConfig,
    pub child: Child,
    pub lines: BufReader<File>,
    pub report: StartReport,
}

/// A bundle with a shell script in busybox.
pub fn bundle(world: &World, name: &str, script: &str, terminal: bool) -> PathBuf {
    let bundle = world.directory(name);
    let bin = world.directory(&format!("{name}/rootfs")).join("bin");
    for directory in ["bin", "proc", "dev", "tmp"] {
        fs::create_dir_all(bin.with_file_name(directory)).expect("our own directory");
    }
    fs::copy("/bin/busybox", bin.join("busybox")).expect("a static busybox");
    for applet in ["sh", "cat", "yes", "head", "sleep", "stty", "seq", "readlink"] {
        std::os::unix::fs::symlink("busybox", bin.join(applet)).expect("our own directory");
    }
    let spec = json!({
        "ociVersion": "1.0.2",
        "process": process(&["sh", "-c", script], terminal),
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"]},
        ],
        "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}]},
    });
    fs::write(bundle.join("config.json"), spec.to_string()).expect("our own directory");
    bundle
}

/// What the monitor is told, for a shell script in busybox; tests change what they are about.
pub fn config(world: &World, name: &str, script: &str, terminal: bool) -> MonitorConfig {
    let bundle = bundle(world, name, script, terminal);
    MonitorConfig {
        id: world.tag() + name,
        name: name.into(),
        runtime: second_opinion::runtime(),
        runtime_options: vec!["--root".into(), bundle.join("runtime").display().to_string()],
        task: Task::Create,
        pid_file: bundle.join("pid"),
        monitor_pid_file: bundle.join("monitor.pid"),
        exit_file: bundle.join("exit.json"),
        attach_socket: bundle.join("attach"),
        control_fifo: bundle.join("control"),
        terminal,
        terminal_size: terminal.then_some((33, 99)),
        stdin: Stdin::Null,
        log: LogConfig { driver: LogDriver::K8sFile, path: bundle.join("log"), max_size: None, tag: None },
        timeout: None,
        preserve_fds: 0,
        notify: None,
        adopted: false,
        foreground: false,
        exit_command: Vec::new(),
        bundle,
    }
}

/// The `process` section of a bundle.
pub fn process(arguments: &[&str], terminal: bool) -> serde_json::Value {
    json!({"args": arguments, "cwd": "/", "env": ["PATH=/bin"], "terminal": terminal, "user": {"uid": 0, "gid": 0}})
}

impl<'w> Monitored<'w> {
    /// Starts the monitor and reads its first line.
    pub fn create(world: &'w World, config: MonitorConfig) -> Self {
        let file = config.monitor_pid_file.with_file_name("monitor.json");
        fs::write(&file, serde_json::to_vec(&config).expect("plain data")).expect("our own directory");
        let mut command = world.command(setup().bin("podling-monitor"));
        command.arg("--config").arg(file).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it was built");
        let stdout = child.stdout.take().expect("a pipe");
        let mut lines = BufReader::new(File::from(std::os::fd::OwnedFd::from(stdout)));
        let report = serde_json::from_str(&line(&mut lines)).expect("a report");
        Self { world, config, child, lines, report }
    }

    pub fn pid(&self) -> i32 {
        match &self.report {
            StartReport::Created { pid } => *pid,
            StartReport::Failed { message, .. } => panic!("{message}"),
        }
    }

    pub fn runtime(&self, words: &[&str]) -> crate::running::Output {
        let mut all = self.config.runtime_options.clone();
        all.extend(words.iter().map(|word| (*word).to_owned()));
        self.world.program(&self.config.runtime, all)
    }

    /// Lets the program go.
    pub fn start(&self) -> &Self {
        self.pid();
        self.runtime(&["start", &self.config.id]).ok();
        self
    }

    pub fn attach(&self) -> UnixStream {
        reach(&self.config.attach_socket, SockType::SeqPacket).expect("it listens")
    }

    /// What another monitor is told of an exec session in this container: with a terminal, and in the foreground.
    pub fn session(&self, script: &str) -> MonitorConfig {
        let mut session = config(self.world, "exec", "", true);
        let spec = session.bundle.join("process.json");
        fs::write(&spec, process(&["sh", "-c", script], true).to_string()).expect("our own directory");
        session.id.clone_from(&self.config.id);
        session.runtime_options.clone_from(&self.config.runtime_options);
        session.task = Task::Exec { process: spec };
        session.foreground = true;
        session
    }

    /// Stops listening to the monitor's report.
    pub fn turn_away(&mut self) {
        self.lines = BufReader::new(File::open("/dev/null").expect("a device"));
    }

    /// The record on disk, when the monitor has gone. In the foreground it goes only after whoever started it.
    pub fn record(&mut self) -> ExitRecord {
        self.turn_away();
        self.child.wait().expect("our own child");
        serde_json::from_slice(&fs::read(&self.config.exit_file).expect("a record")).expect("a record")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.config.log.path).expect("a log")
    }

    /// What the log keeps, without times.
    pub fn logged(&self) -> Vec<String> {
        self.log().lines().map(|line| line.split_once(' ').expect("a time").1.to_owned()).collect()
    }
}

impl Drop for Monitored<'_> {
    fn drop(&mut self) {
        self.turn_away();
        if let StartReport::Created { pid } = self.report {
            if self.config.task == Task::Create {
                let _ = self.runtime(&["delete", "--force", &self.config.id]);
                until_gone(pid);
            }
            let _ = self.child.wait();
        }
    }
}

/// The next line of the monitor's report.
pub fn line(lines: &mut impl BufRead) -> String {
    let mut line = String::new();
    lines.read_line(&mut line).expect("a pipe");
    line
}

/// All that an attached client gets: standard output, standard error, and the record.
pub fn collect(client: &mut UnixStream) -> (String, String, Option<ExitRecord>) {
    let (mut streams, mut record) = ([Vec::new(), Vec::new()], None);
    let mut buffer = [0; packet::OUTPUT_MAX + 1];
    while let Ok(count @ 1..) = client.read(&mut buffer) {
        match buffer[0] {
            packet::EXIT => {
                record = serde_json::from_slice(&buffer[1..count]).ok();
                break;
            }
            kind => streams[usize::from(kind - packet::STDOUT)].extend_from_slice(&buffer[1..count]),
        }
    }
    let [out, err] = streams.map(|stream| String::from_utf8_lossy(&stream).into_owned());
    (out, err, record)
}
