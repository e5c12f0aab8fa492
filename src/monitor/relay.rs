//! Word to systemd from inside a container (`--sdnotify=container`).
//!
//! The socket that NOTIFY_SOCKET names is the service manager's, and not for a container: whoever may write there can say
//! that the service has another main process, or hand over descriptors. So the container gets a socket of ours, and two
//! of its words are passed on: that it is ready, and that it still lives.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::handover::NotifyRelay;
use crate::linux::ipc;

/// All that is passed on.
const WORDS: [&str; 2] = ["READY=1", "WATCHDOG=1"];

/// The two sockets.
pub struct Relay {
    inside: UnixDatagram,
    outside: UnixDatagram,
    manager: SocketAddr,
}

impl Relay {
    /// Opens ours for everybody who can reach it: the container's user may have any id.
    pub fn open(wanted: &NotifyRelay) -> Result<Self> {
        let what = || format!("the notify socket {}", wanted.manager);
        let manager = ipc::address(&wanted.manager).with_context(what)?;
        let inside = ipc::receive_at(&wanted.socket).with_context(|| format!("opening {}", wanted.socket.display()))?;
        fs::set_permissions(&wanted.socket, fs::Permissions::from_mode(0o777))?;
        let outside = UnixDatagram::unbound()?;
        outside.set_write_timeout(Some(Duration::from_secs(1)))?;
        Ok(Self { inside, outside, manager })
    }

    /// To wait on.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.inside.as_fd()
    }

    /// Passes on what has come.
    pub fn pass_on(&self) {
        let mut message = [0; 4096];
        while let Ok(length) = self.inside.recv(&mut message) {
            let said = String::from_utf8_lossy(&message[..length]);
            if let Some(word) = WORDS.into_iter().find(|word| said.lines().any(|line| line == *word)) {
                // A manager that does not listen for a second is not to hold up the container's output.
                let _ = self.outside.send_to_addr(word.as_bytes(), &self.manager);
            }
        }
    }
}
