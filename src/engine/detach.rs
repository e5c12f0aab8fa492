//! The keys that leave a container running and give the terminal back: `ctrl-p,ctrl-q` unless somebody says otherwise.

use std::str::FromStr;

use anyhow::{Result, bail};

/// A sequence of keys; none at all if it is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachKeys(Vec<u8>);

impl DetachKeys {
    /// No keys detach.
    pub fn none() -> Self {
        Self(Vec::new())
    }
}

impl Default for DetachKeys {
    /// Docker's and Podman's.
    fn default() -> Self {
        Self(vec![0x10, 0x11])
    }
}

impl FromStr for DetachKeys {
    type Err = anyhow::Error;

    /// `ctrl-a,b`: keys with commas between; each is a character, or `ctrl-` and a letter or one of `@[\]^_`.
    fn from_str(text: &str) -> Result<Self> {
        let mut keys = Vec::new();
        for key in text.split(',').filter(|_| !text.is_empty()) {
            let lower = key.to_ascii_lowercase();
            keys.push(match (key.as_bytes(), lower.strip_prefix("ctrl-").map(str::as_bytes)) {
                (&[key], _) => key,
                (_, Some(&[letter @ b'a'..=b'z'])) => letter - b'a' + 1,
                (_, Some(&[sign @ (b'@' | b'[' | b'\\' | b']' | b'^' | b'_')])) => sign - b'@',
                _ => bail!("invalid detach keys {text:?}: {key:?} is neither one character nor ctrl-LETTER"),
            });
        }
        Ok(Self(keys))
    }
}

/// Finds the keys in what is typed. A key that could begin the sequence is held back until the next one tells.
pub struct Filter {
    keys: DetachKeys,
    held: Vec<u8>,
}

impl Filter {
    /// Looks for `keys`.
    pub fn new(keys: DetachKeys) -> Self {
        Self { keys, held: Vec::new() }
    }

    /// Appends to `out` what of `typed` is meant for the container. Returns whether the sequence was typed; nothing of it,
    /// nor after it, is passed on.
    pub fn pass(&mut self, typed: &[u8], out: &mut Vec<u8>) -> bool {
        let keys = &self.keys.0;
        if keys.is_empty() {
            out.extend_from_slice(typed);
            return false;
        }
        for &byte in typed {
            self.held.push(byte);
            while !keys.starts_with(&self.held) {
                out.push(self.held.remove(0));
            }
            if self.held.len() == keys.len() {
                return true;
            }
        }
        false
    }

    /// No more is typed: what was held back was no sequence.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> DetachKeys {
        text.parse().expect(text)
    }

    #[test]
    fn keys_are_written_as_podman_writes_them() {
        assert_eq!(keys("ctrl-p,ctrl-q"), DetachKeys::default());
        assert_eq!(keys("ctrl-A,b,ctrl-@,ctrl-["), DetachKeys(vec![1, b'b', 0, 27]));
        assert_eq!(keys(""), DetachKeys::none());
        for wrong in ["ctrl-", "ctrl-ab", "ab", ",", "a,", "ctrl-1", "é"] {
            assert!(wrong.parse::<DetachKeys>().is_err(), "{wrong:?}");
        }
    }

    /// Every way to cut the input into reads gives the same.
    #[test]
    fn the_sequence_is_found_however_reads_cut_it() {
        for (text, input, passed, found) in [
            ("ctrl-p,ctrl-q", "ls\x10\x11rest", "ls", true),
            ("ctrl-p,ctrl-q", "\x10\x10\x11", "\x10", true),
            ("ctrl-p,ctrl-q", "\x10x\x11", "\x10x\x11", false),
            ("a,a,b", "aaab", "a", true),
            ("a,b,a,c", "abababac", "abab", true),
            ("", "\x10\x11", "\x10\x11", false),
            ("ctrl-p,ctrl-q", "end\x10", "end\x10", false),
        ] {
            for size in 1..=input.len() {
                let (mut filter, mut out, mut seen) = (Filter::new(keys(text)), Vec::new(), false);
                for read in input.as_bytes().chunks(size) {
                    seen = filter.pass(read, &mut out);
                    if seen {
                        break;
                    }
                }
                if !seen {
                    filter.finish(&mut out);
                }
                assert_eq!((String::from_utf8_lossy(&out).as_ref(), seen), (passed, found), "{text} in {input:?}");
            }
        }
    }
}
