//! Usage: not-for-you SOCKET HANDLER [ARGUMENT…]

use std::ffi::OsString;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::process::Command;

use anyhow::{Context, Result};

fn main() -> Result<()> {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let [path, handler, arguments @ ..] = words.as_slice() else { anyhow::bail!("which socket, which handler?") };
    let socket = match passed()? {
        Some(socket) => socket,
        None => UnixListener::bind(path).context("opening the socket")?,
    };
    loop {
        let (client, _) = socket.accept().context("accepting a client")?;
        Command::new(handler).args(arguments).stdout(OwnedFd::from(client)).status().context("the handler")?;
    }
}

/// The socket that was passed to us, if there is one.
fn passed() -> Result<Option<UnixListener>> {
    let Ok(number) = std::env::var("LISTEN_FDS") else { return Ok(None) };
    let number = number.parse().context("LISTEN_FDS")?;
    // SAFETY: whoever started us left it open for us.
    Ok(Some(unsafe { UnixListener::from_raw_fd(number) }))
}
