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
        let ranges: Vec<String> = map
            .iter()
            .map(|range| match range.size {
                1 => range.container.to_string(),
                size => format!("{}-{}", range.container, u64::from(range.container) + u64::from(size) - 1),
            })
            .collect();
        anyhow!(
            "/{} belongs to {what} {id}, but this user namespace has only {what} ids {}; \
             give yourself more in {} (at least {} ids, see `podling doctor`), then `podling system reset`",
            entry.path.display().to_string().trim_start_matches(['/', '.']),
            ranges.join(","),
            kind.subordinate_file().display(),
            u64::from(id) + 1,
        )
    }
}
