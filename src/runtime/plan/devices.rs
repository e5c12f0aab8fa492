//! The device files of a container: those that every container has, and those that the bundle adds or redefines.
//!
//! Which of them the container may then *use* is another matter: `resources`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use oci_spec::runtime::{LinuxDeviceType, Spec};

use crate::linux::resolve;

/// A device file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Where in the container.
    pub path: PathBuf,
    /// Character, block or fifo: `S_IFCHR`, `S_IFBLK`, `S_IFIFO`.
    pub kind: u32,
    /// Numbers.
    pub major: u64,
    /// …
    pub minor: u64,
    /// Permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// All of a container's device files.
pub fn devices(spec: &Spec) -> Result<Vec<Device>> {
    let always = [("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)];
    let character = |name: &str, major, minor| Device {
        path: Path::new("/dev").join(name),
        kind: libc::S_IFCHR,
        major,
        minor,
        mode: 0o666,
        uid: 0,
        gid: 0,
    };
    let mut devices: Vec<Device> = always.iter().map(|(name, minor)| character(name, 1, *minor)).collect();
    devices.push(character("tty", 5, 0));
    let asked = spec.linux().as_ref().and_then(|linux| linux.devices().as_ref());
    for device in asked.into_iter().flatten() {
        let kind = match device.typ() {
            LinuxDeviceType::C | LinuxDeviceType::U => libc::S_IFCHR,
            LinuxDeviceType::B => libc::S_IFBLK,
            LinuxDeviceType::P => libc::S_IFIFO,
            LinuxDeviceType::A => bail!("device {}: type \"a\" is only for rules", device.path().display()),
        };
        let number = |number: i64| u64::try_from(number).with_context(|| format!("device {}", device.path().display()));
        let device = Device {
            path: resolve::clean(device.path()),
            kind,
            major: number(device.major())?,
            minor: number(device.minor())?,
            mode: device.file_mode().unwrap_or(0o666) & 0o7777,
            uid: device.uid().unwrap_or(0),
            gid: device.gid().unwrap_or(0),
        };
        devices.retain(|known| known.path != device.path);
        devices.push(device);
    }
    Ok(devices)
}
