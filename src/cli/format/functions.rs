//! The functions of a template: Go's own, and those that Docker and Podman add (json, join, split, upper …); and what Go
//! takes for true, and how it prints a value.

use std::cmp::Ordering;
use std::fmt::Write;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Calls a function by its name.
pub fn call(name: &str, arguments: &[Value]) -> Result<Value> {
    Ok(match (name, arguments) {
        ("not", [value]) => (!truth(value)).into(),
        ("len", [value]) => length(value)?.into(),
        ("index", [value, keys @ ..]) => index(value, keys)?,
        ("slice", [value, bounds @ ..]) => slice(value, bounds)?,
        ("eq", [first, others @ ..]) => others.iter().any(|other| same(first, other)).into(),
        ("ne", [first, second]) => (!same(first, second)).into(),
        ("lt", [first, second]) => order(first, second)?.is_lt().into(),
        ("le", [first, second]) => order(first, second)?.is_le().into(),
        ("gt", [first, second]) => order(first, second)?.is_gt().into(),
        ("ge", [first, second]) => order(first, second)?.is_ge().into(),
        ("print", all) => print(all).into(),
        ("println", all) => (all.iter().map(plain).collect::<Vec<_>>().join(" ") + "\n").into(),
        ("printf", [format, values @ ..]) => printf(&plain(format), values).into(),
        ("json", [value]) => serde_json::to_string(value)?.into(),
        ("join", [Value::Array(items), separator]) => {
            items.iter().map(plain).collect::<Vec<_>>().join(&plain(separator)).into()
        }
        ("join", [Value::Null, _]) => "".into(),
        ("split", [text, separator]) => Value::Array(plain(text).split(&plain(separator)).map(Value::from).collect()),
        ("upper", [text]) => plain(text).to_uppercase().into(),
        ("lower", [text]) => plain(text).to_lowercase().into(),
        ("title", [text]) => title(&plain(text)).into(),
        ("pad", [text, before, after]) => {
            let spaces = |count: &Value| " ".repeat(count.as_u64().unwrap_or_default().min(1000) as usize);
            format!("{}{}{}", spaces(before), plain(text), spaces(after)).into()
        }
        ("truncate", [text, most]) => {
            plain(text).chars().take(most.as_u64().unwrap_or_default() as usize).collect::<String>().into()
        }
        ("html", [text]) => {
            let marks = [("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\"", "&#34;"), ("'", "&#39;")];
            marks.iter().fold(plain(text), |text, (mark, name)| text.replace(mark, name)).into()
        }
        ("js" | "urlquery", [text]) => plain(text).into(),
        _ if KNOWN.contains(&name) => bail!("{name} cannot be called with {} such arguments", arguments.len()),
        _ => bail!("function {name:?} not defined"),
    })
}

const KNOWN: &[&str] = &[
    "not", "len", "index", "slice", "eq", "ne", "lt", "le", "gt", "ge", "print", "printf", "println", "json", "join",
    "split", "upper", "lower", "title", "pad", "truncate", "html", "js", "urlquery",
];

fn length(value: &Value) -> Result<usize> {
    Ok(match value {
        Value::Null => 0,
        Value::String(text) => text.len(),
        Value::Array(items) => items.len(),
        Value::Object(map) => map.len(),
        other => bail!("len of {}", plain(other)),
    })
}

fn index(value: &Value, keys: &[Value]) -> Result<Value> {
    let mut value = value;
    for key in keys {
        value = match (value, key) {
            (Value::Array(items), Value::Number(at)) => {
                let item = at.as_u64().and_then(|at| items.get(at as usize));
                item.with_context(|| format!("index {at} out of range: there are {}", items.len()))?
            }
            // A key that a map of strings lacks is its zero value, the empty string.
            (Value::Object(map), Value::String(name)) => match map.get(name) {
                Some(found) => found,
                None => return Ok("".into()),
            },
            (Value::Null, _) => return Ok("".into()),
            (other, key) => bail!("cannot index {} with {}", plain(other), plain(key)),
        };
    }
    Ok(value.clone())
}

fn slice(value: &Value, bounds: &[Value]) -> Result<Value> {
    let bound = |at: usize, otherwise: usize| bounds.get(at).map_or(Some(otherwise as u64), Value::as_u64);
    let size = length(value)?;
    let (Some(from), Some(to)) = (bound(0, 0), bound(1, size)) else { bail!("slice wants numbers") };
    let range = from as usize..to as usize;
    Ok(match value {
        Value::String(text) => text.get(range).context("slice out of range")?.into(),
        Value::Array(items) => Value::Array(items.get(range).context("slice out of range")?.to_vec()),
        other => bail!("slice of {}", plain(other)),
    })
}

fn same(first: &Value, second: &Value) -> bool {
    match (first.as_f64(), second.as_f64()) {
        (Some(first), Some(second)) => first.total_cmp(&second).is_eq(),
        _ => first == second,
    }
}

fn order(first: &Value, second: &Value) -> Result<Ordering> {
    match (first, second) {
        (Value::String(first), Value::String(second)) => Ok(first.cmp(second)),
        (Value::Number(first), Value::Number(second)) => {
            Ok(first.as_f64().unwrap_or_default().total_cmp(&second.as_f64().unwrap_or_default()))
        }
        _ => bail!("cannot compare {} and {}", plain(first), plain(second)),
    }
}

/// Go's Sprint: a space between two operands when neither is a string.
fn print(values: &[Value]) -> String {
    let mut text = String::new();
    for (at, value) in values.iter().enumerate() {
        if at > 0 && !value.is_string() && !values[at - 1].is_string() {
            text.push(' ');
        }
        text.push_str(&plain(value));
    }
    text
}

fn title(text: &str) -> String {
    let mut start = true;
    let capital = |letter: char| {
        let first = std::mem::replace(&mut start, !letter.is_alphanumeric() && letter != '\'' && letter != '_');
        if first { letter.to_uppercase().collect::<String>() } else { letter.to_string() }
    };
    text.chars().map(capital).collect()
}

/// The widest that anything is printed.
const MOST_DIGITS: usize = 1000;

/// `%v %s %d %q %x %t %f %%` with the flags `-` and `0`, a width and a precision.
fn printf(format: &str, values: &[Value]) -> String {
    let mut text = String::new();
    let mut values = values.iter();
    let mut letters = format.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        let mut flags = String::new();
        while let Some(flag) = letters.next_if(|letter| "-+# 0123456789.".contains(*letter)) {
            flags.push(flag);
        }
        let Some(verb) = letters.next() else { return text + "%!(NOVERB)" };
        if verb == '%' {
            text.push('%');
            continue;
        }
        let Some(value) = values.next() else {
            text.push_str(&format!("%!{verb}(MISSING)"));
            continue;
        };
        text.push_str(&verb_of(verb, &flags, value));
    }
    text
}

fn verb_of(verb: char, flags: &str, value: &Value) -> String {
    let (width, precision) = flags.split_once('.').map_or((flags, None), |(width, rest)| (width, rest.parse().ok()));
    let precision = precision.map(|digits: usize| digits.min(MOST_DIGITS));
    let number = value.as_f64();
    let body = match (verb, number, value.as_i64()) {
        ('q', ..) => format!("{:?}", plain(value)),
        ('x', _, Some(whole)) => format!("{whole:x}"),
        ('x', ..) => plain(value).bytes().map(|byte| format!("{byte:02x}")).collect(),
        ('o', _, Some(whole)) => format!("{whole:o}"),
        ('f', Some(number), _) => format!("{number:.*}", precision.unwrap_or(6)),
        ('s', ..) => plain(value).chars().take(precision.unwrap_or(usize::MAX)).collect(),
        ('v' | 'd' | 't', ..) => plain(value),
        _ => format!("%!{verb}({})", plain(value)),
    };
    let left = width.contains('-');
    let zeros = !left && width.starts_with('0') && number.is_some();
    let width: usize = width.trim_start_matches(['-', '+', '#', ' ', '0']).parse().unwrap_or(0).min(MOST_DIGITS);
    match (left, zeros) {
        (true, _) => format!("{body:<width$}"),
        (_, true) => format!("{body:0>width$}"),
        _ => format!("{body:>width$}"),
    }
}

/// Whether a value counts as true: not false, zero, empty or nothing.
pub fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// A value as Go's `%v` prints it.
pub fn plain(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let mut keys: Vec<_> = map.iter().collect();
            keys.sort_by_key(|(key, _)| *key);
            let mut text = String::from("map[");
            for (place, (key, value)) in keys.into_iter().enumerate() {
                let _ = write!(text, "{}{key}:{}", if place == 0 { "" } else { " " }, plain(value));
            }
            text + "]"
        }
    }
}
