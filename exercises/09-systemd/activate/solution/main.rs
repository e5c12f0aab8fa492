//! Usage: activate SOCKET PROGRAM [ARGUMENT…]

use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixListener;
use std::process::exit;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, execvpe, fork};

fn main() -> Result<()> {
    let mut words = std::env::args_os().skip(1);
    let socket = UnixListener::bind(words.next().context("which socket?")?).context("opening the socket")?;
    let words: Vec<CString> = words.map(|word| CString::new(OsString::into_vec(word))).collect::<Result<_, _>>()?;
    loop {
        // Looked at, and not accepted.
        match poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            other => other.context("waiting for a client")?,
        };
        // SAFETY: this process has one thread.
        match unsafe { fork() }? {
            ForkResult::Child => {
                let error = become_program(&socket, &words);
                eprintln!("{error:?}");
                exit(127)
            }
            ForkResult::Parent { child } => waitpid(child, None)?,
        };
    }
}

fn become_program(socket: &UnixListener, words: &[CString]) -> Result<()> {
    // SAFETY: both only change descriptor 3, which is nobody's, or the socket itself.
    unsafe {
        match socket.as_raw_fd() {
            3 => libc::fcntl(3, libc::F_SETFD, 0),
            other => libc::dup2(other, 3),
        };
    }
    let mut environment: Vec<CString> = Vec::new();
    for (name, value) in std::env::vars_os() {
        environment.push(CString::new([name.into_vec(), value.into_vec()].join(&b'='))?);
    }
    environment.push(CString::new("LISTEN_FDS=1")?);
    environment.push(CString::new(format!("LISTEN_PID={}", std::process::id()))?);
    execvpe(words.first().context("which program?")?, words, &environment).context("starting the program")?;
    Ok(())
}
