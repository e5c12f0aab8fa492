//! What the runtime and the container's first process say to each other: a socket pair with whole messages.
//!
//! ```text
//! runtime                                 init
//!    │ ◀────────── Born(pid) ────────────── │   (only where a process in the middle joins namespaces; its only word)
//!    │ ────────────── Placed ─────────────▶ │   (only with a new user namespace, a cgroup of systemd's, or after Born)
//!    │ ◀─────────── HooksWanted ─────────── │   (only if the bundle has hooks of ours)
//!    │ ──────────── HooksRan(pid) ────────▶ │
//!    │ ◀───────────── Ready ─────────────── │   all is mounted, the program was found
//!    │ ──────────── Kept(pid) ────────────▶ │   (`create`: the state is on disk; then the fifo says go, when we are gone)
//!    │ ────────────── Go(pid) ────────────▶ │   (`run`)
//!    │ ◀──────── Failed, or silence ─────── │   execve closes the socket: silence is success
//! ```

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recvmsg, sendmsg, socketpair};

use super::Failure;

/// One message.
#[derive(Debug, PartialEq, Eq)]
pub enum Message {
    /// To init: your user namespace has its id maps, and you are in your cgroup.
    Placed,
    /// From the process in the middle, which joined namespaces and then cloned: init's pid.
    Born(i32),
    /// From init: my namespaces and mounts stand, run the hooks that belong outside.
    HooksWanted,
    /// To init: they ran. Your pid outside, which hooks inside are told.
    HooksRan(i32),
    /// From init: everything is ready but the program.
    Ready,
    /// To init: others can find you now, by this pid outside; wait for them at the fifo.
    Kept(i32),
    /// To init, or to the process of an exec: run the program. Your pid outside.
    Go(i32),
    /// From init, and its last word: exit status and text.
    Failed(u8, String),
}

/// One end.
#[derive(Debug)]
pub struct Handshake(OwnedFd);

impl Handshake {
    /// Both ends.
    pub fn pair() -> Result<(Self, Self)> {
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).context("socketpair")?;
        Ok((Self(ours), Self(theirs)))
    }

    /// Says something. The other end being gone is an error.
    pub fn say(&self, message: &Message) -> Result<()> {
        let (kind, payload): (u8, Vec<u8>) = match message {
            Message::Placed => (b'm', Vec::new()),
            Message::Born(pid) => (b'b', pid.to_ne_bytes().to_vec()),
            Message::HooksWanted => (b'h', Vec::new()),
            Message::HooksRan(pid) => (b'H', pid.to_ne_bytes().to_vec()),
            Message::Ready => (b'r', Vec::new()),
            Message::Kept(pid) => (b'k', pid.to_ne_bytes().to_vec()),
            Message::Go(pid) => (b'g', pid.to_ne_bytes().to_vec()),
            Message::Failed(status, text) => (b'f', [&[*status], text.as_bytes()].concat()),
        };
        let kind = [kind];
        let parts = [IoSlice::new(&kind), IoSlice::new(&payload[..payload.len().min(MOST)])];
        sendmsg::<()>(self.0.as_raw_fd(), &parts, &[], MsgFlags::MSG_NOSIGNAL, None)
            .with_context(|| format!("telling the other side {message:?}"))?;
        Ok(())
    }

    /// What the other end says next; `None` when it is gone: it ended, or became another program.
    pub fn hear(&self) -> Result<Option<Message>> {
        let mut bytes = [0u8; MOST + 2];
        let length = loop {
            let mut parts = [IoSliceMut::new(&mut bytes)];
            match recvmsg::<()>(self.0.as_raw_fd(), &mut parts, None, MsgFlags::empty()) {
                Ok(message) => break message.bytes,
                // It ended without having read what we last said.
                Err(Errno::ECONNRESET) => break 0,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error).context("listening to the other side"),
            }
        };
        let Some((&kind, payload)) = bytes[..length].split_first() else { return Ok(None) };
        let number = || payload.try_into().map(i32::from_ne_bytes).context("a message without its number");
        Ok(Some(match kind {
            b'm' => Message::Placed,
            b'b' => Message::Born(number()?),
            b'h' => Message::HooksWanted,
            b'H' => Message::HooksRan(number()?),
            b'r' => Message::Ready,
            b'k' => Message::Kept(number()?),
            b'g' => Message::Go(number()?),
            b'f' => {
                let (&status, text) = payload.split_first().context("a failure without its status")?;
                Message::Failed(status, String::from_utf8_lossy(text).into_owned())
            }
            other => bail!("a message of unknown kind {other}"),
        }))
    }

    /// The next message, which must not be a failure or the end.
    pub fn expect(&self) -> Result<Message> {
        match self.hear()? {
            Some(Message::Failed(status, text)) => Err(Failure { status, text }.into()),
            Some(message) => Ok(message),
            None => bail!("the container's first process died before it was ready"),
        }
    }
}

impl AsFd for Handshake {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The longest text we pass on.
const MOST: usize = 4000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_arrives_as_it_was_said() {
        let (here, there) = Handshake::pair().expect("a pair");
        for message in
            [Message::Placed, Message::Born(7), Message::HooksRan(-1), Message::Failed(127, "no such program".into())]
        {
            here.say(&message).expect("said");
            assert_eq!(there.hear().expect("heard"), Some(message));
        }
        drop(here);
        assert_eq!(there.hear().expect("the end"), None);
    }

    #[test]
    fn a_failure_keeps_its_status() {
        let (here, there) = Handshake::pair().expect("a pair");
        here.say(&Message::Failed(126, "x".repeat(9000))).expect("said");
        let error = there.expect().expect_err("a failure");
        assert_eq!(error.downcast_ref::<Failure>().map(|failure| failure.status), Some(126));
    }
}
