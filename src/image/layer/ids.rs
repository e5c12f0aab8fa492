//! Whose files an image holds, and whether this user namespace has those ids.
//!
//! A user who may map few ids finds out from other engines after the whole download, with "invalid argument". Here the
//! error names the file, its owner, what the map has, and what to do.

use anyhow::{Result, anyhow};

use super::tar::Entry;
use crate::linux::idmap::{self, IdMap, Kind};

/// The ids that files may have here.
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
