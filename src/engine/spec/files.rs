//! The files that every container finds in /etc though no image has them right: hosts, resolv.conf, hostname; and
//! /run/.containerenv, by which programs know that they are in a container.
//!
//! They live in the bundle and are bound over the image's, so that the image and the container's own layer stay as they
//! are, and a restart writes them anew.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::engine::container::{Container, Root};
use crate::engine::settings::{NetworkMode, UsernsMode};
use crate::engine::shifted::give_to_root;
use crate::engine::{Engine, network};

/// Writes them; each with where it goes inside.
pub fn write(engine: &Engine, container: &Container) -> Result<Vec<(PathBuf, &'static str)>> {
    let config = &container.config;
    let mut files = Vec::new();
    let mut put = |name: &str, inside: &'static str, text: &str| -> Result<()> {
        let path = container.bundle().join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        // The container's user reads them, whoever that is.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
        give_to_root(engine, config, &path)?;
        files.push((path, inside));
        Ok(())
    };
    if !config.dns.no_hosts {
        put("hosts", "/etc/hosts", &network::names::hosts(engine, config)?)?;
    }
    if config.network != NetworkMode::None
        && let Some(text) = network::names::resolv_conf(config)
    {
        put("resolv.conf", "/etc/resolv.conf", &text)?;
    }
    if !config.hostname.is_empty() && !config.dns.no_hostname {
        put("hostname", "/etc/hostname", &format!("{}\n", config.hostname))?;
    }
    put("containerenv", "/run/.containerenv", &told(engine, container))?;
    Ok(files)
}

fn told(engine: &Engine, container: &Container) -> String {
    let config = &container.config;
    let (image, id) = match &config.root {
        Root::Image { name, id, .. } => (name.as_str(), id.as_str()),
        Root::Directory(_) => ("", ""),
    };
    let mut text = format!(
        "engine=\"podling-{}\"\nname=\"{}\"\nid=\"{}\"\nimage=\"{image}\"\nimageid=\"{id}\"\nrootless={}\n",
        env!("CARGO_PKG_VERSION"),
        config.name,
        config.id,
        u8::from(engine.rootless() || config.namespaces.user != UsernsMode::Host),
    );
    if config.security.privileged {
        text.push_str("privileged=1\n");
    }
    text
}
