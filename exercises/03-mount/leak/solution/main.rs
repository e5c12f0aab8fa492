//! Usage: leak DIRECTORY PROGRAM [ARGUMENT…]

use std::ffi::CString;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::execvp;

const NONE: Option<&str> = None;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().context("which directory?")?;
    let words: Vec<CString> = arguments.map(CString::new).collect::<Result<_, _>>()?;
    let program = words.first().context("which program?")?;
    unshare(CloneFlags::CLONE_NEWNS).context("unshare")?;
    // Before the first mount, and for all that are there: from now on they only listen.
    mount(NONE, "/", NONE, MsFlags::MS_SLAVE | MsFlags::MS_REC, NONE).context("slave")?;
    mount(Some("tmpfs"), &*directory, Some("tmpfs"), MsFlags::empty(), NONE).context("tmpfs")?;
    execvp(program, &words).context("exec")?;
    Ok(())
}
