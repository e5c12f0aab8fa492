//! Chapter 9, the word of a service to its manager: "I am ready", "watch that process". A variable of the environment, a
//! socket and one system call: sd_notify(3) is this, and no library is needed for it.
//!
//! ```text
//! $NOTIFY_SOCKET   a datagram socket, at which the manager listens; to it go lines NAME=VALUE
//! ```
//!
//! The subtlety is inheritance: what the environment says to a service, its children hear as well. So a service takes out
//! what was meant for it alone, and says anew what it passes on.

use std::env;
use std::ffi::CString;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::process;

use anyhow::Result;
use chapters::ask;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, sendto, socket};
use podling::hint::{cured, hinted};
use podling::trace::Topic;

// ANCHOR: notify
/// Where our manager listens. An `@` stands for a zero byte: such a name is in no directory but in a table of the network
/// namespace, and is gone when its socket is closed.
pub fn manager() -> Result<UnixAddr> {
    let cure = "a unit runs this, with Type=notify: see chapter09_systemd install";
    let said = env::var_os("NOTIFY_SOCKET").ok_or_else(|| hinted("NOTIFY_SOCKET is not set", cure))?;
    let address = match said.as_bytes() {
        [b'@', name @ ..] => UnixAddr::new_abstract(name),
        [b'/', ..] => UnixAddr::new(Path::new(&said)),
        // systemd also knows vsock:, for who manages a virtual machine from outside.
        _ => Err(Errno::EAFNOSUPPORT),
    };
    address.map_err(|error| cured(error, format!("NOTIFY_SOCKET={}", said.display()), cure))
}

/// Tells it something. It knows who has sent this: the kernel adds our pid and uid to the datagram (unix(7), SO_PASSCRED).
pub fn notify(manager: &UnixAddr, lines: &[(&str, &str)]) -> Result<()> {
    let lines: Vec<_> = lines.iter().map(|(name, value)| format!("{name}={}", value.replace('\n', "; "))).collect();
    let socket = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let send = || sendto(socket.as_raw_fd(), lines.join("\n").as_bytes(), manager, MsgFlags::empty());
    ask(Topic::Systemd, "sendto", &format!("{manager} {}", lines.join(" ")), send).map(drop)
}
// ANCHOR_END: notify

// ANCHOR: environment
/// What was said to us alone.
const OURS: [&str; 5] = ["NOTIFY_SOCKET", "LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// The environment of the program that this very process is about to become. It gets the sockets, and so the number in
/// `LISTEN_PID` has to be its own, as it sees it: that of another pid namespace means somebody else here, or nobody.
pub fn environment(sockets: u32) -> Result<Vec<CString>> {
    let kept = env::vars_os().filter(|(name, _)| !OURS.iter().any(|ours| name == ours));
    let mut all: Vec<_> = kept.map(|(name, value)| [name.into_vec(), value.into_vec()].join(&b'=')).collect();
    if sockets > 0 {
        all.push(format!("LISTEN_FDS={sockets}").into());
        all.push(format!("LISTEN_PID={}", process::id()).into());
    }
    Ok(all.into_iter().map(CString::new).collect::<Result<_, _>>()?)
}
// ANCHOR_END: environment
