//! The command line of runc and crun: global options, then a command with its own.

use std::fs::OpenOptions;
use std::io::{Write, stdout};
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use oci_spec::runtime::Process as OciProcess;

use super::arguments::{Arguments, Known, Takes};
use super::cgroups::Manager;
use super::lifecycle::{self, Force, Whom};
use super::plan::{self, Choices};
use super::state::{OCI_VERSION, Store};
use super::{create, exec, features, protect, spec, time, update};
use crate::linux::process::Signal;

use Takes::{Nothing, Value};

const GLOBAL: &[Known] = &[
    ("root", None, Value),
    ("log", None, Value),
    ("log-format", None, Value),
    ("log-level", None, Value),
    ("debug", None, Nothing),
    ("systemd-cgroup", None, Nothing),
    ("cgroup-manager", None, Value),
    ("rootless", None, Value),
    ("criu", None, Value),
    ("help", Some('h'), Nothing),
    ("version", Some('v'), Nothing),
];

const CREATE: &[Known] = &[
    ("bundle", Some('b'), Value),
    ("config", Some('f'), Value),
    ("pid-file", None, Value),
    ("console-socket", None, Value),
    ("no-pivot", None, Nothing),
    ("no-new-keyring", None, Nothing),
    ("preserve-fds", None, Value),
    ("detach", Some('d'), Nothing),
    ("keep", None, Nothing),
    ("no-subreaper", None, Nothing),
    ("help", Some('h'), Nothing),
];

const EXEC: &[Known] = &[
    ("process", Some('p'), Value),
    ("detach", Some('d'), Nothing),
    ("pid-file", None, Value),
    ("console-socket", None, Value),
    ("tty", Some('t'), Nothing),
    ("cwd", None, Value),
    ("env", Some('e'), Value),
    ("user", Some('u'), Value),
    ("additional-gids", Some('g'), Value),
    ("cap", Some('c'), Value),
    ("no-new-privs", None, Nothing),
    ("preserve-fds", None, Value),
    ("cgroup", None, Value),
    ("apparmor", None, Value),
    ("process-label", None, Value),
    ("no-subreaper", None, Nothing),
    ("help", Some('h'), Nothing),
];

const OTHERS: &[Known] = &[
    ("all", Some('a'), Nothing),
    ("force", Some('f'), Nothing),
    ("format", Some('f'), Value),
    ("quiet", Some('q'), Nothing),
    ("stats", None, Nothing),
    ("interval", None, Value),
    ("rootless", None, Nothing),
    ("bundle", Some('b'), Value),
    ("resources", Some('r'), Value),
    ("memory", None, Value),
    ("memory-reservation", None, Value),
    ("memory-swap", None, Value),
    ("cpu-share", None, Value),
    ("cpu-quota", None, Value),
    ("cpu-period", None, Value),
    ("cpuset-cpus", None, Value),
    ("cpuset-mems", None, Value),
    ("pids-limit", None, Value),
    ("help", Some('h'), Nothing),
];

const HELP: &str = "\
podling-runtime: makes containers out of OCI bundles.

usage: podling-runtime [--root DIR] [--log FILE] [--log-format text|json] [--debug]
                       [--cgroup-manager cgroupfs|systemd|disabled] [--systemd-cgroup] COMMAND

  create [-b BUNDLE] [--pid-file FILE] [--console-socket SOCKET] [--no-pivot] [--no-new-keyring] [--preserve-fds N] ID
  start ID
  run [options of create] [--detach] [--keep] ID
  state ID                                     OCI's state, as JSON
  kill [--all] ID [SIGNAL]
  delete [--force] ID
  exec [--process FILE | options] ID [PROGRAM [ARGUMENT…]]
       [--detach] [--tty] [--pid-file FILE] [--console-socket SOCKET] [--cwd DIR] [--env NAME=VALUE]
       [--user UID[:GID]] [--additional-gids GID,…] [--cap CAP] [--no-new-privs] [--preserve-fds N]
  list [--format table|json] [--quiet]
  ps [--format table|json] ID
  pause ID, resume ID
  update [--resources FILE|-] [--memory N] [--cpu-quota N] [--cpu-period N] [--pids-limit N] … ID
  events --stats ID
  spec [--bundle DIR] [--rootless]             writes a config.json to begin with
  features                                     what this runtime can do, as JSON
";

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
        println!("podling-runtime version {}\nspec: {OCI_VERSION}", env!("CARGO_PKG_VERSION"));
        return Ok(0);
    }
    let Some((command, rest)) = global.words.split_first().filter(|_| !global.has("help")) else {
        print!("{HELP}");
        return Ok(u8::from(!global.has("help")));
    };
    let manager = match global.value("cgroup-manager") {
        None if global.has("systemd-cgroup") => Manager::Systemd,
        None | Some("cgroupfs") => Manager::Cgroupfs,
        Some("systemd") => Manager::Systemd,
        Some("disabled") => Manager::Disabled,
        Some(other) => bail!("unknown cgroup manager {other:?}: cgroupfs, systemd or disabled"),
    };
    if rest.iter().take_while(|word| *word != "--").any(|word| word == "--help" || word == "-h") && command != "exec" {
        print!("{HELP}");
        return Ok(0);
    }
    if matches!(command.as_str(), "create" | "run" | "exec") {
        protect::own_executable()?;
    }
    dispatch(command, rest, &global, manager)
}

fn dispatch(command: &str, rest: &[String], global: &Arguments, manager: Manager) -> Result<u8> {
    let store = || Store::open(global.value("root"));
    match command {
        "create" => {
            let arguments = Arguments::parse(rest, CREATE, usize::MAX)?;
            create::create(&store()?, &creation(&arguments, manager)?)?;
        }
        "run" => {
            let arguments = Arguments::parse(rest, CREATE, usize::MAX)?;
            let request = creation(&arguments, manager)?;
            return create::run(&store()?, &request, arguments.has("detach"), arguments.has("keep"));
        }
        "exec" => {
            let store = store()?;
            let arguments = Arguments::parse(rest, EXEC, 2)?;
            return exec::exec(&store, &execution(&store, &arguments)?);
        }
        "spec" => spec::write(&Arguments::parse(rest, OTHERS, usize::MAX)?)?,
        "features" => writeln!(stdout(), "{:#}", features::json())?,
        "list" => {
            // `-f` is --format here, and --force for delete: as in runc.
            let arguments = Arguments::parse(rest, &without("force"), usize::MAX)?;
            lifecycle::list(&store()?, arguments.value("format").unwrap_or("table"), arguments.has("quiet"))?;
        }
        "ps" => {
            let arguments = Arguments::parse(rest, &without("force"), usize::MAX)?;
            let (id, _) = arguments.words.split_first().context("ps: which container? (its id is missing)")?;
            lifecycle::ps(&store()?, id, arguments.value("format").unwrap_or("table"))?;
        }
        "start" | "state" | "kill" | "delete" | "pause" | "resume" | "update" | "events" => {
            let arguments = Arguments::parse(rest, &without("format"), usize::MAX)?;
            on_one(command, &store()?, &arguments)?;
        }
        other => bail!("unknown command {other:?} (see --help)"),
    }
    Ok(0)
}

fn without(name: &str) -> Vec<Known> {
    OTHERS.iter().copied().filter(|known| known.0 != name).collect()
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
            lifecycle::kill(store, id, signal, whom)
        }
        "delete" => lifecycle::delete(store, id, if arguments.has("force") { Force::Yes } else { Force::No }),
        "pause" => lifecycle::freeze(store, id, true),
        "resume" => lifecycle::freeze(store, id, false),
        "update" => update::update(store, id, arguments),
        _ => update::events(store, id),
    }
}

fn creation(arguments: &Arguments, manager: Manager) -> Result<create::Request> {
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
        manager,
    })
}

fn descriptors(arguments: &Arguments) -> Result<i32> {
    let count = arguments.number::<u16>("preserve-fds")?.unwrap_or(0);
    Ok(i32::from(count))
}

fn execution(store: &Store, arguments: &Arguments) -> Result<exec::Request> {
    let Some((id, program)) = arguments.words.split_first() else {
        bail!("exec: which container? (its id is missing)");
    };
    let process = match arguments.value("process") {
        Some(path) => {
            let text = std::fs::read(path).with_context(|| path.to_string())?;
            let mut process: OciProcess = plan::parse(&text).with_context(|| path.to_string())?;
            // Older conmons repeat on the command line what the file says.
            if arguments.has("tty") {
                process.set_terminal(Some(true));
            }
            process
        }
        None => process_of_words(store, id, program, arguments)?,
    };
    Ok(exec::Request {
        id: id.clone(),
        process,
        detach: arguments.has("detach"),
        pid_file: arguments.value("pid-file").map(PathBuf::from),
        console_socket: arguments.value("console-socket").filter(|path| !path.is_empty()).map(PathBuf::from),
        preserve_fds: descriptors(arguments)?,
        sub_cgroup: arguments.value("cgroup").map(ToString::to_string),
    })
}

/// The container's own process, with what the command line changes.
fn process_of_words(store: &Store, id: &str, program: &[String], arguments: &Arguments) -> Result<OciProcess> {
    ensure!(!program.is_empty(), "exec: there is no program to run");
    let mut process = exec::process_like_first(store, &store.load(id)?)?;
    process.set_args(Some(program.to_vec())).set_terminal(Some(arguments.has("tty")));
    if let Some(cwd) = arguments.value("cwd") {
        process.set_cwd(cwd.into());
    }
    let mut environment = process.env().clone().unwrap_or_default();
    environment.extend(arguments.values("env").map(ToString::to_string));
    process.set_env(Some(environment));
    if let Some(user) = arguments.value("user") {
        let (uid, gid) = user_and_group(user)?;
        process.user_mut().set_uid(uid).set_gid(gid).set_additional_gids(None);
    }
    if let Some(gids) = arguments.value("additional-gids") {
        let gids: Result<Vec<u32>, _> = gids.split(',').map(str::parse).collect();
        process.user_mut().set_additional_gids(Some(gids.context("--additional-gids: numbers with commas")?));
    }
    if arguments.has("no-new-privs") {
        process.set_no_new_privileges(Some(true));
    }
    add_capabilities(&mut process, arguments)?;
    if let Some(profile) = arguments.value("apparmor") {
        process.set_apparmor_profile(Some(profile.into()));
    }
    if let Some(label) = arguments.value("process-label") {
        process.set_selinux_label(Some(label.into()));
    }
    Ok(process)
}

/// `--cap`: added to what may be used, never to what is inherited (CVE-2022-29162).
fn add_capabilities(process: &mut OciProcess, arguments: &Arguments) -> Result<()> {
    let mut added = oci_spec::runtime::Capabilities::new();
    for name in arguments.values("cap") {
        let upper = name.to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        added.insert(serde_json::from_value(format!("CAP_{name}").into()).with_context(|| format!("--cap {name}"))?);
    }
    if added.is_empty() {
        return Ok(());
    }
    let mut sets = process.capabilities().clone().unwrap_or_default();
    for set in [sets.bounding().clone(), sets.effective().clone(), sets.permitted().clone()].into_iter().enumerate() {
        let mut wider = set.1.unwrap_or_default();
        wider.extend(added.iter().copied());
        match set.0 {
            0 => sets.set_bounding(Some(wider)),
            1 => sets.set_effective(Some(wider)),
            _ => sets.set_permitted(Some(wider)),
        };
    }
    process.set_capabilities(Some(sets));
    Ok(())
}

/// Strictly `UID` or `UID:GID` (CVE-2026-30892).
fn user_and_group(text: &str) -> Result<(u32, u32)> {
    let digits = |text: &str| -> Result<u32> {
        ensure!(
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()),
            "--user {text:?}: UID[:GID], numbers"
        );
        text.parse().with_context(|| format!("--user {text:?}: too large"))
    };
    match text.split_once(':') {
        Some((uid, gid)) => Ok((digits(uid)?, digits(gid)?)),
        None => Ok((digits(text)?, 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_two_numbers_and_nothing_else() {
        assert_eq!(user_and_group("1000").expect("a uid"), (1000, 0));
        assert_eq!(user_and_group("1:2").expect("both"), (1, 2));
        for text in ["", ":", "1:", ":1", "root", "-1", "+1", "1:2:3", " 1", "4294967296", "0x1"] {
            assert!(user_and_group(text).is_err(), "{text:?}");
        }
    }
}
