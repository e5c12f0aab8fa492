//! The command line, by hand: options before and after the container's id, as runc, crun and their callers mix them.
//!
//! A library for command lines costs a start-up time that a program living for five milliseconds can feel.

use anyhow::{Result, bail};

/// What an option looks like.
#[derive(Debug, Clone, Copy)]
pub enum Takes {
    /// `--detach`.
    Nothing,
    /// `--bundle DIR`, `--bundle=DIR`.
    Value,
}

/// An option: its long name, its short one, whether it takes a value.
pub type Known = (&'static str, Option<char>, Takes);

/// A parsed command line.
#[derive(Debug, Default)]
pub struct Arguments {
    options: Vec<(&'static str, String)>,
    /// What is no option.
    pub words: Vec<String>,
}

impl Arguments {
    /// Parses `arguments`. After `words_before_rest` words, everything is a word, whatever it looks like (`exec ID ls -l`).
    pub fn parse(arguments: &[String], known: &[Known], words_before_rest: usize) -> Result<Self> {
        let mut parsed = Self::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            if parsed.words.len() >= words_before_rest {
                parsed.words.push(argument.clone());
                continue;
            }
            if argument == "--" {
                parsed.words.extend(rest.cloned());
                break;
            }
            if let Some(long) = argument.strip_prefix("--") {
                let (name, value) = match long.split_once('=') {
                    Some((name, value)) => (name, Some(value.to_string())),
                    None => (long, None),
                };
                parsed.option(known.iter().find(|option| option.0 == name), argument, value, &mut rest)?;
            } else if let Some(shorts) = argument.strip_prefix('-').filter(|shorts| !shorts.is_empty()) {
                let mut letters = shorts.chars();
                while let Some(letter) = letters.next() {
                    let option = known.iter().find(|option| option.1 == Some(letter));
                    if matches!(option, Some((_, _, Takes::Value))) && !letters.as_str().is_empty() {
                        // `-bDIR`
                        parsed.option(option, argument, Some(letters.as_str().into()), &mut rest)?;
                        break;
                    }
                    parsed.option(option, argument, None, &mut rest)?;
                }
            } else {
                parsed.words.push(argument.clone());
            }
        }
        Ok(parsed)
    }

    fn option<'a>(
        &mut self,
        known: Option<&Known>,
        argument: &str,
        value: Option<String>,
        rest: &mut impl Iterator<Item = &'a String>,
    ) -> Result<()> {
        let value = match (known, value) {
            (None, _) => bail!("unknown option {argument}"),
            (Some((_, _, Takes::Value)), Some(value)) => value,
            (Some((name, _, Takes::Value)), None) => match rest.next() {
                Some(value) => value.clone(),
                None => bail!("option --{name} needs a value"),
            },
            (Some((_, _, Takes::Nothing)), None) => "true".into(),
            (Some((name, _, Takes::Nothing)), Some(value)) => match value.as_str() {
                "true" | "1" => "true".into(),
                "false" | "0" => return Ok(()),
                _ => bail!("option --{name} takes no value but true or false"),
            },
        };
        self.options.extend(known.map(|known| (known.0, value)));
        Ok(())
    }

    /// The value of an option; the last one given counts.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.options.iter().rev().find(|option| option.0 == name).map(|option| option.1.as_str())
    }

    /// All values of an option that may be repeated.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.options.iter().filter(move |option| option.0 == name).map(|option| option.1.as_str())
    }

    /// Whether an option without value was given.
    pub fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// The number that an option gives.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>> {
        match self.value(name).map(str::parse) {
            None => Ok(None),
            Some(Ok(number)) => Ok(Some(number)),
            Some(Err(_)) => bail!("--{name} {:?} is not a number that fits", self.value(name).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Known] = &[("bundle", Some('b'), Takes::Value), ("detach", Some('d'), Takes::Nothing)];

    fn parse(line: &str, words_before_rest: usize) -> Result<Arguments> {
        let words: Vec<String> = line.split(' ').map(Into::into).collect();
        Arguments::parse(&words, KNOWN, words_before_rest)
    }

    #[test]
    fn options_are_taken_before_and_after_the_id() {
        for line in ["--bundle /b -d id", "id --bundle=/b --detach", "-d id -b /b", "-db /b id", "-d -b/b id"] {
            let arguments = parse(line, usize::MAX).expect(line);
            assert_eq!(arguments.value("bundle"), Some("/b"), "{line}");
            assert!(arguments.has("detach"), "{line}");
            assert_eq!(arguments.words, ["id"], "{line}");
        }
    }

    #[test]
    fn a_program_s_own_options_are_left_to_it() {
        assert_eq!(parse("-d id ls -d", 2).expect("sound").words, ["id", "ls", "-d"]);
        assert_eq!(parse("id -- -d", usize::MAX).expect("sound").words, ["id", "-d"]);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for line in ["--bundel x", "--bundle", "-x", "--detach=maybe"] {
            assert!(parse(line, usize::MAX).is_err(), "{line}");
        }
    }
}
