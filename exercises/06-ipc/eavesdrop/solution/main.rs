//! Usage: eavesdrop

use std::fs;
use std::io::Read;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::ptr;
use std::time::Duration;

use anyhow::{Result, bail};

/// How a secret begins.
const SECRET: &str = "secret-";

fn main() -> Result<()> {
    let heard = segments()?.into_iter().chain(files()?).chain(sockets()?);
    let Some(secret) = heard.into_iter().find(|text| text.starts_with(SECRET)) else {
        bail!("nobody says anything that begins with {SECRET}")
    };
    println!("{}", secret.trim_end_matches(['\0', '\n']));
    Ok(())
}

/// What is at the beginning of each System V segment. A key is for those who agreed on one; the list has ids.
fn segments() -> Result<Vec<String>> {
    let list = fs::read_to_string("/proc/sysvipc/shm")?;
    let ids = list.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)?.parse().ok());
    Ok(ids.filter_map(segment).collect())
}

fn segment(id: i32) -> Option<String> {
    // SAFETY: the kernel chooses a free place for it.
    let memory = unsafe { libc::shmat(id, ptr::null(), libc::SHM_RDONLY) };
    if memory as isize == -1 {
        return None;
    }
    // SAFETY: a segment is at least a page.
    let bytes = (0..64).map(|at| unsafe { memory.cast::<u8>().add(at).read_volatile() });
    Some(String::from_utf8_lossy(&bytes.collect::<Vec<_>>()).into_owned())
}

/// POSIX shared memory is files.
fn files() -> Result<Vec<String>> {
    let entries = fs::read_dir("/dev/shm")?.flatten();
    Ok(entries.filter_map(|entry| fs::read_to_string(entry.path()).ok()).collect())
}

/// What the servers of abstract sockets say to whoever comes.
fn sockets() -> Result<Vec<String>> {
    let list = fs::read_to_string("/proc/net/unix")?;
    let names = list.lines().filter_map(|line| line.split_whitespace().nth(7)?.strip_prefix('@'));
    Ok(names.filter_map(socket).collect())
}

fn socket(name: &str) -> Option<String> {
    let mut stream = UnixStream::connect_addr(&SocketAddr::from_abstract_name(name).ok()?).ok()?;
    // Others may wait for us to speak first.
    stream.set_read_timeout(Some(Duration::from_millis(500))).ok()?;
    let mut said = [0; 64];
    let length = stream.read(&mut said).ok()?;
    Some(String::from_utf8_lossy(&said[..length]).into_owned())
}
