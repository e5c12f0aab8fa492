//! Chapter 8, attaching: a person's terminal and a container's, with the monitor in between.
//!
//! The monitor copies the container's output to the log and to everybody who is connected, and what these type to the
//! container's terminal, if it has one. Each key goes there as it is: the person's own terminal is *raw* meanwhile, and
//! Ctrl-C is a byte like any other until the container's terminal makes a signal of it, inside. So two keys in a row must
//! mean "away from here".
//!
//! The subtlety is to give the terminal back as it was. A raw one is of no use to the shell that gets it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write, stdin, stdout};
use std::mem::replace;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use anyhow::{Context, Result};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::read;
use podling::linux::ipc::{SockType, reach};
use podling::linux::poll::{PollFlags, Wanted};
use podling::trace::{self, Topic};

/// Ctrl-P, and after it Ctrl-Q.
const AWAY: (u8, u8) = (b'P' - b'@', b'Q' - b'@');

/// How it came to an end.
#[derive(PartialEq, Eq)]
pub enum End {
    /// The person left.
    Left,
    /// The container says nothing any more.
    Closed,
}

// ANCHOR: attach
/// Connects this terminal with the container's.
pub fn attach(place: &Path) -> Result<End> {
    let mut door = reach(&place.join("attach"), SockType::Stream)
        .context("nobody is at its door: it has ended, or its monitor has")?;
    let before = tcgetattr(stdin()).ok().filter(|_| place.join("terminal").exists());
    if let Some(mut raw) = before.clone() {
        cfmakeraw(&mut raw);
        trace::ask(Topic::Monitor, "tcsetattr", format_args!("raw"), || tcsetattr(stdin(), SetArg::TCSANOW, &raw))?;
    }
    let end = converse(&mut door);
    if let Some(before) = before {
        tcsetattr(stdin(), SetArg::TCSADRAIN, &before)?;
    }
    end
}
// ANCHOR_END: attach

// ANCHOR: converse
/// What is typed to the door, what comes through the door to our output.
fn converse(door: &mut UnixStream) -> Result<End> {
    let (mut bytes, mut last, mut input) = ([0; 4096], 0, Some(stdin()));
    loop {
        let mut wanted = Wanted::default();
        wanted.add("output", door, PollFlags::POLLIN);
        if let Some(input) = &input {
            wanted.add("input", input, PollFlags::POLLIN);
        }
        for (source, _) in wanted.wait(None)? {
            if source == "output" {
                let Ok(count @ 1..) = door.read(&mut bytes) else { return Ok(End::Closed) };
                stdout().write_all(&bytes[..count])?;
                stdout().flush()?;
                continue;
            }
            let count = read(stdin(), &mut bytes)?;
            if count == 0 {
                input = None;
            }
            if bytes[..count].iter().any(|key| (replace(&mut last, *key), *key) == AWAY) {
                return Ok(End::Left);
            }
            if door.write_all(&bytes[..count]).is_err() {
                return Ok(End::Closed);
            }
        }
    }
}
// ANCHOR_END: converse

enum Source {
    Output,
    Door,
    Client(RawFd),
}

// ANCHOR: pass_on
/// Passes output on to the log and to all clients, and what they type to the terminal, until nobody can write any more.
pub fn pass_on(ours: File, log: &mut File, door: &UnixListener) -> Result<()> {
    fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    let mut clients: BTreeMap<RawFd, UnixStream> = BTreeMap::new();
    let mut bytes = [0; 4096];
    loop {
        let mut wanted = Wanted::default();
        wanted.add(Source::Output, &ours, PollFlags::POLLIN);
        wanted.add(Source::Door, door, PollFlags::POLLIN);
        for (fd, client) in &clients {
            wanted.add(Source::Client(*fd), client, PollFlags::POLLIN);
        }
        for (source, _) in wanted.wait(None)? {
            match source {
                Source::Output => match (&ours).read(&mut bytes) {
                    Ok(count @ 1..) => {
                        // A full disk and a client that does not read lose what they miss; the container goes on.
                        let _ = log.write_all(&bytes[..count]);
                        clients.retain(|_, client| !gone(&client.write(&bytes[..count])));
                    }
                    result if gone(&result) => return Ok(()),
                    _ => {}
                },
                Source::Door => {
                    if let Ok((client, _)) = door.accept()
                        && client.set_nonblocking(true).is_ok()
                    {
                        clients.insert(client.as_raw_fd(), client);
                    }
                }
                Source::Client(fd) => match clients.get(&fd).map(|mut client| client.read(&mut bytes)) {
                    Some(Ok(count @ 1..)) => drop((&ours).write(&bytes[..count])),
                    Some(result) if gone(&result) => drop(clients.remove(&fd)),
                    _ => {}
                },
            }
        }
    }
}
// ANCHOR_END: pass_on

/// End of file, or an error that is not "try again": from a terminal EIO says that nobody has it open any more.
fn gone(result: &io::Result<usize>) -> bool {
    match result {
        Ok(count) => *count == 0,
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
    }
}
