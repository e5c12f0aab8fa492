//! Network devices of the machine that a container gets for itself (`linux.netDevices`).
//!
//! A device is in one network namespace at a time; moved to another it loses its addresses and is off. So its addresses
//! are read before, and there it is switched on and gets them again. Who moves it must be root over both namespaces, and
//! that is we, outside, before any hook runs. It comes back by itself when the container's namespace ends, if it is real;
//! one that exists only in the kernel (a veth, a VLAN) ends with it.

use std::os::fd::OwnedFd;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::Pid;
use oci_spec::runtime::Linux;

use super::plan::namespaces::Namespaces;
use crate::linux::namespace::{self, Namespace};
use crate::linux::netlink::Netlink;

/// The devices that a container gets.
#[derive(Debug, Default)]
pub struct NetDevices {
    /// What it is called here, and there.
    names: Vec<(String, String)>,
    /// The namespace that the container joins, if it makes none.
    joined: Option<OwnedFd>,
}

impl NetDevices {
    /// Reads them, by name.
    pub fn of(linux: &Linux, namespaces: &Namespaces) -> Result<Self> {
        let asked = linux.net_devices().iter().flatten();
        let named = |name: Option<&String>, here: &String| name.filter(|name| !name.is_empty()).unwrap_or(here).clone();
        let mut names: Vec<_> = asked.map(|(here, it)| (here.clone(), named(it.name().as_ref(), here))).collect();
        if names.is_empty() {
            return Ok(Self::default());
        }
        names.sort();
        ensure!(
            namespaces.has(Namespace::Network),
            "linux.netDevices: the container has no network namespace of its own to have devices in"
        );
        let joined = namespaces.joined.iter().find(|(kind, _)| *kind == Namespace::Network);
        let joined = joined.map(|(_, file)| file.try_clone()).transpose()?;
        Ok(Self { names, joined })
    }

    /// Moves them to where process `pid` is, or will be.
    pub fn hand_over(&self, pid: Pid) -> Result<()> {
        if self.names.is_empty() {
            return Ok(());
        }
        let path = format!("/proc/{pid}/ns/net");
        let there = match &self.joined {
            Some(file) => file.try_clone()?,
            None => open(path.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).context(path)?,
        };
        let (ours, theirs) = (Netlink::open()?, socket_in(&there).context("linux.netDevices")?);
        for (name, wanted) in &self.names {
            one(&ours, &theirs, &there, name, wanted).with_context(|| format!("linux.netDevices: {name}"))?;
        }
        Ok(())
    }
}

/// A socket of another namespace: made there, then we come back.
fn socket_in(there: &OwnedFd) -> Result<Netlink> {
    let here =
        open("/proc/self/ns/net", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).context("/proc/self/ns/net")?;
    namespace::join(there, Namespace::Network).context("entering the container's network namespace")?;
    let made = Netlink::open();
    namespace::join(&here, Namespace::Network).context("coming back to our network namespace")?;
    made
}

fn one(ours: &Netlink, theirs: &Netlink, there: &OwnedFd, name: &str, wanted: &str) -> Result<()> {
    let device = ours.find(name)?.context("there is no such network device")?;
    let wanted = free_name(theirs, wanted)?;
    let addresses = ours.addresses(device)?;
    ours.give_away(device, there, &wanted).with_context(|| format!("moving it into the container as {wanted}"))?;
    // It may have another number there.
    let moved = theirs.find(&wanted)?.with_context(|| format!("{wanted} is not there after it was moved"))?;
    theirs.raise(moved).with_context(|| format!("switching {wanted} on"))?;
    for address in &addresses {
        match theirs.add_address(moved, address) {
            Err(Errno::EEXIST) => {}
            result => result.with_context(|| format!("giving {wanted} its addresses again"))?,
        }
    }
    Ok(())
}

/// The name itself, which must be free; or with `%d` for a number, the first that is.
fn free_name(theirs: &Netlink, wanted: &str) -> Result<String> {
    let Some((before, after)) = wanted.split_once("%d") else {
        ensure!(theirs.find(wanted)?.is_none(), "the container has a network device {wanted} already");
        return Ok(wanted.into());
    };
    for number in 0..1 << 16 {
        let name = format!("{before}{number}{after}");
        if theirs.find(&name)?.is_none() {
            return Ok(name);
        }
    }
    anyhow::bail!("no name {wanted} is free")
}
