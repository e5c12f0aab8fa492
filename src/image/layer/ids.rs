//! Whose files an image holds, and whether this user namespace has those ids.
//!
//! A user who may map few ids finds out from other engines after the whole download, with "invalid argument". Here the
//! error names the file, its owner, what the map has, and what to do.

use anyhow::{Result, anyhow};

use super::tar::Entry;
use crate::linux::idmap::{self, IdMap, Kind};

/// What the kernel shows for an id that a user namespace lacks (/proc/sys/kernel/overflowuid).
const NOBODY: u32 = 65534;

/// The ids that files may have in a user namespace, and what they are outside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ids {
    /// User ids.
    pub uids: Vec<IdMap>,
    /// Group ids.
    pub gids: Vec<IdMap>,
}

impl Ids {
    /// Those of this process's user namespace.
    pub fn of_this_process() -> Result<Self> {
        Ok(Self { uids: idmap::current(Kind::Uid)?, gids: idmap::current(Kind::Gid)? })
    }

    /// Whether every id inside is the same id outside.
    pub fn change_nothing(&self) -> bool {
        self.uids.iter().chain(&self.gids).all(|range| range.container == range.host)
    }

    /// The owners outside that `uid` and `gid` inside are, each if the map has it.
    pub fn outside(&self, uid: u32, gid: u32) -> (Option<u32>, Option<u32>) {
        (idmap::to_host(&self.uids, uid), idmap::to_host(&self.gids, gid))
    }

    /// The owners inside that `uid` and `gid` outside are; those that the map lacks are nobody's, as the kernel shows them.
    pub fn inside(&self, uid: u32, gid: u32) -> (u32, u32) {
        let inside = |map: &[IdMap], id| idmap::to_container(map, id).unwrap_or(NOBODY);
        (inside(&self.uids, uid), inside(&self.gids, gid))
    }

    /// Whether an entry's owners exist here.
    pub fn have(&self, entry: &Entry) -> bool {
        idmap::to_host(&self.uids, entry.uid).is_some() && idmap::to_host(&self.gids, entry.gid).is_some()
    }

    /// The error for an entry whose owners do not.
    pub fn refusal(&self, entry: &Entry) -> anyhow::Error {
        let (what, id, kind, map) = match idmap::to_host(&self.uids, entry.uid) {
            None => ("user", entry.uid, Kind::Uid, &self.uids),
            Some(_) => ("group", entry.gid, Kind::Gid, &self.gids),
        };
        // One's own id and the lent ones are two ranges of the map, and one for whoever counts.
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for range in map {
            let (first, end) = (u64::from(range.container), u64::from(range.container) + u64::from(range.size));
            match ranges.last_mut() {
                Some((_, last)) if *last == first => *last = end,
                _ => ranges.push((first, end)),
            }
        }
        let show = |(first, end): &(u64, u64)| match end - first {
            1 => first.to_string(),
            _ => format!("{first}-{}", end - 1),
        };
        let ranges: Vec<String> = ranges.iter().map(show).collect();
        anyhow!(
            "/{} belongs to {what} {id}, but this user namespace has only {what} ids {}; \
             give yourself more in {} (at least {} ids; `podling doctor` tells how)",
            entry.path.display().to_string().trim_start_matches(['/', '.']),
            ranges.join(","),
            kind.subordinate_file().display(),
            u64::from(id) + 1,
        )
    }
}
