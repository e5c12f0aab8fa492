//! Network, ports, names.

use std::net::IpAddr;

use anyhow::{Result, bail};
use clap::Args;

use crate::engine::request::ContainerRequest;
use crate::engine::settings::{NetworkMode, PortMapping, Protocol};

#[derive(Debug, Args)]
#[command(next_help_heading = "Network")]
pub struct Network {
    /// none, host, pasta[:OPTIONS], container:NAME, ns:PATH, bridge or networks by name
    #[arg(long, alias = "net", value_name = "MODE", value_parser = network)]
    #[allow(clippy::struct_field_names)] // the flag's name
    network: Vec<NetworkMode>,
    /// Publish a port, or a range of them, on this machine (repeatable)
    #[arg(long, short, value_name = "[[IP:]HOST:]PORT[/PROTOCOL]", value_delimiter = ',', value_parser = port)]
    publish: Vec<PortMapping>,
    /// Publish all ports that the image exposes
    #[arg(long, short = 'P')]
    publish_all: bool,
    /// Expose a port, for --publish-all
    #[arg(long, value_name = "PORT[/PROTOCOL]", value_delimiter = ',', value_parser = expose)]
    expose: Vec<String>,
    /// Host name
    #[arg(long, short = 'h', value_name = "NAME")]
    hostname: Option<String>,
    /// Leave /etc/hostname as the image has it
    #[arg(long)]
    no_hostname: bool,
    /// Add a line to /etc/hosts; the address may be host-gateway (repeatable)
    #[arg(long, value_name = "NAME:ADDRESS", value_delimiter = ',', value_parser = host)]
    add_host: Vec<(String, String)>,
    /// Leave /etc/hosts as the image has it
    #[arg(long)]
    no_hosts: bool,
    /// Name server; none: leave /etc/resolv.conf as the image has it (repeatable)
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',', value_parser = server)]
    dns: Vec<Server>,
    /// Domain to search for names without dots (repeatable)
    #[arg(long, value_name = "DOMAIN", value_delimiter = ',')]
    dns_search: Vec<String>,
    /// Option of resolv.conf (repeatable)
    #[arg(long, alias = "dns-opt", value_name = "OPTION", value_delimiter = ',')]
    dns_option: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
enum Server {
    Address(IpAddr),
    None,
}

impl Network {
    pub fn ask(self, request: &mut ContainerRequest) -> Result<()> {
        request.network = join(self.network)?;
        request.ports = self.publish;
        request.publish_all = self.publish_all;
        request.expose = self.expose;
        request.hostname = self.hostname;
        request.dns.hosts = self.add_host;
        request.dns.no_hosts = self.no_hosts;
        request.dns.no_hostname = self.no_hostname;
        for server in self.dns {
            match server {
                Server::Address(address) => request.dns.servers.push(address),
                Server::None => request.dns.leave = true,
            }
        }
        request.dns.search = self.dns_search;
        request.dns.options = self.dns_option;
        Ok(())
    }
}

/// `--network` may be repeated for networks that have names, not for modes.
fn join(modes: Vec<NetworkMode>) -> Result<NetworkMode> {
    let mut modes = modes.into_iter();
    let Some(mut all) = modes.next() else { return Ok(NetworkMode::Default) };
    for mode in modes {
        match (&mut all, mode) {
            (NetworkMode::Bridge(names), NetworkMode::Bridge(more)) => names.extend(more),
            _ => bail!("--network can be given several times only for networks that have names"),
        }
    }
    Ok(all)
}

fn network(text: &str) -> Result<NetworkMode, String> {
    let (mode, rest) = text.split_once(':').map_or((text, None), |(mode, rest)| (mode, Some(rest)));
    match (mode, rest) {
        ("" | "default" | "private", None) => Ok(NetworkMode::Default),
        ("none", None) => Ok(NetworkMode::None),
        ("host", None) => Ok(NetworkMode::Host),
        ("pasta", options) => Ok(NetworkMode::Pasta(
            options.unwrap_or_default().split(',').filter(|option| !option.is_empty()).map(str::to_owned).collect(),
        )),
        ("container", Some("") | None) => Err("expected container:NAME".into()),
        ("container", Some(name)) => Ok(NetworkMode::Container(name.to_owned())),
        ("ns", Some(path)) if path.starts_with('/') => Ok(NetworkMode::Path(path.into())),
        ("ns", _) => Err("expected ns: and an absolute path".into()),
        ("slirp4netns", _) => Err("slirp4netns is not supported; pasta does its work".into()),
        (name, None) => Ok(NetworkMode::Bridge(name.split(',').map(str::to_owned).collect())),
        (_, Some(_)) => Err("options of a network are not supported".into()),
    }
}

/// `[[IP:]HOST:]CONTAINER[/PROTOCOL]`, where ports may be ranges and the host's may be left empty.
pub fn port(text: &str) -> Result<PortMapping, String> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => return Err(format!("unknown protocol {protocol:?}: expected tcp, udp or sctp")),
    };
    // An IPv6 address stands in brackets, for it is full of colons itself.
    let (address, ports) = match ports.strip_prefix('[') {
        Some(rest) => rest.split_once("]:").map(|(address, ports)| (Some(address), ports)).ok_or("[ without ]:")?,
        None => match ports.splitn(3, ':').collect::<Vec<_>>()[..] {
            [address, host, container] => (Some(address), &ports[ports.len() - host.len() - container.len() - 1..]),
            _ => (None, ports),
        },
    };
    let host_ip = match address {
        None | Some("") => None,
        Some(address) => Some(address.parse().map_err(|_| format!("{address:?} is not an IP address"))?),
    };
    let (host, container) = ports.split_once(':').unwrap_or(("", ports));
    let (container_port, count) = range(container)?;
    let (host_port, host_count) = if host.is_empty() { (0, count) } else { range(host)? };
    if host_count != count {
        return Err(format!("{host_count} ports of the host for {count} of the container"));
    }
    Ok(PortMapping { host_ip, host_port, container_port, range: count, protocol })
}

/// `80` or `80-82`: the first, and how many.
fn range(text: &str) -> Result<(u16, u16), String> {
    let number = |text: &str| match text.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(format!("{text:?} is not a port (1 to 65535)")),
    };
    match text.split_once('-') {
        None => Ok((number(text)?, 1)),
        Some((first, last)) => match (number(first)?, number(last)?) {
            (first, last) if first <= last => Ok((first, last - first + 1)),
            _ => Err(format!("{text:?} runs backwards")),
        },
    }
}

fn expose(text: &str) -> Result<String, String> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    range(ports)?;
    Ok(format!("{ports}/{protocol}"))
}

fn host(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, "host-gateway")) if !name.is_empty() => Ok((name.to_owned(), "host-gateway".to_owned())),
        Some((name, address)) if !name.is_empty() => {
            let bare = address.trim_start_matches('[').trim_end_matches(']');
            match bare.parse::<IpAddr>() {
                Ok(_) => Ok((name.to_owned(), bare.to_owned())),
                Err(_) => Err(format!("{address:?} is not an IP address")),
            }
        }
        _ => Err("expected NAME:ADDRESS".into()),
    }
}

fn server(text: &str) -> Result<Server, String> {
    match text {
        "none" => Ok(Server::None),
        address => address.parse().map(Server::Address).map_err(|_| "not an IP address".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read() {
        let said = |text: &str| {
            port(text).map(|it| {
                let address = it.host_ip.map_or("*".to_owned(), |ip| ip.to_string());
                format!("{address} {}→{} ×{} {:?}", it.host_port, it.container_port, it.range, it.protocol)
            })
        };
        for (text, expected) in [
            ("80", "* 0→80 ×1 Tcp"),
            ("8080:80", "* 8080→80 ×1 Tcp"),
            ("8080:80/udp", "* 8080→80 ×1 Udp"),
            ("127.0.0.1:8080:80", "127.0.0.1 8080→80 ×1 Tcp"),
            ("127.0.0.1::80", "127.0.0.1 0→80 ×1 Tcp"),
            ("[::1]:8080:80", "::1 8080→80 ×1 Tcp"),
            ("8000-8002:80-82", "* 8000→80 ×3 Tcp"),
        ] {
            assert_eq!(said(text), Ok(expected.into()), "{text}");
        }
    }
}
