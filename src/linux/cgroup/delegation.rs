//! Controllers on their way down the tree, and who may divide a group.
//!
//! A group has `memory.max` only if the one above passes the memory controller on (`cgroup.subtree_control`), and that
//! one's above, up to the root. On the way stands the rule of two levels: a group that passes controllers on may hold no
//! process itself; the kernel answers `EBUSY`. So processes live in leaves, and who was given a group to divide (a
//! systemd unit with `Delegate=yes`) must first move himself down into one; see [`Cgroup::pass_on`]. cgroups(7).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Result;
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::unistd::AccessFlags;

use super::{Cgroup, Hierarchy, Unavailable};

/// The leaf to which the processes of a delegated group move, so that the group may pass controllers on.
pub(super) const CALLERS: &str = "podling-callers";

impl Hierarchy {
    /// The group below which we make others: our own; or, if its processes have stepped down into a leaf to make room
    /// (as [`Cgroup::set`] lets them), the one above that leaf.
    pub fn own_division(&self) -> Result<PathBuf> {
        let own = self.own_path()?;
        Ok(match own.parent() {
            Some(above) if own.file_name().is_some_and(|name| name == CALLERS) => above.into(),
            _ => own,
        })
    }

    /// Whether we may make groups below this one and put processes there.
    pub fn may_divide(&self, path: &Path) -> bool {
        let directory = self.directory(path);
        let writable = |path: &Path| {
            nix::unistd::faccessat(nix::fcntl::AT_FDCWD, path, AccessFlags::W_OK, AtFlags::AT_EACCESS).is_ok()
        };
        writable(&directory) && writable(&directory.join("cgroup.procs"))
    }
}

impl Cgroup {
    /// Lets the groups right below this one have these controllers; the way down from the root must be open already.
    ///
    /// Errors: `EBUSY` if processes live in this group.
    pub(super) fn pass_on_here(&self, controllers: &BTreeSet<String>) -> nix::Result<()> {
        let present = self.words("cgroup.subtree_control");
        let missing: Vec<String> = controllers.difference(&present).map(|name| format!("+{name}")).collect();
        if missing.is_empty() { Ok(()) } else { self.write("cgroup.subtree_control", &missing.join(" ")) }
    }

    /// Opens the way for these controllers from the root of the hierarchy down to this group.
    ///
    /// Where it is barred by processes in our own group, and that group is ours to divide, they move to a leaf below it.
    /// Errors: [`Unavailable`], with the cure if it is known.
    pub(super) fn pass_on(&self, controllers: &BTreeSet<String>) -> Result<()> {
        let own = self.hierarchy.own_division()?;
        let above: Vec<&Path> = self.path.ancestors().skip(1).collect();
        for path in above.into_iter().rev() {
            let Some(group) = Self::open(&self.hierarchy, path)? else { continue };
            let offered = group.words("cgroup.controllers");
            if let Some(missing) = controllers.difference(&offered).next() {
                return Err(Unavailable::new(missing, self, &group, None).into());
            }
            let mut answer = group.pass_on_here(controllers);
            if answer == Err(Errno::EBUSY) && path == own && self.hierarchy.may_divide(&own) {
                answer = group.step_down(controllers);
            }
            if let Err(errno) = answer {
                let missing = controllers.difference(&group.words("cgroup.subtree_control")).next().cloned();
                return Err(Unavailable::new(&missing.unwrap_or_default(), self, &group, Some(errno)).into());
            }
        }
        Ok(())
    }

    /// Moves all processes of this group to a leaf below it, then passes the controllers on.
    pub(super) fn step_down(&self, controllers: &BTreeSet<String>) -> nix::Result<()> {
        let leaf = Self::create(&self.hierarchy, &self.path.join(CALLERS)).map_err(|_| Errno::EACCES)?;
        let mut answer = Err(Errno::EBUSY);
        // Others may fork or arrive meanwhile; a few rounds catch those who were born during the one before.
        for _ in 0..16 {
            for pid in self.read("cgroup.procs")?.lines() {
                match leaf.write("cgroup.procs", pid) {
                    Ok(()) | Err(Errno::ESRCH) => {}
                    Err(errno) => return Err(errno),
                }
            }
            answer = self.pass_on_here(controllers);
            if answer != Err(Errno::EBUSY) {
                break;
            }
        }
        answer
    }

    /// Passes on whatever the groups above this one offer, without moving anybody: so that usage can be read here and
    /// the container sees its limits, even if no limit was asked for.
    pub fn pass_on_what_there_is(&self) {
        let above: Vec<&Path> = self.path.ancestors().skip(1).collect();
        for path in above.into_iter().rev() {
            let Ok(Some(group)) = Self::open(&self.hierarchy, path) else { return };
            // The rule of two levels; the root is exempt.
            if path.parent().is_some() && group.read("cgroup.procs").is_ok_and(|pids| !pids.is_empty()) {
                return;
            }
            for controller in group.words("cgroup.controllers") {
                // What is refused is not there; nothing was asked for.
                let _ = group.pass_on_here(&BTreeSet::from([controller]));
            }
        }
    }
}
