//! `info` and `version`.

use anyhow::Result;
use clap::Args;
use serde_json::Value;

use crate::cli::{Context, Verb, failure, format};
use crate::engine::info;

/// podling info
#[derive(Debug, Args)]
pub struct Info {
    /// json, or a Go template
    #[arg(long, short, value_name = "FORMAT")]
    format: Option<String>,
    /// Podman's; there is nothing to do.
    #[arg(long, short = 'D', hide = true)]
    debug: bool,
}

impl Verb for Info {
    fn run(self, context: &Context) -> Result<i32> {
        let info = info::info(&context.engine()?)?;
        match self.format.as_deref() {
            None => failure::print(&yaml(&info, 0)),
            // Podman's JSON begins in small letters, its templates in capitals: {{.Host.Arch}}.
            Some(template) if !format::is_json(template) => format::print_value(Some(template), &capitals(&info)),
            Some(_) => format::print_value(None, &info),
        }
    }
}

/// podling version
#[derive(Debug, Args)]
pub struct Version {
    /// json, or a Go template
    #[arg(long, short, value_name = "FORMAT")]
    format: Option<String>,
}

impl Verb for Version {
    fn run(self, _context: &Context) -> Result<i32> {
        let version = info::version();
        match self.format.as_deref() {
            Some(format) => {
                let format = Some(format).filter(|format| !format::is_json(format));
                format::print_value(format, &serde_json::json!({ "Client": version }))
            }
            None => {
                let word = |field: &str| version[field].as_str().unwrap_or_default().to_owned();
                failure::print(&format!(
                    "Client:       podling\nVersion:      {}\nAPI Version:  {}\nOS/Arch:      {}\n",
                    word("Version"),
                    word("APIVersion"),
                    word("OsArch")
                ))
            }
        }
    }
}

/// A value as YAML: only what `info` needs (maps, lists, numbers, words; a word that YAML would misread is quoted).
fn yaml(value: &Value, depth: usize) -> String {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(map) if !map.is_empty() => {
            map.iter().map(|(key, value)| format!("{indent}{key}:{}", after_key(value, depth))).collect()
        }
        Value::Array(list) if !list.is_empty() => list
            .iter()
            .map(|value| match value {
                Value::Object(_) => {
                    let inner = yaml(value, depth + 1);
                    format!("{indent}- {}", inner.trim_start())
                }
                _ => format!("{indent}- {}\n", scalar(value)),
            })
            .collect(),
        _ => format!("{indent}{}\n", scalar(value)),
    }
}

fn after_key(value: &Value, depth: usize) -> String {
    match value {
        Value::Object(map) if !map.is_empty() => format!("\n{}", yaml(value, depth + 1)),
        Value::Array(list) if !list.is_empty() => format!("\n{}", yaml(value, depth)),
        _ => format!(" {}\n", scalar(value)),
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => {
            let plain = !text.is_empty()
                && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
                && !text.contains(": ")
                && !text.contains(" #")
                && !["true", "false", "null", "yes", "no", "on", "off"].contains(&text.as_str());
            if plain { text.clone() } else { value.to_string() }
        }
        other => other.to_string(),
    }
}

/// Every key with a capital, as Go's fields have.
fn capitals(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| {
                let mut letters = key.chars();
                let first: String = letters.next().map(|c| c.to_uppercase().collect()).unwrap_or_default();
                // Here the template's name differs by more than capitals.
                let name = if key == "cgroupVersion" { "CgroupsVersion".into() } else { first + letters.as_str() };
                (name, capitals(value))
            })
            .collect(),
        Value::Array(list) => list.iter().map(capitals).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn maps_and_lists_become_yaml() {
        let value = json!({"a": {"b": [1, "x"], "c": [{"d": 1, "e": "yes"}]}, "f": [], "g": "1.0"});
        insta::assert_snapshot!(yaml(&value, 0), @r#"
        a:
          b:
          - 1
          - x
          c:
          - d: 1
            e: "yes"
        f: []
        g: "1.0"
        "#);
    }

    #[test]
    fn templates_see_capitals() {
        assert_eq!(capitals(&json!({"host": {"arch": 1}})), json!({"Host": {"Arch": 1}}));
    }
}
