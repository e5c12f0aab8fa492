//! How Go programs read their arguments, on top of clap.
//!
//! Podman's flags follow pflag's rules, and people's fingers and scripts rely on them:
//!
//! * a switch may be given a value: `--rm=false`, `-t=true`; the last one wins;
//! * a flag with a value takes the next word whatever it looks like: `--pids-limit -1`, `--entrypoint --help`;
//! * for verbs that run a program (`run IMAGE …`, `exec CONTAINER …`) flags end at the first plain word, with no `--`;
//! * for the others, flags and words may be mixed.
//!
//! So the words are brought into one canonical form first: each flag by its long name, each value behind `=`, switches
//! that are off left out, then `--` and the plain words. What is left for clap is to say what is unknown, missing or
//! malformed, and to write the help.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use anyhow::{Result, bail};
use clap::{Arg, ArgAction, Command};

/// A command line cut where its verb begins, or its verb's words in canonical form.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// Global flags, canonical.
    pub globals: Vec<OsString>,
    /// The rest.
    pub words: Vec<OsString>,
}

impl Call {
    /// Takes the global flags off the front of a command line.
    pub fn read(arguments: Vec<OsString>, globals: &Command) -> Result<Self> {
        let mut reader = Reader { verb: None, globals, call: Self::default(), plain: Vec::new() };
        let mut arguments = arguments.into_iter();
        while let Some(word) = arguments.next() {
            // `-h` and `--help` are not global flags: without a verb, they are one.
            if word == "--help" || word == "-h" {
                reader.plain.push("help".into());
            } else if is_flag(&word) {
                reader.flag(&word, &mut arguments)?;
                if let Some(unknown) = reader.call.words.first() {
                    bail!("unknown flag: {}", unknown.display());
                }
                continue;
            } else {
                reader.plain.push(word);
            }
            break;
        }
        reader.plain.extend(arguments);
        Ok(Self { globals: reader.call.globals, words: reader.plain })
    }
}

/// Brings what follows a verb into canonical form.
pub fn after_verb(words: Vec<OsString>, verb: &Command, globals: &Command) -> Result<Call> {
    let program_follows = verb.get_positionals().any(Arg::is_trailing_var_arg_set);
    let mut reader = Reader { verb: Some(verb), globals, call: Call::default(), plain: Vec::new() };
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        if word == "--" {
            reader.plain.extend(words);
            break;
        }
        if is_flag(&word) {
            reader.flag(&word, &mut words)?;
            continue;
        }
        reader.plain.push(word);
        if program_follows {
            reader.plain.extend(words);
            break;
        }
    }
    let Reader { mut call, plain, .. } = reader;
    if !plain.is_empty() {
        call.words.push("--".into());
        call.words.extend(plain);
    }
    Ok(call)
}

/// A single dash is a plain word: standard input.
fn is_flag(word: &OsStr) -> bool {
    word.len() > 1 && word.as_bytes()[0] == b'-'
}

struct Reader<'a> {
    verb: Option<&'a Command>,
    globals: &'a Command,
    call: Call,
    plain: Vec<OsString>,
}

/// A flag that was found, and in whose table.
struct Flag<'a> {
    argument: &'a Arg,
    global: bool,
}

impl<'a> Reader<'a> {
    fn find(&self, matches: impl Fn(&Arg) -> bool) -> Option<Flag<'a>> {
        let own = self.verb.and_then(|verb| verb.get_arguments().find(|argument| matches(argument)));
        let global = || self.globals.get_arguments().find(|argument| matches(argument));
        own.map(|argument| Flag { argument, global: false })
            .or_else(|| global().map(|argument| Flag { argument, global: true }))
    }

    fn flag(&mut self, word: &OsStr, rest: &mut impl Iterator<Item = OsString>) -> Result<()> {
        match word.as_bytes().strip_prefix(b"--") {
            Some(body) => self.long(word, body, rest),
            None => self.cluster(word, rest),
        }
    }

    fn long(&mut self, word: &OsStr, body: &[u8], rest: &mut impl Iterator<Item = OsString>) -> Result<()> {
        let cut = body.iter().position(|&byte| byte == b'=');
        let name = String::from_utf8_lossy(&body[..cut.unwrap_or(body.len())]).into_owned();
        let value = cut.map(|at| OsString::from_vec(body[at + 1..].to_vec()));
        let Some(flag) = self.find(|argument| {
            argument.get_long() == Some(&name) || argument.get_all_aliases().is_some_and(|all| all.contains(&&*name))
        }) else {
            // clap knows what to say about it.
            self.call.words.push(word.into());
            return Ok(());
        };
        self.emit(&flag, &format!("--{name}"), value, rest)
    }

    fn cluster(&mut self, word: &OsStr, rest: &mut impl Iterator<Item = OsString>) -> Result<()> {
        let Some(text) = word.to_str() else { bail!("unknown flag: {}", word.display()) };
        let mut letters = text[1..].chars();
        while let Some(letter) = letters.next() {
            let Some(flag) = self.find(|argument| {
                argument.get_short() == Some(letter)
                    || argument.get_all_short_aliases().is_some_and(|all| all.contains(&letter))
            }) else {
                bail!("unknown shorthand flag: '{letter}' in {text}");
            };
            let left = letters.as_str();
            let attached = left.strip_prefix('=').or((takes_value(flag.argument) && !left.is_empty()).then_some(left));
            self.emit(&flag, &format!("-{letter}"), attached.map(OsString::from), rest)?;
            if attached.is_some() {
                break;
            }
        }
        Ok(())
    }

    fn emit(
        &mut self,
        flag: &Flag,
        written: &str,
        value: Option<OsString>,
        rest: &mut impl Iterator<Item = OsString>,
    ) -> Result<()> {
        let words = if flag.global { &mut self.call.globals } else { &mut self.call.words };
        let canonical = flag.argument.get_long().map_or_else(|| written.to_owned(), |long| format!("--{long}"));
        if !takes_value(flag.argument) {
            match value.as_deref() {
                None => words.push(canonical.into()),
                Some(value) if truth(written, value)? => words.push(canonical.into()),
                Some(_) => words.retain(|word| word != canonical.as_str()),
            }
            return Ok(());
        }
        let optional = flag.argument.get_num_args().is_some_and(|range| range.min_values() == 0);
        let value = match value {
            Some(value) => value,
            None if optional => {
                words.push(canonical.into());
                return Ok(());
            }
            None => match rest.next() {
                Some(value) => value,
                None => bail!("flag needs an argument: {written}"),
            },
        };
        // Without a long name the value is attached: `-fVALUE`.
        let mut word = OsString::from(canonical);
        if word.as_bytes().starts_with(b"--") {
            word.push("=");
        }
        word.push(value);
        words.push(word);
        Ok(())
    }
}

/// Whether a flag has a value, given or not.
pub fn takes_value(argument: &Arg) -> bool {
    matches!(argument.get_action(), ArgAction::Set | ArgAction::Append)
}

/// Go's `strconv.ParseBool`.
fn truth(flag: &str, value: &OsStr) -> Result<bool> {
    match value.to_str() {
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        _ => bail!("invalid value {:?} for {flag}: expected true or false", value.to_string_lossy()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verb(program_follows: bool) -> Command {
        let command = Command::new("run")
            .arg(Arg::new("rm").long("rm").action(ArgAction::SetTrue))
            .arg(Arg::new("tty").long("tty").short('t').action(ArgAction::SetTrue))
            .arg(Arg::new("interactive").long("interactive").short('i').action(ArgAction::SetTrue))
            .arg(Arg::new("env").long("env").short('e').action(ArgAction::Append))
            .arg(Arg::new("network").long("network").alias("net").action(ArgAction::Set))
            .arg(Arg::new("IMAGE"));
        let words = Arg::new("WORDS").num_args(0..).trailing_var_arg(program_follows);
        command.arg(words)
    }

    fn read(program_follows: bool, line: &str) -> String {
        let globals = crate::cli::globals::command();
        let words = line.split_whitespace().map(OsString::from).collect();
        match after_verb(words, &verb(program_follows), &globals) {
            Ok(Call { globals, words }) => {
                let text = |words: Vec<OsString>| words.join(OsStr::new(" ")).to_string_lossy().into_owned();
                if globals.is_empty() { text(words) } else { format!("[{}] {}", text(globals), text(words)) }
            }
            Err(error) => format!("! {error}"),
        }
    }

    #[test]
    fn words_are_read_as_go_reads_them() {
        for (line, expected) in [
            ("-it alpine sh", "--interactive --tty -- alpine sh"),
            ("--rm=false alpine", "-- alpine"),
            ("--rm --rm=0 alpine", "-- alpine"),
            ("-t=true -i=F a", "--tty -- a"),
            ("-e A=1 -eB=2 -e=C=3 --env D a", "--env=A=1 --env=B=2 --env=C=3 --env=D -- a"),
            ("-ite X=1 a", "--interactive --tty --env=X=1 -- a"),
            ("--net host a", "--network=host -- a"),
            ("--network -1 a", "--network=-1 -- a"),
            ("--rm a -it --rm sh -c x", "--rm -- a -it --rm sh -c x"),
            ("--rm -- a b", "--rm -- a b"),
            ("--explain -t a", "[--explain] --tty -- a"),
            ("--explain=json a --explain", "[--explain=json] -- a --explain"),
            ("--root /x a", "[--root=/x] -- a"),
            ("-t -", "--tty -- -"),
            ("--foo a", "--foo -- a"),
            ("-x a", "! unknown shorthand flag: 'x' in -x"),
            ("--env", "! flag needs an argument: --env"),
            ("--rm=perhaps a", "! invalid value \"perhaps\" for --rm: expected true or false"),
        ] {
            assert_eq!(read(true, line), expected, "{line}");
        }
    }

    #[test]
    fn other_verbs_mix_flags_and_words() {
        assert_eq!(read(false, "a --rm b -t -- -c"), "--rm --tty -- a b -c");
    }

    #[test]
    fn global_flags_end_at_the_verb() {
        let read = |line: &str| {
            let words = line.split_whitespace().map(OsString::from).collect();
            Call::read(words, &crate::cli::globals::command())
        };
        let call = read("--root /a --explain=json run --rm x").expect("a sound line");
        assert_eq!(call.globals, ["--root=/a", "--explain=json"]);
        assert_eq!(call.words, ["run", "--rm", "x"]);
        assert!(read("--foo run").is_err());
        assert_eq!(read("--help").expect("a sound line").words, ["help"]);
    }
}
