//! podling-monitor in conmon's place: Podman, CRI-O or whoever calls `conmon` may call us instead.
//!
//! Everything that is conmon's alone is here: its words (`options`) become a [`MonitorConfig`], and its customs a
//! [`Manner`]; then the same loop runs as for podling. The customs are
//!
//! - three descriptors whose numbers the environment tells. `_OCI_STARTPIPE`: nothing is started before a byte comes, so
//!   that the caller can put us into a cgroup first. `_OCI_SYNCPIPE`: `{"data": PID}`, or `{"data": -1, "message": …}`,
//!   and of an exec session at last its exit status. `_OCI_ATTACHPIPE`: for exec, see [`super::gate`];
//! - two processes: the one that was called ends as soon as it has written the other's pid;
//! - an exit status in a file, as digits without a newline, before the exit command;
//! - whatever else the caller left open stays open until the end: it may be a port that nobody else shall get, or the
//!   pipe by which a network helper knows that the container still runs.
//!
//! Where it differs from conmon it is on purpose: a failure before the runtime is called is told on the sync pipe and not
//! only to syslog; a client that reads nothing for a second does not stop the container, unless it is the caller; and a
//! log size limit counts what the file held before.

mod options;

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{IsTerminal, Read, Write, stdout};
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::exit;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::unistd::{AccessFlags, access, getppid};

use self::options::Given;
use super::Asked;
use super::exit::{Afterwards, Records};
use super::gate::Gate;
use super::manner::{Fifo, Hears, InputEnds, Manner, MoreLogs};
use super::report::{News, Report};
use crate::handover::{ExitRecord, LogConfig, LogDriver, MonitorConfig, NotifyRelay, Stdin, Task};
use crate::linux::process::{Signal, go_on_in_a_copy};
use crate::sys;

/// The conmon whose options and customs these are. Podman asks, and wants at least 2.0.24.
const VERSION: &str = "2.1.12";
/// Where links to bundles go if nothing is said: CRI-O's directory, as with conmon.
const SOCKETS: &str = "/var/run/crio";
/// The longest line that Podman reads in one piece.
const LINE_MAX: usize = 4096;

/// Whether we were called as conmon: by that name, or with options that are not podling's.
pub fn is_meant(name: &OsStr, words: &[OsString]) -> bool {
    let first = words.first().map(|word| word.to_string_lossy());
    Path::new(name).file_name() == Some(OsStr::new("conmon"))
        || first.is_some_and(|first| first.starts_with('-') && first != "--config")
}

/// Reads the words and does what comes before the monitor's own life. What goes wrong here the caller sees from our exit
/// status and on standard error; later he is told on the sync pipe.
pub(super) fn asked(words: &[OsString]) -> Result<Asked> {
    let given = Given::parse(words)?;
    if given.has("help") {
        tell(&options::help());
    }
    if given.has("version") {
        tell(&format!("conmon version {VERSION}\npodling-monitor {}\n", env!("CARGO_PKG_VERSION")));
    }
    let (config, mut manner) = understood(&given)?;
    if let (Some(_), Some(session), false) = (&manner.attach, given.value("cuuid"), given.has("full-attach")) {
        link(&given.path("socket-dir-path")?.unwrap_or_else(|| SOCKETS.into()).join(session), &config.bundle)?;
    }
    let mut pipes = Pipes::take()?;
    if let Some(start) = &mut pipes.start {
        start.read(&mut [0]).context("waiting on the start pipe")?;
    }
    manner.held = held(3 + config.preserve_fds as i32)?;
    if !given.has("sync") {
        go_on_as_a_child(given.path("conmon-pidfile")?.as_deref())?;
    }
    if given.has("exec-attach") {
        let ready = (pipes.attach.context("--exec-attach, but _OCI_ATTACHPIPE is not set")?, "{\"data\": 0}\n".into());
        manner.gate = Some(Gate { ready, leave: pipes.start });
    }
    Ok(Asked { config, manner, report: Report::to(pipes.sync) })
}

/// What the words ask for. Nothing is done yet.
pub fn understand(words: &[OsString]) -> Result<(MonitorConfig, Manner)> {
    understood(&Given::parse(words)?)
}

fn understood(given: &Given) -> Result<(MonitorConfig, Manner)> {
    check(given)?;
    let (config, logs) = config(given)?;
    let manner = manner(given, &config, logs)?;
    Ok((config, manner))
}

/// Prints and ends. Whoever stops reading (`… --help | head -1`) is owed no word; a shell would call it 128 + SIGPIPE.
fn tell(text: &str) -> ! {
    exit(if stdout().write_all(text.as_bytes()).and_then(|()| stdout().flush()).is_ok() { 0 } else { 141 })
}

fn check(given: &Given) -> Result<()> {
    let exec = given.has("exec");
    for name in ["seccomp-notify-socket", "seccomp-notify-plugins"] {
        if given.has(name) {
            bail!("--{name}: plugins for seccomp notifications are not to be had here");
        }
    }
    if !given.has("cid") {
        bail!("no container id: use --cid");
    }
    if !given.has("cuuid") && (!exec || given.has("api-version")) {
        bail!("no id of container or session: use --cuuid");
    }
    if exec && given.has("restore") {
        bail!("--exec and --restore exclude each other");
    }
    if exec && !given.has("exec-process-spec") {
        bail!("no process to run: use --exec-process-spec");
    }
    if given.has("exec-attach") && !(exec && given.has("api-version")) {
        bail!("--exec-attach goes with --exec and --api-version");
    }
    let runtime = given.path("runtime")?.context("no runtime: use --runtime")?;
    access(&runtime, AccessFlags::X_OK).with_context(|| format!("runtime {}", runtime.display()))?;
    if let Some(level) = given.text("log-level")? {
        let known = ["error", "fatal", "panic", "warn", "warning", "info", "debug", "trace"];
        if !known.contains(&level.to_lowercase().as_str()) {
            bail!("no such log level: {level}");
        }
    }
    Ok(())
}

/// What is to be done, and the logs beside the first.
fn config(given: &Given) -> Result<(MonitorConfig, MoreLogs)> {
    let id = given.text("cid")?.unwrap_or_default();
    let here = std::env::current_dir().context("finding the working directory")?;
    // An old caller's exec session has none, and nobody attaches to it.
    let bundle = given.path("bundle")?.unwrap_or_else(|| here.clone());
    let pid_file = given.path("container-pidfile")?.or(given.path("pidfile")?);
    let mut runtime_options = given.texts("runtime-arg")?;
    let task = match (given.path("exec-process-spec")?, given.path("restore")?) {
        (Some(process), _) if given.has("exec") => Task::Exec { process },
        (_, Some(image)) => Task::Restore { image },
        _ => Task::Create,
    };
    if given.has("systemd-cgroup") && !task.is_exec() {
        runtime_options.insert(0, "--systemd-cgroup".into());
    }
    let terminal = given.has("terminal");
    let (log, logs) = logs(given)?;
    if log.driver == LogDriver::Passthrough && [0, 1, 2].into_iter().any(is_terminal) {
        bail!("the log driver passthrough would give the container a terminal, into which it could type (TIOCSTI)");
    }
    let config = MonitorConfig {
        name: given.text("name")?.unwrap_or_default(),
        runtime: given.path("runtime")?.unwrap_or_default(),
        runtime_options,
        task,
        pid_file: pid_file.unwrap_or_else(|| here.join(format!("pidfile-{id}"))),
        // Where what is told and kept goes is in the manner.
        monitor_pid_file: PathBuf::new(),
        exit_file: PathBuf::new(),
        attach_socket: PathBuf::new(),
        control_fifo: PathBuf::new(),
        exit_command: Vec::new(),
        foreground: false,
        bundle,
        terminal,
        terminal_size: None,
        // Whoever attaches to a terminal can type.
        stdin: if terminal || given.has("stdin") { Stdin::Open } else { Stdin::Null },
        log,
        timeout: given.number("timeout")?,
        preserve_fds: preserved(given)?.0,
        notify: None,
        adopted: false,
        id,
    };
    Ok((config, logs))
}

fn is_terminal(fd: i32) -> bool {
    match fd {
        0 => std::io::stdin().is_terminal(),
        1 => std::io::stdout().is_terminal(),
        _ => std::io::stderr().is_terminal(),
    }
}

/// How many descriptors from 3 on the container gets, and what else the runtime's sub-command is told.
fn preserved(given: &Given) -> Result<(u32, Vec<String>)> {
    let mut options = given.texts("runtime-opt")?;
    options.extend(given.texts("restore-arg")?);
    let Some(at) = options.iter().position(|option| option == "--preserve-fds") else { return Ok((0, options)) };
    let mut told = options.drain(at..(at + 2).min(options.len()));
    let count = told.nth(1).and_then(|count| count.parse().ok()).context("--preserve-fds: no number follows")?;
    drop(told);
    Ok((count, options))
}

/// The logs that are asked for; the first is the config's.
fn logs(given: &Given) -> Result<(LogConfig, MoreLogs)> {
    let mut logs = Vec::new();
    for asked in given.texts("log-path")? {
        logs.push(log(given, &asked)?);
    }
    if logs.is_empty() {
        bail!("no log driver: use --log-path");
    }
    let journal = logs.iter().any(|log| log.driver == LogDriver::Journald);
    let file = logs.iter().any(|log| matches!(log.driver, LogDriver::K8sFile | LogDriver::JsonFile));
    for name in ["log-tag", "log-label"] {
        if file && !journal && given.has(name) {
            bail!("--{name} is for the journal; a log file has no place for it");
        }
    }
    let labels = given.texts("log-label")?;
    if let Some(label) = labels.iter().find(|label| !is_field(label)) {
        bail!("--log-label {label}: not NAME=VALUE with a name of the journal's (capitals, digits, underscores)");
    }
    // One that passes through us hides no other: it comes first.
    logs.sort_by_key(|log| log.driver != LogDriver::Passthrough);
    let first = logs.remove(0);
    let max_total = given.number("log-global-size-max")?;
    Ok((first, MoreLogs { beside: logs, labels, max_total, durable: !given.has("no-sync-log") }))
}

fn log(given: &Given, asked: &str) -> Result<LogConfig> {
    let (driver, path) = match asked.split_once(':') {
        Some(("", path)) => ("k8s-file", path),
        Some(both) => both,
        None if matches!(asked, "journald" | "none" | "off" | "null" | "passthrough" | "k8s-file" | "json-file") => {
            (asked, "")
        }
        None => ("k8s-file", asked),
    };
    let driver = match driver {
        "k8s-file" => LogDriver::K8sFile,
        "json-file" => LogDriver::JsonFile,
        "journald" => LogDriver::Journald,
        "none" | "off" | "null" => LogDriver::None,
        "passthrough" => LogDriver::Passthrough,
        _ => bail!("no such log driver: {driver}"),
    };
    let is_file = matches!(driver, LogDriver::K8sFile | LogDriver::JsonFile);
    if is_file && path.is_empty() {
        bail!("--log-path '{asked}' names no file");
    }
    let path = if is_file { std::path::absolute(path)? } else { PathBuf::new() };
    Ok(LogConfig { driver, path, max_size: given.number("log-size-max")?, tag: given.text("log-tag")? })
}

/// Whether the journal takes it (systemd.journal-fields(7)); names that begin with an underscore it trusts nobody with.
fn is_field(label: &str) -> bool {
    let is_name = |name: &str| {
        name.starts_with(|first: char| first.is_ascii_uppercase())
            && name.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_'))
    };
    label.split_once('=').is_some_and(|(name, _)| is_name(name))
}

/// Where things go and how they are told.
fn manner(given: &Given, config: &MonitorConfig, logs: MoreLogs) -> Result<Manner> {
    let exec = config.task.is_exec();
    let directory = given.path("bundle")?.or((!exec).then(|| config.bundle.clone()));
    let (exit_dir, persist_dir) = (given.path("exit-dir")?, given.path("persist-dir")?);
    let here = std::env::current_dir()?;
    let delay = given.text("exit-delay")?.map_or(Ok(0), |seconds| seconds.parse());
    let afterwards = Afterwards {
        words: given.texts("exit-command")?.pop().into_iter().chain(given.texts("exit-command-arg")?).collect(),
        delay: Duration::from_secs(delay.context("--exit-delay: no number of seconds")?),
        only_with: None,
        after_failure: true,
    };
    let relay = match (given.text("sdnotify-socket")?, &directory) {
        (Some(manager), Some(directory)) => Some(NotifyRelay { socket: directory.join("notify/notify.sock"), manager }),
        _ => None,
    };
    let fifo = |name: &str, only_sizes| {
        directory.as_ref().map(|directory| Fifo { path: directory.join(name), only_sizes, stays: true })
    };
    let console = directory.as_ref().map(|directory| directory.join("console"));
    Ok(Manner {
        caller: Some(getppid()),
        words: words(given.has("api-version"), exec),
        hears: if exec { Hears::End } else { Hears::Start },
        pid_file: None,
        records: Records {
            files: exit_dir
                .map(|dir| dir.join(&config.id))
                .into_iter()
                .chain(persist_dir.as_ref().map(|dir| dir.join("exit")))
                .collect(),
            text: |record| status(record).to_string().into_bytes(),
            // Podman runs us in the bundle, and looks there.
            ooms: persist_dir.iter().chain([&here]).map(|dir| dir.join("oom")).collect(),
            // The directories are small and in memory, and hold what their owner knows of.
            reserved: false,
        },
        farewell: false,
        input: if config.terminal || given.has("leave-stdin-open") { InputEnds::Nobody } else { InputEnds::Anybody },
        attach: directory.as_ref().map(|directory| directory.join("attach")),
        fifos: [fifo("ctl", false), fifo("winsz", true)].into_iter().flatten().collect(),
        console: console.unwrap_or_else(|| std::env::temp_dir().join(format!("console.{}", std::process::id()))),
        runtime_words: ["no-pivot", "no-new-keyring"]
            .into_iter()
            .filter(|name| !exec && given.has(name))
            .map(|name| format!("--{name}"))
            .chain(preserved(given)?.1)
            .collect(),
        gate: None,
        held: Vec::new(),
        relay,
        logs,
        afterwards,
    })
}

/// A short way to a bundle whose path may be too long for a socket's address.
fn link(path: &Path, bundle: &Path) -> Result<()> {
    let _ = fs::remove_file(path);
    symlink(bundle, path).with_context(|| format!("making the link {}", path.display()))
}

/// The lines of the sync pipe. Callers of before `--api-version` called the number otherwise, and did not want to hear an
/// exec session's pid.
fn words(current: bool, exec: bool) -> super::report::Words {
    let name = match (current, exec) {
        (true, _) => "data",
        (false, true) => "exit_code",
        (false, false) => "pid",
    };
    Box::new(move |news| {
        let failed = |text: &str| Some(line(name, -1, text));
        match news {
            News::Created(_) if name == "exit_code" => None,
            News::Created(pid) => Some(line(name, pid.as_raw(), "")),
            News::Refused([], status) => failed(&format!("the runtime ended with status {status} and said nothing")),
            News::Refused(said, _) => failed(&String::from_utf8_lossy(said)),
            News::Failed(error) => failed(&format!("{error:#}")),
            News::Ended(record) if record.timed_out => failed("command timed out"),
            News::Ended(record) => Some(line(name, record.code, "")),
        }
    })
}

fn line(name: &str, number: i32, message: &str) -> String {
    if message.is_empty() {
        return format!("{{\"{name}\": {number}}}");
    }
    let whole = |text: &str| format!("{{\"{name}\": {number}, \"message\": {}}}", serde_json::Value::from(text));
    let mut text = message.to_owned();
    while whole(&text).len() >= LINE_MAX {
        text = text.chars().take(text.chars().count() / 2).collect();
    }
    whole(&text)
}

/// The number in exit files: -1 if time was up.
fn status(record: &ExitRecord) -> i32 {
    if record.timed_out { -1 } else { record.code }
}

/// The descriptors that the environment tells of.
struct Pipes {
    sync: Option<File>,
    start: Option<File>,
    attach: Option<File>,
}

impl Pipes {
    fn take() -> Result<Self> {
        let take = |variable: &str| -> Result<Option<File>> {
            let Ok(number) = std::env::var(variable) else { return Ok(None) };
            let told = || format!("{variable}={number}");
            let fd = sys::inherited(number.parse().with_context(told)?).with_context(told)?;
            Ok(Some(File::from(fd)))
        };
        Ok(Self { sync: take("_OCI_SYNCPIPE")?, start: take("_OCI_STARTPIPE")?, attach: take("_OCI_ATTACHPIPE")? })
    }
}

/// What else is open from `first` on, kept from the programs that we start.
fn held(first: i32) -> Result<Vec<OwnedFd>> {
    let open = |entry: fs::DirEntry| entry.file_name().to_str()?.parse::<i32>().ok();
    let known: Vec<i32> = fs::read_dir("/proc/self/fd")?.flatten().filter_map(open).collect();
    let pipes = ["_OCI_SYNCPIPE", "_OCI_STARTPIPE", "_OCI_ATTACHPIPE"];
    let pipes: Vec<i32> = pipes.iter().filter_map(|name| std::env::var(name).ok()?.parse().ok()).collect();
    sys::close_on_exec_from(first)?;
    let others = known.into_iter().filter(|fd| *fd >= first && !pipes.contains(fd));
    // The directory itself was open, and is no more.
    Ok(others.filter_map(|fd| sys::inherited(fd).ok()).collect())
}

/// Goes on in a copy; this process tells its pid and ends.
fn go_on_as_a_child(pid_file: Option<&Path>) -> Result<()> {
    let Some(copy) = go_on_in_a_copy().context("making a second process")? else { return Ok(()) };
    if let Some(file) = pid_file
        && let Err(error) = fs::write(file, copy.pid().to_string())
    {
        let _ = copy.signal(Signal::KILL);
        return Err(error).with_context(|| format!("writing {}", file.display()));
    }
    sys::exit_now(0)
}
