//! Usage: own-proc PROGRAM [ARGUMENT…]

use std::convert::Infallible;
use std::ffi::CString;
use std::fs;
use std::process::exit;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{execvp, getuid};

fn main() -> Result<()> {
    let words: Vec<CString> = std::env::args().skip(1).map(CString::new).collect::<Result<_, _>>()?;
    let uid = getuid();
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID).context("unshare")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1")).context("writing uid_map")?;
    // TODO: the program is not in the new pid namespace.
    // TODO: and /proc still is the old one.
    let failed: Result<Infallible, _> = execvp(words.first().context("which program?")?, &words);
    eprintln!("{failed:?}");
    exit(125) // TODO: 127 if there is no such program.
}
