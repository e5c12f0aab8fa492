//! Usage: activate SOCKET PROGRAM [ARGUMENT…]

use std::ffi::OsString;
use std::os::unix::net::UnixListener;
use std::process::Command;

use anyhow::{Context, Result};

fn main() -> Result<()> {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let [path, program, arguments @ ..] = words.as_slice() else { anyhow::bail!("which socket, which program?") };
    let _socket = UnixListener::bind(path).context("opening the socket")?;
    loop {
        // TODO: when somebody is there, and with the socket.
        Command::new(program).args(arguments).status().context("starting the program")?;
        nix::unistd::pause();
    }
}
