//! What goes by the name of `regex` in this workspace: regex-lite.
//!
//! oci-spec checks one short list of numbers with a regular expression (`process.execCPUAffinity`), and for that brings
//! in regex: 1.5 MB of tables and matchers in a podling-runtime of 4.0 MB, which lives for milliseconds. The patch in
//! Cargo.toml puts this in its place.

pub use regex_lite::Regex;
