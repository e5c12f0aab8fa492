//! Digests: everything in an image is named by the SHA-256 of its bytes.
//!
//! That is what makes a registry safe to use without trusting it: whoever knows the digest of a manifest can check each
//! byte that hangs from it. So nothing here is ever stored or unpacked under a name that was not computed from what
//! arrived; [`Hashing`] computes it while the bytes pass by.

use std::fmt;
use std::io::{self, BufRead, Read, Write};
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A SHA-256, written `sha256:<64 hexadecimal digits>`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The 64 digits without the algorithm: an image's id, the name of a blob's file.
    pub fn hex(&self) -> String {
        use fmt::Write;
        let mut text = String::with_capacity(64);
        for byte in self.0 {
            let _ = write!(text, "{byte:02x}");
        }
        text
    }

    /// From 64 lower-case hexadecimal digits.
    pub fn from_hex(hex: &str) -> Result<Self> {
        ensure!(
            hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')),
            "a SHA-256 has 64 hexadecimal digits, not {hex:?}"
        );
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair)?, 16)?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once(':') {
            Some(("sha256", hex)) => Self::from_hex(hex),
            Some((algorithm, _)) => bail!("digest algorithm {algorithm:?} is not supported, only sha256"),
            None => bail!("{text:?} is not a digest (sha256:<64 hexadecimal digits>)"),
        }
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = anyhow::Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl TryFrom<&oci_spec::image::Digest> for Digest {
    type Error = anyhow::Error;

    fn try_from(digest: &oci_spec::image::Digest) -> Result<Self> {
        digest.as_ref().parse()
    }
}

impl From<Digest> for oci_spec::image::Digest {
    fn from(digest: Digest) -> Self {
        oci_spec::image::Sha256Digest::from_str(&digest.hex()).expect("64 hexadecimal digits").into()
    }
}

/// The chain ids of a stack of layers, lowest first: each names a layer *and all below it*, as the digest of the chain
/// below and the layer's own `diff_id`. The lowest is its own chain.
pub fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        chain.push(match chain.last() {
            None => *diff_id,
            Some(below) => Digest::of(format!("{below} {diff_id}").as_bytes()),
        });
    }
    chain
}

/// A reader or writer that hashes and counts what passes through it.
pub struct Hashing<T> {
    inner: T,
    hash: Sha256,
    count: u64,
}

impl<T> Hashing<T> {
    /// Starts with nothing hashed.
    pub fn new(inner: T) -> Self {
        Self { inner, hash: Sha256::new(), count: 0 }
    }

    /// Hashes bytes that passed earlier, by another way (the beginning of an interrupted download).
    pub fn resume(&mut self, earlier: &mut impl Read) -> io::Result<u64> {
        let mut buffer = vec![0; 1 << 18];
        loop {
            match earlier.read(&mut buffer)? {
                0 => return Ok(self.count),
                read => self.note(read, &buffer),
            }
        }
    }

    /// How many bytes have passed.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// What is read from or written to.
    pub fn get_ref(&self) -> &T {
        &self.inner
    }

    /// The digest of what has passed, and its length.
    pub fn finish(self) -> (Digest, u64, T) {
        (Digest(self.hash.finalize().into()), self.count, self.inner)
    }

    fn note(&mut self, read: usize, bytes: &[u8]) {
        self.hash.update(&bytes[..read]);
        self.count += read as u64;
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.note(read, buffer);
        Ok(read)
    }
}

impl<R: BufRead> BufRead for Hashing<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        // What is consumed was returned by fill_buf, which returns the same bytes until then.
        if let Ok(bytes) = self.inner.fill_buf() {
            self.hash.update(&bytes[..amount]);
            self.count += amount as u64;
        }
        self.inner.consume(amount);
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.note(written, bytes);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Reads all of `reader`, but refuses more than `limit` bytes: what a stranger sends must fit our memory.
pub fn read_at_most(reader: impl Read, limit: u64, what: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(limit + 1).read_to_end(&mut bytes).with_context(|| format!("reading {what}"))?;
    ensure!(bytes.len() as u64 <= limit, "{what} is larger than {limit} bytes");
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_prints_as_it_parses() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").to_string(), empty);
        assert_eq!(empty.parse::<Digest>().expect("parses"), Digest::of(b""));
        for bad in ["", "sha256:", "sha256:E3B0", "md5:0123", "e3b0c442", "sha256:../../../../etc/passwd"] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn bytes_read_by_any_way_are_hashed_once() {
        let mut reader = Hashing::new(io::Cursor::new(b"one two three".to_vec()));
        let mut four = [0; 4];
        reader.read_exact(&mut four).expect("reads");
        assert_eq!(reader.fill_buf().expect("reads"), b"two three");
        reader.consume(9);
        let (digest, count, _) = reader.finish();
        assert_eq!((digest, count), (Digest::of(b"one two three"), 13));
    }

    #[test]
    fn a_chain_id_covers_all_layers_below() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let chain = chain_ids(&[a, b]);
        assert_eq!(chain, [a, Digest::of(format!("{a} {b}").as_bytes())]);
        assert_ne!(chain[1], chain_ids(&[b, a])[1]);
    }
}
