//! Usage: main-pid PROGRAM [ARGUMENT…]

use std::ffi::OsString;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, exit};

use anyhow::{Context, Result};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

fn main() -> Result<()> {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let (program, arguments) = words.split_first().context("which program?")?;
    tell("READY=1")?;
    // SAFETY: this process has one thread.
    match unsafe { fork() }? {
        // The one between: with its end the program is left to the manager.
        ForkResult::Child => {
            let status = Command::new(program).args(arguments).status()?;
            exit(status.code().unwrap_or(1))
        }
        ForkResult::Parent { child } => {
            tell(&format!("MAINPID={child}"))?;
            let WaitStatus::Exited(_, status) = waitpid(child, None)? else { exit(1) };
            exit(status)
        }
    }
}

fn tell(text: &str) -> Result<()> {
    let address = std::env::var_os("NOTIFY_SOCKET").context("no NOTIFY_SOCKET")?;
    UnixDatagram::unbound()?.send_to(text.as_bytes(), address).context("telling the manager")?;
    Ok(())
}
