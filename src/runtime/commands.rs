//! The command line of runc and crun: global options, then a command with its own.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write, stdout};
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use regex_lite::Regex;

use super::arguments::Arguments;
use super::cgroups::{Manager, Scarcity};
use super::lifecycle::{self, Force, Whom};
use super::plan::Choices;
use super::state::{OCI_VERSION, Store};
use super::{create, events, exec, features, processes, protect, spec, time, update};
use crate::linux::process::Signal;
use crate::trace::{self, Format};

mod execution;
mod options;

use options::{CREATE, EXEC, GLOBAL, HELP, OF_CREATE};

/// Where errors are told besides standard error.
#[derive(Debug, Default)]
pub struct Log {
    file: Option<PathBuf>,
    json: bool,
}

impl Log {
    /// Tells an error, in one line.
    pub fn error(&self, text: &str) {
        eprintln!("podling-runtime: {text}");
        let Some(path) = &self.file else { return };
        let line = if self.json {
            serde_json::json!({ "msg": text, "level": "error", "time": time::now() }).to_string()
        } else {
            format!("time=\"{}\" level=error msg={text:?}", time::now())
        };
        if let Ok(mut file) = OpenOptions::new().append(true).create(true).open(path) {
            let _ = writeln!(file, "{line}");
        }
    }
}

/// Prints; returns the exit status. Whoever stops reading (`podling-runtime --help | head -1`) is owed no word; a shell would
/// call it 128 + SIGPIPE.
fn print(text: &str) -> Result<u8> {
    match stdout().write_all(text.as_bytes()).and_then(|()| stdout().flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(141),
        other => other.map(|()| 0).context("writing to standard output"),
    }
}

/// Runs what the words say; returns the exit status.
pub fn run(words: Vec<String>, log: &mut Log) -> Result<u8> {
    let global = Arguments::parse(&words, GLOBAL, 1)?;
    log.file = global.value("log").filter(|path| !path.is_empty()).map(PathBuf::from);
    log.json = match global.value("log-format") {
        None | Some("text" | "") => false,
        Some("json") => true,
        Some(other) => bail!("unknown log format {other:?}: text or json"),
    };
    if global.has("version") {
        return print(&format!("podling-runtime version {}\nspec: {OCI_VERSION}\n", env!("CARGO_PKG_VERSION")));
    }
    let wants_help = global.has("help") || global.words.first().is_some_and(|word| word == "help");
    let Some((command, rest)) = global.words.split_first().filter(|_| !wants_help) else {
        return Ok(print(HELP)?.max(u8::from(!wants_help)));
    };
    if (global.has("debug") || global.value("log-level") == Some("debug")) && !trace::on() {
        trace::narrate(if log.json { Format::Json } else { Format::Text })?;
    }
    let manager = match global.value("cgroup-manager") {
        None if global.has("systemd-cgroup") => Manager::Systemd,
        None | Some("cgroupfs") => Manager::Cgroupfs,
        Some("systemd") => Manager::Systemd,
        Some("disabled") => Manager::Disabled,
        Some(other) => bail!("unknown cgroup manager {other:?}: cgroupfs, systemd or disabled"),
    };
    if rest.iter().take_while(|word| *word != "--").any(|word| word == "--help" || word == "-h") && command != "exec" {
        return print(HELP);
    }
    if matches!(command.as_str(), "create" | "run" | "exec") {
        protect::own_executable()?;
    }
    dispatch(command, rest, &global, manager)
}

/// `--rootless`: whether a container that asks for no limit may do without a cgroup.
fn scarcity(global: &Arguments) -> Result<Scarcity> {
    Ok(match global.value("rootless") {
        None | Some("auto" | "") => Scarcity::OfUsers,
        Some("true") => Scarcity::Allowed,
        Some("false") => Scarcity::Refused,
        Some(other) => bail!("--rootless {other:?}: true, false or auto"),
    })
}

fn dispatch(command: &str, rest: &[String], global: &Arguments, manager: Manager) -> Result<u8> {
    let store = || Store::open(global.value("root"));
    match command {
        "create" => {
            let arguments = Arguments::parse(rest, &CREATE[..OF_CREATE], usize::MAX)?;
            create::create(&store()?, &creation(&arguments, manager, scarcity(global)?)?)?;
        }
        "run" => {
            let arguments = Arguments::parse(rest, CREATE, usize::MAX)?;
            let request = creation(&arguments, manager, scarcity(global)?)?;
            return create::run(&store()?, &request, arguments.has("detach"), arguments.has("keep"));
        }
        "exec" => {
            let store = store()?;
            let arguments = Arguments::parse(rest, EXEC, 2)?;
            return exec::exec(&store, &execution::execution(&store, &arguments)?);
        }
        "spec" => spec::write(&Arguments::parse(rest, options::of(command), usize::MAX)?)?,
        "features" => return print(&format!("{:#}\n", features::json())),
        "list" => {
            let arguments = Arguments::parse(rest, options::of(command), usize::MAX)?;
            lifecycle::list(&store()?, arguments.value("format").unwrap_or("table"), arguments.has("quiet"))?;
        }
        "ps" => {
            // What follows the id is for ps.
            let arguments = Arguments::parse(rest, options::of(command), 1)?;
            let (id, more) = arguments.words.split_first().context("ps: which container? (its id is missing)")?;
            processes::list(&store()?, id, more)?.print(arguments.value("format").unwrap_or("table"))?;
        }
        "start" | "state" | "kill" | "delete" | "pause" | "resume" | "update" | "events" => {
            let arguments = Arguments::parse(rest, options::of(command), usize::MAX)?;
            on_one(command, &store()?, &arguments)?;
        }
        "checkpoint" | "restore" => bail!(
            "{command}: this runtime does not know how to freeze a container into files (it would need criu and a root \
             file system that stays as it is)"
        ),
        other => bail!("unknown command {other:?} (see --help)"),
    }
    Ok(0)
}

fn on_one(command: &str, store: &Store, arguments: &Arguments) -> Result<()> {
    let Some((id, more)) = arguments.words.split_first() else {
        bail!("{command}: which container? (its id is missing)");
    };
    ensure!(more.is_empty() || (command == "kill" && more.len() == 1), "{command}: too many words: {}", more.join(" "));
    match command {
        "start" => lifecycle::start(store, id),
        "state" => lifecycle::state(store, id),
        "kill" => {
            let signal = more.first().map_or(Ok(Signal::TERM), |name| name.parse())?;
            let whom = if arguments.has("all") { Whom::All } else { Whom::First };
            each(store, id, arguments, |id| lifecycle::kill(store, id, signal, whom))
        }
        "delete" => {
            let force = if arguments.has("force") { Force::Yes } else { Force::No };
            each(store, id, arguments, |id| lifecycle::delete(store, id, force))
        }
        "pause" => lifecycle::freeze(store, id, true),
        "resume" => lifecycle::freeze(store, id, false),
        "update" => update::update(store, id, arguments),
        _ => events::tell(store, id, arguments),
    }
}

/// The container called `id`, or with `--regex` all whose ids match: what goes wrong with one does not spare the others.
fn each(store: &Store, id: &str, arguments: &Arguments, act: impl Fn(&str) -> Result<()>) -> Result<()> {
    if !arguments.has("regex") {
        return act(id);
    }
    let pattern = Regex::new(id).with_context(|| format!("--regex {id:?}"))?;
    let states = store.all()?;
    let matching = states.iter().filter(|state| pattern.is_match(&state.id));
    matching.map(|state| act(&state.id)).fold(Ok(()), Result::and)
}

fn creation(arguments: &Arguments, manager: Manager, scarcity: Scarcity) -> Result<create::Request> {
    let [id] = arguments.words.as_slice() else { bail!("one container's id is needed, and nothing else") };
    let bundle = PathBuf::from(arguments.value("bundle").unwrap_or("."));
    Ok(create::Request {
        id: id.clone(),
        bundle: bundle.canonicalize().with_context(|| format!("bundle {}", bundle.display()))?,
        config: arguments.value("config").map(PathBuf::from),
        pid_file: arguments.value("pid-file").map(PathBuf::from),
        console_socket: arguments.value("console-socket").filter(|path| !path.is_empty()).map(PathBuf::from),
        choices: Choices {
            pivot: !arguments.has("no-pivot"),
            new_keyring: !arguments.has("no-new-keyring"),
            preserve_fds: descriptors(arguments)?,
        },
        pidfd_socket: arguments.value("pidfd-socket").filter(|path| !path.is_empty()).map(PathBuf::from),
        manager,
        scarcity,
    })
}

fn descriptors(arguments: &Arguments) -> Result<i32> {
    let count = arguments.number::<u16>("preserve-fds")?.unwrap_or(0);
    Ok(i32::from(count))
}
