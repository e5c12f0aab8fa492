//! Usage: read-only DIRECTORY VIEW PROGRAM [ARGUMENT…]

use std::ffi::CString;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::execvp;

const NONE: Option<&str> = None;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().context("which directory?")?;
    let view = arguments.next().context("where shall it be seen?")?;
    let words: Vec<CString> = arguments.map(CString::new).collect::<Result<_, _>>()?;
    let program = words.first().context("which program?")?;
    unshare(CloneFlags::CLONE_NEWNS).context("unshare")?;
    mount(NONE, "/", NONE, MsFlags::MS_PRIVATE | MsFlags::MS_REC, NONE).context("private")?;
    show(&directory, &view)?;
    execvp(program, &words).context("exec")?;
    Ok(())
}

/// Shows a tree once more, read-only.
fn show(directory: &str, view: &str) -> Result<()> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC | MsFlags::MS_RDONLY;
    mount(Some(directory), view, NONE, flags, NONE).context("bind")
}
