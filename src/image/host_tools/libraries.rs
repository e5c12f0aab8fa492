//! Finding libraries, as the loader would (ld.so(8)): where the program says, in the cache, in the usual places.
//!
//! The cache, /etc/ld.so.cache, holds what ldconfig found in the directories that the machine's administrator listed.
//! Its format is glibc's own, and has been the same since 1999; without one (musl), the usual places do.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::elf::{self, Elf};

const CACHE_MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
/// Where libraries are on Debian's kind of system (by architecture), on Fedora's, on musl's.
const USUAL: [&str; 12] = [
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib/aarch64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/lib/arm-linux-gnueabihf",
    "/usr/lib/arm-linux-gnueabihf",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
    "/usr/local/lib",
    "/usr/local/lib64",
];

/// Where this machine's libraries are.
pub struct Libraries {
    cache: HashMap<String, Vec<PathBuf>>,
}

/// A library that was found.
pub struct Found {
    /// By the name under which it is looked for.
    pub path: PathBuf,
    /// Its contents.
    pub bytes: Vec<u8>,
    /// What it asks for itself.
    pub elf: Elf,
}

impl Libraries {
    /// Reads the machine's cache.
    pub fn of_this_machine() -> Self {
        Self { cache: fs::read("/etc/ld.so.cache").ok().and_then(|bytes| parse(&bytes)).unwrap_or_default() }
    }

    /// Finds the library `name` for a file at `origin` that needs it.
    pub fn find(&self, name: &str, origin: &Path, by: &Elf) -> Option<Found> {
        if name.contains('/') {
            return open(Path::new(name), by);
        }
        let own = origin.parent().unwrap_or(Path::new("/")).to_string_lossy();
        let said = by.run_path.iter().map(|dir| dir.replace("${ORIGIN}", &own).replace("$ORIGIN", &own));
        let said = said.filter(|dir| dir.starts_with('/')).map(|dir| Path::new(&dir).join(name));
        let cached = self.cache.get(name).into_iter().flatten().cloned();
        let usual = USUAL.iter().map(|dir| Path::new(dir).join(name));
        said.chain(cached).chain(usual).find_map(|path| open(&path, by))
    }
}

/// Reads a library, if it is one and for the same machine.
fn open(path: &Path, by: &Elf) -> Option<Found> {
    let bytes = fs::read(path).ok()?;
    let elf = elf::read(&bytes).filter(|elf| elf.machine == by.machine)?;
    Some(Found { path: path.to_owned(), bytes, elf })
}

/// Reads the cache: a header, a row of entries, and the strings they point to, counted from the header.
fn parse(bytes: &[u8]) -> Option<HashMap<String, Vec<PathBuf>>> {
    // Before glibc 2.32 another format came first, in the same file.
    let start = bytes.windows(CACHE_MAGIC.len()).position(|window| window == CACHE_MAGIC)?;
    let bytes = &bytes[start..];
    let number = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let text = |at: u32| {
        let rest = bytes.get(at as usize..)?.split(|b| *b == 0).next()?;
        Some(String::from_utf8_lossy(rest).into_owned())
    };
    let mut cache: HashMap<String, Vec<PathBuf>> = HashMap::new();
    for entry in 0..number(20)? as usize {
        let at = 48 + entry * 24;
        // The last field: built for processors with certain features only. There is another entry for all.
        if (number(at + 16)?, number(at + 20)?) == (0, 0) {
            cache.entry(text(number(at + 4)?)?).or_default().push(text(number(at + 8)?)?.into());
        }
    }
    Some(cache)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_is_read_and_a_broken_one_is_none() {
        let mut bytes = CACHE_MAGIC.to_vec();
        bytes.extend(1u32.to_le_bytes());
        bytes.resize(48, 0);
        let strings = 48 + 24;
        for field in [0x303, strings, strings + 8, 0, 0, 0] {
            bytes.extend(u32::to_le_bytes(field));
        }
        bytes.extend(b"libx.so\0/opt/x/libx.so\0");
        let cache = parse(&bytes).expect("parses");
        assert_eq!(cache["libx.so"], [PathBuf::from("/opt/x/libx.so")]);
        assert!(parse(&bytes[..60]).is_none());
        assert!(parse(b"something else").is_none());
    }
}
