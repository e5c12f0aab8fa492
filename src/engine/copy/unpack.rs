//! A tar stream becomes a tree.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::Path;

use anyhow::{Context, Result, bail};
use tar::{Archive, EntryType};

use crate::image::layer::Ids;

/// Who gets what is unpacked.
#[derive(Debug, Clone)]
pub enum Owner {
    /// One user and group, as they are on the disk.
    One(u32, u32),
    /// Whom the stream says, as it is outside this map.
    Said(Option<Ids>),
}

/// The library says twice what it was doing, by names that only it knows; the system's word is enough.
fn plain(error: std::io::Error) -> std::io::Error {
    let kind = error.kind();
    std::io::Error::new(kind, anyhow::Error::new(error).root_cause().to_string())
}

/// Unpacks a stream in directory `base`; nothing of it lands outside.
pub fn unpack(stream: impl Read, base: &Path, owner: &Owner, overwrite: bool) -> Result<()> {
    let mut archive = Archive::new(stream);
    archive.set_preserve_permissions(true);
    archive.set_preserve_mtime(true);
    archive.set_preserve_ownerships(matches!(owner, Owner::Said(None)));
    for entry in archive.entries().context("reading the tar stream")? {
        let mut entry = entry.context("reading the tar stream")?;
        let name = entry.path().context("reading the tar stream")?.into_owned();
        let target = base.join(&name);
        let what = || format!("writing {}", name.display());
        let directory = entry.header().entry_type() == EntryType::Directory;
        if let Ok(there) = fs::symlink_metadata(&target)
            && there.is_dir() != directory
        {
            let link_to_directory = directory && fs::metadata(&target).is_ok_and(|it| it.is_dir());
            match () {
                () if link_to_directory => {}
                () if !overwrite && directory => bail!("{} is a directory, and there is a file", name.display()),
                () if !overwrite => bail!("{} is a file, and there is a directory", name.display()),
                () if there.is_dir() => fs::remove_dir_all(&target).with_context(what)?,
                () => fs::remove_file(&target).with_context(what)?,
            }
        }
        if !entry.unpack_in(base).map_err(plain).with_context(what)? {
            bail!("{} would land outside", name.display());
        }
        let given = match owner {
            Owner::One(uid, gid) => Some((Some(*uid), Some(*gid))),
            Owner::Said(None) => None,
            Owner::Said(Some(ids)) => {
                let id =
                    |number: std::io::Result<u64>| Ok::<_, std::io::Error>(u32::try_from(number?).unwrap_or(u32::MAX));
                Some(ids.outside(
                    id(entry.header().uid()).with_context(what)?,
                    id(entry.header().gid()).with_context(what)?,
                ))
            }
        };
        if let Some((uid, gid)) = given {
            lchown(&target, uid, gid).with_context(what)?;
            // A new owner costs a program its set-uid bit, which cp keeps.
            if matches!(entry.header().entry_type(), EntryType::Regular) {
                let mode = entry.header().mode().with_context(what)? & 0o7777;
                fs::set_permissions(&target, fs::Permissions::from_mode(mode)).with_context(what)?;
            }
        }
    }
    Ok(())
}
