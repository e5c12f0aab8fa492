//! Network devices by rtnetlink: messages to the kernel about a device, over a socket of one network namespace.
//!
//! A message is a header, a structure for its kind, then attributes: length, type, value, each padded to four bytes
//! (netlink(7), rtnetlink(7)). The kernel answers every request that wants it with an error number, 0 for none.
//!
//! The subtlety is that a socket belongs for ever to the namespace where it was made. So whoever holds one there may
//! speak to that namespace later, without being in it.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket};

use crate::trace::{self, Topic};

// Kinds of messages, flags and attributes (`linux/netlink.h`, `linux/rtnetlink.h`, `linux/if_link.h`, `linux/if_addr.h`).
const ERROR: u16 = 2;
const DONE: u16 = 3;
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
const CREATE: u16 = 0x400 | 0x200; // and exclusively
const DUMP: u16 = 0x300;
const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
const LINK_NAME: u16 = 3;
const LINK_NAMESPACE: u16 = 28;
const ADDRESS_LABEL: u16 = 3;
const ADDRESS_FLAGS: u16 = 8;
const PERMANENT: u32 = 0x80;

/// A socket in the network namespace where it was made.
#[derive(Debug)]
pub struct Netlink(OwnedFd);

/// An address of a device, as the kernel told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Family, length of the prefix, flags, scope.
    head: [u8; 4],
    attributes: Vec<u8>,
}

impl Netlink {
    /// A socket in this process's network namespace.
    pub fn open() -> Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute);
        Ok(Self(socket.context("a netlink socket")?))
    }

    /// The number of the device called `name`; `None` if there is none.
    pub fn find(&self, name: &str) -> Result<Option<u32>> {
        let mut body = link(0, 0, 0);
        attribute(&mut body, LINK_NAME, &terminated(name)?);
        match self.ask(GET_LINK, 0, &body) {
            Ok(answers) => {
                let index = answers.first().and_then(|answer| answer.get(4..8));
                let index = index.and_then(|bytes| bytes.try_into().ok()).context("an answer without a device")?;
                Ok(Some(u32::from_ne_bytes(index)))
            }
            Err(Errno::ENODEV) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("looking for the network device {name}")),
        }
    }

    /// Moves a device to another network namespace, and gives it a name there: in one step, so that the old name is never
    /// in another's way. A name may end in `%d`: the kernel then finds a number that is free.
    pub fn give_away(&self, device: u32, namespace: impl AsFd, name: &str) -> nix::Result<()> {
        let mut body = link(device, 0, 0);
        attribute(&mut body, LINK_NAMESPACE, &namespace.as_fd().as_raw_fd().to_ne_bytes());
        attribute(&mut body, LINK_NAME, &terminated(name).map_err(|_| Errno::EINVAL)?);
        trace::ask(Topic::Network, "RTM_NEWLINK", format_args!("device {device} to another namespace, {name}"), || {
            self.ask(NEW_LINK, ACKNOWLEDGE, &body).map(drop)
        })
    }

    /// Switches a device on.
    pub fn raise(&self, device: u32) -> nix::Result<()> {
        let up = libc::IFF_UP as u32;
        trace::ask(Topic::Network, "RTM_NEWLINK", format_args!("device {device} up"), || {
            self.ask(NEW_LINK, ACKNOWLEDGE, &link(device, up, up)).map(drop)
        })
    }

    /// The addresses of a device that are for everybody (scope global) and were given by somebody (permanent): the others
    /// the kernel makes anew.
    pub fn addresses(&self, device: u32) -> Result<Vec<Address>> {
        let answers = self.ask(GET_ADDRESS, DUMP, &[0; 8]).context("asking for the addresses of network devices")?;
        Ok(answers.iter().filter_map(|answer| address(answer, device)).collect())
    }

    /// Gives a device an address.
    pub fn add_address(&self, device: u32, address: &Address) -> nix::Result<()> {
        let body = [&address.head[..], &device.to_ne_bytes(), &address.attributes].concat();
        trace::ask(Topic::Network, "RTM_NEWADDR", format_args!("device {device}"), || {
            self.ask(NEW_ADDRESS, ACKNOWLEDGE | CREATE, &body).map(drop)
        })
    }

    /// Sends one message and hears all answers to it.
    fn ask(&self, kind: u16, flags: u16, body: &[u8]) -> nix::Result<Vec<Vec<u8>>> {
        let length = (16 + body.len()) as u32;
        let mut message = length.to_ne_bytes().to_vec();
        message.extend([kind.to_ne_bytes(), (flags | REQUEST).to_ne_bytes()].concat());
        message.extend([0; 8]); // its number, and who we are: there is only one of each
        message.extend(body);
        let fd = self.0.as_raw_fd();
        sendto(fd, &message, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        let mut answers = Vec::new();
        let mut buffer = vec![0; 65536];
        loop {
            let length = recv(fd, &mut buffer, MsgFlags::empty())?;
            for (kind, answer) in messages(&buffer[..length]) {
                match kind {
                    ERROR => {
                        let number =
                            answer.get(..4).and_then(|bytes| bytes.try_into().ok()).map_or(0, i32::from_ne_bytes);
                        return if number == 0 { Ok(answers) } else { Err(Errno::from_raw(-number)) };
                    }
                    DONE => return Ok(answers),
                    _ => answers.push(answer.to_vec()),
                }
            }
            // Neither to be acknowledged nor a list: the one answer is all.
            if flags & (ACKNOWLEDGE | DUMP) == 0 {
                return Ok(answers);
            }
        }
    }
}

/// `struct ifinfomsg`: the device, and which of its flags are to be what.
fn link(device: u32, flags: u32, change: u32) -> Vec<u8> {
    [[0; 4], device.to_ne_bytes(), flags.to_ne_bytes(), change.to_ne_bytes()].concat()
}

fn terminated(name: &str) -> Result<Vec<u8>> {
    // `IFNAMSIZ`, with the zero.
    if name.is_empty() || name.len() > 15 || name.contains(['\0', '/', ' ']) {
        bail!("{name:?} is no name of a network device");
    }
    Ok([name.as_bytes(), &[0]].concat())
}

fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = (4 + value.len()) as u16;
    body.extend([length.to_ne_bytes(), kind.to_ne_bytes()].concat());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// The messages in what was received: kind and body of each.
fn messages(bytes: &[u8]) -> Vec<(u16, &[u8])> {
    parts(bytes, 16, |header| {
        let length = u32::from_ne_bytes(header[..4].try_into().ok()?) as usize;
        Some((length, u16::from_ne_bytes(header[4..6].try_into().ok()?)))
    })
}

fn attributes(bytes: &[u8]) -> Vec<(u16, &[u8])> {
    parts(bytes, 4, |header| {
        let length = usize::from(u16::from_ne_bytes(header[..2].try_into().ok()?));
        Some((length, u16::from_ne_bytes(header[2..4].try_into().ok()?)))
    })
}

/// Pieces that begin with a header in which their length and kind stand.
fn parts(mut bytes: &[u8], header: usize, read: impl Fn(&[u8]) -> Option<(usize, u16)>) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    while bytes.len() >= header {
        let Some((length, kind)) = read(bytes).filter(|(length, _)| (header..=bytes.len()).contains(length)) else {
            break;
        };
        found.push((kind, &bytes[header..length]));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// `struct ifaddrmsg` and its attributes, if it is such an address of this device.
fn address(message: &[u8], device: u32) -> Option<Address> {
    let (head, rest) = message.split_at_checked(4)?;
    let (index, tail) = rest.split_at_checked(4)?;
    let head: [u8; 4] = head.try_into().ok()?;
    let all = attributes(tail);
    let flags = all.iter().find(|(kind, _)| *kind == ADDRESS_FLAGS).and_then(|(_, value)| (*value).try_into().ok());
    let flags = flags.map_or(u32::from(head[2]), u32::from_ne_bytes);
    let is_global = head[3] == 0;
    let is_ours = u32::from_ne_bytes(index.try_into().ok()?) == device && flags & PERMANENT != 0 && is_global;
    is_ours.then(|| {
        let mut kept = Vec::new();
        // A label is the device's name, which may be another there.
        for (kind, value) in all.into_iter().filter(|(kind, _)| *kind != ADDRESS_LABEL) {
            attribute(&mut kept, kind, value);
        }
        Address { head, attributes: kept }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_device_is_the_first() {
        let kernel = Netlink::open().expect("a socket");
        assert_eq!(kernel.find("lo").expect("asking"), Some(1));
        assert_eq!(kernel.find("podling-none").expect("asking"), None);
        assert!(kernel.find("a/b").is_err() && kernel.find("").is_err());
    }

    #[test]
    fn parts_are_padded_and_never_reach_beyond_the_end() {
        let mut bytes = Vec::new();
        attribute(&mut bytes, 7, b"abc");
        attribute(&mut bytes, 8, b"");
        assert_eq!(attributes(&bytes), [(7, &b"abc"[..]), (8, &b""[..])]);
        bytes[0] = 200;
        assert!(attributes(&bytes).is_empty());
        assert!(messages(&[1, 0, 0, 0]).is_empty());
    }
}
