//! Writing tar: the other half of [`super::tar`].
//!
//! Headers are ustar, which everything reads; what does not fit (long names, large ids, extended attributes) goes into a
//! pax header before it. The same entries always give the same bytes, so what is packed twice has one digest.

use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;

use anyhow::{Result, ensure};

use super::tar::{Entry, Kind};

const BLOCK: usize = 512;
/// The largest number of eleven octal digits.
const SIZE_MAX: u64 = 0o77_777_777_777;
const ID_MAX: u64 = 0o7_777_777;

/// Writes a tar file entry by entry.
pub struct Writer<W> {
    out: W,
}

impl<W: Write> Writer<W> {
    /// Begins with nothing written.
    pub fn new(out: W) -> Self {
        Self { out }
    }

    /// Writes an entry and, if it is a file, exactly the announced number of bytes from `data`.
    pub fn entry(&mut self, entry: &Entry, data: impl Read) -> Result<()> {
        let name = entry.path.as_os_str().as_bytes();
        let name = if entry.kind == Kind::Directory { [name, b"/"].concat() } else { name.to_vec() };
        let (flag, size, link, device) = match &entry.kind {
            // Holes are written as zeros; whoever unpacks finds them again.
            Kind::File(size) | Kind::Sparse(size, _) => (b'0', *size, None, (0, 0)),
            Kind::HardLink(target) => (b'1', 0, Some(target), (0, 0)),
            Kind::Symlink(target) => (b'2', 0, Some(target), (0, 0)),
            Kind::Character(major, minor) => (b'3', 0, None, (*major, *minor)),
            Kind::Block(major, minor) => (b'4', 0, None, (*major, *minor)),
            Kind::Directory => (b'5', 0, None, (0, 0)),
            Kind::Fifo => (b'6', 0, None, (0, 0)),
        };
        let link = link.map(|target| target.as_os_str().as_bytes()).unwrap_or_default();
        let mut pax = Vec::new();
        let mut short = split(&name);
        if short.is_none() {
            record(&mut pax, "path", &name);
        }
        if link.len() > 100 {
            record(&mut pax, "linkpath", link);
        }
        for (key, number, max) in
            [("size", size, SIZE_MAX), ("uid", entry.uid.into(), ID_MAX), ("gid", entry.gid.into(), ID_MAX)]
        {
            if number > max {
                record(&mut pax, key, number.to_string().as_bytes());
            }
        }
        if entry.mtime.0 < 0 {
            record(&mut pax, "mtime", entry.mtime.0.to_string().as_bytes());
        }
        for (key, value) in &entry.xattrs {
            record(&mut pax, &format!("SCHILY.xattr.{}", key.display()), value);
        }
        if !pax.is_empty() {
            let own = Entry { mode: 0o644, uid: 0, gid: 0, mtime: (0, 0), xattrs: vec![], ..entry.clone() };
            self.header(&own, (b"", b"PaxHeaders/entry"), b"", b'x', pax.len() as u64, (0, 0))?;
            self.data(&pax[..], pax.len() as u64)?;
        }
        let cut = &name[..name.len().min(100)];
        self.header(entry, short.take().unwrap_or((b"", cut)), link, flag, size, device)?;
        self.data(data, size)
    }

    /// A file of root's with the given bytes.
    pub fn file(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        self.stream(path, bytes.len() as u64, bytes)
    }

    /// A directory of root's.
    pub fn directory(&mut self, path: &str) -> Result<()> {
        let entry = Entry {
            path: path.into(),
            kind: Kind::Directory,
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: (0, 0),
            xattrs: vec![],
        };
        self.entry(&entry, io::empty())
    }

    /// A file of root's with so many bytes from a reader.
    pub fn stream(&mut self, path: &str, size: u64, data: impl Read) -> Result<()> {
        let kind = Kind::File(size);
        let entry = Entry { path: path.into(), kind, mode: 0o644, uid: 0, gid: 0, mtime: (0, 0), xattrs: vec![] };
        self.entry(&entry, data)
    }

    /// Ends the archive.
    pub fn finish(mut self) -> Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn header(
        &mut self,
        entry: &Entry,
        (prefix, name): (&[u8], &[u8]),
        link: &[u8],
        flag: u8,
        size: u64,
        device: (u32, u32),
    ) -> Result<()> {
        let mut block = [0; BLOCK];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        let fits = |number: u64, max: u64| if number > max { 0 } else { number };
        put(0, name);
        put(100, format!("{:07o}", entry.mode & 0o7777).as_bytes());
        put(108, format!("{:07o}", fits(entry.uid.into(), ID_MAX)).as_bytes());
        put(116, format!("{:07o}", fits(entry.gid.into(), ID_MAX)).as_bytes());
        put(124, format!("{:011o}", fits(size, SIZE_MAX)).as_bytes());
        put(136, format!("{:011o}", fits(entry.mtime.0.max(0) as u64, SIZE_MAX)).as_bytes());
        put(148, b"        ");
        put(156, &[flag]);
        put(157, &link[..link.len().min(100)]);
        put(257, b"ustar\x0000");
        put(329, format!("{:07o}", device.0 & 0o7_777_777).as_bytes());
        put(337, format!("{:07o}", device.1 & 0o7_777_777).as_bytes());
        put(345, prefix);
        let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        Ok(self.out.write_all(&block)?)
    }

    fn data(&mut self, data: impl Read, size: u64) -> Result<()> {
        let copied = io::copy(&mut data.take(size), &mut self.out)?;
        ensure!(copied == size, "a file became shorter while it was packed");
        let padding = size.next_multiple_of(BLOCK as u64) - size;
        Ok(self.out.write_all(&[0; BLOCK][..padding as usize])?)
    }
}

/// Splits a name at a slash into what fits prefix (155) and name (100), if it can be done.
fn split(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.len() <= 100 {
        return Some((b"", name));
    }
    // A directory's name ends in a slash, which is no place to split.
    let slash = name[..name.len() - 1].iter().take(156).rposition(|b| *b == b'/')?;
    let (prefix, rest) = (&name[..slash], &name[slash + 1..]);
    (!prefix.is_empty() && prefix.len() <= 155 && rest.len() <= 100).then_some((prefix, rest))
}

/// Adds a pax record, whose length counts its own digits.
fn record(pax: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    pax.extend(format!("{length} {key}=").as_bytes());
    pax.extend(value);
    pax.push(b'\n');
}
