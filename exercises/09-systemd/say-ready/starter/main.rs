//! Usage: say-ready SOCKET FILE

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixListener;

use anyhow::{Context, Result};

fn main() -> Result<()> {
    let mut words = std::env::args_os().skip(1);
    let path = words.next().context("which socket?")?;
    let file = words.next().context("which file?")?;
    say_ready()?;
    let greeting = fs::read(file).context("reading the greeting")?;
    let socket = UnixListener::bind(path).context("opening the socket")?;
    loop {
        let (mut client, _) = socket.accept()?;
        // Who has gone again is no reason to end.
        let _ = client.write_all(&greeting);
    }
}

/// Tells our manager that we are ready.
fn say_ready() -> Result<()> {
    let _address = std::env::var_os("NOTIFY_SOCKET").context("no NOTIFY_SOCKET")?;
    // TODO: and is this called in the right place?
    Ok(())
}
