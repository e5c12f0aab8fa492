//! podling-monitor: the one small process that stays while a container runs.
//!
//! Somebody must wait for a process, since its exit status goes to its parent and to nobody else; somebody must hold the
//! other ends of its streams. Where there is no daemon, that is one small process for each container, with no thread, one
//! loop, and as little memory as it can.
//!
//! [`run`] is its life in order. The order is what makes it reliable: the log and the attach socket are open before the
//! container exists, so no output is lost; the exit record is on disk before anybody is told. At every moment we may be
//! killed, and the next command finds out from what is on disk and in /proc how things stand.

mod attach;
mod control;
mod create;
mod exit;
mod log;
mod memory;
mod report;
mod stdio;
mod time;
mod watch;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, getppid, setsid};

use self::attach::Clients;
use self::control::Control;
use self::create::Outcome;
use self::log::{Log, Stream};
use self::memory::MemoryEvents;
use self::report::Report;
use self::stdio::Streams;
use self::watch::Watch;
use crate::handover::{LogDriver, MonitorConfig, StartReport, Task};
use crate::sys;
use crate::trace::{self, Actor, Topic};

/// What podling's programs call a failure of their own.
const OWN_FAILURE: i32 = 125;

/// The program. Its exit status means little (nobody waits for it); what happened is in the report and the record.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let config = command_line(arguments).and_then(|path| read(&path));
    forget_leaked_descriptors(config.as_ref().map_or(0, |config| config.preserve_fds));
    trace::begin(Actor::Monitor);
    let mut report = match Report::open() {
        Ok(report) => report,
        Err(error) => {
            eprintln!("podling-monitor: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let begun = config.and_then(|config| {
        let watch = begin(&config, &mut report).inspect_err(|_| exit::release(&config.exit_file))?;
        Ok((config, watch))
    });
    match begun {
        Ok((_, None)) => ExitCode::FAILURE,
        // Nobody is left to hear of an error.
        Ok((config, Some(watch))) => run(&config, watch, report).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS),
        Err(error) => {
            report.say(&StartReport::Failed { message: format!("{error:#}"), status: OWN_FAILURE });
            ExitCode::FAILURE
        }
    }
}

fn command_line(mut arguments: impl Iterator<Item = OsString>) -> Result<PathBuf> {
    match (arguments.next(), arguments.next(), arguments.next()) {
        (Some(option), None, None) if option == "--version" => {
            println!("podling-monitor {}", env!("CARGO_PKG_VERSION"));
            std::process::exit(0)
        }
        (Some(option), Some(path), None) if option == "--config" => Ok(path.into()),
        _ => bail!("podling-monitor is started by podling, with --config FILE"),
    }
}

fn read(path: &Path) -> Result<MonitorConfig> {
    let text = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("reading {}", path.display()))
}

/// Callers leak descriptors; held here, they would be held for the container's life. A pipe among them would keep its
/// reader waiting for as long. Those meant for the container are kept until it has them.
fn forget_leaked_descriptors(meant: u32) {
    let narration = std::env::var(trace::VARIABLE).ok();
    let narration = narration.and_then(|said| said.split_once(':')?.1.parse::<i32>().ok());
    let mut first = 3 + meant as i32;
    let mut kept: Vec<i32> = narration.into_iter().chain(Report::number()).filter(|fd| *fd >= first).collect();
    kept.sort_unstable();
    for fd in kept {
        if fd > first {
            let _ = sys::close_inherited(first, fd - 1);
        }
        first = fd + 1;
    }
    let _ = sys::close_inherited(first, i32::MAX);
}

/// From the start to a container that exists and waits for `runtime start`. `None`: the runtime could not make it, and
/// whoever started us has been told.
fn begin(config: &MonitorConfig, report: &mut Report) -> Result<Option<Watch>> {
    if config.log.driver == LogDriver::Passthrough && Report::number().is_none() {
        bail!("with the log driver passthrough, {} must say where to report", report::VARIABLE);
    }
    // Told apart from other clients by its pid; asked for now, because a parent that ends is replaced by another.
    let caller = config.foreground.then(getppid);
    // With the start time, or the pid could one day mean another process.
    let me = nix::unistd::Pid::this();
    let start_time = crate::linux::process::start_time(me)?.context("/proc does not show this process")?;
    fs::write(&config.monitor_pid_file, format!("{me} {start_time}"))
        .with_context(|| format!("writing {}", config.monitor_pid_file.display()))?;
    trace::stage(format_args!("out of the caller's session; the container's orphans will be ours"));
    leave_the_caller(config)?;
    trace::ask(Topic::Process, "prctl", format_args!("PR_SET_CHILD_SUBREAPER"), || set_child_subreaper(true))
        .context("becoming a subreaper")?;
    let signals = signals().context("taking signals as events")?;

    exit::reserve(&config.exit_file)?;
    trace::stage(format_args!("the log and the attach socket: before there is anything to say"));
    let log = Log::open(config)?;
    let clients = Clients::listen(&config.attach_socket, caller)?;
    let control = Control::open(&config.control_fifo)?;
    let (mut streams, ends) = Streams::make(config)?;

    trace::stage(format_args!("the runtime makes the container, and leaves"));
    let outcome = create::run(config, &mut streams, ends, &signals);
    if config.preserve_fds > 0 {
        let _ = sys::close_inherited(3, 2 + config.preserve_fds as i32);
    }
    let (process, said) = match outcome {
        Ok(Outcome::Created(process, said)) => (process, said),
        failed => {
            let mut clients = clients;
            clients.close();
            control.close();
            exit::release(&config.exit_file);
            let _ = fs::remove_file(&config.monitor_pid_file);
            if let Ok(Outcome::Failed(failure)) = &failed {
                report.say(failure);
            }
            return failed.map(|_| None);
        }
    };
    report.say(&StartReport::Created { pid: process.pid().as_raw() });
    if !config.foreground {
        report.close();
        trace::end();
    }
    let is_exec = config.task != Task::Create;
    let memory = MemoryEvents::watch(process.pid());
    let mut watch = Watch {
        process,
        streams,
        clients,
        control,
        log,
        memory,
        signals,
        deadline: config.timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds)),
        timed_out: false,
        held: is_exec && config.foreground,
    };
    if !said.is_empty() {
        watch.log.keep(Stream::Stderr, &said);
    }
    Ok(Some(watch))
}

/// Out of the caller's session, off its terminal and its working directory: it may end, log out, unmount.
fn leave_the_caller(config: &MonitorConfig) -> Result<()> {
    // Fails only for the leader of a process group, which we are only when started by hand from a shell.
    let _ = trace::ask(Topic::Process, "setsid", format_args!(""), setsid);
    std::env::set_current_dir("/")?;
    if config.log.driver != LogDriver::Passthrough {
        let null = fs::File::options().read(true).write(true).open("/dev/null").context("opening /dev/null")?;
        dup2_stdin(&null)?;
        dup2_stdout(&null)?;
        dup2_stderr(&null)?;
    }
    Ok(())
}

/// Signals as events: blocked, and read from a descriptor. A hang-up of the caller's terminal is among them, and ignored.
fn signals() -> nix::Result<SignalFd> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP] {
        set.add(signal);
    }
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

/// From a container that exists to the end of all.
fn run(config: &MonitorConfig, mut watch: Watch, mut report: Report) -> Result<()> {
    // From here on we mostly wait; the code that brought us here need not stay in memory.
    sys::release_code();
    let exit = watch.until_the_end(&report)?;
    trace::stage(format_args!("the end: first on disk, then told"));
    let oom = watch.memory.killed(exit);
    let record = exit::record(exit, oom, watch.timed_out);
    let text = serde_json::to_vec(&record)?;
    // Our names go first: once there is a record the container may be started again, and the next monitor takes them.
    watch.control.close();
    watch.clients.close();
    // Even if the disk is full, those who wait are told.
    let written = exit::write(&config.exit_file, &text);
    watch.clients.exit(&text);
    // Whoever started us in the foreground, or stopped the container, does at once what the exit command would do, and
    // removes the bundle (or the session's process file) in doing so. The command is for when he is gone: detached,
    // killed, or never there.
    let ours = match &config.task {
        Task::Create => &config.bundle,
        Task::Exec { process } => process,
    };
    let unless_done = || ours.exists().then(|| exit::command(&config.exit_command)).flatten();
    let command = if config.foreground {
        report.say(&record);
        watch.linger()?;
        report.await_no_reader();
        unless_done()
    } else {
        report.close();
        let command = unless_done();
        watch.linger()?;
        command
    };
    if let Some(mut command) = command {
        let _ = command.wait();
    }
    written
}
