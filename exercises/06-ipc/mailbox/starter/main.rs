//! Usage: mailbox say TEXT, mailbox hear

use std::ptr;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;

const KEY: i32 = 6;
const SIZE: usize = 4096;

/// The semaphore that counts the texts which can be read.
const TEXTS: u16 = 0;
/// How many semaphores there are.
const SEMAPHORES: i32 = 1;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["say", text] => say(text),
        ["hear"] => hear(),
        _ => bail!("usage: mailbox say TEXT, mailbox hear"),
    }
}

fn say(text: &str) -> Result<()> {
    let (memory, set) = (memory()?, semaphores()?);
    write(memory, text);
    change(set, &[(TEXTS, 1)])
}

fn hear() -> Result<()> {
    let (memory, set) = (memory()?, semaphores()?);
    change(set, &[(TEXTS, -1)])?;
    println!("{}", read(memory));
    Ok(())
}

/// The semaphores, all zero if we are the first to ask for them.
fn semaphores() -> Result<i32> {
    // SAFETY: only numbers are handed over.
    Errno::result(unsafe { libc::semget(KEY, SEMAPHORES, libc::IPC_CREAT | 0o600) }).context("semget")
}

/// Does all of these operations at one moment: sleeps until each of them can be done. An operation is the number of a
/// semaphore and what is added to it; 0 does not add, but waits until it is zero.
fn change(set: i32, operations: &[(u16, i16)]) -> Result<()> {
    let operations = operations.iter().map(|&(sem_num, sem_op)| libc::sembuf { sem_num, sem_op, sem_flg: 0 });
    let mut operations: Vec<_> = operations.collect();
    // SAFETY: the array is as long as it says.
    Errno::result(unsafe { libc::semop(set, operations.as_mut_ptr(), operations.len()) }).context("semop")?;
    Ok(())
}

/// The page of memory that all share.
fn memory() -> Result<*mut u8> {
    // SAFETY: only numbers are handed over.
    let id = Errno::result(unsafe { libc::shmget(KEY, SIZE, libc::IPC_CREAT | 0o600) }).context("shmget")?;
    // SAFETY: the kernel chooses a free place for it.
    let memory = unsafe { libc::shmat(id, ptr::null(), 0) };
    if memory as isize == -1 {
        return Err(Errno::last()).context("shmat");
    }
    Ok(memory.cast())
}

/// Byte by byte, as slowly as others may be.
fn write(memory: *mut u8, text: &str) {
    assert!(text.len() < SIZE);
    for (at, byte) in text.bytes().chain([0]).enumerate() {
        // SAFETY: it is within the page. Others may write there, too, if we do not see to it that they wait.
        unsafe { memory.add(at).write_volatile(byte) };
        if at % 100 == 0 {
            std::thread::yield_now();
        }
    }
}

fn read(memory: *mut u8) -> String {
    // SAFETY: as above.
    let bytes = (0..SIZE).map(|at| unsafe { memory.add(at).read_volatile() });
    String::from_utf8_lossy(&bytes.take_while(|byte| *byte != 0).collect::<Vec<_>>()).into_owned()
}
