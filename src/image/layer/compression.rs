//! Compression: a layer is a tar file, plain, gzip or zstd; the first bytes say which.
//!
//! The media type says so too, but registries hold images whose types are wrong, and every other engine looks at the
//! bytes. Inflating is the slowest part of unpacking, so it has a thread of its own: [`decompress_beside`] runs it beside
//! whoever consumes the bytes, and hands over large buffers that go back when they are used up.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use anyhow::{Context, Result, bail};

const CHUNK: usize = 512 << 10;
/// How many chunks may wait for the consumer.
const AHEAD: usize = 4;

/// How a stream of bytes is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip (RFC 1952), perhaps several members in a row.
    Gzip,
    /// Zstandard (RFC 8878).
    Zstd,
}

impl Compression {
    /// Recognises a stream by how it begins. Errors: a compression that we know but do not read.
    pub fn of(first: &[u8]) -> Result<Self> {
        Ok(match first {
            [0x1f, 0x8b, ..] => Self::Gzip,
            // The second is a "skippable frame", with which a stream may begin as well.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [b'B', b'Z', b'h', ..] => bail!("bzip2 compression is not supported; recompress it with gzip or zstd"),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
                bail!("xz compression is not supported; recompress it with gzip or zstd")
            }
            _ => Self::None,
        })
    }
}

/// A reader of what `input` holds when decompressed.
pub fn decompress<'a>(input: impl Read + Send + 'a) -> Result<Box<dyn Read + Send + 'a>> {
    let mut input = BufReader::with_capacity(CHUNK, input);
    Ok(match Compression::of(input.fill_buf().context("reading a compressed stream")?)? {
        Compression::None => Box::new(input),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        Compression::Zstd => Box::new(zstd::Decoder::with_buffer(input)?),
    })
}

/// Runs `consume` with the decompressed bytes of `input`, which another thread decompresses meanwhile.
pub fn decompress_beside<T>(input: impl Read + Send, consume: impl FnOnce(&mut Chunks) -> Result<T>) -> Result<T> {
    thread::scope(|scope| {
        let (full, waiting) = sync_channel(AHEAD);
        let (give_back, empty) = channel();
        scope.spawn(move || produce(input, &full, &empty));
        // `waiting` is dropped when the consumer is done, and the producer's next send fails: neither waits for ever.
        consume(&mut Chunks { full: waiting, give_back, current: Vec::new(), at: 0 })
    })
}

/// The decompressing thread's life. An error goes to the consumer like a chunk.
fn produce(input: impl Read + Send, full: &SyncSender<io::Result<Vec<u8>>>, empty: &Receiver<Vec<u8>>) {
    let mut reader = match decompress(input) {
        Ok(reader) => reader,
        Err(error) => {
            let _ = full.send(Err(io::Error::other(format!("{error:#}"))));
            return;
        }
    };
    loop {
        let mut chunk = empty.try_recv().unwrap_or_default();
        chunk.resize(CHUNK, 0);
        let mut have = 0;
        let result = loop {
            match reader.read(&mut chunk[have..]) {
                Ok(0) => break Ok(()),
                Ok(read) => have += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(io::Error::new(error.kind(), format!("decompressing: {error}"))),
            }
            if have == CHUNK {
                break Ok(());
            }
        };
        chunk.truncate(have);
        let ended = have < CHUNK;
        if have > 0 && full.send(Ok(chunk)).is_err() {
            return;
        }
        if let Err(error) = result {
            let _ = full.send(Err(error));
            return;
        }
        if ended {
            return;
        }
    }
}

/// The decompressed bytes, as they come from the other thread.
pub struct Chunks {
    full: Receiver<io::Result<Vec<u8>>>,
    give_back: Sender<Vec<u8>>,
    current: Vec<u8>,
    at: usize,
}

impl BufRead for Chunks {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.current.len()
            && let Ok(next) = self.full.recv()
        {
            let used = std::mem::replace(&mut self.current, next?);
            self.at = 0;
            let _ = self.give_back.send(used);
        }
        Ok(&self.current[self.at..])
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount;
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}
