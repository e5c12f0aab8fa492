//! The runs in which another OCI runtime stands in podling-runtime's place, to show that the engine and the monitor rely on
//! nothing but the contract, and that the tests of the runtime ask nothing that only ours does.
//!
//! What does test podling-runtime itself is in modules named `only_ours`, each with the reason; `./test swaps` leaves
//! those out by that name.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::images;
use crate::setup::setup;

/// The runtime to use instead of ours (an absolute path), if this run is a second opinion.
pub fn other_runtime() -> Option<PathBuf> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOUND.get_or_init(find).clone()
}

/// The runtime that this run is about: ours, or the other in its place.
pub fn runtime() -> PathBuf {
    other_runtime().unwrap_or_else(|| setup().bin("podling-runtime"))
}

fn find() -> Option<PathBuf> {
    let name = std::env::var_os("PODLING_TEST_RUNTIME").filter(|name| !name.is_empty())?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(&name)).find(|program| program.exists());
    let found = found.unwrap_or_else(|| panic!("{} is not installed", name.display()));
    Some(if name == "crun" && setup().is_root && !may_raise_limits() { crun_without_limits(&found) } else { found })
}

/// Whether root has CAP_SYS_RESOURCE, number 24: in many containers and some virtual machines it does not.
fn may_raise_limits() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap_or("0");
    u64::from_str_radix(effective.trim(), 16).is_ok_and(|set| set >> 24 & 1 == 1)
}

/// crun, told that it may: see `tests/crun/memlock.rs`.
fn crun_without_limits(crun: &Path) -> PathBuf {
    let library = images::compiled("memlock", include_str!("../crun/memlock.rs"), &["--crate-type=cdylib"]);
    let copy = setup().bin("memlock.so");
    fs::copy(&library, &copy).expect("our own directory");
    let wrapper = setup().bin("crun");
    let script = format!("#!/bin/sh\nLD_PRELOAD={} exec {} \"$@\"\n", copy.display(), crun.display());
    fs::write(&wrapper, script).expect("our own directory");
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).expect("our own file");
    wrapper
}

/// Whether it is this one.
pub fn is(name: &str) -> bool {
    other_runtime().is_some_and(|runtime| runtime.ends_with(name))
}
