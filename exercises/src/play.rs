//! The other side of an answer, played for the checks of the exercises about systemd: a manager that starts a service as
//! systemd does, a server for a socket that somebody else has opened, a client. So these are checked on any machine, and
//! what a real systemd would only write into its journal is a line of a file.
//!
//! The subtlety is who says something: a message counts only if the right process sent it, and the kernel tells which one
//! did (unix(7), `SO_PASSCRED`). And who ends: like systemd this manager is a subreaper, so it hears the end of a process
//! that was left to it.

use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::fs::{self, File, Permissions};
use std::io::{Write, copy, stdout};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt::PassCred};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::execvpe;
use podling::linux::process;
use podling::sys;

#[derive(Debug, Subcommand)]
pub enum Part {
    /// Start a program as systemd starts a service, and write down what it says and who ends
    Manager(Manager),
    /// Say the own number to so many clients of the socket that was passed, one after the other
    Server { clients: u32 },
    /// Connect to a Unix socket and print what is said there
    Client { socket: PathBuf },
    /// Tell a manager something; what was said to it before has then been written down before
    Tell { address: PathBuf, text: String },
}

#[derive(Debug, Args)]
pub struct Manager {
    /// Where to write what happens, a line each: `began PID`, `told PID NAME=VALUE`, `ended PID STATUS`
    events: PathBuf,
    /// Where the program can tell something: a path, or `@` and a name; none, if this is not given
    #[arg(long)]
    notify: Option<String>,
    /// Open a Unix socket, and pass it on under this name
    #[arg(long = "socket", value_name = "NAME=PATH")]
    sockets: Vec<String>,
    /// Say that the sockets are for this process, instead of the program
    #[arg(long, value_name = "PID")]
    listen_pid: Option<u32>,
    #[arg(required = true, trailing_var_arg = true)]
    program: Vec<OsString>,
}

pub fn play(part: Part) -> Result<u8> {
    match part {
        Part::Manager(options) => manage(options),
        Part::Server { clients } => serve(clients),
        Part::Client { socket } => visit(&socket),
        Part::Tell { address, text } => {
            UnixDatagram::unbound()?.send_to(text.as_bytes(), address).context("telling the manager")?;
            Ok(0)
        }
    }
}

/// The first descriptor that is passed, says the convention (sd_listen_fds(3)).
const FIRST: i32 = 3;

/// Returns when nobody is left: neither the program nor what it left to us.
fn manage(options: Manager) -> Result<u8> {
    // Whatever our caller left open; the sockets take these numbers, the first that are free.
    sys::close_inherited(FIRST, i32::MAX)?;
    let mut listening = Vec::new();
    for (at, socket) in (FIRST..).zip(&options.sockets) {
        let (name, path) = socket.split_once('=').context("a socket is NAME=PATH")?;
        let socket = open_to_all(UnixListener::bind(path), path)?;
        ensure!(socket.as_raw_fd() == at, "descriptor {at} is not free");
        fcntl(&socket, FcntlArg::F_SETFD(FdFlag::empty()))?;
        listening.push((name.to_owned(), socket));
    }
    let told = options.notify.as_deref().map(mailbox).transpose()?;
    let mut events = File::create(&options.events).with_context(|| options.events.display().to_string())?;
    set_child_subreaper(true)?;
    let ends = SigSet::from(Signal::SIGCHLD);
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&ends), None)?;
    let ends = SignalFd::with_flags(&ends, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let names: Vec<_> = listening.iter().map(|(name, _)| name.as_str()).collect();
    let service = process::clone(&[], None, || match become_service(&options, &names) {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("{error:#}");
            127
        }
    })?;
    writeln!(events, "began {}", service.pid())?;
    drop(listening);
    loop {
        let mut wanted = vec![PollFd::new(ends.as_fd(), PollFlags::POLLIN)];
        wanted.extend(told.as_ref().map(|told| PollFd::new(told.as_fd(), PollFlags::POLLIN)));
        poll(&mut wanted, PollTimeout::NONE)?;
        // First what was said, then who has ended: he may have said it.
        while ends.read_signal()?.is_some() {}
        if let Some(told) = &told {
            while let Some(line) = hear(told)? {
                events.write_all(line.as_bytes())?;
            }
        }
        loop {
            let status = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, status)) => (pid, status),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + signal as i32),
                Err(nix::errno::Errno::ECHILD) => return Ok(0),
                Ok(_) => break,
                Err(error) => bail!("waiting for a child: {error}"),
            };
            writeln!(events, "ended {} {}", status.0, status.1)?;
        }
    }
}

/// The student may be another user than who checks.
fn open_to_all<T>(bound: std::io::Result<T>, path: &str) -> Result<T> {
    let socket = bound.with_context(|| format!("opening the socket {path}"))?;
    fs::set_permissions(path, Permissions::from_mode(0o777))?;
    Ok(socket)
}

/// Where a service tells its manager something.
fn mailbox(address: &str) -> Result<UnixDatagram> {
    let socket = match address.strip_prefix('@') {
        Some(name) => UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name)?)?,
        None => open_to_all(UnixDatagram::bind(address), address)?,
    };
    setsockopt(&socket, PassCred, &true)?;
    Ok(socket)
}

/// The next message, if there is one: a line of events for each of its lines.
fn hear(socket: &UnixDatagram) -> Result<Option<String>> {
    let (mut text, mut control) = ([0; 4096], nix::cmsg_space!(libc::ucred));
    let mut place = [std::io::IoSliceMut::new(&mut text)];
    let received = recvmsg::<()>(socket.as_raw_fd(), &mut place, Some(&mut control), MsgFlags::MSG_DONTWAIT);
    let (length, sender) = match received {
        Err(nix::errno::Errno::EAGAIN) => return Ok(None),
        Err(error) => bail!("receiving a message: {error}"),
        Ok(message) => {
            let sender = message.cmsgs()?.find_map(|message| match message {
                ControlMessageOwned::ScmCredentials(who) => Some(who.pid()),
                _ => None,
            });
            (message.bytes, sender.unwrap_or(0))
        }
    };
    let text = String::from_utf8_lossy(&text[..length]);
    Ok(Some(text.lines().map(|line| format!("told {sender} {line}\n")).collect()))
}

/// In the copy of us that becomes the program: the environment names its own number.
fn become_service(options: &Manager, names: &[&str]) -> Result<Infallible> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    const OURS: [&str; 4] = ["NOTIFY_SOCKET", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];
    let kept = std::env::vars_os().filter(|(name, _)| !OURS.iter().any(|ours| name == ours));
    let mut all: Vec<_> = kept.map(|(name, value)| [name.into_vec(), value.into_vec()].join(&b'=')).collect();
    if let Some(address) = &options.notify {
        all.push(format!("NOTIFY_SOCKET={address}").into());
    }
    if !names.is_empty() {
        let pid = options.listen_pid.unwrap_or_else(std::process::id);
        all.push(format!("LISTEN_PID={pid}").into());
        all.push(format!("LISTEN_FDS={}", names.len()).into());
        all.push(format!("LISTEN_FDNAMES={}", names.join(":")).into());
    }
    let strings = |all: Vec<Vec<u8>>| all.into_iter().map(CString::new).collect::<Result<Vec<_>, _>>();
    let words = strings(options.program.iter().map(|word| word.clone().into_vec()).collect())?;
    execvpe(&words[0], &words, &strings(all)?).with_context(|| options.program[0].display().to_string())
}

/// Serves like a service that systemd has started for its socket: only if the socket is for this process.
fn serve(clients: u32) -> Result<u8> {
    let said = |name| std::env::var(name).unwrap_or_default();
    let own = std::process::id().to_string();
    ensure!(said("LISTEN_FDS") == "1", "LISTEN_FDS is '{}', and should be '1'", said("LISTEN_FDS"));
    ensure!(said("LISTEN_PID") == own, "LISTEN_PID is '{}', and this is process {own}", said("LISTEN_PID"));
    let socket: OwnedFd = sys::inherited(FIRST).context("descriptor 3")?;
    let socket = UnixListener::from(socket);
    for _ in 0..clients {
        let (mut client, _) = socket.accept().context("accepting a client at descriptor 3")?;
        // Who has gone again is no reason to end.
        let _ = writeln!(client, "served by {own}");
    }
    Ok(0)
}

fn visit(path: &PathBuf) -> Result<u8> {
    let mut server = UnixStream::connect(path).with_context(|| format!("connecting to {}", path.display()))?;
    copy(&mut server, &mut stdout()).context("reading what the server says")?;
    Ok(0)
}
