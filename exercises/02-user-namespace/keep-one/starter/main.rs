//! Usage: keep-one PROGRAM [ARGUMENT…]

use std::ffi::CString;
use std::fs;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{execvp, getegid, geteuid};

/// CAP_NET_BIND_SERVICE: ports below 1024.
const KEPT: u32 = 10;

fn main() -> Result<()> {
    let words: Vec<CString> = std::env::args().skip(1).map(CString::new).collect::<Result<_, _>>()?;
    let program = words.first().context("which program?")?;
    let (user, group) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER).context("unshare")?;
    fs::write("/proc/self/setgroups", "deny").context("setgroups")?;
    fs::write("/proc/self/gid_map", format!("1000 {group} 1")).context("gid_map")?;
    fs::write("/proc/self/uid_map", format!("1000 {user} 1")).context("uid_map")?;
    // Here we have every capability of the new namespace.
    set(1 << KEPT, 1 << KEPT, 0).context("capset")?;
    execvp(program, &words).context("exec")?;
    Ok(())
}

/// Sets the three sets of capabilities of this process that capset(2) can set.
fn set(effective: u64, permitted: u64, inheritable: u64) -> Result<()> {
    // The third version of the interface; pid 0 is the caller.
    let header: [u32; 2] = [0x2008_0522, 0];
    // Each set comes as two halves, the lower ones first.
    let half = |shift: u32| [effective, permitted, inheritable].map(|set| (set >> shift) as u32);
    let data = [half(0), half(32)];
    // SAFETY: a header and two structs of three numbers, as capset(2) describes them.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, &raw const header, &raw const data) })?;
    Ok(())
}

/// prctl(2) with numbers.
#[allow(dead_code)]
fn prctl(option: i32, argument: u32, number: u32) -> Result<(), Errno> {
    // SAFETY: options with numbers only touch no memory of ours.
    let done = unsafe { libc::prctl(option, libc::c_ulong::from(argument), libc::c_ulong::from(number), 0, 0) };
    Errno::result(done).map(drop)
}
