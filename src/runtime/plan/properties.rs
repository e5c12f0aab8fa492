//! Properties of the container's systemd unit that annotations ask for: `org.systemd.property.TimeoutStopUSec`, as runc and
//! crun know them.
//!
//! Their values are text as GLib writes variants: `'text'`, `true`, `uint64 5`, `['a', 'b']`. The subtlety: unit files say
//! `TimeoutStopSec=5`, the bus says `TimeoutStopUSec` and counts microseconds. Whoever writes the former means the latter.

use std::collections::HashMap;
use std::hash::BuildHasher;

use anyhow::{Context, Result, bail, ensure};

use crate::linux::dbus::Variant;

/// How such an annotation begins.
const PREFIX: &str = "org.systemd.property.";

/// Reads them, by name.
pub fn of<S: BuildHasher>(annotations: &HashMap<String, String, S>) -> Result<Vec<(String, Variant)>> {
    let mut found = Vec::new();
    for (annotation, text) in annotations {
        let Some(name) = annotation.strip_prefix(PREFIX) else { continue };
        let told = || format!("the annotation {annotation}: {text:?}");
        ensure!(!name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphabetic()), "{}: no property", told());
        let value = value(text).with_context(told)?;
        found.push(match (name.strip_suffix("Sec").filter(|rest| !rest.ends_with('U')), value) {
            (Some(rest), Variant::Number(seconds)) => {
                let microseconds = seconds.checked_mul(1_000_000).context("too long").with_context(told)?;
                (format!("{rest}USec"), Variant::Number(microseconds))
            }
            (_, value) => (name.to_string(), value),
        });
    }
    found.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(found)
}

fn value(text: &str) -> Result<Variant> {
    let text = text.trim();
    let list = text.strip_prefix("@as").map_or(text, str::trim_start);
    if let Some(inner) = list.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let words = inner.split(',').map(str::trim).filter(|word| !word.is_empty());
        return Ok(Variant::Texts(words.map(|word| quoted(word).map(ToString::to_string)).collect::<Result<_>>()?));
    }
    let number = |digits: &str| digits.trim().parse().context("it is no number that fits");
    match text.split_once(' ') {
        _ if text == "true" || text == "false" => Ok(Variant::Bool(text == "true")),
        Some(("uint64", digits)) => Ok(Variant::Number(number(digits)?)),
        Some((kind @ ("byte" | "int16" | "uint16" | "int32" | "uint32" | "int64" | "double"), _)) => {
            bail!("no property of a scope is of type {kind}")
        }
        _ if text.starts_with(|letter: char| letter.is_ascii_digit()) => Ok(Variant::Number(number(text)?)),
        _ => Ok(Variant::Text(quoted(text)?.into())),
    }
}

/// A text in its quotation marks.
fn quoted(text: &str) -> Result<&str> {
    let inner = ['\'', '"'].iter().find_map(|mark| text.strip_prefix(*mark)?.strip_suffix(*mark));
    inner.context("it is neither true nor false, no uint64, no 'text' and no list of texts")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<(String, Variant)> {
        let all = HashMap::from([(format!("{PREFIX}{name}"), text.to_string()), ("other".into(), "'x'".into())]);
        of(&all).map(|found| found.into_iter().next().expect("one"))
    }

    #[test]
    fn values_are_read_as_glib_writes_them() {
        let texts = |all: &[&str]| Variant::Texts(all.iter().map(ToString::to_string).collect());
        for (text, value) in [
            ("'a b'", Variant::Text("a b".into())),
            ("\"c\"", Variant::Text("c".into())),
            ("true", Variant::Bool(true)),
            ("uint64 5", Variant::Number(5)),
            ("7", Variant::Number(7)),
            ("['a.slice', \"b\"]", texts(&["a.slice", "b"])),
            ("@as []", texts(&[])),
        ] {
            assert_eq!(read("Any", text).expect(text), ("Any".into(), value));
        }
        for text in ["soon", "'open", "uint64 x", "int32 5", "[a]", ""] {
            assert!(read("Any", text).is_err(), "{text}");
        }
        assert!(read("A.B", "true").is_err() && read("", "true").is_err());
    }

    #[test]
    fn seconds_become_microseconds() {
        assert_eq!(read("TimeoutStopSec", "7").expect("sound"), ("TimeoutStopUSec".into(), Variant::Number(7_000_000)));
        assert_eq!(read("TimeoutStopUSec", "7").expect("sound"), ("TimeoutStopUSec".into(), Variant::Number(7)));
    }
}
