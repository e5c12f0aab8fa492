//! What people type: the flags of `run`, values with a grammar of their own, and Go's templates.
//!
//! A request or one line that says what is wrong; a value that can be printed reads as the same again.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use jiff::Timestamp;
use podling::cli::filter::Filters;
use podling::cli::format::human::parse_size;
use podling::cli::format::template::Template;
use podling::cli::{failure, request};
use podling::engine::detach::DetachKeys;
use podling::engine::when;
use podling::linux::process::Signal;
use serde_json::json;

use crate::choice;

/// After a byte: 0 the words after `podling run`, one on each line; 1 values, one on each line; 2 a template.
pub fn words(data: &[u8]) {
    let (way, data) = choice(data, 3);
    if way == 0 {
        let words = data.split(|byte| *byte == b'\n').map(|word| OsString::from_vec(word.to_vec()));
        if let Err(error) = request::of(words.collect()) {
            assert!(!failure::render(&error).trim().is_empty(), "an error that says nothing");
        }
        return;
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if way == 1 {
        text.lines().for_each(value);
    } else {
        template(text);
    }
}

fn value(text: &str) {
    if let Ok(signal) = text.parse::<Signal>() {
        assert_eq!(signal.to_string().parse::<Signal>().ok(), Some(signal));
        assert!((1..=64).contains(&signal.number()));
    }
    assert!(parse_size(text).is_ok_and(|size| size >= 0) || parse_size(text).is_err());
    let _ = when::parse(text, Timestamp::UNIX_EPOCH);
    let _ = text.parse::<DetachKeys>();
    let _ = Filters::parse(&[text.to_owned()]);
}

fn template(text: &str) {
    let Ok(template) = Template::parse(text) else { return };
    let _ = template.fields();
    let value = json!({
        "ID": "0123456789ab", "Names": ["one", "two"], "Size": 1234.5, "Labels": {"a": "b"}, "Running": true, "None": null
    });
    if let Ok(printed) = template.run(&value) {
        assert!(printed.len() <= (text.len() + 1) * 4096, "a short template prints {} bytes", printed.len());
    }
}
