//! Usage: main-pid PROGRAM [ARGUMENT…]

use std::ffi::OsString;
use std::io::{Read, Write, pipe};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, exit};

use anyhow::{Context, Result};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

fn main() -> Result<()> {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let (program, arguments) = words.split_first().context("which program?")?;
    let (mut news, mut number) = pipe()?;
    // SAFETY: this process has one thread.
    match unsafe { fork() }? {
        // The one between: with its end the program is left to the manager.
        ForkResult::Child => {
            // spawn returns when execve has succeeded, or why it did not.
            let Ok(child) = Command::new(program).args(arguments).env_remove("NOTIFY_SOCKET").spawn() else { exit(127) };
            write!(number, "{}", child.id())?;
            exit(0)
        }
        ForkResult::Parent { child } => {
            drop(number);
            let WaitStatus::Exited(_, status) = waitpid(child, None)? else { exit(1) };
            if status != 0 {
                exit(status)
            }
            let mut pid = String::new();
            news.read_to_string(&mut pid)?;
            tell(&format!("READY=1\nMAINPID={pid}"))
        }
    }
}

fn tell(text: &str) -> Result<()> {
    let address = std::env::var_os("NOTIFY_SOCKET").context("no NOTIFY_SOCKET")?;
    UnixDatagram::unbound()?.send_to(text.as_bytes(), address).context("telling the manager")?;
    Ok(())
}
