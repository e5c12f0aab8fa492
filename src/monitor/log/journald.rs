//! The systemd journal, by its native protocol: one datagram an entry, `NAME=value` a line.
//!
//! A value that holds a newline is told by length instead. An entry too large for a datagram goes into a sealed memfd,
//! and the datagram carries only that descriptor: the journal maps what nobody can change any more.

use std::fs::File;
use std::io::{IoSlice, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, sendmsg, sendto, socket,
};

use super::{Begun, Stream};
use crate::handover::{LogConfig, MonitorConfig};

const SOCKET: &str = "/run/systemd/journal/socket";
/// conmon's limit for one entry, beyond which a line is passed on in parts.
const ENTRY_MAX: usize = 8192;

/// A connection to the journal. The socket is named anew for each entry: a restarted journal is found again.
pub struct Journal {
    socket: OwnedFd,
    address: UnixAddr,
    /// The fields that are the same in each entry.
    fields: Vec<u8>,
    stdout: Begun,
    stderr: Begun,
}

impl Journal {
    /// Makes sure that there is a journal.
    pub fn open(config: &MonitorConfig, log: &LogConfig, labels: &[String]) -> Result<Self> {
        if !Path::new(SOCKET).exists() {
            anyhow::bail!("the journal is not running: no {SOCKET}");
        }
        let kind = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::Datagram, kind, None).context("a socket for the journal")?;
        let short = config.id.get(..12).unwrap_or(&config.id);
        // Not every caller of conmon names a container.
        let name = Some(&config.name).filter(|name| !name.is_empty());
        let known_as = log.tag.as_ref().or(name).map_or(short, String::as_str);
        let mut fields = Vec::new();
        let mut add = |name: &str, value: &str| field(&mut fields, name, value.as_bytes());
        add("CONTAINER_ID_FULL", &config.id);
        add("CONTAINER_ID", short);
        let said = [("CONTAINER_NAME", name), ("CONTAINER_TAG", log.tag.as_ref())];
        let said = said.into_iter().filter_map(|(field, value)| Some((field, value?.as_str())));
        for (name, value) in said.chain(labels.iter().filter_map(|label| label.split_once('='))) {
            add(name, value);
        }
        add("SYSLOG_IDENTIFIER", known_as);
        let address = UnixAddr::new(SOCKET)?;
        Ok(Self { socket, address, fields, stdout: Begun::default(), stderr: Begun::default() })
    }

    /// Keeps what one read brought.
    pub fn keep(&mut self, stream: Stream, bytes: &[u8]) {
        let Self { socket, address, fields, stdout, stderr } = self;
        let begun = if stream == Stream::Stdout { stdout } else { stderr };
        begun.split(bytes, ENTRY_MAX, |line, whole| send(socket, address, &entry(fields, stream, line, whole)));
    }

    /// Keeps the last lines, which had no end.
    pub fn finish(&mut self) {
        let Self { socket, address, fields, stdout, stderr } = self;
        stdout.finish(|line, whole| send(socket, address, &entry(fields, Stream::Stdout, line, whole)));
        stderr.finish(|line, whole| send(socket, address, &entry(fields, Stream::Stderr, line, whole)));
    }
}

fn entry(fields: &[u8], stream: Stream, line: &[u8], whole: bool) -> Vec<u8> {
    let mut entry = Vec::with_capacity(fields.len() + line.len() + 64);
    field(&mut entry, "MESSAGE", line);
    field(&mut entry, "PRIORITY", if stream == Stream::Stdout { b"6" } else { b"3" });
    entry.extend_from_slice(fields);
    if !whole {
        field(&mut entry, "CONTAINER_PARTIAL_MESSAGE", b"true");
    }
    entry
}

fn field(entry: &mut Vec<u8>, name: &str, value: &[u8]) {
    entry.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        entry.push(b'\n');
        entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend_from_slice(value);
    entry.push(b'\n');
}

/// Sends an entry; one that the journal does not take is lost.
fn send(socket: &OwnedFd, address: &UnixAddr, entry: &[u8]) {
    let sent = sendto(socket.as_raw_fd(), entry, address, MsgFlags::MSG_NOSIGNAL);
    if matches!(sent, Err(Errno::EMSGSIZE | Errno::ENOBUFS)) {
        let _ = send_sealed(socket, address, entry);
    } else if sent == Err(Errno::EAGAIN) {
        // The journal's queue is full. It is the machine's own service, so waiting for it a moment is right; for ever is not.
        let mut wanted = crate::linux::poll::Wanted::default();
        wanted.add((), socket, crate::linux::poll::PollFlags::POLLOUT);
        let _ = wanted.wait(Some(std::time::Instant::now() + std::time::Duration::from_millis(200)));
        let _ = sendto(socket.as_raw_fd(), entry, address, MsgFlags::MSG_NOSIGNAL);
    }
}

fn send_sealed(socket: &OwnedFd, address: &UnixAddr, entry: &[u8]) -> Result<()> {
    let memory = memfd_create("journal-entry", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
    let mut memory = File::from(memory);
    memory.write_all(entry)?;
    fcntl(&memory, FcntlArg::F_ADD_SEALS(SealFlag::all()))?;
    let rights = [memory.as_raw_fd()];
    let message = [ControlMessage::ScmRights(&rights)];
    let nothing: [IoSlice; 0] = [];
    sendmsg(socket.as_raw_fd(), &nothing, &message, MsgFlags::MSG_NOSIGNAL, Some(address))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_with_a_newline_is_told_by_length() {
        let mut out = Vec::new();
        field(&mut out, "A", b"plain");
        field(&mut out, "B", b"two\nlines");
        assert_eq!(out, b"A=plain\nB\n\x09\0\0\0\0\0\0\0two\nlines\n");
    }
}
