//! podling-monitor: the one small process that stays while a container runs.
//!
//! Somebody must wait for a process, since its exit status goes to its parent and to nobody else; somebody must hold the
//! other ends of its streams. Where there is no daemon, that is one small process for each container, with no thread, one
//! loop, and as little memory as it can.
//!
//! [`run`] is its life in order. The order is what makes it reliable: the log and the attach socket are open before the
//! container exists, so no output is lost; the exit record is on disk before anybody is told. At every moment we may be
//! killed, and the next command finds out from what is on disk and in /proc how things stand.

// Public is what reads what others write, so that it can be tried without a container.
pub mod attach;
pub mod conmon;
pub mod control;
mod create;
mod exit;
mod gate;
pub mod log;
pub mod manner;
mod memory;
mod relay;
pub mod report;
mod stdio;
mod time;
mod watch;

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, setsid};

use self::attach::Clients;
use self::control::Control;
use self::create::Outcome;
use self::log::Log;
use self::manner::{Hears, Manner};
use self::memory::MemoryEvents;
use self::relay::Relay;
use self::report::{News, Report, Words};
use self::stdio::Streams;
use self::watch::Watch;
use crate::handover::{LogDriver, MonitorConfig};
use crate::linux::process::go_on_in_a_copy;
use crate::sys;
use crate::trace::{self, Actor, Topic};

/// What podling's programs call a failure of their own.
const OWN_FAILURE: i32 = 125;

/// What is to be done, for whom, and where he listens.
struct Asked {
    config: MonitorConfig,
    manner: Manner,
    report: Report,
}

/// The program. Its exit status is the container's, for those who wait for it.
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let name = arguments.next().unwrap_or_default();
    let words: Vec<OsString> = arguments.collect();
    if conmon::is_meant(&name, &words) {
        return match conmon::asked(&words) {
            Ok(asked) => live(asked),
            Err(error) => complain("conmon", &error),
        };
    }
    let config = command_line(&words).and_then(read).and_then(|config| {
        if config.log.driver == LogDriver::Passthrough && Report::number().is_none() {
            bail!("with the log driver passthrough, {} must say where to report", report::VARIABLE);
        }
        Ok(config)
    });
    forget_leaked_descriptors(config.as_ref().map_or(0, |config| config.preserve_fds));
    trace::begin(Actor::Monitor);
    let mut report = match Report::open() {
        Ok(report) => report,
        Err(error) => return complain("podling-monitor", &error),
    };
    match config {
        Ok(config) => {
            if config.adopted && !matches!(go_on_in_a_copy(), Ok(None)) {
                // Without a copy the report ends without a word.
                sys::exit_now(0);
            }
            let manner = Manner::podling(&config);
            live(Asked { config, manner, report })
        }
        Err(error) => {
            report.say(&(Box::new(report::podling) as Words), &News::Failed(&error));
            ExitCode::FAILURE
        }
    }
}

fn complain(who: &str, error: &anyhow::Error) -> ExitCode {
    eprintln!("{who}: {error:#}");
    ExitCode::FAILURE
}

fn command_line(words: &[OsString]) -> Result<&Path> {
    match words {
        [option, path] if option == "--config" => Ok(Path::new(path)),
        _ => bail!("podling-monitor is started by podling with --config FILE, or takes conmon's options (--help)"),
    }
}

fn read(path: &Path) -> Result<MonitorConfig> {
    let text = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("reading {}", path.display()))
}

/// From what is asked to the end of all.
fn live(mut asked: Asked) -> ExitCode {
    match begin(&mut asked) {
        // Nobody is left to hear of an error.
        Ok(Some(watch)) => run(asked, watch).map_or(ExitCode::FAILURE, |code| ExitCode::from(code as u8)),
        Ok(None) => ExitCode::FAILURE,
        Err(error) => {
            asked.manner.records.release();
            asked.report.say(&asked.manner.words, &News::Failed(&error));
            ExitCode::FAILURE
        }
    }
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
fn begin(Asked { config, manner, report }: &mut Asked) -> Result<Option<Watch>> {
    if let Some(file) = &manner.pid_file {
        // With the start time, or the pid could one day mean another process.
        let me = nix::unistd::Pid::this();
        let start_time = crate::linux::process::start_time(me)?.context("/proc does not show this process")?;
        fs::write(file, format!("{me} {start_time}")).with_context(|| format!("writing {}", file.display()))?;
        trace::point("pid file");
    }
    trace::stage(format_args!("out of the caller's session; the container's orphans will be ours"));
    leave_the_caller(config)?;
    trace::ask(Topic::Process, "prctl", format_args!("PR_SET_CHILD_SUBREAPER"), || set_child_subreaper(true))
        .context("becoming a subreaper")?;
    let signals = signals().context("taking signals as events")?;

    manner.records.reserve()?;
    trace::stage(format_args!("the log and the attach socket: before there is anything to say"));
    let log = Log::open(config, &manner.logs)?;
    let mut clients = Clients::listen(manner.attach.take(), manner.caller)?;
    let controls = manner.fifos.drain(..).map(Control::open).collect::<Result<Vec<_>>>()?;
    let relay = manner.relay.as_ref().map(Relay::open).transpose()?;
    let (mut streams, ends) = Streams::make(config)?;
    if let Some(gate) = manner.gate.take() {
        gate.pass(&signals)?;
    }

    trace::stage(format_args!("the runtime makes the container, and leaves"));
    let outcome = create::run(config, manner, &mut streams, ends, &signals);
    if config.preserve_fds > 0 {
        let _ = sys::close_inherited(3, 2 + config.preserve_fds as i32);
    }
    if config.log.driver == LogDriver::Passthrough {
        // They are the container's, and their reader shall see their end when it has gone.
        close_standard_streams()?;
    }
    let (process, said) = match outcome {
        Ok(Outcome::Created(process, said)) => (process, said),
        failed => {
            clients.close();
            controls.iter().for_each(Control::close);
            manner.records.release();
            if let Some(file) = &manner.pid_file {
                let _ = fs::remove_file(file);
            }
            if let Ok(Outcome::Refused(said, status)) = &failed {
                report.say(&manner.words, &News::Refused(said, *status));
                report.close();
            }
            if manner.afterwards.after_failure
                && let Some(mut command) = manner.afterwards.begin()
            {
                let _ = command.wait();
            }
            return failed.map(|_| None);
        }
    };
    report.say(&manner.words, &News::Created(process.pid()));
    trace::point("told of its birth");
    if manner.hears == Hears::Start {
        report.close();
        trace::end();
    }
    let memory = MemoryEvents::watch(process.pid());
    // Who waited at the gate hears all.
    clients.accept();
    Ok(Some(Watch {
        process,
        streams,
        clients,
        input: manner.input,
        controls,
        relay,
        log,
        early: said,
        memory,
        signals,
        deadline: config.timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds)),
        timed_out: false,
        held: config.task.is_exec() && manner.hears == Hears::EndAndTidies,
    }))
}

/// Out of the caller's session, off its terminal and its working directory: it may end, log out, unmount.
fn leave_the_caller(config: &MonitorConfig) -> Result<()> {
    // Fails only for the leader of a process group, which we are only when started by hand from a shell.
    let _ = trace::ask(Topic::Process, "setsid", format_args!(""), setsid);
    std::env::set_current_dir("/")?;
    if config.log.driver != LogDriver::Passthrough {
        close_standard_streams()?;
    }
    Ok(())
}

fn close_standard_streams() -> Result<()> {
    let null = fs::File::options().read(true).write(true).open("/dev/null").context("opening /dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
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

/// From a container that exists to the end of all. Returns its exit status.
fn run(Asked { manner, mut report, .. }: Asked, mut watch: Watch) -> Result<i32> {
    let exit = watch.until_the_end(&report)?;
    trace::stage(format_args!("the end: first on disk, then told"));
    trace::point("ended");
    let oom = watch.memory.killed(exit);
    let record = exit::record(exit, oom, watch.timed_out);
    // Our names go first: once there is a record the container may be started again, and the next monitor takes them.
    watch.controls.iter().for_each(Control::close);
    watch.clients.close();
    // Likewise what was to stay open: a port, say.
    drop(manner.held);
    // Even if the disk is full, those who wait are told.
    let written = manner.records.write(&record);
    if manner.farewell {
        watch.clients.exit(&(manner.records.text)(&record));
    }
    trace::point("farewell");
    if manner.hears != Hears::Start {
        report.say(&manner.words, &News::Ended(&record));
        trace::point("told of its end");
    }
    // Whoever started us in podling's foreground, or stopped the container, does at once what the exit command would do,
    // and removes the bundle (or the session's process file) in doing so. The command is for when he is gone: detached,
    // killed, or never there.
    let at_once = manner.hears != Hears::EndAndTidies && manner.afterwards.delay.is_zero();
    if manner.hears != Hears::EndAndTidies {
        report.close();
    }
    let mut command = if at_once { manner.afterwards.begin() } else { None };
    watch.linger()?;
    if !at_once {
        report.await_no_reader();
        manner.afterwards.await_time(&watch.signals)?;
        command = manner.afterwards.begin();
    }
    if let Some(mut command) = command {
        let _ = command.wait();
    }
    written.map(|()| record.code)
}
