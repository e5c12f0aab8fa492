//! How results are printed: tables, JSON, and `--format` with Go's template language.
//!
//! Podman's `--format` is text/template of Go's library, and scripts are full of it: `{{.State.Status}}`,
//! `{{range .Mounts}}…{{end}}`, `table {{.ID}}\t{{.Names}}`. [`template`] reads it, [`evaluate`] runs it on JSON values,
//! [`table`] aligns what comes out as Go's tabwriter does, [`human`] writes sizes and times.

pub mod evaluate;
mod functions;
pub mod human;
pub mod table;
pub mod template;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::cli::failure;
use template::Template;

/// How rows are to be printed, from `--format`, `--noheading` and the verb's own default.
#[derive(Debug)]
pub struct Listing<'a> {
    /// What the user wrote.
    pub format: Option<&'a str>,
    /// The verb's own columns, as a template.
    pub default: &'a str,
    /// Field → heading, where it is not the field's name in capitals.
    pub headings: &'a [(&'a str, &'a str)],
    /// Leave the headings out.
    pub no_heading: bool,
}

impl Listing<'_> {
    /// Prints one line for each row; `json` (asked only for `--format json`) prints all of them as one document.
    pub fn print(&self, rows: &[Value], json: impl FnOnce() -> Value) -> Result<i32> {
        if self.format.is_some_and(is_json) {
            return failure::print(&format!("{}\n", pretty(&json())));
        }
        failure::print(&self.render(rows)?)
    }

    /// The text of a table or a template.
    pub fn render(&self, rows: &[Value]) -> Result<String> {
        let format = self.format.unwrap_or(self.default);
        let (body, table) = match format.strip_prefix("table ").or_else(|| format.strip_prefix("table\\t")) {
            Some(body) => (body.trim_start(), true),
            None => (format, false),
        };
        let template = parse(body)?;
        let mut text = String::new();
        if table && !self.no_heading {
            text.push_str(&line(&template.run(&headings(&template, self.headings))?));
        }
        for row in rows {
            text.push_str(&line(&template.run(row)?));
        }
        // As in Podman, only a table has columns: in a plain template a tab is a tab.
        Ok(if table { table::align(&text) } else { text })
    }
}

/// Whether `--format` asks for JSON rather than a template.
pub fn is_json(format: &str) -> bool {
    matches!(format.trim(), "json" | "{{json .}}" | "{{ json . }}" | "{{json . }}")
}

/// Prints one value by a template, or as JSON if `format` is none or says so.
pub fn print_value(format: Option<&str>, value: &Value) -> Result<i32> {
    match format.filter(|format| *format != "json") {
        None => failure::print(&format!("{}\n", pretty(value))),
        Some(format) => failure::print(&line(&parse(format)?.run(value)?)),
    }
}

/// JSON as Podman prints it: indented by four.
pub fn pretty(value: &Value) -> String {
    use serde::Serialize;
    let mut text = Vec::new();
    let mut writer =
        serde_json::Serializer::with_formatter(&mut text, serde_json::ser::PrettyFormatter::with_indent(b"    "));
    // Writing to memory cannot fail, and every Value is JSON.
    let _ = value.serialize(&mut writer);
    String::from_utf8_lossy(&text).into_owned()
}

/// A user's template: the shell's `\t` and `\n` are two characters, and mean one.
pub fn parse(format: &str) -> Result<Template> {
    let format = format.replace("\\t", "\t").replace("\\n", "\n");
    Template::parse(&format).with_context(|| format!("invalid value {format:?} for --format"))
}

fn line(text: &str) -> String {
    if text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") }
}

/// The row of headings: each field that the template names, with its heading.
fn headings(template: &Template, special: &[(&str, &str)]) -> Value {
    let fields = template.fields().into_iter().map(|field| {
        let heading = special.iter().find(|(name, _)| *name == field);
        let heading = heading.map_or_else(|| in_words(&field).to_uppercase(), |(_, heading)| (*heading).to_owned());
        (field, Value::String(heading))
    });
    Value::Object(fields.collect())
}

/// `RunningFor` in words: `Running For`.
fn in_words(field: &str) -> String {
    let mut words = String::new();
    let mut before = 'A';
    for letter in field.chars() {
        if letter.is_uppercase() && before.is_lowercase() {
            words.push(' ');
        }
        words.push(letter);
        before = letter;
    }
    words
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_has_headings_and_columns() {
        let listing = Listing {
            format: Some(r"table {{.ID}}\t{{.RunningFor}}\t{{.Names}}"),
            default: "",
            headings: &[("ID", "CONTAINER ID")],
            no_heading: false,
        };
        let rows = [json!({"ID": "0123456789ab", "RunningFor": "now", "Names": "a"})];
        insta::assert_snapshot!(listing.render(&rows).expect("a sound template"), @r"
        CONTAINER ID  RUNNING FOR  NAMES
        0123456789ab  now          a
        ");
    }
}
