//! Names: what a container finds in /etc/hosts and /etc/resolv.conf.
//!
//! **The host has one name inside, `host.containers.internal`** (Docker's `host.docker.internal` too), and one rule says
//! where it leads:
//!
//! * `--network host`: to 127.0.0.1, which is the host's.
//! * pasta: to 169.254.1.2, which pasta sends to the host's own address. An early pasta cannot do that; it leads to the
//!   gateway with `pasta:--map-gw`, else to another address of the host, and where the host has no other address than
//!   the one that the container has, too, the name is left out: a name that leads nowhere is worse than none.
//! * otherwise: there is no way to the host, and no such name.
//!
//! `--add-host NAME:host-gateway` follows the same rule, but fails where there is no way.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::net::IpAddr;

use anyhow::{Context, Result};

use super::own_address;
use super::pasta::{FORWARDER, HOST, Pasta};
use crate::engine::Engine;
use crate::engine::container::ContainerConfig;
use crate::engine::failure::Failure;
use crate::engine::settings::NetworkMode;

/// The container's /etc/hosts.
pub fn hosts(engine: &Engine, config: &ContainerConfig) -> Result<String> {
    let gateway = host_address(engine, config);
    let mut file = Hosts::default();
    for (name, address) in &config.dns.hosts {
        let address = if address == "host-gateway" {
            gateway.clone().with_context(|| {
                Failure::Start(format!(
                    "--add-host {name}:host-gateway: no address of the host can be reached from network {}",
                    super::word(&config.network)
                ))
            })?
        } else {
            address.clone()
        };
        file.add(&address, name.split(';'));
    }
    file.add("127.0.0.1", ["localhost"]);
    file.add("::1", ["localhost", "ip6-localhost", "ip6-loopback"]);
    if let Some(gateway) = &gateway {
        file.add(gateway, ["host.containers.internal", "host.docker.internal"]);
    }
    let own = match &config.network {
        NetworkMode::Pasta(options) => {
            let asked = options.iter().position(|option| option == "-a" || option == "--address");
            let asked = asked.and_then(|at| options.get(at + 1)).cloned();
            asked.or_else(|| own_address().map(|address| address.to_string()))
        }
        _ => None,
    };
    if !config.hostname.is_empty() {
        file.add(own.as_deref().unwrap_or("127.0.0.1"), [config.hostname.as_str(), &config.name]);
    }
    file.add_host_entries(&fs::read_to_string("/etc/hosts").unwrap_or_default());
    Ok(file.text)
}

/// A hosts file in the making. The first line that has a name wins, as resolvers read it; so do we write it.
#[derive(Default)]
struct Hosts {
    text: String,
    known: BTreeSet<(String, bool)>,
}

impl Hosts {
    /// Adds those of `names` that are not known yet. A name may have one IPv4 and one IPv6 address.
    fn add<'a>(&mut self, address: &str, names: impl IntoIterator<Item = &'a str>) {
        let six = address.contains(':');
        let new: Vec<&str> = names
            .into_iter()
            .filter(|name| !name.is_empty() && self.known.insert(((*name).to_string(), six)))
            .collect();
        if !new.is_empty() {
            let _ = writeln!(self.text, "{address}\t{}", new.join(" "));
        }
    }

    /// The host's own entries, as Podman copies them; but not what the host calls its loopback: inside, that address is
    /// another one.
    fn add_host_entries(&mut self, file: &str) {
        for line in file.lines() {
            let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
            let Some(address) = words.next() else { continue };
            if address.parse::<IpAddr>().is_ok_and(|address| !address.is_loopback()) {
                self.add(address, words);
            }
        }
    }
}

/// Where `host.containers.internal` leads.
fn host_address(engine: &Engine, config: &ContainerConfig) -> Option<String> {
    match &config.network {
        NetworkMode::Host => Some("127.0.0.1".into()),
        NetworkMode::Pasta(options) => {
            if Pasta::find(&engine.paths.run).ok()?.current {
                return Some(HOST.into());
            }
            if options.iter().any(|option| option == "--map-gw") {
                return gateway();
            }
            other_address(own_address()?)
        }
        _ => None,
    }
}

/// The gateway of the IPv4 default route.
fn gateway() -> Option<String> {
    let routes = fs::read_to_string("/proc/net/route").ok()?;
    routes.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let default = fields.get(1) == Some(&"00000000") && fields.get(7) == Some(&"00000000");
        let number = u32::from_str_radix(fields.get(2)?, 16).ok()?;
        (default && number != 0).then(|| std::net::Ipv4Addr::from(number.to_ne_bytes()).to_string())
    })
}

/// An IPv4 address of the host that is neither a loopback's nor `not`.
fn other_address(not: IpAddr) -> Option<String> {
    nix::ifaddrs::getifaddrs().ok()?.find_map(|interface| {
        let address = IpAddr::V4(interface.address?.as_sockaddr_in()?.ip());
        (!address.is_loopback() && address != not).then(|| address.to_string())
    })
}

/// The container's /etc/resolv.conf; none: the image's own stays (`--dns none`).
pub fn resolv_conf(config: &ContainerConfig) -> Option<String> {
    if config.dns.leave {
        return None;
    }
    let host = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    Some(resolver(config, &host))
}

fn resolver(config: &ContainerConfig, host: &str) -> String {
    let host_says = |keyword: &str| -> Vec<String> {
        let lines = host.lines().filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            (words.next() == Some(keyword)).then(|| words.map(String::from).collect::<Vec<_>>())
        });
        lines.flatten().collect()
    };
    let dns = &config.dns;
    let mut servers: Vec<String> = dns.servers.iter().map(ToString::to_string).collect();
    if servers.is_empty() {
        let connected = !matches!(config.network, NetworkMode::None);
        for server in host_says("nameserver").into_iter().filter(|_| connected) {
            // A zone (fe80::1%eth0) names a device that is not there inside.
            let Ok(address) = server.parse::<IpAddr>() else { continue };
            let server = match config.network {
                NetworkMode::Pasta(_) if address.is_loopback() => FORWARDER.into(),
                _ => server,
            };
            if !servers.contains(&server) {
                servers.push(server);
            }
        }
        if servers.is_empty() && matches!(config.network, NetworkMode::Pasta(_)) {
            servers.push(FORWARDER.into());
        }
    }
    let mut search = if dns.search.is_empty() { host_says("search") } else { dns.search.clone() };
    search.retain(|domain| domain != ".");
    let options = if dns.options.is_empty() { host_says("options") } else { dns.options.clone() };
    let mut text = String::new();
    if !search.is_empty() {
        let _ = writeln!(text, "search {}", search.join(" "));
    }
    for server in &servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    if !options.is_empty() {
        let _ = writeln!(text, "options {}", options.join(" "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_with_a_name_wins_and_the_hosts_loopback_names_stay_outside() {
        let mut file = Hosts::default();
        file.add("10.0.0.9", ["db"]);
        file.add_host_entries("127.0.1.1 laptop # mine\n10.0.0.1 db cache\n# 1.2.3.4 no\n::1 six\nfe00::1 db\n");
        assert_eq!(file.text, "10.0.0.9\tdb\n10.0.0.1\tcache\nfe00::1\tdb\n");
    }
}
