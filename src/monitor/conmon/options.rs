//! conmon's command line, as conmon(8) and its `--help` say it.
//!
//! Options may be cut from their values by a space or `=`, short ones also by nothing; short ones without a value may be
//! written together (`-ti`). The subtlety is a historical one: `--api-version 1` takes no value. The `1` is a word that
//! belongs to no option, and such words are ignored.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

/// Whether something follows an option.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    Value,
}

use Takes::{Nothing, Value};

/// An option: its names, whether a value follows, and what `--help` says.
struct Known(&'static str, Option<u8>, Takes, &'static str);

/// What nobody should use any more says nothing in `--help`.
const OLD: &str = "";

const KNOWN: [Known; 45] = [
    Known("api-version", None, Nothing, "speak of \"data\" on the sync pipe (the 1 behind it is ignored)"),
    Known("bundle", Some(b'b'), Value, "the OCI bundle"),
    Known("cid", Some(b'c'), Value, "the container's id, as the runtime knows it"),
    Known("conmon-pidfile", Some(b'P'), Value, "where our pid goes"),
    Known("container-pidfile", Some(b'p'), Value, "where the runtime writes the container's pid"),
    Known("cuuid", Some(b'u'), Value, "the container's id, or the exec session's"),
    Known("exec", Some(b'e'), Nothing, "run a process in a container that runs"),
    Known(
        "exec-attach",
        None,
        Nothing,
        "say on _OCI_ATTACHPIPE when one can attach; then await leave on _OCI_STARTPIPE",
    ),
    Known("exec-process-spec", None, Value, "the process, as OCI describes it"),
    Known("exit-command", None, Value, "a program to run when all is over"),
    Known("exit-command-arg", None, Value, "an argument for it (repeatable)"),
    Known("exit-delay", None, Value, "so many seconds later"),
    Known(
        "exit-dir",
        None,
        Value,
        "a directory where the exit status goes, into a file with the container's id as name",
    ),
    Known("full-attach", None, Nothing, "no symbolic link below --socket-dir-path"),
    Known("help", Some(b'h'), Nothing, "print this"),
    Known("leave-stdin-open", None, Nothing, "no client's going ends standard input"),
    Known("log-global-size-max", None, Value, "the most bytes that log files get in all"),
    Known("log-label", None, Value, "a further field for the journal, NAME=VALUE (repeatable)"),
    Known("log-level", None, Value, "accepted: this monitor has nothing to say"),
    Known(
        "log-path",
        Some(b'l'),
        Value,
        "k8s-file:PATH, json-file:PATH, journald, none, passthrough, or PATH (repeatable)",
    ),
    Known("log-size-max", None, Value, "start a log file anew before it has more bytes than this"),
    Known("log-tag", None, Value, "a tag for the journal"),
    Known("name", Some(b'n'), Value, "the container's name"),
    Known("no-new-keyring", None, Nothing, "passed on to the runtime"),
    Known("no-pivot", None, Nothing, "passed on to the runtime"),
    Known("no-sync-log", None, Nothing, "do not wait at the end until the disk has the log"),
    Known("persist-dir", Some(b'0'), Value, "a directory where `exit` and `oom` go, too"),
    Known("pidfile", None, Value, OLD),
    Known("replace-listen-pid", None, Nothing, OLD),
    Known("restore", None, Value, "restore the container from this checkpoint"),
    Known("restore-arg", None, Value, OLD),
    Known("runtime", Some(b'r'), Value, "the OCI runtime"),
    Known("runtime-arg", None, Value, "an option for it, before its sub-command (repeatable)"),
    Known("runtime-opt", None, Value, "an option for its sub-command (repeatable)"),
    Known(
        "sdnotify-socket",
        None,
        Value,
        "pass on READY=1 and WATCHDOG=1 from notify/notify.sock in the bundle to this socket",
    ),
    // Refused, with a reason.
    Known("seccomp-notify-plugins", None, Value, OLD),
    Known("seccomp-notify-socket", None, Value, OLD),
    Known("socket-dir-path", None, Value, "where a symbolic link to the bundle is made, named after --cuuid"),
    Known("stdin", Some(b'i'), Nothing, "a pipe for standard input"),
    Known("sync", None, Nothing, "stay in the foreground, and end with the container's exit status"),
    Known("syslog", None, Nothing, "accepted: this monitor has nothing to say"),
    Known("systemd-cgroup", Some(b's'), Nothing, "passed on to the runtime"),
    Known("terminal", Some(b't'), Nothing, "a terminal"),
    Known("timeout", Some(b'T'), Value, "kill the container after so many seconds"),
    Known("version", None, Nothing, "print which conmon this stands in for"),
];

/// What was given, in order.
pub struct Given(Vec<(&'static str, OsString)>);

impl Given {
    /// Reads a command line.
    pub fn parse(words: &[OsString]) -> Result<Self> {
        let mut given = Vec::new();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let bytes = word.as_bytes();
            if bytes == b"--" {
                break;
            } else if let Some(long) = bytes.strip_prefix(b"--") {
                let (name, value) = match long.iter().position(|&byte| byte == b'=') {
                    Some(at) => (&long[..at], Some(OsStr::from_bytes(&long[at + 1..]))),
                    None => (long, None),
                };
                let known = KNOWN.iter().find(|known| known.0.as_bytes() == name);
                let Known(name, _, takes, _) = known.with_context(|| unknown(word))?;
                let value = match (takes, value) {
                    (Value, None) => words.next().with_context(|| format!("nothing follows --{name}"))?.clone(),
                    (Value, Some(value)) => value.to_owned(),
                    (Nothing, None) => OsString::new(),
                    (Nothing, Some(_)) => bail!("--{name} takes no value"),
                };
                given.push((*name, value));
            } else if let Some(mut short @ [_, ..]) = bytes.strip_prefix(b"-") {
                while let [letter, rest @ ..] = short {
                    let known = KNOWN.iter().find(|known| known.1 == Some(*letter));
                    let Known(name, _, takes, _) = known.with_context(|| unknown(word))?;
                    short = if *takes == Value { &[] } else { rest };
                    let value = match (takes, rest) {
                        (Nothing, _) => OsString::new(),
                        (Value, []) => words.next().with_context(|| format!("nothing follows --{name}"))?.clone(),
                        (Value, value) => OsStr::from_bytes(value).to_owned(),
                    };
                    given.push((*name, value));
                }
            }
        }
        Ok(Self(given))
    }

    /// Whether it was given.
    pub fn has(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }

    /// Each value given.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &OsStr> {
        debug_assert!(KNOWN.iter().any(|known| known.0 == name), "{name}");
        self.0.iter().filter(move |(given, _)| *given == name).map(|(_, value)| value.as_os_str())
    }

    /// The value that holds: the last.
    pub fn value(&self, name: &str) -> Option<&OsStr> {
        self.all(name).last()
    }

    /// The value as a path. Callers may use one relative to their working directory, which we leave.
    pub fn path(&self, name: &str) -> Result<Option<PathBuf>> {
        Ok(self.value(name).map(std::path::absolute).transpose()?)
    }

    /// The value as text.
    pub fn text(&self, name: &str) -> Result<Option<String>> {
        self.value(name).map(|value| text(name, value)).transpose()
    }

    /// Each value as text.
    pub fn texts(&self, name: &str) -> Result<Vec<String>> {
        self.all(name).map(|value| text(name, value)).collect()
    }

    /// The value as a number, if it is one above zero: zero and less mean the same as nothing.
    pub fn number(&self, name: &str) -> Result<Option<u64>> {
        let Some(value) = self.text(name)? else { return Ok(None) };
        let number: i64 = value.parse().with_context(|| format!("--{name}: {value:?} is no number"))?;
        Ok(u64::try_from(number).ok().filter(|number| *number > 0))
    }
}

fn unknown(word: &OsStr) -> String {
    format!("unknown option {} (conmon --help prints those that are known)", word.display())
}

fn text(name: &str, value: &OsStr) -> Result<String> {
    value.to_str().map(str::to_owned).with_context(|| format!("--{name}: {} is no UTF-8", value.display()))
}

/// What `--help` prints.
pub fn help() -> String {
    let mut text = String::from(
        "podling-monitor in conmon's place: it takes conmon's options.\n\n\
         Usage: conmon --api-version 1 -c ID -u ID -r RUNTIME -b BUNDLE -p FILE -l LOG [OPTION…]\n\nOptions:\n",
    );
    for Known(name, short, takes, help) in KNOWN.iter().filter(|known| known.3 != OLD) {
        let short = short.map_or("    ".into(), |letter| format!("-{}, ", char::from(letter)));
        let value = if *takes == Value { " VALUE" } else { "" };
        text += &format!("  {short}{:<28} {help}\n", format!("--{name}{value}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Given> {
        Given::parse(&words.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_read_in_every_way_to_write_them() {
        let given = parse(&["--api-version", "1", "-cID", "-u", "UUID", "--name=a=b", "-ti", "-T5", "--sync", "stray"]);
        let given = given.expect("all are known");
        assert!(["api-version", "terminal", "stdin", "sync"].into_iter().all(|name| given.has(name)));
        for (name, value) in [("cid", "ID"), ("cuuid", "UUID"), ("name", "a=b"), ("timeout", "5")] {
            assert_eq!(given.text(name).expect("UTF-8").as_deref(), Some(value));
        }
    }

    #[test]
    fn the_last_holds_and_some_may_be_repeated() {
        let given = parse(&["--runtime-arg", "--log", "--runtime-arg=x", "-n", "one", "--name", "two"]).expect("known");
        assert_eq!(given.texts("runtime-arg").expect("UTF-8"), ["--log", "x"]);
        assert_eq!(given.value("name"), Some(OsStr::new("two")));
    }

    #[test]
    fn what_is_unknown_or_lacks_its_value_is_said() {
        for (words, complaint) in [
            (&["--nope"][..], "unknown option --nope"),
            (&["-tq"], "unknown option -tq"),
            (&["-c"], "nothing follows --cid"),
            (&["--sync=yes"], "--sync takes no value"),
        ] {
            let error = parse(words).err().expect("an error").to_string();
            assert!(error.starts_with(complaint), "{error}");
        }
        let number = parse(&["-T", "soon"]).expect("known").number("timeout").expect_err("no number");
        assert!(number.to_string().contains("\"soon\" is no number"));
    }
}
