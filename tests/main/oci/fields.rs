//! Every field that OCI's specification knows for Linux, and what becomes of it: `fields.txt` says so, line by line.
//!
//! A runtime that reads a field and forgets it has told a lie: whoever asked for a wall believes that there is one. So each
//! field is either honoured, and a test shows it, or refused by its name, which is tried here.
//!
//! The list is held against the library that reads bundles. serde tells a deserializer the names of each structure's
//! fields; the one below answers with all of them, and so walks through the whole schema.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use oci_spec::runtime::Spec;
use serde::de::value::{MapDeserializer, SeqDeserializer, StrDeserializer};
use serde::de::{self, Deserialize, Deserializer, IntoDeserializer, Visitor};
use serde_json::{Value, json};

use crate::runtime::run;

/// Gives each type some value, and writes down how it came there.
#[derive(Clone)]
struct Walk<'a> {
    path: String,
    seen: &'a RefCell<BTreeSet<String>>,
}

type Error = de::value::Error;

impl Walk<'_> {
    fn below(&self, name: &str) -> Self {
        let path = if self.path.is_empty() { name.into() } else { format!("{}.{name}", self.path) };
        Self { path, seen: self.seen }
    }

    fn leaf(&self) {
        self.seen.borrow_mut().insert(self.path.clone());
    }
}

impl IntoDeserializer<'_, Error> for Walk<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! leaves {
    ($($method:ident $visit:ident $value:expr;)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.leaf();
            visitor.$visit($value)
        })*
    };
}

impl<'de> Deserializer<'de> for Walk<'_> {
    type Error = Error;

    leaves! {
        deserialize_any visit_str "0";
        deserialize_bool visit_bool true;
        deserialize_i8 visit_i8 1;
        deserialize_i16 visit_i16 1;
        deserialize_i32 visit_i32 1;
        deserialize_i64 visit_i64 1;
        deserialize_u8 visit_u8 1;
        deserialize_u16 visit_u16 1;
        deserialize_u32 visit_u32 1;
        deserialize_u64 visit_u64 1;
        deserialize_f32 visit_f32 1.0;
        deserialize_f64 visit_f64 1.0;
        deserialize_char visit_char '0';
        deserialize_bytes visit_bytes b"0";
        deserialize_byte_buf visit_bytes b"0";
        deserialize_identifier visit_str "0";
        deserialize_ignored_any visit_str "0";
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.leaf();
        // Lists of processors are looked at, and names of capabilities.
        visitor.visit_str(if self.path.contains("capabilities") { "CAP_KILL" } else { "0" })
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(SeqDeserializer::new([self].into_iter()))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let entry = ("*", self.below("*"));
        visitor.visit_map(MapDeserializer::new([entry].into_iter()))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_map(MapDeserializer::new(fields.iter().map(|name| (*name, self.below(name)))))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.leaf();
        visitor.visit_enum(StrDeserializer::<Error>::new(variants[0]))
    }
}

/// All fields, as `linux.resources.pids.limit`.
fn schema() -> BTreeSet<String> {
    let seen = RefCell::default();
    Spec::deserialize(Walk { path: String::new(), seen: &seen }).expect("a bundle of everything");
    seen.into_inner()
}

const TABLE: &str = include_str!("fields.txt");

/// The table's lines: a field, and what becomes of it and of all below it.
fn table() -> BTreeMap<&'static str, &'static str> {
    let lines = TABLE.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_once(' ').map(|(field, rest)| (field, rest.trim())).expect("FIELD VERDICT")).collect()
}

#[test]
fn the_table_knows_every_field_and_no_other() {
    let (schema, table) = (schema(), table());
    let covers =
        |line: &str, field: &str| field == line || field.strip_prefix(line).is_some_and(|it| it.starts_with('.'));
    let missing: Vec<_> = schema.iter().filter(|field| !table.keys().any(|line| covers(line, field))).collect();
    assert!(missing.is_empty(), "nobody has said what becomes of {missing:?}");
    let invented: Vec<_> = table.keys().filter(|line| !schema.iter().any(|field| covers(line, field))).collect();
    assert!(invented.is_empty(), "the specification has no {invented:?}");
}

#[test]
fn what_is_honoured_has_a_test() {
    let mut tests = String::new();
    let mut directories = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/main")];
    directories.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("our own source").flatten() {
            let path = entry.path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                tests += &fs::read_to_string(path).expect("our own source");
            }
        }
    }
    for (field, verdict) in table() {
        let Some(names) = verdict.strip_prefix("honoured ") else { continue };
        for name in names.split(' ') {
            let declared = ["both!(", "as_root!(", "as_user!(", "fn "].map(|before| format!("{before}{name}"));
            assert!(declared.iter().any(|text| tests.contains(text)), "{field}: there is no test {name}");
        }
    }
}

/// The refusals are our own words.
mod only_ours {
    use super::*;

    both!(what_is_refused_is_refused_by_its_name, |world| {
        let mut count = 0;
        for (field, verdict) in table() {
            let Some(value) = verdict.strip_prefix("refused ") else {
                assert!(verdict.starts_with("honoured "), "{field}: {verdict:?} is neither honoured nor refused");
                continue;
            };
            let value: Value = serde_json::from_str(value).unwrap_or_else(|error| panic!("{field}: {value}: {error}"));
            let output = run(world, &["true"], |config| {
                let place = field.split('.').fold(&mut *config, |place, name| {
                    if place.is_null() {
                        *place = json!({});
                    }
                    &mut place[name]
                });
                *place = value;
            });
            output.fails(1);
            // `a.b.c` may be said as `a.b: … c`.
            let named = field.split('.').filter(|part| *part != "*").all(|part| output.stderr.contains(part));
            assert!(named, "{field}: {output}");
            count += 1;
        }
        assert!(count > 10, "the table has lost its refusals");
    });
}
