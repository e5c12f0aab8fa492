//! `completion SHELL`: what a shell must be told so that the tab key knows our words.
//!
//! The scripts are a few lines: at each tab the shell asks us (`podling __complete WORD… BEGINNING`), and we answer with
//! the words that may stand there, one a line; with none, the shell offers files. So a completion never says anything
//! else than the program does, and containers, images and volumes are completed by the names they have now.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Arg, Args, Command};

use crate::cli::verbs::{self, Entry, GROUPS, ROWS};
use crate::cli::words::{Call, takes_value};
use crate::cli::{Context, Globals, Verb, failure, globals};
use crate::engine::Engine;
use crate::engine::container::Status;

/// The hidden verb by which a shell asks.
pub const ASKED: &str = "__complete";

// bash cuts words at `:` and `=`, and wants only the rest of such a word.
const BASH: &str = r#"_podling() {
    local line="${COMP_LINE:0:COMP_POINT}" cur
    local -a words
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    cur="${words[${#words[@]}-1]}"
    mapfile -t COMPREPLY < <("${words[0]}" __complete "${words[@]:1}" 2>/dev/null)
    COMPREPLY=("${COMPREPLY[@]#"${cur%"${cur##*[:=]}"}"}")
}
complete -o default -F _podling podling
"#;
const ZSH: &str = r#"#compdef podling
_podling() {
    local -a found
    found=(${(f)"$(${words[1]} __complete "${(@)words[2,CURRENT]}" 2>/dev/null)"})
    if (( $#found )); then compadd -a found; else _files; fi
}
if [ "$funcstack[1]" = "_podling" ]; then _podling "$@"; else compdef _podling podling; fi
"#;
const FISH: &str =
    "complete -c podling -a '(podling __complete (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'\n";

/// podling completion
#[derive(Debug, Args)]
pub struct Completion {
    /// Write to a file (standard output)
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
    #[arg(long, hide = true)]
    no_desc: bool,
    /// bash, zsh or fish
    #[arg(value_name = "SHELL", value_parser = ["bash", "zsh", "fish"], hide_possible_values = true)]
    shell: String,
}

impl Verb for Completion {
    fn run(self, _: &Context) -> Result<i32> {
        let script = match self.shell.as_str() {
            "bash" => BASH,
            "zsh" => ZSH,
            _ => FISH,
        };
        match &self.file {
            Some(file) => std::fs::write(file, script).with_context(|| format!("writing {}", file.display()))?,
            None => drop(failure::print(script)?),
        }
        Ok(0)
    }
}

/// Answers a shell: which words may stand where the last of these begins?
pub fn answer(words: &[OsString]) -> Result<i32> {
    let Some((last, before)) = words.split_last() else { return Ok(0) };
    let Some(beginning) = last.to_str() else { return Ok(0) };
    // What cannot be read so far is not for us to complain about.
    let Ok(mut call) = Call::read(before.to_vec(), &globals::command()) else { return Ok(0) };
    let candidates = match verbs::find(&mut call.words) {
        Some(entry) => of_verb(&entry, &call, beginning)?,
        None if call.words.is_empty() && beginning.starts_with('-') => flags(&globals::command()),
        None => verbs_after(&call.words),
    };
    let mut text = String::new();
    for candidate in candidates.iter().filter(|it| it.starts_with(beginning)) {
        text.push_str(candidate);
        text.push('\n');
    }
    failure::print(&text)
}

/// Verbs and groups; after a group, its verbs.
fn verbs_after(words: &[OsString]) -> Vec<String> {
    let paths = ROWS.iter().flat_map(|row| row.paths);
    match words {
        [] => {
            let groups = GROUPS.iter().map(|(name, _)| name);
            paths.filter(|path| !path.contains(' ')).chain(groups).map(ToString::to_string).collect()
        }
        [group] => {
            let group = format!("{} ", group.display());
            paths.filter_map(|path| path.strip_prefix(&group)).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}

/// Flags, values of a flag, or things that the verb is about.
fn of_verb(entry: &Entry, call: &Call, beginning: &str) -> Result<Vec<String>> {
    let (command, globals) = (verbs::command(entry), globals::command());
    let place = Place::find(&command, &globals, &call.words);
    if let Some(flag) = place.flag {
        return Ok(flag.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect());
    }
    let mut positionals = command.get_positionals();
    let program_follows = command.get_positionals().any(Arg::is_trailing_var_arg_set);
    if program_follows && place.plain > 0 {
        return Ok(Vec::new());
    }
    if beginning.starts_with('-') {
        let mut all = flags(&command);
        all.extend(flags(&globals));
        return Ok(all);
    }
    let wanted = positionals.nth(place.plain).or_else(|| command.get_positionals().last());
    let Some(kind) = wanted.and_then(|it| it.get_value_names()?.first()) else { return Ok(Vec::new()) };
    let context = Context { globals: Globals::parse(call.globals.clone())? };
    let engine = context.engine()?;
    match kind.as_str() {
        "CONTAINER" => containers(&engine, entry.verb.paths[0]),
        "IMAGE" => images(&engine),
        "VOLUME" => Ok(engine.volumes()?.into_iter().map(|volume| volume.name).collect()),
        "COMMAND" => Ok(verbs_after(&[])),
        _ => {
            let wanted = wanted.map(Arg::get_possible_values).unwrap_or_default();
            Ok(wanted.iter().map(|value| value.get_name().to_owned()).collect())
        }
    }
}

/// Where in a verb's words we are.
struct Place<'a> {
    /// The flag whose value comes next.
    flag: Option<&'a Arg>,
    /// How many words are no flags.
    plain: usize,
}

impl<'a> Place<'a> {
    fn find(command: &'a Command, globals: &'a Command, words: &[OsString]) -> Self {
        let find = |is: &dyn Fn(&Arg) -> bool| command.get_arguments().chain(globals.get_arguments()).find(|it| is(it));
        let waits = |it: &&Arg| takes_value(it) && it.get_num_args().is_none_or(|range| range.min_values() > 0);
        let mut place = Self { flag: None, plain: 0 };
        for word in words.iter().map(|word| word.to_string_lossy()) {
            if place.flag.take().is_some() {
                continue;
            }
            if let Some(name) = word.strip_prefix("--") {
                place.flag = find(&|it| it.get_long() == Some(name)).filter(waits);
            } else if word.len() > 1 && word.starts_with('-') {
                // In a cluster the first flag with a value takes the rest; at its end, the next word.
                let mut letters = word[1..].chars();
                let taker = letters.find_map(|letter| find(&|it| it.get_short() == Some(letter)).filter(waits));
                place.flag = taker.filter(|_| letters.as_str().is_empty());
            } else {
                place.plain += 1;
            }
        }
        place
    }
}

fn flags(command: &Command) -> Vec<String> {
    let shown = command.get_arguments().filter(|it| !it.is_hide_set());
    shown.filter_map(|it| it.get_long().map(|name| format!("--{name}"))).collect()
}

/// Names of the containers that a verb can mean.
fn containers(engine: &Engine, verb: &str) -> Result<Vec<String>> {
    let fits = |status: Status| match verb {
        "exec" | "attach" | "top" | "stats" | "stop" | "tree" | "kill" | "pause" | "port" => status.is_running(),
        "unpause" => matches!(status, Status::Paused(_)),
        "start" | "init" => !status.is_running(),
        _ => true,
    };
    let all = engine.sound_containers()?;
    Ok(all.into_iter().filter(|it| fits(it.status())).map(|it| it.config.name).collect())
}

/// Names of images, in full and as short as they can be.
fn images(engine: &Engine) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for image in engine.layout()?.images()? {
        for name in image.names.iter().map(ToString::to_string) {
            let untagged = name.strip_suffix(":latest").map(str::to_owned);
            for full in [Some(name), untagged].into_iter().flatten() {
                let local = ["localhost/", "docker.io/library/"].iter().find_map(|it| full.strip_prefix(it));
                names.extend(local.map(str::to_owned));
                names.push(full);
            }
        }
    }
    Ok(names)
}
