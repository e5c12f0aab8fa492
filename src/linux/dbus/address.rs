//! Where a bus listens, in D-Bus's notation: `unix:path=/run/user/1000/bus,guid=8a…;unix:abstract=/tmp/x`. Each entry is
//! a way to the same bus; what would be a delimiter or no ASCII is written `%2c`.

use std::fmt;
use std::io::Result;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::PathBuf;

/// A Unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// In the file system.
    Path(PathBuf),
    /// In the network namespace (unix(7), "abstract").
    Abstract(Vec<u8>),
}

impl Address {
    /// The Unix sockets that a list names, in its order. Other transports (`tcp:`) are not ours to use: over them the
    /// kernel tells nobody who we are.
    pub fn list(text: &str) -> Vec<Self> {
        text.split(';').filter_map(Self::entry).collect()
    }

    fn entry(text: &str) -> Option<Self> {
        text.trim().strip_prefix("unix:")?.split(',').find_map(|pair| match pair.split_once('=')? {
            ("path", value) => Some(Self::Path(std::ffi::OsString::from_vec(unescape(value)?).into())),
            ("abstract", value) => Some(Self::Abstract(unescape(value)?)),
            _ => None,
        })
    }

    /// Whether somebody listens there, as far as can be seen without knocking.
    pub fn seems_open(&self) -> bool {
        match self {
            Self::Path(path) => path.exists(),
            Self::Abstract(_) => true,
        }
    }

    /// Connects.
    pub fn connect(&self) -> Result<UnixStream> {
        match self {
            Self::Path(path) => UnixStream::connect(path),
            Self::Abstract(name) => UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Abstract(name) => write!(f, "@{}", String::from_utf8_lossy(name)),
        }
    }
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut plain = Vec::new();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_sockets_are_found_in_a_list_of_addresses() {
        let path = |path: &str| Address::Path(path.into());
        assert_eq!(Address::list("unix:path=/run/user/7/bus"), [path("/run/user/7/bus")]);
        assert_eq!(
            Address::list("tcp:host=a,port=1;unix:guid=1f,path=/a%2cb%20c;unix:abstract=/x,guid=2"),
            [path("/a,b c"), Address::Abstract(b"/x".to_vec())]
        );
        for nothing in ["", "unix:", "unix:tmpdir=/tmp", "unix:path=/a%2", "autolaunch:", "/run/bus"] {
            assert_eq!(Address::list(nothing), [], "{nothing:?}");
        }
    }
}
