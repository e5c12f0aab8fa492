//! Usage: not-for-you SOCKET HANDLER [ARGUMENT…]

use std::env;
use std::ffi::OsString;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::process::Command;

use anyhow::{Context, Result};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

const OURS: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

fn main() -> Result<()> {
    let words: Vec<OsString> = env::args_os().skip(1).collect();
    let [path, handler, arguments @ ..] = words.as_slice() else { anyhow::bail!("which socket, which handler?") };
    let socket = match passed()? {
        Some(socket) => socket,
        None => UnixListener::bind(path).context("opening the socket")?,
    };
    loop {
        let (client, _) = socket.accept().context("accepting a client")?;
        let mut handler = Command::new(handler);
        for name in OURS {
            handler.env_remove(name);
        }
        handler.args(arguments).stdout(OwnedFd::from(client)).status().context("the handler")?;
    }
}

/// The socket that was passed to us, if there is one.
fn passed() -> Result<Option<UnixListener>> {
    let said = |name| env::var(name).unwrap_or_default();
    if said("LISTEN_PID") != std::process::id().to_string() {
        return Ok(None);
    }
    let count: usize = said("LISTEN_FDS").parse().context("LISTEN_FDS")?;
    let all: Vec<OwnedFd> = (3..).take(count).map(|number| unsafe { OwnedFd::from_raw_fd(number) }).collect();
    for socket in &all {
        fcntl(socket, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    }
    let names = said("LISTEN_FDNAMES");
    let named = all.into_iter().zip(names.split(':'));
    Ok(named.into_iter().find_map(|(socket, name)| (name == "public").then(|| UnixListener::from(socket))))
}
