//! Chapter 6, the other program: two processes talk, in three of the ways that Linux has for it.
//!
//! Nobody tells the one about the other. They agree on a number, and the kernel keeps what is said until it is heard. Run
//! both on one side of a container's wall, then one on each.
//!
//! The subtlety is memory: writing there tells nobody. So it comes with a semaphore, a number that a process may wait for
//! in its sleep; and that is why the two were always sold together.

use std::fmt::Display;
use std::process::ExitCode;
use std::sync::atomic::Ordering::Relaxed;

use anyhow::{Result, ensure};
use clap::{Parser, ValueEnum};
use libc::{IPC_CREAT, IPC_NOWAIT};
use nix::mqueue::{MQ_OFlag, MqAttr, mq_open, mq_receive, mq_send, mq_unlink};
use nix::sys::stat::Mode;
use podling::sys;
use podling::trace::Topic;

/// Leave a text for another process, or wait for one
///
/// Try: chapter06_talk hear queue & chapter06_talk say queue hello; and then with one of them in chapter06_ipc
#[derive(Parser)]
#[command(name = "chapter06_talk")]
enum Options {
    /// Leave TEXT for whoever hears in the same WAY, with the same key
    Say {
        way: Way,
        /// What to say
        text: String,
        /// The number that both sides know
        #[arg(long, default_value_t = 6)]
        key: i32,
    },
    /// Wait for a text, print it, and remove what it came through
    Hear {
        way: Way,
        /// Neither wait nor make anything: take what is there
        #[arg(long)]
        now: bool,
        /// The number that both sides know
        #[arg(long, default_value_t = 6)]
        key: i32,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Way {
    /// System V message queue
    Queue,
    /// System V shared memory, with a semaphore
    Memory,
    /// POSIX message queue
    Mqueue,
}

const OWNER: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);
/// Make it, for its owner only, unless somebody has made it already.
const MAKE: i32 = IPC_CREAT | OWNER.bits() as i32;
/// How much shared memory: one page, the least there is.
const PAGE: usize = 4096;

fn main() -> ExitCode {
    chapters::run(|options| match options {
        Options::Say { way, text, key } => {
            let say = [say_to_queue, say_in_memory, say_to_mqueue][way as usize];
            say(key, text.as_bytes()).map(|()| 0)
        }
        Options::Hear { way, now, key } => {
            let hear = [hear_from_queue, hear_in_memory, hear_from_mqueue][way as usize];
            println!("{}", String::from_utf8_lossy(&hear(key, now)?));
            Ok(0)
        }
    })
}

// ANCHOR: queue
/// A queue keeps messages whole and in order, each with a type (ours is 1), until somebody takes them.
fn say_to_queue(key: i32, text: &[u8]) -> Result<()> {
    let queue = ask("msgget", key, || sys::msgget(key, MAKE))?;
    ask("msgsnd", queue, || sys::msgsnd(queue, text))
}

fn hear_from_queue(key: i32, now: bool) -> Result<Vec<u8>> {
    let (make, wait) = if now { (0, IPC_NOWAIT) } else { (MAKE, 0) };
    let queue = ask("msgget", key, || sys::msgget(key, make))?;
    let text = ask("msgrcv", queue, || sys::msgrcv(queue, wait))?;
    ask("msgctl", "IPC_RMID", || sys::msgctl_remove(queue))?;
    Ok(text)
}
// ANCHOR_END: queue

// ANCHOR: memory
/// The same page of memory in two processes. The semaphore counts the texts in it: first written, then counted.
fn say_in_memory(key: i32, text: &[u8]) -> Result<()> {
    let segment = ask("shmget", key, || sys::shmget(key, PAGE, MAKE))?;
    let memory = ask("shmat", segment, || sys::shmat(segment))?;
    ensure!(text.len() < memory.len(), "there is room for {} bytes", memory.len() - 1);
    for (cell, byte) in memory.iter().zip(text.iter().chain([&0])) {
        cell.store(*byte, Relaxed);
    }
    let semaphore = ask("semget", key, || sys::semget(key, MAKE))?;
    ask("semop", "+1", || sys::semop(semaphore, 1, 0))
}

fn hear_in_memory(key: i32, now: bool) -> Result<Vec<u8>> {
    let (make, wait) = if now { (0, IPC_NOWAIT) } else { (MAKE, 0) };
    let semaphore = ask("semget", key, || sys::semget(key, make))?;
    // Below zero it cannot go: here we sleep until the other side has counted up.
    ask("semop", "-1", || sys::semop(semaphore, -1, wait))?;
    let segment = ask("shmget", key, || sys::shmget(key, PAGE, 0))?;
    let memory = ask("shmat", segment, || sys::shmat(segment))?;
    let text = memory.iter().map(|cell| cell.load(Relaxed)).take_while(|byte| *byte != 0).collect();
    ask("shmctl", "IPC_RMID", || sys::shmctl_remove(segment))?;
    ask("semctl", "IPC_RMID", || sys::semctl_remove(semaphore))?;
    Ok(text)
}
// ANCHOR_END: memory

// ANCHOR: mqueue
/// POSIX gave queues names, as files have them; open, they are descriptors.
fn say_to_mqueue(key: i32, text: &[u8]) -> Result<()> {
    let name = format!("/talk-{key}");
    let flags = MQ_OFlag::O_WRONLY | MQ_OFlag::O_CREAT;
    let queue = ask("mq_open", &name, || mq_open(name.as_str(), flags, OWNER, Some(&size())))?;
    ask("mq_send", &name, || mq_send(&queue, text, 0))
}

fn hear_from_mqueue(key: i32, now: bool) -> Result<Vec<u8>> {
    let name = format!("/talk-{key}");
    let flags = MQ_OFlag::O_RDONLY | if now { MQ_OFlag::O_NONBLOCK } else { MQ_OFlag::O_CREAT };
    let queue = ask("mq_open", &name, || mq_open(name.as_str(), flags, OWNER, Some(&size())))?;
    let mut text = vec![0; sys::MESSAGE_MAX];
    let length = ask("mq_receive", &name, || mq_receive(&queue, &mut text, &mut 0))?;
    ask("mq_unlink", &name, || mq_unlink(name.as_str()))?;
    Ok(text[..length].to_vec())
}
// ANCHOR_END: mqueue

/// Ten messages of the longest: what any user may have.
fn size() -> MqAttr {
    MqAttr::new(0, 10, sys::MESSAGE_MAX as i64, 0)
}

fn ask<T>(name: &str, about: impl Display, call: impl FnOnce() -> nix::Result<T>) -> Result<T> {
    chapters::ask(Topic::Ipc, name, &about.to_string(), call)
}
