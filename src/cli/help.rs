//! `podling --help`, `podling container --help`, and what is said to a verb that is not there.

use std::ffi::OsString;
use std::fmt::Write;

use anyhow::Result;
use clap::Args;

use crate::cli::verbs::{self, GROUPS, ROWS};
use crate::cli::{Context, Verb, failure, globals, later};

/// podling help
#[derive(Debug, Args)]
pub struct Help {
    /// The command
    #[arg(value_name = "COMMAND")]
    words: Vec<OsString>,
}

impl Verb for Help {
    fn run(self, _: &Context) -> Result<i32> {
        let mut words = self.words;
        match words.first().map(|word| word.to_string_lossy().into_owned()) {
            None => failure::print(&program()),
            Some(name) if words.len() == 1 && is_group(&name) => failure::print(&group(&name)),
            Some(_) => match verbs::find(&mut words) {
                Some(entry) => failure::print(&verbs::command(&entry).render_help().to_string()),
                None => no_such_verb(&words),
            },
        }
    }
}

fn is_group(name: &str) -> bool {
    GROUPS.iter().any(|(group, _)| *group == name)
}

/// Nothing in the table answers to these words.
pub fn no_such_verb(words: &[OsString]) -> Result<i32> {
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    if let Some(answer) = later::verb(words.iter().map(AsRef::as_ref)) {
        return Err(answer);
    }
    match &words[..] {
        [] => {
            eprint!("{}", program());
            Err(failure::misuse("missing command", ""))
        }
        [name] if is_group(name) => {
            eprint!("{}", group(name));
            Err(failure::misuse(format!("missing command 'podling {name} COMMAND'"), name))
        }
        [name, flag, ..] if is_group(name) && (flag == "--help" || flag == "-h") => failure::print(&group(name)),
        [name, verb, ..] if is_group(name) => {
            Err(failure::misuse(format!("unrecognized command 'podling {name} {verb}'"), name))
        }
        [name, ..] => {
            let known = ROWS.iter().flat_map(|row| row.paths).filter(|path| !path.contains(' '));
            let near = known.filter(|known| failure::is_near(name, known)).min_by_key(|it| failure::distance(name, it));
            let message = format!("unrecognized command 'podling {name}'");
            Err(match near {
                Some(known) => failure::hinted(message, format!("there is 'podling {known}'; see 'podling --help'")),
                None => failure::misuse(message, ""),
            })
        }
    }
}

fn table(rows: impl Iterator<Item = (String, &'static str)>) -> String {
    let mut rows: Vec<_> = rows.collect();
    rows.sort();
    rows.iter().fold(String::new(), |mut text, (name, about)| {
        let _ = writeln!(text, "  {name:<12} {about}");
        text
    })
}

fn program() -> String {
    let verbs = ROWS.iter().filter_map(|row| {
        let name = row.paths.iter().find(|path| !path.contains(' '))?;
        Some(((*name).to_owned(), row.about))
    });
    let groups = GROUPS.iter().map(|(name, about)| ((*name).to_owned(), *about));
    let flags = globals::command().disable_help_flag(true).help_template("{options}").render_help();
    format!(
        "podling, a daemonless container engine that teaches itself\n\n\
         Usage: podling [FLAGS] COMMAND …\n\n\
         Try:   podling run --rm -it host-tools sh    a container, with no network and nothing to download\n       \
                podling --explain run …               the same, with every system call told\n       \
                podling doctor                        what this machine can do, and how to cure what it cannot\n\n\
         Commands:\n{}\nGroups:\n{}\n\
         Flags, before the command or among its own:\n{flags}\n\
         'podling COMMAND --help' tells about each.\n",
        table(verbs),
        table(groups),
    )
}

fn group(name: &str) -> String {
    let about = GROUPS.iter().find(|(group, _)| *group == name).map_or("", |(_, about)| about);
    let verbs = ROWS.iter().filter_map(|row| {
        let path = row.paths.iter().find_map(|path| path.strip_prefix(name)?.strip_prefix(' '))?;
        Some((path.to_owned(), row.about))
    });
    format!("{about}\n\nUsage: podling {name} COMMAND …\n\nCommands:\n{}", table(verbs))
}
