//! The working directory, looked at before anything runs there.
//!
//! Images often name one that they do not have: it is made, and belongs to the container's user. One that a person named
//! must be there, since he has more likely misspelt it than wanted an empty one.
//!
//! The subtlety is what cannot be seen from here: a directory on something that is mounted only later. That is left to the
//! runtime, which makes it if it can.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::unistd::{Gid, Uid, fchownat};

use super::user::User;
use crate::engine::Engine;
use crate::engine::container::Container;
use crate::engine::failure::Failure;
use crate::linux::resolve;

/// Sees to it that the working directory is there, in the root file system that is mounted at `root`.
pub fn working_directory(engine: &Engine, container: &Container, root: &File, user: &User) -> Result<()> {
    let config = &container.config;
    let directory = Path::new(&config.working_dir);
    let mut mounts = config.mounts.iter().map(|mount| mount.target.as_str()).chain(["/dev", "/proc", "/sys"]);
    if mounts.any(|target| directory.starts_with(target)) {
        return Ok(());
    }
    let (said, id) = (&config.working_dir, container.id());
    match resolve::open_in_root(root, directory, OFlag::O_PATH | OFlag::O_DIRECTORY) {
        Ok(_) => Ok(()),
        Err(Errno::ENOENT) if config.make_working_dir => {
            let made = resolve::directory_in_root(root, directory).context("the working directory")?;
            let (uid, gid) = engine.on_disk(config, (user.uid, user.gid))?;
            fchownat(&made, "", Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::AT_EMPTY_PATH)
                .context("giving the working directory to the container's user")
        }
        Err(Errno::ENOENT) => {
            bail!(Failure::NotExecutable(format!("workdir {said:?} does not exist on container {id}")))
        }
        Err(Errno::ENOTDIR) => {
            bail!(Failure::NotExecutable(format!("workdir {said:?} exists on container {id}, but is not a directory")))
        }
        Err(error) => Err(error).with_context(|| format!("the working directory {said}")),
    }
}
