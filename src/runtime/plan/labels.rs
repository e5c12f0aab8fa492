//! Labels of security modules: where the module is, they are set; where it is not, to ask for one is an error.
//!
//! A label is a wall. A runtime that finds no module and goes on has left the wall out, and nobody notices.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};

/// Whether AppArmor confines programs here.
pub fn has_apparmor() -> bool {
    fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with('Y'))
}

/// Whether SELinux labels files and processes here.
pub fn has_selinux() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}

/// AppArmor's profile for a program, if one is asked for. `unconfined` asks for nothing.
pub fn apparmor(asked: Option<&str>) -> Result<Option<String>> {
    let asked = asked.filter(|name| !name.is_empty() && *name != "unconfined");
    ensure!(asked.is_none() || has_apparmor(), "process.apparmorProfile: this machine has no AppArmor");
    Ok(asked.map(Into::into))
}

/// SELinux's label, if one is asked for in `field`.
pub fn selinux(field: &str, asked: Option<&str>) -> Result<Option<String>> {
    let asked = asked.filter(|label| !label.is_empty());
    ensure!(asked.is_none() || has_selinux(), "{field}: this machine has no SELinux");
    Ok(asked.map(Into::into))
}
