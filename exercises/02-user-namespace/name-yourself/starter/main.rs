//! Usage: name-yourself PROGRAM [ARGUMENT…]

use std::ffi::CString;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::execvp;

fn main() -> Result<()> {
    let words: Vec<CString> = std::env::args().skip(1).map(CString::new).collect::<Result<_, _>>()?;
    let program = words.first().context("which program?")?;
    unshare(CloneFlags::CLONE_NEWUSER).context("unshare")?;
    // TODO: be user 1000 and group 100 here.
    execvp(program, &words).context("exec")?;
    Ok(())
}
