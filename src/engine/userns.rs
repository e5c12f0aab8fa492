//! Into the user namespace, without a process that waits there.
//!
//! An ordinary user may mount nothing and own one id. In a user namespace of his own he may do both. All of his containers
//! share one, so that they can share networks and pods. Podman keeps it alive with a pause process; we *join* the
//! namespace of any monitor that lives, and make a new one only when none does. The map is the same each time, so what is
//! on disk does not care which of them made it.
//!
//! The subtlety is the moment: before the process has a second thread, since the kernel moves no multi-threaded process.

use std::fs;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};
use nix::unistd::{Pid, geteuid};

use super::container::{Container, Process, monitor_in};
use super::store::{Lock, write_whole};
use super::{Engine, Owner};
use crate::linux::idmap::Lack;
use crate::linux::mount::{self, Propagation};
use crate::linux::namespace::{self, Namespace};
use crate::linux::process;
pub use crate::linux::userns::login;
use crate::linux::userns::{self, Maps, login_name};
use crate::trace;

static ENTERED: OnceLock<()> = OnceLock::new();

impl Engine {
    /// Becomes root of the user namespace that `container` runs in, or else of the one all of this user's containers
    /// share; and gives this process a mount namespace of its own, where what it mounts is nobody else's business. For
    /// root only the latter. A second call does nothing.
    pub fn enter(&self, container: Option<&Container>) -> Result<()> {
        if ENTERED.get().is_some() {
            return Ok(());
        }
        if geteuid().is_root() {
            trace::stage(format_args!("a mount namespace: what is mounted in it is nobody else's business"));
            namespace::unshare(&[Namespace::Mount])?;
        } else {
            trace::stage(format_args!("a user namespace: root in it, an ordinary user outside"));
            self.enter_user_namespace(container)?;
        }
        // Slave: a disk that the host mounts later still shows up here, and nothing of ours shows up there.
        mount::isolate(Propagation::Slave)?;
        let _ = ENTERED.set(());
        Ok(())
    }

    fn enter_user_namespace(&self, container: Option<&Container>) -> Result<()> {
        // Any of them will do; and one that was just killed is no reason to make another namespace, from which the
        // container could not be reached.
        for host in container.into_iter().flat_map(|it| [it.monitor(), it.process(), it.holder()]).flatten() {
            if join(host)? {
                return namespace::unshare(&[Namespace::Mount]);
            }
        }
        // Two commands that start at once must not both find nobody and make two.
        let _deciding = Lock::exclusive(&self.paths.run.join("userns.lock"))?;
        if self.join_any()? {
            return namespace::unshare(&[Namespace::Mount]);
        }
        self.make()?;
        let me = Process::of(std::process::id() as i32).context("/proc does not show this process")?;
        write_whole(&self.paths.run.join("userns"), format!("{} {}", me.pid, me.start_time).as_bytes())
    }

    /// Joins the namespace of a live monitor, or of the command that made the last one and has no monitor yet.
    fn join_any(&self) -> Result<bool> {
        if let Ok(running) = fs::read_dir(self.paths.run.join("containers")) {
            for directory in running.flatten() {
                if let Some(monitor) = monitor_in(&directory.path())
                    && join(monitor)?
                {
                    return Ok(true);
                }
            }
        }
        match super::container::process_in(&self.paths.run.join("userns")) {
            Some(maker) => join(maker),
            None => Ok(false),
        }
    }

    fn make(&self) -> Result<()> {
        let Owner::User { uid, gid } = self.owner else { bail!("root needs no user namespace") };
        let user = login_name(uid).unwrap_or_else(|| uid.to_string());
        let maps = Maps::of_user(&user, uid, gid)?;
        if maps.is_single() {
            self.warn_of_single_id(&user, uid);
        }
        userns::enter(&maps, &[Namespace::User, Namespace::Mount])
    }

    /// Said once a boot, not once a command.
    fn warn_of_single_id(&self, user: &str, uid: u32) {
        let said = self.paths.run.join("single-id");
        if said.exists() {
            return;
        }
        if let Ok(Some(lack)) = Lack::of(user, uid) {
            let cure = lack.cure(user);
            eprintln!(
                "podling: warning: only your own user id exists in containers, and most images need more: {lack} ({cure})"
            );
        }
        let _ = write_whole(&said, b"");
    }
}

/// Joins the user namespace of `host`; false if it ended meanwhile.
fn join(host: Process) -> Result<bool> {
    let Some(process) = process::Process::find(Pid::from_raw(host.pid), host.start_time)? else { return Ok(false) };
    match namespace::join_process(&process, &[Namespace::User]) {
        Ok(()) => Ok(true),
        Err(nix::errno::Errno::ESRCH) => Ok(false),
        Err(error) => Err(error).with_context(|| format!("joining the user namespace of process {}", host.pid)),
    }
}
