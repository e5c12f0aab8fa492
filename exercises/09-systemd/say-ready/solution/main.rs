//! Usage: say-ready SOCKET FILE

use std::fs;
use std::io::Write;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};

use anyhow::{Context, Result};

fn main() -> Result<()> {
    let mut words = std::env::args_os().skip(1);
    let path = words.next().context("which socket?")?;
    let file = words.next().context("which file?")?;
    let greeting = fs::read(file).context("reading the greeting")?;
    let socket = UnixListener::bind(path).context("opening the socket")?;
    say_ready()?;
    loop {
        let (mut client, _) = socket.accept()?;
        // Who has gone again is no reason to end.
        let _ = client.write_all(&greeting);
    }
}

/// Tells our manager that we are ready.
fn say_ready() -> Result<()> {
    let Some(address) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let address = match address.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(&address)?,
    };
    UnixDatagram::unbound()?.send_to_addr(b"READY=1", &address).context("telling the manager")?;
    Ok(())
}
