//! Usage: lend PROGRAM [ARGUMENT…]

use std::process::{Command, exit};
use std::ptr;

use anyhow::{Context, Result};
use nix::errno::Errno;

const SIZE: usize = 4096;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (program, arguments) = words.split_first().context("which program?")?;
    let id = make(b"hello")?;
    let ended = Command::new(program).args(arguments).env("SEGMENT", id.to_string()).status();
    exit(match ended {
        Ok(status) => status.code().unwrap_or(1),
        Err(error) => {
            eprintln!("{program}: {error}");
            127
        }
    })
}

/// A segment that begins with this text. It has no key: who is to use it is told its id.
fn make(text: &[u8]) -> Result<i32> {
    // SAFETY: only numbers are handed over.
    let id = Errno::result(unsafe { libc::shmget(libc::IPC_PRIVATE, SIZE, 0o600) }).context("shmget")?;
    // SAFETY: the kernel chooses a free place for it.
    let memory = unsafe { libc::shmat(id, ptr::null(), 0) };
    if memory as isize == -1 {
        return Err(Errno::last()).context("shmat");
    }
    assert!(text.len() < SIZE);
    // SAFETY: there are SIZE bytes at `memory`, and nobody else uses them yet.
    unsafe { ptr::copy_nonoverlapping(text.as_ptr(), memory.cast(), text.len()) };
    // SAFETY: it is attached there, and not used from here on.
    unsafe { libc::shmdt(memory) };
    Ok(id)
}
