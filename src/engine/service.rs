//! A container as a service: what a service manager gives to whoever it starts, and what it is to be told.
//!
//! systemd speaks to a service through its environment. `NOTIFY_SOCKET` names a socket, to say on it that the service is
//! ready (sd_notify(3)); `LISTEN_FDS` says how many descriptors from 3 on are sockets that it has opened already
//! (sd_listen_fds(3)). Both were meant for the program in the container, and podling stands in between.
//!
//! The sockets go through all our hands as they are. Who says that the service is ready is for [`Notify`] to decide. And
//! where `podling run -d` ends at once, systemd must learn from it which process to watch instead: the monitor, which
//! ends as the container ends, with its exit status.
//!
//! The subtlety is that systemd believes nobody. It asks of each word which service the sender belongs to, by his pid,
//! and we would be gone before it looks; so with `BARRIER=1` we send the end of a pipe, and wait until it is closed. And
//! it stops only its own children gently. So the monitor must be one before it is named
//! ([`MonitorConfig::adopted`](crate::handover::MonitorConfig::adopted)).

use std::fs;
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::unistd::pipe;
use serde_json::{Value, json};

use super::container::{Container, ContainerConfig};
use super::settings::Notify;
use crate::handover::NotifyRelay;
use crate::linux::{ipc, process};
use crate::trace::{self, Topic};

/// Where the container finds its notify socket, as under Podman.
const INSIDE: &str = "/run/notify";
/// The socket's name there, and in the directory of ours that is mounted there.
const SOCKET: &str = "notify.sock";
/// How long systemd may take to read; sd_notify(3) waits as long.
const PATIENCE: Duration = Duration::from_secs(5);

/// The service manager's socket, if one started us and is to hear of this container.
pub(super) fn manager(config: &ContainerConfig) -> Option<String> {
    let given = std::env::var("NOTIFY_SOCKET").ok().filter(|address| !address.is_empty());
    given.filter(|_| config.notify != Notify::Ignore)
}

/// What a service manager said to us is not said to those whom we start: crun and runc would act on it by themselves.
pub(super) fn keep_from(command: &mut Command) {
    for variable in ["NOTIFY_SOCKET", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] {
        command.env_remove(variable);
    }
}

/// How many descriptors from 3 on a service manager opened for us.
pub(super) fn sockets() -> u32 {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    // The variables are inherited also by those whom they do not concern.
    if number("LISTEN_PID") == Some(std::process::id()) { number("LISTEN_FDS").unwrap_or(0).min(1024) } else { 0 }
}

/// How many descriptors from 3 on the container gets that are there: first the manager's, then those of `--preserve-fds`.
pub(super) fn descriptors(config: &ContainerConfig) -> u32 {
    process::inherited(sockets() + config.preserve_fds)
}

/// The monitor's part: it passes on what the container says of itself.
pub(super) fn relay(container: &Container) -> Option<NotifyRelay> {
    let manager = manager(&container.config).filter(|_| container.config.notify == Notify::Container)?;
    Some(NotifyRelay { socket: container.run.join("notify").join(SOCKET), manager })
}

/// The container's part: its variables, and the mount in which its notify socket is.
pub(super) fn introduce(container: &Container, spec: &mut Value) -> Result<()> {
    let mut variables = Vec::new();
    if let Some(relay) = relay(container) {
        let directory = relay.socket.parent().context("a socket has a directory")?;
        fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
        // Not every user of the container is the one who made it.
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
        let options = ["bind", "rprivate", "nosuid", "nodev", "noexec"];
        let mount = json!({ "destination": INSIDE, "type": "bind", "source": directory, "options": options });
        append(&mut spec["mounts"], mount);
        variables.push(format!("NOTIFY_SOCKET={INSIDE}/{SOCKET}"));
    }
    if sockets() > 0 {
        // In a pid namespace of its own, that is the program's pid.
        variables.extend([format!("LISTEN_FDS={}", sockets()), "LISTEN_PID=1".into()]);
        variables.extend(std::env::var("LISTEN_FDNAMES").ok().map(|names| format!("LISTEN_FDNAMES={names}")));
    }
    for variable in variables {
        append(&mut spec["process"]["env"], variable.into());
    }
    Ok(())
}

fn append(list: &mut Value, value: Value) {
    if let Some(list) = list.as_array_mut() {
        list.push(value);
    }
}

/// Tells the manager which process is the service's main one, unless it is ourselves; and that it is ready, if nobody
/// else will.
pub(super) fn tell(container: &Container, foreground: bool) -> Result<()> {
    let Some(manager) = manager(&container.config) else { return Ok(()) };
    let main = container.monitor().filter(|_| !foreground).map(|monitor| format!("MAINPID={}", monitor.pid));
    let ready = (container.config.notify == Notify::Monitor).then(|| "READY=1".to_owned());
    let words: Vec<String> = main.into_iter().chain(ready).collect();
    if words.is_empty() {
        return Ok(());
    }
    let words = words.join("\n");
    let said = words.replace('\n', " ");
    trace::ask(Topic::Monitor, "sendmsg", format_args!("{said} to systemd, NOTIFY_SOCKET={manager}"), || {
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&ipc::address(&manager)?)?;
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.send(words.as_bytes())?;
        read_by_now(&socket)
    })
    .with_context(|| format!("telling systemd, NOTIFY_SOCKET={manager}"))
}

/// Waits until all that was said on `socket` is read.
fn read_by_now(socket: &UnixDatagram) -> Result<()> {
    let (ours, theirs) = pipe()?;
    let ends = [theirs.as_raw_fd()];
    let barrier = [ControlMessage::ScmRights(&ends)];
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(b"BARRIER=1")], &barrier, MsgFlags::empty(), None)?;
    drop(theirs);
    let mut end = [PollFd::new(ours.as_fd(), PollFlags::empty())];
    ensure!(poll(&mut end, PollTimeout::try_from(PATIENCE)?)? > 0, "it did not read for {PATIENCE:?}");
    Ok(())
}
