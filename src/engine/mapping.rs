//! User namespaces of single containers, inside the one that all of a user's containers share.
//!
//! `keep-id` gives the caller his own number inside. In the shared namespace he is 0, so the container's namespace maps
//! his number to 0 and shifts the rest by one. The files of an image belong to the shared namespace's ids; see
//! `rootfs` for how they come to look right.

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::container::ContainerConfig;
use super::failure::Failure;
use super::settings::UsernsMode;
use super::store::Lock;
use super::{Engine, Owner};
use crate::linux::idmap::{self, IdMap, Kind};

/// How many ids a container with `--userns=auto` gets.
pub(super) const AUTO_SIZE: u32 = 1024;

impl Engine {
    /// The id maps of a user namespace that is to be made, uids and gids, as the specification has them.
    pub(super) fn id_maps(&self, config: &ContainerConfig) -> Result<Option<(Value, Value)>> {
        let words = |map: Vec<IdMap>| {
            let ranges = map.iter().filter(|range| range.size > 0);
            let word = |it: &IdMap| json!({ "containerID": it.container, "hostID": it.host, "size": it.size });
            json!(ranges.map(word).collect::<Vec<_>>())
        };
        Ok(self.maps(&config.namespaces.user)?.map(|(uids, gids)| (words(uids), words(gids))))
    }

    /// The same as ranges; none where no user namespace is made.
    pub fn maps(&self, mode: &UsernsMode) -> Result<Option<(Vec<IdMap>, Vec<IdMap>)>> {
        let have = |kind| Ok::<_, anyhow::Error>(idmap::count(&idmap::current(kind)?).min(u64::from(u32::MAX)) as u32);
        let (uids, gids) = (have(Kind::Uid)?, have(Kind::Gid)?);
        let explicit = |ranges: &[(u32, u32, u32)]| {
            ranges.iter().map(|&(container, host, size)| IdMap { container, host, size }).collect::<Vec<_>>()
        };
        Ok(match mode {
            UsernsMode::Host | UsernsMode::Container(_) | UsernsMode::Path(_) => None,
            UsernsMode::KeepId { uid, gid } => {
                let Owner::User { uid: own_uid, gid: own_gid } = self.owner else {
                    bail!(Failure::Invalid("keep-id is only supported in rootless mode".into()))
                };
                Some((keep(uid.unwrap_or(own_uid), uids), keep(gid.unwrap_or(own_gid), gids)))
            }
            UsernsMode::Nomap => {
                let all = |count: u32| vec![IdMap { container: 0, host: 1, size: count.saturating_sub(1) }];
                Some((all(uids), all(gids)))
            }
            &UsernsMode::Auto { size, first } => {
                let all = vec![IdMap { container: 0, host: first.max(1), size: size.unwrap_or(AUTO_SIZE) }];
                Some((all.clone(), all))
            }
            UsernsMode::Maps { uids, gids } => {
                let (uids, gids) = (explicit(uids), explicit(gids));
                let gids = if gids.is_empty() { uids.clone() } else { gids };
                Some((if uids.is_empty() { gids.clone() } else { uids }, gids))
            }
        })
    }

    /// The first of `size` ids that no other container with `--userns=auto` has: what escapes from one of them is nobody in
    /// the others. (The caller holds [`Self::ranges`] until the container is there.) The lowest that fits is taken, so that
    /// ranges come back, and with them the layers that were shifted for them.
    pub(super) fn free_range(&self, size: u32) -> Result<u32> {
        let have = idmap::count(&idmap::current(Kind::Uid)?).min(idmap::count(&idmap::current(Kind::Gid)?));
        let ranges = self.sound_containers()?.into_iter().filter_map(|it| match it.config.namespaces.user {
            UsernsMode::Auto { size, first } => Some((first.max(1), size.unwrap_or(AUTO_SIZE))),
            _ => None,
        });
        let first = gap(ranges.collect(), size);
        if !self.rootless() || u64::from(first) + u64::from(size) > have {
            bail!(Failure::Invalid(format!(
                "--userns=auto finds no {size} subordinate ids that no other container has, of {have}"
            )));
        }
        Ok(first)
    }

    /// Held while a range is chosen and until it is written down.
    pub(super) fn ranges(&self) -> Result<Lock> {
        Lock::exclusive(&self.paths.run.join("ranges.lock"))
    }

    /// The entry for a user namespace, if the container has one other than ours.
    pub(super) fn user_namespace(&self, config: &ContainerConfig) -> Result<Option<Value>> {
        Ok(match &config.namespaces.user {
            UsernsMode::Host => None,
            UsernsMode::Path(path) => Some(json!({ "type": "user", "path": path })),
            UsernsMode::Container(id) => Some(json!({ "type": "user", "path": self.namespace_of(id, "user")? })),
            _ => Some(json!({ "type": "user" })),
        })
    }

    /// The file that names a running container's namespace.
    pub(super) fn namespace_of(&self, id: &str, kind: &str) -> Result<String> {
        Ok(format!("/proc/{}/ns/{kind}", self.process_of(id)?.pid))
    }

    /// The live process of container `id`, whose namespaces another wants to share.
    pub(super) fn process_of(&self, id: &str) -> Result<super::container::Process> {
        let container = self.container(id)?;
        container.process().ok_or_else(|| {
            let name = container.name().to_string();
            let wanted = "its namespaces can only be shared while it runs";
            Failure::WrongState { name, state: container.status().word().into(), wanted }.into()
        })
    }

    /// Whether gid `gid` exists in our user namespace.
    pub(super) fn has_gid(&self, gid: u32) -> bool {
        idmap::current(Kind::Gid).is_ok_and(|map| idmap::to_host(&map, gid).is_some())
    }
}

/// The lowest place for `size` ids beside these ranges (first, size). 0 is the caller's own.
fn gap(mut ranges: Vec<(u32, u32)>, size: u32) -> u32 {
    ranges.sort_unstable();
    let mut first: u32 = 1;
    for (begin, length) in ranges {
        if first.saturating_add(size) <= begin {
            break;
        }
        first = first.max(begin.saturating_add(length));
    }
    first
}

/// `id` inside is 0 outside; the others follow in order. `count` ids exist.
fn keep(id: u32, count: u32) -> Vec<IdMap> {
    if count <= 1 {
        return vec![IdMap { container: id, host: 0, size: 1 }];
    }
    let below = id.min(count - 1);
    let mut map = vec![IdMap { container: 0, host: 1, size: below }, IdMap { container: id, host: 0, size: 1 }];
    if below == id && id + 1 < count {
        map.push(IdMap { container: id + 1, host: id + 1, size: count - id - 1 });
    }
    map.retain(|range| range.size > 0);
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_gap_is_taken() {
        assert_eq!(gap(vec![], 10), 1);
        assert_eq!(gap(vec![(1, 10)], 10), 11);
        assert_eq!(gap(vec![(21, 10), (1, 10)], 10), 11);
        assert_eq!(gap(vec![(21, 10), (1, 10)], 11), 31);
        assert_eq!(gap(vec![(5, 10)], 4), 1);
    }

    #[test]
    fn keep_id_maps_every_id_once() {
        let map = keep(1000, 65537);
        assert_eq!(idmap::to_host(&map, 1000), Some(0));
        assert_eq!(idmap::to_host(&map, 0), Some(1));
        assert_eq!(idmap::to_host(&map, 999), Some(1000));
        assert_eq!(idmap::to_host(&map, 1001), Some(1001));
        assert_eq!(idmap::count(&map), 65537);
        assert_eq!(keep(1000, 1).len(), 1);
        assert_eq!(idmap::count(&keep(100_000, 65537)), 65537);
    }
}
