//! Clients that watch a container and type into it, over one socket.
//!
//! The protocol is conmon's: each packet from us begins with a byte that says which stream follows; each packet from a
//! client is input; a client that ends its side of the connection ends the container's input. Whoever comes late gets
//! what comes from then on. One packet is ours alone, the last: how the container ended.
//!
//! A client that is slower than the container holds it back, as a pipe would: nothing is lost. One that does not read at
//! all for a while does not: its packets are dropped until it reads again. The exception is whoever started the container
//! in the foreground, who wants it to wait, as `program | less` waits. That client is known by its pid, which the kernel
//! tells.

use std::collections::VecDeque;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::unistd::Pid;

use super::log::Stream;
use crate::handover::packet;
use crate::linux::ipc::{self, SockType};
use crate::linux::poll::PollFlags;

/// How much may wait for one client, beside what the kernel keeps for it.
const QUEUE_MAX: usize = 64 * 1024;
/// How long a client may hold the container back without reading anything.
const PATIENCE: Duration = Duration::from_secs(1);

/// The socket, if there is one, and who is connected to it.
pub struct Clients {
    path: Option<PathBuf>,
    listener: Option<UnixListener>,
    connected: Vec<Client>,
    /// Whose foreground this container is.
    caller: Option<Pid>,
}

struct Client {
    stream: UnixStream,
    foreground: bool,
    /// Packets that the kernel had no room for.
    queue: VecDeque<Vec<u8>>,
    queued: usize,
    /// Since when the kernel has had no room for it, if it has none.
    stuck: Option<Instant>,
    /// It has sent input.
    typed: bool,
    /// It has ended its side.
    ended: bool,
    gone: bool,
}

/// What a client's packet meant.
pub enum Typed {
    /// Input.
    Input(Vec<u8>),
    /// The end of input.
    End,
    /// Nothing to act on.
    Nothing,
}

impl Clients {
    /// Opens the socket; `caller` is the process whose foreground the container is, if it is one's.
    pub fn listen(path: Option<PathBuf>, caller: Option<Pid>) -> Result<Self> {
        let listen = |path: &PathBuf| ipc::listen(path, SockType::SeqPacket).context("opening the attach socket");
        let listener = path.as_ref().map(listen).transpose()?;
        Ok(Self { path, listener, connected: Vec::new(), caller })
    }

    /// To wait on for another client.
    pub fn listener(&self) -> Option<BorrowedFd<'_>> {
        self.listener.as_ref().map(AsFd::as_fd)
    }

    /// Lets in whoever waits at the door.
    pub fn accept(&mut self) {
        let Some(listener) = &self.listener else { return };
        while let Ok((stream, _)) = listener.accept() {
            if stream.set_nonblocking(true).is_ok() {
                let foreground = self.caller.is_some() && ipc::peer(&stream).ok() == self.caller;
                self.connected.push(Client {
                    stream,
                    foreground,
                    queue: VecDeque::new(),
                    queued: 0,
                    stuck: None,
                    typed: false,
                    ended: false,
                    gone: false,
                });
            }
        }
    }

    /// Whether the foreground's client is connected.
    pub fn has_foreground(&self) -> bool {
        self.connected.iter().any(|client| client.foreground)
    }

    /// Whether output may be read: it may not while a client holds the container back.
    pub fn has_room(&self) -> bool {
        !self.connected.iter().any(Client::holds_back)
    }

    /// When [`Self::has_room`] may change by itself.
    pub fn deadline(&self) -> Option<Instant> {
        let holding = self.connected.iter().filter(|client| client.holds_back() && !client.foreground);
        holding.filter_map(|client| client.stuck).min().map(|since| since + PATIENCE)
    }

    /// Each client's descriptor, and what to wait for; with `input`, also for what it types.
    pub fn wanted(&self, input: bool) -> impl Iterator<Item = (usize, BorrowedFd<'_>, PollFlags)> {
        self.connected.iter().enumerate().map(move |(index, client)| {
            let mut events = PollFlags::empty();
            events.set(PollFlags::POLLIN, input && !client.ended);
            events.set(PollFlags::POLLOUT, !client.queue.is_empty());
            (index, client.stream.as_fd(), events)
        })
    }

    /// Sends output to all. `framed` begins with a byte of room for the stream's number.
    pub fn output(&mut self, stream: Stream, framed: &mut [u8]) {
        framed[0] = if stream == Stream::Stdout { packet::STDOUT } else { packet::STDERR };
        for client in &mut self.connected {
            if !client.is_stalled() {
                client.send(framed);
            }
        }
        self.forget_gone();
    }

    /// Sends what waited for client `index`.
    pub fn flush(&mut self, index: usize) {
        if let Some(client) = self.connected.get_mut(index) {
            client.flush();
        }
    }

    /// Reads what client `index` typed, or notices that it went.
    pub fn read(&mut self, index: usize) -> Typed {
        let Some(client) = self.connected.get_mut(index) else { return Typed::Nothing };
        let mut input = vec![0; packet::INPUT_MAX];
        match client.stream.read(&mut input) {
            Ok(0) => {
                client.ended = true;
                Typed::End
            }
            Ok(count) => {
                client.typed = true;
                input.truncate(count);
                Typed::Input(input)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Typed::Nothing,
            Err(_) => {
                client.gone = true;
                Typed::Nothing
            }
        }
    }

    /// Client `index` closed its connection altogether. Returns what it had still typed, and whether it ever typed.
    pub fn hang_up(&mut self, index: usize) -> (Vec<u8>, bool) {
        let mut last = Vec::new();
        while let Typed::Input(input) = self.read(index) {
            last.extend_from_slice(&input);
        }
        let Some(client) = self.connected.get_mut(index) else { return (last, false) };
        client.gone = true;
        (last, client.typed)
    }

    /// Drops the clients that went. Indices change, so this comes after a round of events.
    pub fn forget_gone(&mut self) {
        self.connected.retain(|client| !client.gone);
    }

    /// Closes the door. The name goes first, so that nobody can connect unheard; whoever already waits is let in.
    pub fn close(&mut self) {
        if let Some(path) = &self.path {
            let _ = fs::remove_file(path);
        }
        self.accept();
        self.listener = None;
    }

    /// Sends everybody how it ended.
    pub fn exit(&mut self, record: &[u8]) {
        let mut last = Vec::with_capacity(record.len() + 1);
        last.push(packet::EXIT);
        last.extend_from_slice(record);
        for client in &mut self.connected {
            client.send(&last);
        }
        self.forget_gone();
    }

    /// Lets go of those for whom nothing waits: they see the end. What they have not read yet stays readable for them.
    pub fn dismiss(&mut self) {
        self.connected.retain(|client| !client.queue.is_empty());
    }

    /// Whether something still waits for a client; with `foreground`, for the foreground's.
    pub fn is_behind(&self, foreground: bool) -> bool {
        self.connected.iter().any(|client| !client.queue.is_empty() && (client.foreground || !foreground))
    }
}

impl Client {
    fn is_full(&self) -> bool {
        self.queued >= QUEUE_MAX
    }

    /// It is full and has not read anything for too long.
    fn is_stalled(&self) -> bool {
        !self.foreground && self.is_full() && self.stuck.is_some_and(|since| since.elapsed() >= PATIENCE)
    }

    fn holds_back(&self) -> bool {
        self.is_full() && !self.is_stalled()
    }

    fn send(&mut self, packet: &[u8]) {
        if self.queue.is_empty() {
            match self.stream.write(packet) {
                Ok(_) => return,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => {
                    self.gone = true;
                    return;
                }
            }
        }
        self.stuck.get_or_insert_with(Instant::now);
        self.queued += packet.len();
        self.queue.push_back(packet.to_vec());
    }

    fn flush(&mut self) {
        while let Some(packet) = self.queue.front() {
            match self.stream.write(packet) {
                Ok(_) => {
                    self.queued -= packet.len();
                    self.queue.pop_front();
                    self.stuck = Some(Instant::now());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.gone = true;
                    self.queue.clear();
                    self.queued = 0;
                }
            }
        }
        self.queue = VecDeque::new();
        self.stuck = None;
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // What the client has not read yet stays readable for it after this.
        let _ = self.stream.shutdown(Shutdown::Write);
    }
}
