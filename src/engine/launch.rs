//! From a container on disk to a program that runs, in the one order that works.
//!
//! ```text
//! engine    lock; user and mount namespace; overlay; config.json, monitor.json
//! monitor   setsid; subreaper; log and attach socket; `runtime create`
//! engine    network into the new namespace; attach, if in the foreground
//! engine    `runtime start`: only now does the program run
//! ```
//!
//! The gap between create and start is not ceremony: it is when the network namespace exists and the program does not
//! yet run, and when somebody can attach before the first byte is written.
//!
//! If any step fails, what the steps before it made is taken back, and the container is as if it had never been started.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::unistd::pipe2;

use super::attach::{AttachOptions, AttachRequest, Attachment};
use super::container::{Container, Process, Started};
use super::failure::Failure;
use super::store::{Lock, make_private, write_whole};
use super::{CgroupManager, Engine, network, service, spec};
use crate::handover::{ExitRecord, LogDriver, MonitorConfig, StartReport, Stdin, Task};
use crate::trace::{self, Topic};

/// A monitor that this process started, and its container's process.
pub(super) struct Launched {
    /// The container's first process.
    pub process: Process,
    monitor: Child,
    report: BufReader<File>,
}

impl Launched {
    /// How the container ended, as the monitor tells whoever waits in the foreground. None if it could not say.
    pub fn end(&mut self) -> Option<ExitRecord> {
        let mut line = String::new();
        self.report.read_line(&mut line).ok()?;
        serde_json::from_str(&line).ok()
    }

    /// Waits for the monitor's end.
    fn wait(mut self) {
        drop(self.report);
        let _ = self.monitor.wait();
    }
}

impl Engine {
    /// Everything up to a process that waits to be let go. `lock` is the container's; the caller has entered.
    pub(super) fn bring_up(&self, container: &Container, lock: &Lock, foreground: bool) -> Result<Launched> {
        self.await_holders(container)?;
        // A boot, or a monitor that was killed, may have left traces of the last run.
        self.tear_down(container).context("clearing away the last run")?;
        if !container.config.ports.is_empty() {
            self.free_ports();
        }
        for file in ["exit.json", "exit.json.tmp", "started.json"] {
            let _ = fs::remove_file(container.data.join(file));
        }
        trace::point("cleared away");
        make_private(&container.bundle())?;
        let launched = (|| {
            trace::stage(format_args!("its root file system: the image's layers below, its own on top"));
            self.mount(container)?;
            self.lead_to_root(container)?;
            let spec = spec::write(self, container)?;
            write_whole(&container.bundle().join("config.json"), &serde_json::to_vec(&spec)?)?;
            trace::stage(format_args!("the monitor, which will stay with it"));
            let config = self.monitor_config(container, foreground)?;
            let launched = self.start_monitor(&container.run.join("monitor.json"), &config, Some(lock))?;
            if let Some(file) = &container.config.pid_file {
                write_whole(file, launched.process.pid.to_string().as_bytes())?;
            }
            if let (Some(file), Some(monitor)) = (&container.config.monitor_pid_file, container.monitor()) {
                write_whole(file, monitor.pid.to_string().as_bytes())?;
            }
            let connected = network::connect(self, container, launched.process.pid).and_then(|()| {
                // Last: only what may be let go is called initialized.
                write_whole(&container.run.join("process.json"), &serde_json::to_vec(&launched.process)?)
            });
            if let Err(error) = connected {
                let _ = self.tear_down(container);
                launched.wait();
                return Err(error);
            }
            Ok(launched)
        })();
        if launched.is_err() {
            let _ = self.tear_down(container);
        }
        launched
    }

    /// Lets the program go.
    pub(super) fn let_go(&self, container: &Container, restarts: u32) -> Result<()> {
        trace::stage(format_args!("start: all is connected, the program may run"));
        // Noted first: if there is no room for the note, the program must not have run.
        let (note, started) = (container.data.join("started.json"), Started { at: super::now(), restarts });
        write_whole(&note, &serde_json::to_vec(&started)?)?;
        if let Err(error) = self.runtime_call(container, &["start", container.id()]) {
            let _ = fs::remove_file(note);
            return Err(error);
        }
        self.note_started(container)?;
        self.record(container, "start", &[]);
        Ok(())
    }

    /// Notes for all to see that the program has been let go, unless that has been noted.
    pub(super) fn note_started(&self, container: &Container) -> Result<()> {
        let note = container.run.join("started");
        if note.exists() { Ok(()) } else { write_whole(&note, b"") }
    }

    /// Removes what a run leaves in `$RUN`: network helpers, the runtime's state and cgroup, the bundle. Kills what still
    /// runs. If the runtime fails at its part, the rest of `$RUN` stays, so that the next command tries again.
    pub(super) fn tear_down(&self, container: &Container) -> Result<()> {
        if !container.run.exists() {
            return Ok(());
        }
        // Alive and without a record, a monitor is of a run that nobody finished: it must not write into what comes next.
        if container.exit().is_none()
            && let Some(monitor) = container.monitor()
        {
            monitor.kill();
        }
        let _ = network::disconnect(container);
        self.unmount(container);
        let _ = fs::remove_dir_all(container.bundle());
        if self.runtime(&container.config.runtime).is_ok() {
            self.runtime_call(container, &["delete", "--force", container.id()])?;
        } else {
            // It is no longer installed, and what it knew of the container cannot be asked for any more.
            if let Some(process) = container.process() {
                process.kill();
            }
            super::rootfs::remove_tree(&self.paths.run.join("runtime").join(container.id()))?;
        }
        super::rootfs::remove_tree(&container.run)
    }

    /// Connects to the container's streams; from now on nothing it says is lost.
    pub(super) fn join_streams(&self, container: &Container, request: &AttachRequest) -> Result<Attachment> {
        let detach_keys = match &request.detach_keys {
            Some(keys) => keys.parse().map_err(|error| Failure::Invalid(format!("{error:#}")))?,
            None => super::detach::DetachKeys::default(),
        };
        Attachment::connect(AttachOptions {
            socket: container.attach_socket(),
            control: container.control_fifo(),
            stdin: request.stdin && container.config.interactive,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: container.config.terminal,
            detach_keys,
            signal_proxy: request.signal_proxy,
        })
    }

    fn monitor_config(&self, container: &Container, foreground: bool) -> Result<MonitorConfig> {
        let config = &container.config;
        let run = &container.run;
        Ok(MonitorConfig {
            id: config.id.clone(),
            name: config.name.clone(),
            runtime: self.runtime(&config.runtime)?,
            runtime_options: self.runtime_options(container)?,
            task: Task::Create,
            bundle: container.bundle(),
            pid_file: run.join("pid"),
            monitor_pid_file: run.join("monitor.pid"),
            // Of a container that goes with its end, nobody reads the record after a power cut: it need not wait for a disk.
            exit_file: if config.remove { run } else { &container.data }.join("exit.json"),
            attach_socket: container.attach_socket(),
            control_fifo: container.control_fifo(),
            terminal: config.terminal,
            terminal_size: terminal_size().filter(|_| config.terminal && foreground),
            stdin: if config.interactive { Stdin::Open } else { Stdin::Null },
            log: config.log.clone(),
            timeout: config.timeout,
            preserve_fds: service::descriptors(config),
            notify: service::relay(container),
            adopted: !foreground && service::manager(config).is_some(),
            foreground,
            exit_command: self.exit_command(config.remove.then_some("--rm").iter().chain(&[config.id.as_str()]))?,
        })
    }

    /// `podling container cleanup WHAT…`, with the options that lead it to this very store.
    pub(super) fn exit_command<'a>(&self, what: impl Iterator<Item = &'a &'a str>) -> Result<Vec<String>> {
        let program = std::env::current_exe().context("finding this program")?;
        let word = |path: &PathBuf| path.display().to_string();
        let mut words = vec![word(&program), "--root".into(), word(&self.paths.data)];
        words.extend(["--runroot".into(), word(&self.paths.run)]);
        if let Some(manager) = self.options.cgroup_manager {
            words.push(format!("--cgroup-manager={}", manager.word()));
        }
        // It may be a restart policy's turn to start the container again, by the same programs.
        if self.options.monitor.is_some() {
            words.push(format!("--monitor={}", self.monitor_program()?.display()));
        }
        words.extend(self.options.runtime_flags.iter().map(|flag| format!("--runtime-flag={flag}")));
        words.extend(["container".into(), "cleanup".into()]);
        words.extend(what.map(ToString::to_string));
        Ok(words)
    }

    /// The options before the runtime's sub-command.
    pub(super) fn runtime_options(&self, container: &Container) -> Result<Vec<String>> {
        let mut options = vec!["--root".into(), self.paths.runtime().display().to_string()];
        let disabled = container.config.cgroups == super::settings::CgroupsMode::Disabled;
        let manager = if disabled { CgroupManager::Disabled } else { self.cgroup_manager() };
        let program = self.runtime(&container.config.runtime)?;
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("runc") {
            // It knows two managers, and no word for none.
            options.extend((manager == CgroupManager::Systemd).then(|| "--systemd-cgroup".into()));
        } else {
            options.push(format!("--cgroup-manager={}", manager.word()));
        }
        options.extend(self.options.runtime_flags.iter().map(|flag| format!("--{}", flag.trim_start_matches('-'))));
        Ok(options)
    }

    /// Runs the runtime and waits; what it says on standard error becomes the failure.
    pub(super) fn runtime_call(&self, container: &Container, words: &[&str]) -> Result<()> {
        let program = self.runtime(&container.config.runtime)?;
        self.run_runtime(&program, &self.runtime_options(container)?, words)
    }

    pub(super) fn run_runtime(&self, program: &Path, options: &[String], words: &[&str]) -> Result<()> {
        let mut command = Command::new(program);
        command.args(options).args(words).stdin(Stdio::null()).stdout(Stdio::null());
        service::keep_from(&mut command);
        trace::pass_on(&mut command);
        trace::say(Topic::Process, "execve", format_args!("{} {}", program.display(), words.join(" ")), "ok");
        let output = command.output().with_context(|| format!("running the OCI runtime {}", program.display()))?;
        trace::point("runtime left");
        if !output.status.success() {
            bail!(Failure::from_runtime(&last_line(&output.stderr)));
        }
        Ok(())
    }

    /// Starts a monitor and hears its report. Until it has said in a file who it is, nobody else could know of it: so that
    /// long it has the container's lock as its standard input. If we are killed now, whoever comes next waits for that file.
    pub(super) fn start_monitor(&self, file: &Path, config: &MonitorConfig, lock: Option<&Lock>) -> Result<Launched> {
        write_whole(file, &serde_json::to_vec_pretty(config)?)?;
        let program = self.monitor_program()?;
        let mut command = Command::new(&program);
        command.arg("--config").arg(file);
        let (ours, theirs) = pipe2(OFlag::O_CLOEXEC).context("making the report pipe")?;
        if config.log.driver == LogDriver::Passthrough {
            // Its standard output is the container's; the report goes to a descriptor that we leave open for it.
            fcntl(&theirs, FcntlArg::F_SETFD(FdFlag::empty()))?;
            command.env("PODLING_REPORT", theirs.as_raw_fd().to_string());
        } else {
            let input = lock.map_or(Ok(Stdio::null()), |lock| lock.lend().map(Stdio::from))?;
            command.stdin(input).stdout(theirs.try_clone()?);
        }
        service::keep_from(&mut command);
        trace::pass_on(&mut command);
        trace::say(Topic::Monitor, "execve", format_args!("{} --config …", program.display()), "ok");
        let monitor = command.spawn().with_context(|| format!("starting the monitor {}", program.display()))?;
        trace::point("monitor started");
        drop((theirs, command));
        let mut report = BufReader::new(File::from(ours));
        let mut line = String::new();
        report.read_line(&mut line).context("hearing the monitor's report")?;
        trace::point("monitor heard");
        match serde_json::from_str(&line) {
            Ok(StartReport::Created { pid }) => match Process::of(pid) {
                Some(process) => Ok(Launched { process, monitor, report }),
                // An exec session begins without `start`, and may be over already: its monitor has its words and its end.
                None if config.task != Task::Create => {
                    Ok(Launched { process: Process { pid, start_time: 0 }, monitor, report })
                }
                None => {
                    Launched { process: Process { pid, start_time: 0 }, monitor, report }.wait();
                    bail!(Failure::Start("the container's process ended before it could be started".into()))
                }
            },
            failed => {
                let process = Process { pid: 0, start_time: 0 };
                Launched { process, monitor, report }.wait();
                match failed {
                    Ok(StartReport::Failed { message, .. }) => bail!(Failure::from_runtime(&message)),
                    _ => bail!(Failure::Start("the monitor ended without a report".into())),
                }
            }
        }
    }
}

impl CgroupManager {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Systemd => "systemd",
            Self::Cgroupfs => "cgroupfs",
            Self::Disabled => "disabled",
        }
    }
}

/// The last thing a program said, without the time and level that runtimes put before it.
fn last_line(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("the OCI runtime failed and did not say why").into()
}

fn terminal_size() -> Option<(u16, u16)> {
    crate::sys::window_size(std::io::stdin().as_fd()).ok()
}
