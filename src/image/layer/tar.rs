//! Reading tar: the format of a layer.
//!
//! A tar file is a row of 512-byte headers, each followed by its file's bytes, padded to 512. The first header format
//! has room for names of 100 bytes and sizes of 8 GB; everything longer came later, as special entries that speak of the
//! next one: GNU's `L` and `K` (a long name, a long link target) and POSIX's `x` ("pax": any attribute, as text; `g` for
//! all that follow). The one reader here understands both, since layers come from many hands.
//!
//! The subtlety is distrust. Sizes in headers are a stranger's words: nothing is allocated by them beyond [`META_MAX`],
//! and a number that is none is an error and not a zero.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, BufRead};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

/// The most bytes of one entry's names and attributes.
const META_MAX: u64 = 1 << 20;
const BLOCK: usize = 512;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A file with so many bytes, which follow.
    File(u64),
    /// A file with holes: its full size, and where its parts (offset, length) belong, which follow one after another.
    Sparse(u64, Vec<(u64, u64)>),
    /// Another name for an earlier entry.
    HardLink(PathBuf),
    /// A symbolic link.
    Symlink(PathBuf),
    /// A directory.
    Directory,
    /// A character device, major and minor.
    Character(u32, u32),
    /// A block device, major and minor.
    Block(u32, u32),
    /// A fifo.
    Fifo,
}

/// One entry's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name as written: may be absolute, may hold `..`.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of modification: seconds and nanoseconds.
    pub mtime: (i64, i64),
    /// Extended attributes (pax `SCHILY.xattr.*`).
    pub xattrs: Vec<(OsString, Vec<u8>)>,
}

type Attributes = BTreeMap<String, Vec<u8>>;

/// Reads a tar file entry by entry.
pub struct Reader<R> {
    input: R,
    /// Bytes of the current entry that nobody has read yet, and the padding behind them.
    rest: u64,
    padding: u64,
    global: Attributes,
    /// How many bytes of global attributes there were, also those that others replaced.
    global_size: u64,
}

impl<R: BufRead> Reader<R> {
    /// Begins before the first entry.
    pub fn new(input: R) -> Self {
        Self { input, rest: 0, padding: 0, global: Attributes::new(), global_size: 0 }
    }

    /// The next entry, or `None` at the end of the archive. What was left unread of the last one is skipped.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        let mut own = Attributes::new();
        let mut own_size = 0;
        loop {
            self.skip()?;
            let Some(header) = self.header()? else { return Ok(None) };
            let kind = header.0[156];
            if !matches!(kind, b'L' | b'K' | b'x' | b'g') {
                return self.entry(&header, &own).map(Some);
            }
            let size = header.number(124..136)?;
            // Together, since any number of these entries may stand before the one they speak of.
            let sum = if kind == b'g' { &mut self.global_size } else { &mut own_size };
            *sum = size.saturating_add(*sum);
            ensure!(*sum <= META_MAX, "a tar header announces {sum} bytes of attributes");
            self.announce(size);
            let mut bytes = Vec::with_capacity(size as usize);
            while self.copy_some(|chunk| {
                bytes.extend_from_slice(chunk);
                Ok(())
            })? {}
            let until_nul = || bytes.split(|b| *b == 0).next().unwrap_or_default().to_vec();
            match kind {
                b'L' => drop(own.insert("path".into(), until_nul())),
                b'K' => drop(own.insert("linkpath".into(), until_nul())),
                b'x' => pax(&bytes, &mut own)?,
                _ => pax(&bytes, &mut self.global)?,
            }
        }
    }

    /// Hands the next piece of the current entry's bytes to `take`, straight from the input's buffer; false at the end.
    pub fn copy_some(&mut self, take: impl FnOnce(&[u8]) -> Result<()>) -> Result<bool> {
        if self.rest == 0 {
            return Ok(false);
        }
        let buffer = self.input.fill_buf()?;
        ensure!(!buffer.is_empty(), "the archive ends in the middle of a file");
        let length = usize::try_from(self.rest).map_or(buffer.len(), |rest| rest.min(buffer.len()));
        take(&buffer[..length])?;
        self.input.consume(length);
        self.rest -= length as u64;
        Ok(true)
    }

    /// Reads some of the current entry's bytes; 0 at their end.
    pub fn read_data(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let room = usize::try_from(self.rest).map_or(buffer.len(), |rest| rest.min(buffer.len()));
        if room == 0 {
            return Ok(0);
        }
        let read = self.input.read(&mut buffer[..room])?;
        ensure!(read > 0, "the archive ends in the middle of a file");
        self.rest -= read as u64;
        Ok(read)
    }

    /// Reads what is behind the end mark, so that the input's digest covers everything.
    pub fn drain(mut self) -> Result<R> {
        loop {
            let length = self.input.fill_buf()?.len();
            if length == 0 {
                return Ok(self.input);
            }
            self.input.consume(length);
        }
    }

    fn announce(&mut self, size: u64) {
        self.rest = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
    }

    fn skip(&mut self) -> Result<()> {
        // A size near 2^63 must not wrap around.
        self.rest = self.rest.saturating_add(std::mem::take(&mut self.padding));
        while self.copy_some(|_| Ok(()))? {}
        Ok(())
    }

    /// The next header block; `None` at a block of zeros, or where the input ends between entries.
    fn header(&mut self) -> Result<Option<Header>> {
        let mut block = [0; BLOCK];
        let mut have = 0;
        while have < BLOCK {
            let buffer = self.input.fill_buf()?;
            if buffer.is_empty() {
                ensure!(have == 0, "the archive ends in the middle of a header");
                return Ok(None);
            }
            let length = buffer.len().min(BLOCK - have);
            block[have..have + length].copy_from_slice(&buffer[..length]);
            self.input.consume(length);
            have += length;
        }
        if block.iter().all(|b| *b == 0) {
            return Ok(None);
        }
        let header = Header(block);
        // The sum is taken as if its own field held spaces.
        let sum: u64 = block.iter().map(|b| u64::from(*b)).sum();
        let own: u64 = block[148..156].iter().map(|b| u64::from(*b)).sum();
        ensure!(header.number(148..156).is_ok_and(|said| said == sum - own + 8 * 32), "this is not a tar archive");
        Ok(Some(header))
    }

    fn entry(&mut self, header: &Header, own: &Attributes) -> Result<Entry> {
        let attribute = |name: &str| own.get(name).or_else(|| self.global.get(name));
        let path = match attribute("GNU.sparse.name").or_else(|| attribute("path")) {
            Some(path) => path.clone(),
            None => header.path(),
        };
        let shown = String::from_utf8_lossy(&path).into_owned();
        let number = |name: &str, field: std::ops::Range<usize>| match attribute(name) {
            Some(text) => decimal(text).with_context(|| format!("{shown}: {name}")),
            None => header.number(field).with_context(|| format!("{shown}: {name}")),
        };
        let path_of = |bytes: &[u8]| PathBuf::from(OsString::from_vec(bytes.to_vec()));
        let link = || match attribute("linkpath") {
            Some(target) => path_of(target),
            None => path_of(header.text(157..257)),
        };
        let device = |field| header.number(field).and_then(|n| u32::try_from(n).context("a device number"));
        let size = number("size", 124..136)?;
        let mut data = 0;
        let kind = match header.0[156] {
            // Before POSIX a directory was a file whose name ends in a slash.
            b'0' | 0 | b'7' if path.ends_with(b"/") => Kind::Directory,
            b'0' | 0 | b'7' => {
                data = size;
                Kind::File(size)
            }
            b'1' => Kind::HardLink(link()),
            b'2' => Kind::Symlink(link()),
            b'3' => Kind::Character(device(329..337)?, device(337..345)?),
            b'4' => Kind::Block(device(329..337)?, device(337..345)?),
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            b'S' => {
                data = size;
                Kind::Sparse(header.number(483..495)?, vec![])
            }
            other => bail!("{shown}: a tar entry of unknown type {:?}", char::from(other)),
        };
        let id = |name: &str, field| {
            number(name, field).and_then(|n| u32::try_from(n).with_context(|| format!("{shown}: {name} {n}")))
        };
        let mtime = match attribute("mtime") {
            Some(text) => time(text).with_context(|| format!("{shown}: mtime"))?,
            None => (header.signed(136..148)?, 0),
        };
        let xattr = |(name, value): (&String, &Vec<u8>)| {
            Some((OsString::from(name.strip_prefix("SCHILY.xattr.")?), value.clone()))
        };
        let mut entry = Entry {
            mode: (number("mode", 100..108)? & 0o7777) as u32,
            uid: id("uid", 108..116)?,
            gid: id("gid", 116..124)?,
            mtime,
            xattrs: own.iter().filter_map(xattr).collect(),
            path: path_of(&path),
            kind,
        };
        let pax_sparse = attribute("GNU.sparse.major").map(|major| {
            let real = attribute("GNU.sparse.realsize").context("without a real size")?;
            ensure!(major == b"1", "in a format before 1.0");
            decimal(real)
        });
        self.announce(data);
        if let Kind::Sparse(_, parts) = &mut entry.kind {
            *parts = self.old_sparse_map(header)?;
        } else if let (Some(real), Kind::File(_)) = (pax_sparse, &entry.kind) {
            let real = real.with_context(|| format!("{shown}: a sparse file"))?;
            entry.kind = Kind::Sparse(real, self.pax_sparse_map()?);
        }
        if let Kind::Sparse(size, parts) = &entry.kind {
            let inside = |(offset, length): &(u64, u64)| offset.checked_add(*length).is_some_and(|end| end <= *size);
            ensure!(parts.iter().all(inside), "{shown}: a sparse file has a part outside itself");
        }
        Ok(entry)
    }

    /// GNU's first sparse format: four parts in the header, the others in blocks that follow it.
    fn old_sparse_map(&mut self, header: &Header) -> Result<Vec<(u64, u64)>> {
        let mut parts = Vec::new();
        let mut read = |block: &Header, at: usize, count: usize| -> Result<()> {
            for field in (at..).step_by(24).take(count) {
                if block.0[field] != 0 {
                    parts.push((block.number(field..field + 12)?, block.number(field + 12..field + 24)?));
                }
            }
            ensure!(parts.len() as u64 * 24 <= META_MAX, "a sparse file has too many parts");
            Ok(())
        };
        read(header, 386, 4)?;
        let mut more = header.0[482] != 0;
        while more {
            let mut block = [0; BLOCK];
            io::Read::read_exact(&mut self.input, &mut block).context("the map of a sparse file")?;
            read(&Header(block), 0, 21)?;
            more = block[504] != 0;
        }
        Ok(parts)
    }

    /// The newer sparse format: decimal numbers in lines, before the data, padded to a block.
    fn pax_sparse_map(&mut self) -> Result<Vec<(u64, u64)>> {
        let mut numbers = Vec::new();
        let mut line = Vec::new();
        let mut wanted = 1;
        let mut read = 0u64;
        while numbers.len() < wanted {
            let mut block = Vec::with_capacity(BLOCK);
            let mut byte = [0];
            while block.len() < BLOCK {
                ensure!(self.rest > 0, "the map of a sparse file is cut off");
                io::Read::read_exact(&mut self.input, &mut byte)?;
                self.rest -= 1;
                block.push(byte[0]);
            }
            read += BLOCK as u64;
            ensure!(read <= META_MAX, "a sparse file has too many parts");
            for byte in block {
                if byte != b'\n' {
                    line.push(byte);
                } else if numbers.len() < wanted {
                    numbers.push(decimal(&line)?);
                    line.clear();
                    wanted =
                        1 + 2 * usize::try_from(numbers[0]).ok().filter(|n| *n < 1 << 18).context("a map's size")?;
                }
            }
        }
        Ok(numbers[1..].chunks(2).map(|pair| (pair[0], pair[1])).collect())
    }
}

/// A header block, read by field.
struct Header([u8; BLOCK]);

impl Header {
    fn text(&self, field: std::ops::Range<usize>) -> &[u8] {
        self.0[field].split(|b| *b == 0).next().unwrap_or_default()
    }

    fn path(&self) -> Vec<u8> {
        // POSIX has a prefix for long names; GNU uses those bytes otherwise, and says so in its magic.
        let prefix = if &self.0[257..263] == b"ustar\0" { self.text(345..500) } else { b"" };
        let name = self.text(0..100);
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    /// A number: octal text, or (GNU) big-endian bytes after a set top bit.
    fn number(&self, field: std::ops::Range<usize>) -> Result<u64> {
        u64::try_from(self.signed(field)?).context("a tar header holds a negative number")
    }

    fn signed(&self, field: std::ops::Range<usize>) -> Result<i64> {
        let bytes = &self.0[field];
        if bytes[0] & 0x80 != 0 {
            let negative = bytes[0] & 0x40 != 0;
            let first = i128::from(bytes[0] & 0x7f) - if negative { 0x80 } else { 0 };
            // At most twelve bytes: no overflow in 128 bits.
            let value = bytes[1..].iter().fold(first, |value, byte| value << 8 | i128::from(*byte));
            return i64::try_from(value).context("a tar header holds a number that is too large");
        }
        let text = std::str::from_utf8(bytes).unwrap_or("?");
        let text = text.trim_matches(|c: char| c == ' ' || c == '\0');
        if text.is_empty() {
            return Ok(0);
        }
        i64::from_str_radix(text, 8).with_context(|| format!("a tar header holds {text:?} as a number"))
    }
}

fn decimal(text: &[u8]) -> Result<u64> {
    let text = String::from_utf8_lossy(text);
    text.parse().with_context(|| format!("{text:?} is not a number"))
}

/// `1700000000.123456789`, to the nanosecond; may be negative.
fn time(text: &[u8]) -> Result<(i64, i64)> {
    let text = String::from_utf8_lossy(text);
    let (seconds, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let (whole, nanos): (i64, i64) = (seconds.parse()?, digits.parse()?);
    ensure!((0..1_000_000_000).contains(&nanos), "{text:?} is not a time");
    // Nanoseconds count forward, also before 1970.
    let negative = seconds.starts_with('-') && nanos > 0;
    Ok(if negative { (whole.saturating_sub(1), 1_000_000_000 - nanos) } else { (whole, nanos) })
}

/// Reads pax records, `LENGTH KEY=VALUE\n`, where the length counts the whole record.
fn pax(mut bytes: &[u8], into: &mut Attributes) -> Result<()> {
    while !bytes.is_empty() {
        let space = bytes.iter().position(|b| *b == b' ').context("a pax record has no length")?;
        let length = usize::try_from(decimal(&bytes[..space])?)?;
        ensure!(length > space + 1 && length <= bytes.len(), "a pax record's length is wrong");
        let record = bytes[space + 1..length].strip_suffix(b"\n").context("a pax record has no end")?;
        let equals = record.iter().position(|b| *b == b'=').context("a pax record has no value")?;
        let (key, value) = (std::str::from_utf8(&record[..equals])?.to_owned(), &record[equals + 1..]);
        // An empty value takes an attribute back.
        if value.is_empty() && !key.starts_with("SCHILY.xattr.") {
            into.remove(&key);
        } else {
            into.insert(key, value.to_vec());
        }
        bytes = &bytes[length..];
    }
    Ok(())
}
