//! The caller's streams, joined to a container's through its monitor's attach socket.
//!
//! One loop and no thread: output out, keys in, the window's size along, signals on. Nothing here may block for one of
//! them while another waits, so standard output is written in pieces that a pipe with room takes whole (`PIPE_BUF`); it is
//! never made non-blocking, because it is shared with whoever gave it to us.
//!
//! The subtlety is to connect before the container starts (its first output would be lost) but to change the terminal
//! only after (an error message would be garbled): hence two steps, [`Attachment::connect`] and [`Attachment::run`].

use std::fs::OpenOptions;
use std::io::{ErrorKind, IsTerminal, Read, Write, stderr, stdin, stdout};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal as Number, raise, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{read, write};

use super::detach::{DetachKeys, Filter};
use crate::handover::{ExitRecord, packet};
use crate::linux::ipc::{self, SockType};
use crate::linux::poll::{PollFlags, Wanted};
use crate::linux::process::Signal;
use crate::linux::terminal::Raw;
use crate::sys;

/// The most that a pipe which has room at all takes in one write (`PIPE_BUF`, pipe(7)).
const PIECE: usize = 4096;

/// Whether and how the caller's own streams are joined to the container's.
#[derive(Debug, Clone, Default)]
pub struct AttachRequest {
    /// Our standard input goes in.
    pub stdin: bool,
    /// Its standard output comes out.
    pub stdout: bool,
    /// Its standard error comes out.
    pub stderr: bool,
    /// The keys that detach, as written (`ctrl-p,ctrl-q`); none: Podman's default; empty: none do.
    pub detach_keys: Option<String>,
    /// Pass signals on.
    pub signal_proxy: bool,
}

/// What is joined.
#[derive(Debug, Clone)]
pub struct AttachOptions {
    /// The monitor's attach socket.
    pub socket: PathBuf,
    /// The monitor's control fifo.
    pub control: PathBuf,
    /// Our standard input goes in.
    pub stdin: bool,
    /// Its standard output comes out; otherwise it is read and dropped.
    pub stdout: bool,
    /// Its standard error comes out; otherwise it is read and dropped.
    pub stderr: bool,
    /// The container has a terminal.
    pub terminal: bool,
    /// The keys that detach.
    pub detach_keys: DetachKeys,
    /// Take signals for the container; without it they end us (after the terminal is restored).
    pub signal_proxy: bool,
}

impl AttachOptions {
    /// Whether a packet from the stream `from` comes out.
    fn wants(&self, from: u8) -> bool {
        if from == packet::STDERR { self.stderr } else { self.stdout }
    }
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The container's process ended.
    Exited(ExitRecord),
    /// The person typed the detach keys; the container runs on.
    Detached,
    /// The connection is gone without a word of how the container ended: its monitor was killed.
    Closed,
}

/// What a packet from the monitor says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard<'a> {
    /// So much came from this stream; from a byte that we do not know it is taken for standard output's.
    Output(u8, &'a [u8]),
    /// It ended, and this is how.
    Exit(ExitRecord),
}

impl<'a> Heard<'a> {
    /// Reads a packet. Errors: it is empty, which no monitor sends; an exit record that is none.
    pub fn parse(packet: &'a [u8]) -> Result<Self> {
        let (kind, rest) = packet.split_first().context("an empty packet from the monitor")?;
        Ok(match *kind {
            packet::EXIT => Self::Exit(serde_json::from_slice(rest).context("reading the exit record")?),
            packet::STDERR => Self::Output(packet::STDERR, rest),
            _ => Self::Output(packet::STDOUT, rest),
        })
    }
}

/// A connection to a container's streams.
pub struct Attachment {
    options: AttachOptions,
    stream: UnixStream,
    signals: Signals,
}

#[derive(Debug, Clone, Copy)]
enum Source {
    Socket,
    Input,
    Output,
    Signal,
}

/// Connects and runs in one step, for a container that runs already.
pub fn run(options: AttachOptions, proxy: impl FnMut(Signal)) -> Result<Outcome> {
    Attachment::connect(options)?.run(proxy)
}

impl Attachment {
    /// Connects: from now on no output is lost, and signals wait for [`Self::run`].
    pub fn connect(options: AttachOptions) -> Result<Self> {
        let stream = ipc::reach(&options.socket, SockType::SeqPacket).context("attaching to the container")?;
        stream.set_nonblocking(true)?;
        let signals = Signals::take(options.signal_proxy).context("taking signals as events")?;
        Ok(Self { options, stream, signals })
    }

    /// Passes everything on until the container ends, the person detaches, or the connection is gone. `proxy` is called
    /// with each signal that the container should get.
    ///
    /// An error also if nobody takes our standard output any more (`run … | head`, a full disk); the container runs on.
    pub fn run(self, mut proxy: impl FnMut(Signal)) -> Result<Outcome> {
        let Self { options, mut stream, signals } = self;
        let typing = options.stdin && stdin().is_terminal();
        let raw =
            if options.terminal && typing { Some(Raw::begin().context("making the terminal raw")?) } else { None };
        let tell_size = || {
            if options.terminal {
                send_size(&options);
            }
        };
        tell_size();

        let (mut reading, mut ending) = (options.stdin, false);
        let mut filter = Filter::new(if typing { options.detach_keys.clone() } else { DetachKeys::none() });
        let (mut typed, mut output, mut out_to) = (Vec::new(), Vec::new(), packet::STDOUT);
        let mut buffer = vec![0; packet::INPUT_MAX];
        loop {
            if ending && typed.is_empty() {
                ending = false;
                let _ = stream.shutdown(Shutdown::Write);
            }
            let (input, out, err) = (stdin(), stdout(), stderr());
            let mut wanted = Wanted::default();
            wanted.add(Source::Signal, &signals.events, PollFlags::POLLIN);
            let mut events = PollFlags::empty();
            events.set(PollFlags::POLLIN, output.is_empty());
            events.set(PollFlags::POLLOUT, !typed.is_empty());
            // A hang-up is always reported, so a socket with nothing to wait for must not be on the list at all.
            if !events.is_empty() {
                wanted.add(Source::Socket, &stream, events);
            }
            if reading && typed.is_empty() {
                wanted.add(Source::Input, &input, PollFlags::POLLIN);
            }
            if output.is_empty() {
                // Only to notice that our reader went.
                wanted.add(Source::Output, &out, PollFlags::empty());
            } else if out_to == packet::STDERR {
                wanted.add(Source::Output, &err, PollFlags::POLLOUT);
            } else {
                wanted.add(Source::Output, &out, PollFlags::POLLOUT);
            }
            for (source, events) in wanted.wait(None)? {
                match source {
                    Source::Output if output.is_empty() => {
                        if options.stdout && events.contains(PollFlags::POLLERR) {
                            return Err(unread(Errno::EPIPE));
                        }
                    }
                    Source::Output => {
                        let piece = &output[..output.len().min(PIECE)];
                        let written = if out_to == packet::STDERR { write(&err, piece) } else { write(&out, piece) };
                        match written {
                            Ok(count) => drop(output.drain(..count)),
                            Err(Errno::EAGAIN | Errno::EINTR) => {}
                            // Without standard error one can live.
                            Err(_) if out_to == packet::STDERR => output.clear(),
                            Err(error) => return Err(unread(error)),
                        }
                    }
                    Source::Socket => {
                        if events.contains(PollFlags::POLLOUT) {
                            send(&mut stream, &mut typed);
                        }
                        if output.is_empty() && events.intersects(PollFlags::POLLIN | PollFlags::POLLHUP) {
                            match stream.read(&mut buffer) {
                                Ok(0) => return Ok(Outcome::Closed),
                                Ok(count) => match Heard::parse(&buffer[..count])? {
                                    Heard::Exit(record) => return Ok(Outcome::Exited(record)),
                                    Heard::Output(from, bytes) if options.wants(from) => {
                                        out_to = from;
                                        output.extend_from_slice(bytes);
                                    }
                                    Heard::Output(..) => {}
                                },
                                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                                Err(_) => return Ok(Outcome::Closed),
                            }
                        }
                    }
                    Source::Input => match read(&input, &mut buffer) {
                        Ok(0) => {
                            (reading, ending) = (false, true);
                            filter.finish(&mut typed);
                            send(&mut stream, &mut typed);
                        }
                        Ok(count) => {
                            if filter.pass(&buffer[..count], &mut typed) {
                                send(&mut stream, &mut typed);
                                return Ok(Outcome::Detached);
                            }
                            send(&mut stream, &mut typed);
                        }
                        Err(Errno::EAGAIN | Errno::EINTR) => {}
                        // The terminal is gone: nothing more to type, but nobody said that this is the end of input.
                        Err(_) => reading = false,
                    },
                    Source::Signal => {
                        while let Ok(Some(signal)) = signals.events.read_signal() {
                            match signal.ssi_signo as i32 {
                                libc::SIGWINCH => tell_size(),
                                libc::SIGCONT => {
                                    if let Some(raw) = &raw {
                                        let _ = raw.again();
                                    }
                                    tell_size();
                                }
                                number if options.signal_proxy => proxy(Signal::from_number(number)?),
                                number => {
                                    drop(raw);
                                    drop(signals);
                                    let _ = Number::try_from(number).map(raise);
                                    return Ok(Outcome::Closed);
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Standard output takes nothing more.
fn unread(why: Errno) -> anyhow::Error {
    anyhow::Error::new(std::io::Error::from(why)).context("writing to standard output")
}

/// Sends what was typed, in packets of a size that the monitor takes; what does not fit now stays.
fn send(stream: &mut UnixStream, typed: &mut Vec<u8>) {
    while !typed.is_empty() {
        match stream.write(&typed[..typed.len().min(packet::INPUT_MAX)]) {
            Ok(count) => drop(typed.drain(..count)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            // The monitor left; reading will tell why.
            Err(_) => typed.clear(),
        }
    }
}

/// Tells the monitor the size of our terminal.
fn send_size(options: &AttachOptions) {
    let (input, output) = (stdin(), stdout());
    let size = sys::window_size(input.as_fd()).or_else(|_| sys::window_size(output.as_fd()));
    let fifo = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&options.control);
    if let (Ok((rows, columns)), Ok(mut fifo)) = (size, fifo)
        && rows > 0
        && columns > 0
    {
        let _ = fifo.write_all(format!("1 {rows} {columns}\n").as_bytes());
    }
}

/// Signals as events, and the mask from before, restored in the end.
struct Signals {
    events: SignalFd,
    before: SigSet,
}

impl Signals {
    /// With `all`, every signal that can be passed on; otherwise only those that must find the terminal restored.
    fn take(all: bool) -> nix::Result<Self> {
        use Number::{
            SIGALRM, SIGCONT, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGPWR, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM,
            SIGWINCH,
        };
        let mut set = SigSet::empty();
        for signal in [SIGWINCH, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
            set.add(signal);
        }
        if all {
            for signal in [SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGPWR] {
                set.add(signal);
            }
        }
        let mut before = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), Some(&mut before))?;
        let events = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { events, before })
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.before), None);
    }
}
