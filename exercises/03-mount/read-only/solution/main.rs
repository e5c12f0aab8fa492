//! Usage: read-only DIRECTORY VIEW PROGRAM [ARGUMENT…]

use std::ffi::CString;

use anyhow::{Context, Result};
use nix::errno::Errno;
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
    mount(Some(directory), view, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE).context("bind")?;
    // A second call: the first one ignores read-only. This one says it of the mounts, all of them, and nothing else.
    let change = libc::mount_attr { attr_set: libc::MOUNT_ATTR_RDONLY, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let path = CString::new(view)?;
    // SAFETY: the path and the struct live until the call returns.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::AT_RECURSIVE,
            &raw const change,
            size_of_val(&change),
        )
    };
    Errno::result(done).context("mount_setattr")?;
    Ok(())
}
