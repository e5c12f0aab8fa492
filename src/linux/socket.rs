//! Unix sockets as we use them: connected to by path, and a descriptor sent along with some text.
//!
//! The subtlety is the path: a socket's address holds 107 bytes of it, fewer than many a directory's name has.

use std::fs::File;
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::Result;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use super::mount;
use crate::trace::{self, Topic};

/// Connects, however long the path is: the address of a descriptor that holds the socket is short.
pub fn connect(path: &Path) -> Result<OwnedFd> {
    let held = File::options().read(true).custom_flags(libc::O_PATH | libc::O_CLOEXEC).open(path)?;
    let address = mount::descriptor_path(held.as_fd());
    Ok(UnixStream::connect(address)?.into())
}

/// Sends a descriptor over a connected socket, with a text of at least one byte.
pub fn send(socket: impl AsFd, text: &[u8], what: &str, fd: BorrowedFd) -> nix::Result<()> {
    let socket = socket.as_fd().as_raw_fd();
    let fds = [fd.as_raw_fd()];
    let control = [ControlMessage::ScmRights(&fds)];
    let mut sent = trace::ask(Topic::Monitor, "sendmsg", format_args!("SCM_RIGHTS {what}"), || {
        sendmsg::<()>(socket, &[IoSlice::new(text)], &control, MsgFlags::MSG_NOSIGNAL, None)
    })?;
    // A stream may take less than the whole; the descriptor went with the first byte.
    while sent < text.len() {
        sent += sendmsg::<()>(socket, &[IoSlice::new(&text[sent..])], &[], MsgFlags::MSG_NOSIGNAL, None)?;
    }
    Ok(())
}
