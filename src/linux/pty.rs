//! Pseudo-terminals: a pair of descriptors; what is written to the master comes to the program as keystrokes.
//!
//! The container's terminal belongs to the container's own devpts, so that its name (`/dev/pts/0`) means the same inside.
//! Who keeps the master is outside: it crosses as a descriptor in a message over a Unix socket, the *console socket*.
//!
//! The subtlety: the slave's path lies in a /dev that the image may have filled with symlinks (CVE-2025-52565). So no path
//! is opened: the kernel hands us the peer of the master that we hold (`TIOCGPTPEER`).

use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result, bail};
use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use super::{mount, socket};
use crate::sys;
use crate::trace::{self, Topic};

/// Both ends of a terminal.
#[derive(Debug)]
pub struct Pty {
    /// For whoever types and watches.
    pub master: OwnedFd,
    /// For the program.
    pub slave: OwnedFd,
}

/// `DEVPTS_SUPER_MAGIC`.
const DEVPTS: i64 = 0x1cd1;

impl Pty {
    /// A new terminal out of an opened `ptmx` (open(2) of /dev/ptmx has made the master already).
    pub fn of(master: OwnedFd) -> Result<Pty> {
        mount::check_type(&master, DEVPTS, "the container's ptmx")?;
        trace::ask(Topic::Monitor, "TIOCSPTLCK", format_args!("0"), || sys::pty_unlock(master.as_fd()))
            .context("unlocking the terminal")?;
        let slave = trace::ask(Topic::Monitor, "TIOCGPTPEER", format_args!(""), || sys::pty_peer(master.as_fd()))
            .context("opening the terminal's other end")?;
        Ok(Pty { master, slave })
    }
}

/// Sends a terminal's master over a connected Unix socket.
pub fn send(to: impl AsFd, master: BorrowedFd) -> Result<()> {
    // The text is runc's habit; receivers look only at the descriptor, but need at least one byte.
    socket::send(to, b"/dev/ptmx", "terminal", master).context("sending the terminal")
}

/// Receives a terminal's master from a connected Unix socket; `None` if the sender went away without sending one.
pub fn receive(socket: impl AsFd) -> Result<Option<OwnedFd>> {
    let mut text = [0u8; 256];
    let mut space = cmsg_space!([i32; 1]);
    let mut parts = [IoSliceMut::new(&mut text)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_fd().as_raw_fd(), &mut parts, Some(&mut space), flags)
        .context("receiving the terminal")?;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control
            && let Some(&fd) = fds.first()
        {
            return Ok(Some(sys::inherited(fd)?));
        }
    }
    if message.bytes == 0 {
        return Ok(None);
    }
    bail!("a message without a terminal came over the console socket")
}
