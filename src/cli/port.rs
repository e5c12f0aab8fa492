//! `port`: where a container's ports are found on the host.

use anyhow::{Result, bail};
use clap::Args;

use crate::cli::{Context, Verb, failure, select};
use crate::engine::container::Container;
use crate::engine::network::ports::single;

/// podling port
#[derive(Debug, Args)]
pub struct Port {
    /// A container, and a port of it such as 80 or 53/udp
    #[arg(value_name = "CONTAINER [PORT[/PROTOCOL]]", num_args = 0..=2)]
    words: Vec<String>,
    /// All containers
    #[arg(long, short)]
    all: bool,
    /// The container made last
    #[arg(long, short)]
    latest: bool,
}

impl Verb for Port {
    fn run(self, context: &Context) -> Result<i32> {
        let engine = context.engine()?;
        let mut words = self.words.iter();
        let containers = if self.all {
            engine.sound_containers()?
        } else if self.latest {
            vec![select::latest(&engine)?]
        } else {
            let Some(name) = words.next() else { bail!("you must name a container, or use --all or --latest") };
            vec![engine.container(name)?]
        };
        let wanted = words.next();
        if words.next().is_some() {
            bail!("a container has been chosen already: what else is there can only be one port");
        }
        let mut text = String::new();
        for container in &containers {
            if self.all && !container.config.ports.is_empty() {
                text += &format!("{}\n", container.id());
            }
            text += &mappings(container, wanted.map(String::as_str))?;
        }
        failure::print(&text)
    }
}

fn mappings(container: &Container, wanted: Option<&str>) -> Result<String> {
    let (number, protocol) = match wanted.map(|text| text.split_once('/').unwrap_or((text, "tcp"))) {
        None => (None, ""),
        Some((port, protocol)) => match port.parse::<u16>() {
            Ok(port) => (Some(port), protocol),
            Err(_) => bail!("{port:?} is not a port (1 to 65535)"),
        },
    };
    let mut text = String::new();
    for (port, kind, address, host_port) in single(&container.config.ports) {
        if number.is_some_and(|number| number != port || protocol != kind.to_string()) {
            continue;
        }
        let address = address.map_or_else(|| "0.0.0.0".into(), |address| address.to_string());
        let address = if address.contains(':') { format!("[{address}]") } else { address };
        match number {
            Some(_) => text += &format!("{address}:{host_port}\n"),
            None => text += &format!("{port}/{kind} -> {address}:{host_port}\n"),
        }
    }
    if let Some(wanted) = wanted
        && text.is_empty()
    {
        bail!("failed to find published port {wanted:?} of {}", container.name());
    }
    Ok(text)
}
