//! Unix sockets by path.
//!
//! A socket of kind `SOCK_SEQPACKET` keeps the borders between packets, as a datagram does, and tells when the other
//! side has gone, as a stream does. std knows only streams and datagrams, but its types work on any connected socket, so
//! `UnixStream` here means "a connected Unix socket".
//!
//! The subtlety is the address: it holds 107 bytes of path, and a path in a user's home easily has more. The directory is
//! then opened, and named through /proc/self/fd.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
pub use nix::sys::socket::SockType;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, UnixAddr, bind, connect, getsockopt, listen as listen_on, socket,
};
use nix::sys::stat::{Mode, umask};
use nix::unistd::Pid;

use crate::trace::{self, Topic};

/// The longest path that fits `sockaddr_un` with its final zero (unix(7)).
pub const PATH_MAX: usize = 107;

/// A path that fits an address and means `path`, with the descriptor of the directory it goes through, if any; the
/// descriptor must stay open while the address is used.
fn short(path: &Path) -> nix::Result<(PathBuf, Option<OwnedFd>)> {
    if path.as_os_str().as_bytes().len() <= PATH_MAX {
        return Ok((path.to_owned(), None));
    }
    let (directory, name) = path.parent().zip(path.file_name()).ok_or(Errno::ENAMETOOLONG)?;
    let directory = open(directory, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    Ok((Path::new(&format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name), Some(directory)))
}

/// A listening socket at `path` that only its owner can connect to. What was left there by a process that died is
/// replaced.
pub fn listen(path: &Path, kind: SockType) -> nix::Result<UnixListener> {
    trace::ask(Topic::Monitor, "listen", format_args!("{kind:?} {}", path.display()), || {
        let socket = bound(path, kind)?;
        listen_on(&socket, Backlog::new(128)?)?;
        Ok(UnixListener::from(socket))
    })
}

/// A datagram socket at `path`, in place of what was there, that only its owner can send to.
pub fn receive_at(path: &Path) -> nix::Result<UnixDatagram> {
    trace::ask(Topic::Monitor, "bind", format_args!("Datagram {}", path.display()), || {
        bound(path, SockType::Datagram).map(UnixDatagram::from)
    })
}

/// The address of a service manager's socket, as `NOTIFY_SOCKET` has it: a path, or `@` and an abstract name.
pub fn address(text: &str) -> std::io::Result<SocketAddr> {
    match text.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(text),
    }
}

fn bound(path: &Path, kind: SockType) -> nix::Result<OwnedFd> {
    let (address, _directory) = short(path)?;
    let socket = socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    match nix::unistd::unlink(path) {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(error) => return Err(error),
    }
    // bind makes the file; narrowing its mode afterwards would leave a moment in which others could connect.
    let before = umask(Mode::S_IRWXG | Mode::S_IRWXO);
    let bound = bind(socket.as_raw_fd(), &UnixAddr::new(&address)?);
    umask(before);
    bound.map(|()| socket)
}

/// Connects to the socket of kind `kind` at `path`.
pub fn reach(path: &Path, kind: SockType) -> nix::Result<UnixStream> {
    trace::ask(Topic::Monitor, "connect", format_args!("{kind:?} {}", path.display()), || {
        let (address, _directory) = short(path)?;
        let socket = socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)?;
        connect(socket.as_raw_fd(), &UnixAddr::new(&address)?)?;
        Ok(UnixStream::from(socket))
    })
}

/// The process that connected `stream`, as the kernel noted it then (`SO_PEERCRED`).
pub fn peer(stream: &UnixStream) -> nix::Result<Pid> {
    getsockopt(stream, PeerCredentials).map(|peer| Pid::from_raw(peer.pid()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn a_path_longer_than_an_address_still_connects() {
        let directory = tempfile::tempdir().expect("a directory");
        let deep = directory.path().join("d".repeat(120));
        std::fs::create_dir(&deep).expect("a directory with a long name");
        let path = deep.join("attach");
        let listener = listen(&path, SockType::SeqPacket).expect("a listener");
        let mut client = reach(&path, SockType::SeqPacket).expect("a connection");
        let (mut server, _) = listener.accept().expect("a client");
        client.write_all(b"one").expect("room");
        client.write_all(b"two").expect("room");
        let mut packet = [0; 100];
        assert_eq!(server.read(&mut packet).expect("a packet"), 3, "packets keep their borders");
        assert_eq!(peer(&server), Ok(Pid::this()));
    }
}
