//! Reading ELF: which loader a program asks for, and which libraries.
//!
//! A program that is not static names its loader in a segment of its own (`PT_INTERP`), and in its dynamic section the
//! libraries it needs, by name, and where to look for them first. The section's strings are given by addresses in
//! memory; the loaded segments say where in the file those are (elf(5)).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// What the loader will want to know of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elf {
    /// Class and machine: only files with the same can be loaded together.
    pub machine: (u8, u16),
    /// The loader, of a dynamic program.
    pub interpreter: Option<PathBuf>,
    /// The names of needed libraries.
    pub needed: Vec<String>,
    /// Where to look before the system's places; `$ORIGIN` is the file's own directory.
    pub run_path: Vec<String>,
}

const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const PT_INTERP: u64 = 3;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;

/// Reads little-endian ELF, of 32 or 64 bits; `None` if `bytes` are something else (a script, say).
pub fn read(bytes: &[u8]) -> Option<Elf> {
    if !bytes.starts_with(b"\x7fELF") || *bytes.get(5)? != 1 {
        return None;
    }
    let wide = *bytes.get(4)? == 2;
    let number = |at: usize, size: usize| -> Option<u64> {
        let field = bytes.get(at..at.checked_add(size)?)?;
        Some(field.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    };
    let word = if wide { 8 } else { 4 };
    let index = |value: u64| usize::try_from(value).ok();
    let machine = (bytes[4], number(18, 2)? as u16);
    let (table, size, count) = if wide {
        (number(32, 8)?, number(54, 2)?, number(56, 2)?)
    } else {
        (number(28, 4)?, number(42, 2)?, number(44, 2)?)
    };
    let mut segments = Vec::new();
    for entry in 0..count {
        let at = index(table.checked_add(entry * size)?)?;
        let kind = number(at, 4)?;
        // The order of fields differs: a 64-bit header has the flags second.
        let (offset, address, length) = if wide {
            (number(at + 8, 8)?, number(at + 16, 8)?, number(at + 32, 8)?)
        } else {
            (number(at + 4, 4)?, number(at + 8, 4)?, number(at + 16, 4)?)
        };
        segments.push((kind, offset, address, length));
    }
    let segment = |kind| segments.iter().find(|segment| segment.0 == kind);
    let bytes_of = |offset: u64, length: u64| bytes.get(index(offset)?..index(offset.checked_add(length)?)?);
    let interpreter = segment(PT_INTERP).and_then(|(_, offset, _, length)| {
        let name = bytes_of(*offset, *length)?.split(|b| *b == 0).next()?;
        Some(PathBuf::from(OsStr::from_bytes(name)))
    });
    let mut elf = Elf { machine, interpreter, needed: vec![], run_path: vec![] };
    let Some((_, offset, _, length)) = segment(PT_DYNAMIC) else { return Some(elf) };
    let mut tags = Vec::new();
    for at in (index(*offset)?..index(offset.checked_add(*length)?)?).step_by(2 * word) {
        match (number(at, word)?, number(at + word, word)?) {
            (0, _) => break,
            tag => tags.push(tag),
        }
    }
    let tag = |wanted| tags.iter().find(|(tag, _)| *tag == wanted).map(|(_, value)| *value);
    let strings = tag(DT_STRTAB)?;
    let loaded = segments
        .iter()
        .find(|(kind, _, address, length)| *kind == PT_LOAD && strings >= *address && strings - address < *length)?;
    let strings = loaded.1 + (strings - loaded.2);
    let text = |at: u64| -> Option<String> {
        let rest = bytes.get(index(strings.checked_add(at)?)?..)?;
        Some(String::from_utf8_lossy(rest.split(|b| *b == 0).next()?).into_owned())
    };
    elf.needed = tags.iter().filter(|(tag, _)| *tag == DT_NEEDED).filter_map(|(_, at)| text(*at)).collect();
    // The older RPATH counts only where there is no RUNPATH.
    let path = tag(DT_RUNPATH).or_else(|| tag(DT_RPATH)).and_then(text).unwrap_or_default();
    elf.run_path = path.split(':').filter(|dir| !dir.is_empty()).map(str::to_owned).collect();
    Some(elf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_very_program_is_read() {
        let bytes = std::fs::read("/proc/self/exe").expect("read");
        let elf = read(&bytes).expect("an ELF file");
        assert!(elf.interpreter.as_ref().is_some_and(|loader| loader.is_absolute()), "{elf:?}");
        assert!(elf.needed.iter().any(|name| name.starts_with("libc.so")), "{elf:?}");
    }

    #[test]
    fn what_is_cut_off_or_twisted_is_no_program() {
        assert_eq!(read(b"#!/bin/sh\n"), None);
        assert_eq!(read(b"\x7fELF"), None);
        let bytes = std::fs::read("/proc/self/exe").expect("read");
        for length in [6, 20, 60, 64, 100, 300] {
            assert!(read(&bytes[..length]).is_none_or(|elf| elf.needed.is_empty()), "{length}");
        }
        let mut twisted = bytes[..4096].to_vec();
        twisted[32..40].fill(0xff);
        assert_eq!(read(&twisted), None);
    }
}
