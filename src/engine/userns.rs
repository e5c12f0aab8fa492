//! Into the user namespace, without a process that waits there.
//!
//! An ordinary user may mount nothing and own one id. In a user namespace of his own he may do both. All of his containers
//! share one, so that they can share networks and pods. Podman keeps it alive with a pause process; we *join* the
//! namespace of any monitor that lives, and make a new one only when none does. The map is the same each time, so what is
//! on disk does not care which of them made it.
//!
//! The subtlety is who writes the map. Only newuidmap may map ids that root lent, and being set-uid it works only outside
//! the new namespace: inside, root's id means nothing yet. So a copy of this program is started first, stays outside, and
//! runs newuidmap and newgidmap on us once we have moved.
//!
//! Everything here happens before the process has a second thread: the kernel moves no multi-threaded process.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};
use nix::unistd::{Pid, geteuid};

use super::container::{Container, Process, monitor_in};
use super::store::{Lock, write_whole};
use super::{Engine, Owner, in_path};
use crate::linux::idmap::{self, IdMap, Kind};
use crate::linux::mount::{self, Propagation};
use crate::linux::namespace::{self, Namespace};
use crate::linux::process;
use crate::trace::{self, Topic};

/// The hidden first argument that makes this program [`map_ids`].
pub const MAP_IDS: &str = "--map-ids-of";

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
            namespace::unshare(&[Namespace::Mount])?;
        } else {
            self.enter_user_namespace(container)?;
        }
        // Slave: a disk that the host mounts later still shows up here, and nothing of ours shows up there.
        mount::isolate(Propagation::Slave)?;
        let _ = ENTERED.set(());
        Ok(())
    }

    fn enter_user_namespace(&self, container: Option<&Container>) -> Result<()> {
        if let Some(container) = container
            && let Some(host) = container.monitor().or_else(|| container.process())
            && join(host)?
        {
            return namespace::unshare(&[Namespace::Mount]);
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
        let maps = subordinate_maps(&user, uid, gid)?;
        let Some((uids, gids)) = maps else {
            self.warn_of_single_id(&user);
            namespace::unshare(&[Namespace::User, Namespace::Mount]).context(NO_NAMESPACES)?;
            let me = Pid::this();
            idmap::deny_setgroups(me)?;
            idmap::write(me, Kind::Uid, &[IdMap { container: 0, host: uid, size: 1 }])?;
            return idmap::write(me, Kind::Gid, &[IdMap { container: 0, host: gid, size: 1 }]);
        };
        let mut helper = Command::new("/proc/self/exe")
            .arg(MAP_IDS)
            .args([std::process::id().to_string(), words(&uids), words(&gids)])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting a copy of podling to map ids")?;
        let moved = namespace::unshare(&[Namespace::User, Namespace::Mount]).context(NO_NAMESPACES);
        if let (Ok(()), Some(mut go)) = (&moved, helper.stdin.take()) {
            go.write_all(b"!")?;
        }
        let output = helper.wait_with_output()?;
        moved?;
        if !output.status.success() {
            bail!("mapping ids: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// Said once a boot, not once a command.
    fn warn_of_single_id(&self, user: &str) {
        let said = self.paths.run.join("single-id");
        if said.exists() {
            return;
        }
        let cure = if in_path("newuidmap").is_none() || in_path("newgidmap").is_none() {
            "install newuidmap and newgidmap (package uidmap or shadow-utils)".to_string()
        } else {
            format!("as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}")
        };
        eprintln!("podling: warning: only your own user id exists in containers; most images need more ({cure})");
        let _ = write_whole(&said, b"");
    }
}

const NO_NAMESPACES: &str = "making a user namespace (does the system allow it? see sysctl kernel.unprivileged_userns_clone and user.max_user_namespaces)";

/// The maps with everything that root lent; none where nothing was lent or nobody could write them.
fn subordinate_maps(user: &str, uid: u32, gid: u32) -> Result<Option<(Vec<IdMap>, Vec<IdMap>)>> {
    let uids = idmap::subordinate(Kind::Uid, user, uid)?;
    let gids = idmap::subordinate(Kind::Gid, user, uid)?;
    if uids.is_empty() || gids.is_empty() || in_path("newuidmap").is_none() || in_path("newgidmap").is_none() {
        return Ok(None);
    }
    Ok(Some((idmap::with_subordinates(uid, &uids), idmap::with_subordinates(gid, &gids))))
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

/// What the copy of this program does that stayed outside: waits until the other one has moved, then has its ids mapped.
///
/// `arguments`: the pid, the uid map, the gid map.
pub fn map_ids(arguments: &[String]) -> Result<()> {
    let [pid, uids, gids] = arguments else { bail!("wants a pid and two maps") };
    let pid = Pid::from_raw(pid.parse()?);
    if std::io::stdin().read(&mut [0])? == 0 {
        return Ok(());
    }
    let (uids, gids) = (numbers(uids)?, numbers(gids)?);
    trace::say(Topic::User, "newuidmap", format_args!("and newgidmap, from outside"), "ok");
    // Both at once: they are programs, and starting them is what takes the time.
    let users = idmap::begin_with_program(pid, Kind::Uid, &uids)?;
    let groups = idmap::begin_with_program(pid, Kind::Gid, &gids);
    users.end()?;
    groups?.end()
}

fn words(map: &[IdMap]) -> String {
    map.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn numbers(text: &str) -> Result<Vec<IdMap>> {
    text.split(',')
        .map(|range| {
            let numbers = range.split(' ').map(str::parse).collect::<Result<Vec<u32>, _>>()?;
            let [container, host, size] = numbers[..] else { bail!("{range:?} is not three numbers") };
            Ok(IdMap { container, host, size })
        })
        .collect()
}

/// A user of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// What he is called.
    pub name: String,
    /// His home directory.
    pub home: String,
}

/// A user in /etc/passwd (read by hand: a static program has no name service).
pub fn login(uid: u32) -> Option<Login> {
    let text = fs::read_to_string(Path::new("/etc/passwd")).ok()?;
    text.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, id, _, _, home, ..] = fields[..] else { return None };
        (id.parse() == Ok(uid)).then(|| Login { name: name.into(), home: home.into() })
    })
}

/// What a user of this machine is called.
pub fn login_name(uid: u32) -> Option<String> {
    login(uid).map(|login| login.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_survive_the_way_to_the_helper() {
        let map = [IdMap { container: 0, host: 2000, size: 1 }, IdMap { container: 1, host: 100_000, size: 65536 }];
        assert_eq!(numbers(&words(&map)).expect("numbers"), map);
        assert!(numbers("1 2").is_err());
    }
}
