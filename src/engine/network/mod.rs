//! A container's network: who fills its network namespace, and which names its programs find.
//!
//! | `--network` | what it is |
//! |---|---|
//! | `pasta[:OPTIONS]` | a namespace of its own; pasta(1), an ordinary process, carries its packets to ordinary sockets |
//! | `none` | a namespace of its own with a loopback device and nothing else |
//! | `host` | the caller's namespace |
//! | `container:NAME`, `ns:PATH` | somebody else's namespace, which somebody else fills |
//!
//! pasta is the default, for users and for root alike: bridges are not built yet, and a default that needs no firewall
//! rule, no privilege and no clean-up is a good one for root, too.
//!
//! It must work in a train: where nothing was asked and pasta cannot work (not installed, no /dev/net/tun, no route to
//! anywhere), the container gets `none`, and one line says why and what would cure it. What was asked for (`--network
//! pasta`, `-p`) fails with the same line instead.
//!
//! The order matters once: the namespace exists from `runtime create` on, and the program runs from `runtime start` on.
//! [`connect`] is called between the two, so the program never sees a network that is half there.

pub mod names;
pub mod pasta;
pub mod ports;

use std::net::{IpAddr, UdpSocket};

use anyhow::{Result, bail};

use super::Engine;
use super::container::Container;
use super::failure::Failure;
use super::settings::{NetworkMode, PortMapping};
use crate::trace;
use pasta::{Pasta, Ports};

/// Decides at create what a container's network will be; never [`NetworkMode::Default`]. The second value is what the
/// person should be told, if his silence could not be answered with pasta.
pub fn decide(engine: &Engine, asked: &NetworkMode, ports: &[PortMapping]) -> Result<(NetworkMode, Option<String>)> {
    match asked {
        NetworkMode::Default => match Pasta::find(&engine.paths.run).and_then(|pasta| pasta.check_host()) {
            Ok(()) => Ok((NetworkMode::Pasta(Vec::new()), None)),
            Err(error) if ports.is_empty() => {
                Ok((NetworkMode::None, Some(format!("the container has no network but its loopback: {error:#}"))))
            }
            Err(error) => Err(error),
        },
        NetworkMode::Bridge(names) => bail!(Failure::Invalid(format!(
            "network {:?}: bridges are not built yet; use pasta, host, none, container:NAME or ns:/PATH",
            names.join(",")
        ))),
        other if !ports.is_empty() && !matches!(other, NetworkMode::Pasta(_)) => Ok((
            other.clone(),
            Some(format!("published ports mean nothing with --network {}: they are left out", word(other))),
        )),
        other => Ok((other.clone(), None)),
    }
}

/// The mode as inspect and ps write it.
pub fn word(mode: &NetworkMode) -> String {
    match mode {
        NetworkMode::Default | NetworkMode::Pasta(_) => "pasta".into(),
        NetworkMode::None => "none".into(),
        NetworkMode::Host => "host".into(),
        NetworkMode::Container(id) => format!("container:{id}"),
        NetworkMode::Path(path) => format!("ns:{}", path.display()),
        NetworkMode::Bridge(_) => "bridge".into(),
    }
}

/// Fills the network namespace of a container that was created and not yet started; `pid` is its first process.
pub fn connect(engine: &Engine, container: &Container, pid: i32) -> Result<()> {
    let NetworkMode::Pasta(options) = &container.config.network else { return Ok(()) };
    trace::stage(format_args!("the network: the namespace is there, and the program does not run yet"));
    ports::check_free(&container.config.ports)?;
    Pasta::find(&engine.paths.run)?.start(engine, container, options, pid)
}

/// Undoes [`connect`]: when it returns, no helper runs and the published ports are free. Nothing to undo is no error.
pub fn disconnect(container: &Container) -> Result<()> {
    // A person's own words to pasta may have opened ports, too.
    let plain = matches!(&container.config.network, NetworkMode::Pasta(options) if options.is_empty());
    let ports = if plain && container.config.ports.is_empty() { Ports::None } else { Ports::Perhaps };
    pasta::stop(&container.run, ports)
}

/// The address by which this host speaks to the world, if it has a route there. Connecting a datagram socket sends
/// nothing; it only makes the kernel choose.
fn own_address() -> Option<IpAddr> {
    let towards = |from: &str, to: &str| {
        let socket = UdpSocket::bind(from).ok()?;
        socket.connect(to).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    // Documentation addresses (RFC 5737, RFC 3849): any destination that only the default route reaches will do.
    towards("0.0.0.0:0", "203.0.113.1:9").or_else(|| towards("[::]:0", "[2001:db8::1]:9"))
}
