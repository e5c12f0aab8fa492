//! The floor: what the kernel itself asks for one container, with nothing in between.

use std::ffi::CString;
use std::path::Path;

use anyhow::{Result, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::CloneFlags;
use nix::sys::wait::{WaitStatus, waitpid};
use podling::sys::{Side, clone3, exit_now};

/// clone3 with mount, pid, ipc and uts namespaces, pivot_root, /proc, execve of /bin/true, wait.
pub fn run_true(root: &Path) -> Result<()> {
    let namespaces =
        CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
    match clone3(namespaces.bits() as u64, None)? {
        Side::Child => {
            let _ = enter(root);
            exit_now(111)
        }
        Side::Parent(pid, _) => {
            ensure!(waitpid(pid, None)? == WaitStatus::Exited(pid, 0), "the bare container failed");
            Ok(())
        }
    }
}

fn enter(root: &Path) -> Result<()> {
    const NONE: Option<&str> = None;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)?;
    mount(Some(root), root, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)?;
    nix::unistd::chdir(root)?;
    mount(Some("proc"), "proc", Some("proc"), MsFlags::empty(), NONE)?;
    nix::unistd::pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    nix::unistd::execv(c"/bin/true", &[CString::from(c"true")])?;
    Ok(())
}
