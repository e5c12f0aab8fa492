//! The container's standard streams, seen from outside: three pipes, or one terminal.
//!
//! Our ends never block. What goes in waits in one buffer, and while it waits nobody is asked for more: that is how a
//! program that does not read its input slows down whoever types.
//!
//! The subtlety is the end. A pipe has one: whoever read or wrote last closes it. A terminal has none; an end of input is
//! a character that its line discipline understands, and a hang-up only says that nobody has it open at this moment.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Stdio as ChildStdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::log::Stream;
use crate::handover::{LogDriver, MonitorConfig, Stdin};
use crate::linux::terminal;
use crate::sys;
use crate::trace::{self, Topic};

/// How long a terminal that nobody has open is left alone.
const DORMANT: Duration = Duration::from_millis(100);

/// The streams of the runtime, which the container inherits.
pub struct ChildEnds {
    /// Standard input.
    pub stdin: ChildStdio,
    /// Standard output.
    pub stdout: ChildStdio,
    /// Standard error.
    pub stderr: ChildStdio,
}

/// Our ends.
pub struct Streams {
    stdout: Option<File>,
    stderr: Option<File>,
    stdin: Option<File>,
    /// The streams are one terminal.
    terminal: bool,
    /// When to look at a dormant terminal again.
    dormant: Option<Instant>,
    /// Input that the container has not taken yet, from `taken` on.
    input: Vec<u8>,
    taken: usize,
    /// No more input will come.
    ended: bool,
    /// The last byte written was not a newline.
    inside_line: bool,
}

/// What a read brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrived {
    /// So many bytes.
    Bytes(usize),
    /// Nothing at the moment.
    Nothing,
    /// Nothing, and never again.
    End,
}

impl Streams {
    /// Makes the pipes. With a terminal there is only one for standard error, which carries the runtime's own complaints;
    /// the terminal itself arrives over the console socket.
    pub fn make(config: &MonitorConfig) -> Result<(Self, ChildEnds)> {
        let mut streams = Self {
            stdout: None,
            stderr: None,
            stdin: None,
            terminal: config.terminal,
            dormant: None,
            input: Vec::new(),
            taken: 0,
            ended: config.stdin == Stdin::Null,
            inside_line: false,
        };
        let mut ends = ChildEnds { stdin: ChildStdio::null(), stdout: ChildStdio::null(), stderr: ChildStdio::null() };
        if config.log.driver == LogDriver::Passthrough && !config.terminal {
            ends = ChildEnds {
                stdin: ChildStdio::inherit(),
                stdout: ChildStdio::inherit(),
                stderr: ChildStdio::inherit(),
            };
            return Ok((streams, ends));
        }
        let (read, write) = pipe().context("a pipe for standard error")?;
        streams.stderr = Some(ours(read)?);
        ends.stderr = write.into();
        if !config.terminal {
            let (read, write) = pipe().context("a pipe for standard output")?;
            streams.stdout = Some(ours(read)?);
            ends.stdout = write.into();
            if config.stdin == Stdin::Open {
                let (read, write) = pipe().context("a pipe for standard input")?;
                streams.stdin = Some(ours(write)?);
                ends.stdin = read.into();
            }
        }
        Ok((streams, ends))
    }

    /// Takes the terminal that the runtime sent, and lets go of the pipe for its complaints.
    pub fn adopt_terminal(&mut self, master: OwnedFd) -> Result<()> {
        if self.stdin.is_none() && !self.ended {
            self.stdin = Some(ours(master.try_clone()?)?);
        }
        self.stdout = Some(ours(master)?);
        Ok(())
    }

    /// Whether there is a terminal.
    pub fn has_terminal(&self) -> bool {
        self.terminal && self.stdout.is_some()
    }

    /// Changes the terminal's size.
    pub fn resize(&self, rows: u16, columns: u16) {
        if let (true, Some(terminal)) = (self.terminal, &self.stdout) {
            let _ = trace::ask(Topic::Monitor, "TIOCSWINSZ", format_args!("{rows} rows, {columns} columns"), || {
                sys::set_window_size(terminal.as_fd(), rows, columns)
            });
        }
    }

    /// A descriptor to wait for output on, unless there is none (or a dormant terminal) now.
    pub fn readable(&self, stream: Stream) -> Option<BorrowedFd<'_>> {
        match stream {
            Stream::Stdout if self.dormant.is_some_and(|until| Instant::now() < until) => None,
            Stream::Stdout => self.stdout.as_ref().map(AsFd::as_fd),
            Stream::Stderr => self.stderr.as_ref().map(AsFd::as_fd),
        }
    }

    /// When [`Self::readable`] may change by itself.
    pub fn deadline(&self) -> Option<Instant> {
        self.dormant
    }

    /// Reads what has come.
    pub fn read(&mut self, stream: Stream, buffer: &mut [u8]) -> Arrived {
        let file = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        let Some(open) = file else { return Arrived::End };
        self.dormant = None;
        loop {
            match open.read(buffer) {
                Ok(0) => {}
                Ok(count) => return Arrived::Bytes(count),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Arrived::Nothing,
                // EIO: nobody has the terminal open now. Somebody may open it again.
                Err(_) if self.terminal && stream == Stream::Stdout => {
                    self.dormant = Some(Instant::now() + DORMANT);
                    return Arrived::Nothing;
                }
                Err(_) => {}
            }
            *file = None;
            return Arrived::End;
        }
    }

    /// Lets go of standard error's pipe.
    pub fn close_stderr(&mut self) {
        self.stderr = None;
    }

    /// Whether more input may be given now.
    pub fn wants_input(&self) -> bool {
        self.input.is_empty()
    }

    /// A descriptor to wait on until it takes input, if some waits; or, to notice that its reader went, if none does.
    pub fn writable(&self) -> Option<(BorrowedFd<'_>, bool)> {
        self.stdin.as_ref().map(|file| (file.as_fd(), !self.input.is_empty()))
    }

    /// Gives input to the container, as much as it takes at once; the rest waits. Without anybody to take it, it is lost.
    pub fn give(&mut self, bytes: &[u8]) {
        if self.stdin.is_some() && !self.ended {
            self.input.extend_from_slice(bytes);
            self.push();
        }
    }

    /// No more input will come.
    pub fn end_input(&mut self) {
        if !self.ended {
            self.ended = true;
            self.push();
        }
    }

    /// Writes what waits.
    pub fn push(&mut self) {
        let Some(file) = &mut self.stdin else { return };
        while self.taken < self.input.len() {
            match file.write(&self.input[self.taken..]) {
                Ok(count) => {
                    self.taken += count;
                    self.inside_line = self.input[self.taken - 1] != b'\n';
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.close_stdin();
                    return;
                }
            }
        }
        self.taken = 0;
        self.input = Vec::new();
        if self.ended {
            self.finish_input();
        }
    }

    /// The reader of standard input has gone.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
        self.input = Vec::new();
        self.taken = 0;
    }

    fn finish_input(&mut self) {
        if let (true, Some(file)) = (self.terminal, &mut self.stdin)
            && let Some(end) = terminal::end_of_input(&*file)
        {
            // Inside a line the character only hands over what was typed so far; the second one is the end.
            let end = [end, end];
            let _ = file.write(if self.inside_line { &end } else { &end[..1] });
        }
        self.close_stdin();
    }
}

fn pipe() -> nix::Result<(OwnedFd, OwnedFd)> {
    nix::unistd::pipe2(OFlag::O_CLOEXEC)
}

/// Our end must not block; the container's end must, which is another open file, so that it does.
fn ours(fd: OwnedFd) -> Result<File> {
    let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
    fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(File::from(fd))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terminal_streams() -> (Streams, OwnedFd) {
        let pty = nix::pty::openpty(None, None).expect("a terminal");
        let streams = Streams {
            stdout: Some(ours(pty.master.try_clone().expect("dup")).expect("ours")),
            stderr: None,
            stdin: Some(ours(pty.master).expect("ours")),
            terminal: true,
            dormant: None,
            input: Vec::new(),
            taken: 0,
            ended: false,
            inside_line: false,
        };
        (streams, pty.slave)
    }

    #[test]
    fn an_end_of_input_reaches_a_terminal_s_reader_even_inside_a_line() {
        let (mut streams, slave) = terminal_streams();
        streams.give(b"no newline");
        streams.end_input();
        let mut text = String::new();
        File::from(slave).read_to_string(&mut text).expect("an end");
        assert_eq!(text, "no newline");
    }

    #[test]
    fn a_terminal_that_nobody_has_open_is_dormant_not_ended() {
        let (mut streams, slave) = terminal_streams();
        drop(slave);
        assert_eq!(streams.read(Stream::Stdout, &mut [0; 10]), Arrived::Nothing);
        assert!(streams.readable(Stream::Stdout).is_none() && streams.deadline().is_some());
    }

    #[test]
    fn input_that_is_not_read_waits() {
        let (read, write) = pipe().expect("a pipe");
        let (mut streams, _slave) = terminal_streams();
        streams.terminal = false;
        streams.stdin = Some(ours(write).expect("ours"));
        let much = vec![b'x'; 100_000];
        streams.give(&much);
        assert!(!streams.wants_input(), "a pipe holds 64 KiB");
        streams.end_input();
        let mut reader = File::from(read);
        let mut seen = 0;
        while streams.writable().is_some() {
            seen += reader.read(&mut [0; 8192]).expect("input");
            streams.push();
        }
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).expect("an end");
        assert_eq!(seen + rest.len(), much.len());
    }
}
