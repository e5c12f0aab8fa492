//! A user namespace of one's own: root inside, the same user outside.
//!
//! Its id maps say who is who. A user may map his own id by himself; for more, root lends him ids in /etc/subuid and
//! /etc/subgid, and the set-uid programs newuidmap and newgidmap write the map for him (see `idmap`).
//!
//! The subtlety is who writes the map. Being set-uid, newuidmap works only outside the new namespace: inside, root's id
//! means nothing yet. So a process that moves into one leaves a copy of itself outside, which has the map written.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, getegid, geteuid};

use super::idmap::{self, IdMap, Kind, Lack, Writer};
use super::namespace::{self, Namespace};
use super::process;
use crate::hint::{cured, hinted};

/// Who is who in a user namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maps {
    /// Of users.
    pub uids: Vec<IdMap>,
    /// Of groups.
    pub gids: Vec<IdMap>,
}

impl Maps {
    /// Only the caller's own ids, as root.
    pub fn single(uid: u32, gid: u32) -> Self {
        let only = |host| vec![IdMap { container: 0, host, size: 1 }];
        Self { uids: only(uid), gids: only(gid) }
    }

    /// A user's own ids as root, and from 1 on all that root has lent him; his own alone where nothing was lent, or
    /// nobody could write such a map.
    pub fn of_user(name: &str, uid: u32, gid: u32) -> Result<Self> {
        if Lack::of(name, uid)?.is_some() {
            return Ok(Self::single(uid, gid));
        }
        let uids = idmap::subordinate(Kind::Uid, name, uid)?;
        let gids = idmap::subordinate(Kind::Gid, name, uid)?;
        Ok(Self { uids: idmap::with_subordinates(uid, &uids), gids: idmap::with_subordinates(gid, &gids) })
    }

    /// The same for whoever runs this program.
    pub fn of_this_user() -> Result<Self> {
        let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
        Self::of_user(&login_name(uid).unwrap_or_else(|| uid.to_string()), uid, gid)
    }

    /// Whether only one id exists inside.
    pub fn is_single(&self) -> bool {
        idmap::count(&self.uids) == 1
    }

    /// Writes them for the user namespace of process `pid`, from outside of it. Root writes maps himself. A user may
    /// write only his own id, and has newuidmap write others.
    pub fn write(&self, pid: Pid) -> Result<()> {
        let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
        let only = |map: &[IdMap], own: u32| matches!(map, [one] if one.size == 1 && one.host == own);
        if geteuid().is_root() {
            idmap::write(pid, Kind::Gid, &self.gids)?;
            return idmap::write(pid, Kind::Uid, &self.uids);
        }
        // Both programs at once: starting them is what takes the time, and neither waits for the other.
        let mut at_work = Vec::new();
        for (kind, map, own) in [(Kind::Gid, &self.gids, gid), (Kind::Uid, &self.uids, uid)] {
            if !only(map, own) {
                at_work.push(idmap::begin_with_program(pid, kind, map)?);
                continue;
            }
            if kind == Kind::Gid {
                idmap::deny_setgroups(pid)?;
            }
            idmap::write(pid, kind, map)?;
        }
        at_work.into_iter().try_for_each(Writer::end)
    }
}

/// A user namespace with these maps in which nobody lives, held by its file: an idmapped mount shows its files' owners
/// through one. It must be made by who may write such maps, and this process must have one thread.
pub fn without_people(maps: &Maps) -> Result<OwnedFd> {
    let (ours, mut theirs) = UnixStream::pair().context("making a socket pair")?;
    // Each of the two processes has this variable. The copy empties its own, or it would never hear that we are done.
    let mut ours = Some(ours);
    let first = process::clone(&[Namespace::User], None, || {
        drop(ours.take());
        let _ = theirs.read(&mut [0]);
        0
    })?;
    let held = maps.write(first.pid()).and_then(|()| {
        let path = format!("/proc/{}/ns/user", first.pid());
        open(path.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).context(path)
    });
    drop(ours);
    first.reap()?;
    held
}

/// Moves this process into new namespaces, of which one is a user namespace with these maps. It must have one thread.
pub fn enter(maps: &Maps, kinds: &[Namespace]) -> Result<()> {
    let me = Pid::this();
    if maps.is_single() {
        unshare(kinds)?;
        idmap::deny_setgroups(me)?;
        idmap::write(me, Kind::Uid, &maps.uids)?;
        return idmap::write(me, Kind::Gid, &maps.gids);
    }
    let (ours, mut theirs) = UnixStream::pair().context("making a socket pair")?;
    // Each of the two processes has this variable. The copy empties its own: while it held our end, too, it would never
    // hear that we died before we moved.
    let mut ours = Some(ours);
    let helper = process::clone(&[], None, || {
        drop(ours.take());
        if theirs.read_exact(&mut [0]).is_ok()
            && let Err(error) = maps.write(me)
        {
            let _ = theirs.write_all(format!("{error:#}").as_bytes());
        }
        0
    })?;
    drop(theirs);
    let mut ours = ours.context("our end of the socket pair")?;
    let moved = unshare(kinds);
    match &moved {
        Ok(()) => ours.write_all(b"!")?,
        Err(_) => ours.shutdown(Shutdown::Both)?,
    }
    let mut refusal = String::new();
    ours.read_to_string(&mut refusal)?;
    helper.reap()?;
    moved?;
    if !refusal.is_empty() {
        return Err(hinted(format!("mapping ids: {refusal}"), "'podling doctor' looks at what this needs"));
    }
    Ok(())
}

fn unshare(kinds: &[Namespace]) -> Result<()> {
    namespace::unshare(kinds).map_err(|error| {
        let cure = "does the system allow user namespaces? see `podling doctor`, and \
                    sysctl user.max_user_namespaces kernel.unprivileged_userns_clone \
                    kernel.apparmor_restrict_unprivileged_userns";
        cured(error, "making a user namespace", cure)
    })
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
    let text = std::fs::read_to_string("/etc/passwd").ok()?;
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
