//! Enough of D-Bus to ask systemd for something: one call, its answer, the signals that come between.
//!
//! A message is a header and a body in one binary format (`wire`): numbers at addresses that are multiples of their size,
//! strings with a length before and a zero after, arrays with their length in bytes before; a signature (`sa(sv)`) tells
//! the reader what follows. That, and where to connect (`address`), is all a client needs. We write it ourselves, since the
//! libraries bring threads or an executor along, which podling-runtime must not have, or say the wrong user.
//!
//! The subtlety is that user. A client says who it is, and the other side compares that with what the kernel says of the
//! socket. Inside a user namespace we believe to be root, and the kernel tells the other side our uid outside. So we
//! claim nothing: an empty claim (`AUTH EXTERNAL`, then an empty `DATA`) means "whoever the kernel says".
//!
//! The format is the D-Bus Specification's, "Message Protocol" and "Authentication Protocol".

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};

pub use self::address::Address;
pub use self::wire::{Body, Reader, Variant};
use self::wire::{pad, put_array, put_number, put_signature, put_text};

mod address;
mod wire;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The longest message we are willing to read; systemd's answers are far shorter.
const LONGEST: usize = 1 << 20;

/// An answer or a signal.
#[derive(Debug)]
pub struct Message {
    kind: u8,
    /// Of an answer: the call's number.
    reply_to: u32,
    /// Of a signal: its name.
    pub member: String,
    error: String,
    body: Vec<u8>,
}

const CALL: u8 = 1;
const RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;

impl Message {
    /// Reads the body from its beginning.
    pub fn reader(&self) -> Reader<'_> {
        Reader::new(&self.body)
    }
}

/// An error that the other side answered.
#[derive(Debug)]
pub struct Refusal {
    /// Its kind: `org.freedesktop.systemd1.NoSuchUnit`.
    pub name: String,
    /// In words.
    pub text: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.text.is_empty() { &self.name } else { &self.text })
    }
}

impl std::error::Error for Refusal {}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    serial: u32,
    /// Signals that came while we waited for an answer.
    signals: Vec<Message>,
}

impl Connection {
    /// Connects and says that we are who the kernel says we are.
    pub fn open(address: &Address) -> Result<Self> {
        let stream = address.connect().with_context(|| format!("connecting to {address}"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut connection = Self { stream, serial: 0, signals: Vec::new() };
        connection.authenticate().with_context(|| format!("introducing ourselves at {address}"))?;
        Ok(connection)
    }

    fn authenticate(&mut self) -> Result<()> {
        // All in one, as systemd's own clients do. systemd looks for more only when more bytes arrive: a first call that
        // it happened to read along with the word BEGIN would lie there unanswered.
        self.stream.write_all(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        for expected in ["DATA", "OK"] {
            let answer = self.line()?;
            if !answer.starts_with(expected) {
                bail!("the answer was {answer:?}");
            }
        }
        Ok(())
    }

    fn line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        // Byte by byte: what follows the line belongs to nobody yet.
        while !line.ends_with(b"\r\n") && line.len() < 512 {
            let mut byte = [0];
            self.stream.read_exact(&mut byte)?;
            line.push(byte[0]);
        }
        Ok(String::from_utf8_lossy(&line).trim_end().into())
    }

    /// Calls `interface.member` of the object `path` of `destination`, and waits for the answer.
    ///
    /// Errors: [`Refusal`] if the other side said no.
    pub fn call(
        &mut self,
        destination: &str,
        path: &str,
        interface: &str,
        member: &str,
        body: Body,
    ) -> Result<Message> {
        self.serial += 1;
        let mut message = vec![b'l', CALL, 0, 1];
        put_number(&mut message, body.bytes.len() as u32);
        put_number(&mut message, self.serial);
        put_array(&mut message, 8, |bytes| {
            for (field, signature, value) in [
                (1, "o", path),
                (2, "s", interface),
                (3, "s", member),
                (6, "s", destination),
                (8, "g", &body.signature),
            ] {
                if value.is_empty() {
                    continue;
                }
                pad(bytes, 8);
                bytes.push(field);
                put_signature(bytes, signature);
                if signature == "g" { put_signature(bytes, value) } else { put_text(bytes, value) }
            }
        });
        pad(&mut message, 8);
        message.extend(body.bytes);
        self.stream.write_all(&message).with_context(|| format!("calling {member}"))?;
        loop {
            let answer = self.receive().with_context(|| format!("waiting for the answer to {member}"))?;
            match answer.kind {
                RETURN if answer.reply_to == self.serial => return Ok(answer),
                ERROR if answer.reply_to == self.serial => {
                    let text = answer.reader().text().unwrap_or_default();
                    return Err(Refusal { name: answer.error, text }.into());
                }
                SIGNAL => self.signals.push(answer),
                _ => {}
            }
        }
    }

    /// The next signal.
    pub fn signal(&mut self) -> Result<Message> {
        if !self.signals.is_empty() {
            return Ok(self.signals.remove(0));
        }
        loop {
            let message = self.receive().context("waiting for a signal")?;
            if message.kind == SIGNAL {
                return Ok(message);
            }
        }
    }

    fn receive(&mut self) -> Result<Message> {
        let mut head = [0; 16];
        self.stream.read_exact(&mut head)?;
        if head[0] != b'l' {
            bail!("a message in the other byte order");
        }
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize;
        let (body_length, fields_length) = (word(4), word(12));
        let fields_padded = fields_length.next_multiple_of(8);
        if body_length > LONGEST || fields_length > LONGEST {
            bail!("a message of {} bytes", body_length + fields_length);
        }
        let mut rest = vec![0; fields_padded + body_length];
        self.stream.read_exact(&mut rest)?;
        let body = rest.split_off(fields_padded);

        let mut message = Message { kind: head[1], reply_to: 0, member: String::new(), error: String::new(), body };
        let mut fields = Reader::new(&rest[..fields_length]);
        while !fields.at_end() {
            fields.align(8);
            let field = fields.byte()?;
            let signature = fields.signature()?;
            match (field, signature.as_str()) {
                (5, "u") => message.reply_to = fields.number()?,
                (3, "s") => message.member = fields.text()?,
                (4, "s") => message.error = fields.text()?,
                (_, "s" | "o") => drop(fields.text()?),
                (_, "g") => drop(fields.signature()?),
                (_, "u") => drop(fields.number()?),
                (_, other) => bail!("a header field of type {other:?}"),
            }
        }
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The other end of a connection, past the introduction.
    fn pair() -> (Connection, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a socket pair");
        (Connection { stream: ours, serial: 0, signals: Vec::new() }, theirs)
    }

    fn reply(kind: u8, fields: &[(u8, &str, &str)], to: u32, body: &[u8]) -> Vec<u8> {
        let mut message = vec![b'l', kind, 0, 1];
        put_number(&mut message, body.len() as u32);
        put_number(&mut message, 1);
        put_array(&mut message, 8, |bytes| {
            bytes.push(5);
            put_signature(bytes, "u");
            put_number(bytes, to);
            for (field, signature, value) in fields {
                pad(bytes, 8);
                bytes.push(*field);
                put_signature(bytes, signature);
                put_text(bytes, value);
            }
        });
        pad(&mut message, 8);
        message.extend(body);
        message
    }

    #[test]
    fn an_answer_is_told_from_signals_that_come_before_it() {
        let (mut ours, mut theirs) = pair();
        let mut word = Vec::new();
        put_text(&mut word, "done");
        theirs.write_all(&reply(SIGNAL, &[(3, "s", "JobRemoved")], 0, &word)).expect("writing");
        theirs.write_all(&reply(RETURN, &[], 99, &[])).expect("writing");
        theirs.write_all(&reply(RETURN, &[], 1, &word)).expect("writing");
        let answer = ours.call("a.b", "/a", "a.b", "Start", Body::default().text("x")).expect("an answer");
        assert_eq!(answer.reader().text().expect("a string"), "done");
        assert_eq!(ours.signal().expect("a signal").member, "JobRemoved");
    }

    #[test]
    fn a_refusal_keeps_its_name_and_words() {
        let (mut ours, mut theirs) = pair();
        let mut word = Vec::new();
        put_text(&mut word, "Unit x not loaded.");
        theirs.write_all(&reply(ERROR, &[(4, "s", "systemd1.NoSuchUnit")], 1, &word)).expect("writing");
        let error = ours.call("a.b", "/a", "a.b", "Stop", Body::default()).expect_err("refused");
        let refusal = error.downcast_ref::<Refusal>().expect("a refusal");
        assert_eq!((refusal.name.as_str(), refusal.text.as_str()), ("systemd1.NoSuchUnit", "Unit x not loaded."));
    }

    #[test]
    fn garbage_is_an_error_and_no_panic() {
        for garbage in
            [&b"B\x02\0\x01\0\0\0\0\0\0\0\0\0\0\0\0"[..], b"l\x02\0\x01\xff\xff\xff\xff\0\0\0\0\0\0\0\0", b"l\x02"]
        {
            let (mut ours, mut theirs) = pair();
            theirs.write_all(garbage).expect("writing");
            drop(theirs);
            assert!(ours.signal().is_err(), "{garbage:?}");
        }
        // A header that promises a longer string than it holds.
        let (mut ours, mut theirs) = pair();
        let mut lie = vec![b'l', SIGNAL, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0];
        lie.extend([3, 1, b's', 0, 0xff, 0xff, 0, 0]);
        theirs.write_all(&lie).expect("writing");
        assert_eq!(
            format!("{:#}", ours.signal().expect_err("a lie")),
            "waiting for a signal: a message that ends too early"
        );
    }
}
