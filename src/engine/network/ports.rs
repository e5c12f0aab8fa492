//! Published ports: which ports of the host a container gets.
//!
//! A host port that is left out (`-p 80`, `-p 127.0.0.1::80`) is chosen when the container is created, and kept:
//! `podling port` tells it before the first start and after a restart.

use std::fmt::{self, Display};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use anyhow::{Context, Result, bail};

use crate::engine::failure::Failure;
use crate::engine::settings::{PortMapping, Protocol};

impl Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// Chooses the host ports that nobody chose, and refuses what cannot be: one host port published twice.
pub fn decide(asked: &[PortMapping]) -> Result<Vec<PortMapping>> {
    let mut decided: Vec<PortMapping> = Vec::new();
    for mapping in asked {
        let mut mapping = mapping.clone();
        if mapping.host_port == 0 {
            mapping.host_port = choose(&mapping, &decided)?;
        } else if let Some(other) = decided.iter().find(|other| **other != mapping && overlap(other, &mapping)) {
            bail!(Failure::Invalid(format!(
                "host port {} is published twice: {} and {}",
                mapping.host_port,
                describe(other),
                describe(&mapping)
            )));
        }
        if !decided.contains(&mapping) {
            decided.push(mapping);
        }
    }
    Ok(decided)
}

fn overlap(a: &PortMapping, b: &PortMapping) -> bool {
    let meet = |a: &PortMapping, b: &PortMapping| b.host_port >= a.host_port && b.host_port - a.host_port < a.range;
    let same_address = a.host_ip.is_none() || b.host_ip.is_none() || a.host_ip == b.host_ip;
    a.protocol == b.protocol && same_address && (meet(a, b) || meet(b, a))
}

/// Lets the kernel choose a free port, and makes sure that those after it are free if a range is wanted.
fn choose(mapping: &PortMapping, taken: &[PortMapping]) -> Result<u16> {
    for _ in 0..100 {
        let first = bind(mapping, 0).context("choosing a host port")?;
        let chosen = PortMapping { host_port: first, ..mapping.clone() };
        let free = first.checked_add(mapping.range - 1).is_some()
            && (1..mapping.range).all(|more| bind(mapping, first + more).is_ok())
            && !taken.iter().any(|other| overlap(other, &chosen));
        if free {
            return Ok(first);
        }
    }
    bail!("no {} free host ports in a row", mapping.range)
}

/// Binds the host's port for a moment; returns it.
fn bind(mapping: &PortMapping, port: u16) -> std::io::Result<u16> {
    let address = SocketAddr::new(mapping.host_ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into()), port);
    Ok(match mapping.protocol {
        Protocol::Tcp | Protocol::Sctp => TcpListener::bind(address)?.local_addr()?.port(),
        Protocol::Udp => UdpSocket::bind(address)?.local_addr()?.port(),
    })
}

/// Refuses host ports that somebody has or that we may not have. pasta would say so as well, but in its own words, and
/// its early versions are content if one of IPv4 and IPv6 worked.
pub fn check_free(ports: &[PortMapping]) -> Result<()> {
    for mapping in ports {
        if mapping.protocol == Protocol::Sctp {
            bail!(Failure::Invalid(format!("publishing {}: pasta carries only tcp and udp", describe(mapping))));
        }
        for offset in 0..mapping.range {
            let port = mapping.host_port.checked_add(offset).context("a host port above 65535")?;
            if let Err(error) = bind(mapping, port) {
                let hint = match error.kind() {
                    std::io::ErrorKind::PermissionDenied => format!(
                        " (ports below {} are root's; sysctl net.ipv4.ip_unprivileged_port_start={port} opens them)",
                        unprivileged_from()
                    ),
                    _ => String::new(),
                };
                let address = mapping.host_ip.map_or_else(|| "0.0.0.0".into(), |ip| ip.to_string());
                let why = error.to_string();
                let why = why.split(" (os error").next().unwrap_or_default().to_lowercase();
                bail!(Failure::Start(format!("publishing {address}:{port}/{}: {why}{hint}", mapping.protocol)));
            }
        }
    }
    Ok(())
}

fn unprivileged_from() -> u16 {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(1024)
}

/// As `podling ps` writes it: `0.0.0.0:8080-8081->80-81/tcp`.
pub fn describe(mapping: &PortMapping) -> String {
    let address = mapping.host_ip.map_or_else(
        || "0.0.0.0".into(),
        |ip| match ip {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        },
    );
    let span = |first: u16| {
        if mapping.range > 1 { format!("{first}-{}", first + (mapping.range - 1)) } else { first.to_string() }
    };
    format!("{address}:{}->{}/{}", span(mapping.host_port), span(mapping.container_port), mapping.protocol)
}

/// Each published port by itself: container port, and the host's address and port.
pub fn single(ports: &[PortMapping]) -> impl Iterator<Item = (u16, Protocol, Option<IpAddr>, u16)> + '_ {
    ports.iter().flat_map(|mapping| {
        (0..mapping.range).map(|offset| {
            (mapping.container_port + offset, mapping.protocol, mapping.host_ip, mapping.host_port + offset)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(host_port: u16, range: u16) -> PortMapping {
        PortMapping { host_ip: None, host_port, container_port: 80, range, protocol: Protocol::Tcp }
    }

    #[test]
    fn a_port_left_to_chance_is_chosen_and_a_port_is_published_once() {
        let decided = decide(&[mapping(0, 1), mapping(0, 3)]).expect("free ports");
        assert!(decided.iter().all(|mapping| mapping.host_port > 0));
        let error = decide(&[mapping(8080, 1), mapping(8079, 3)]).expect_err("published twice");
        assert_eq!(
            error.to_string(),
            "host port 8079 is published twice: 0.0.0.0:8080->80/tcp and 0.0.0.0:8079-8081->80-82/tcp"
        );
    }
}
