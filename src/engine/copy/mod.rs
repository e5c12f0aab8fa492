//! `cp`: files between containers, the host, and tar streams.
//!
//! One side packs a tar stream, the other unpacks it; between them is a pipe. A path of a container is resolved by the kernel
//! as if the container's root were ours ([`resolve`]): `..` and symbolic links, however wild and however fast a program
//! in the container exchanges them, lead nowhere but inside, and the links of /proc, which lead to where another process
//! is, lead nowhere. What was found is held, and no path is looked up twice.
//!
//! Where things land is cp(1)'s and Docker's rule: into a directory that exists, else under the name that was given; the
//! last word of a source `dir/.` means what is in it.
//!
//! Who owns the copy: on the host, whoever called us; in a container, the container's user, unless `--archive=false`
//! keeps the numbers.

mod pack;
pub(super) mod unpack;

use std::fs::File;
use std::io::{Read, Write, pipe};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::{Gid, Uid};

use super::Engine;
use super::container::{Container, MountSource};
use super::failure::Failure;
use crate::image::layer::Ids;
use crate::linux::resolve::{self, clean};
use crate::linux::stat::is;
use unpack::{Base, Owner};

/// One end of a copy.
#[derive(Debug, Clone)]
pub enum Place {
    /// A path of the host.
    Host(PathBuf),
    /// A path in a container; relative ones are of its root.
    Container(Box<Container>, PathBuf),
    /// A tar stream: standard input or output.
    Stream,
}

/// What `cp` may be told.
#[derive(Debug, Clone, Copy)]
pub struct CopyRequest {
    /// Files that go into a container are given to its user.
    pub archive: bool,
    /// A directory may replace a file, and a file a directory.
    pub overwrite: bool,
}

/// A place, found: a root directory (none: this process's own) and a path in it.
struct Side {
    root: Option<File>,
    path: PathBuf,
    /// Between the ids that are meant there and those on the disk.
    owners: Option<Ids>,
    /// What to call it in messages.
    name: String,
}

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Directory,
    Other,
    Missing,
}

/// Copies.
pub fn copy(engine: &Engine, from: &Place, to: &Place, request: CopyRequest) -> Result<()> {
    let running = [from, to].into_iter().find_map(|place| match place {
        Place::Container(container, _) if container.process().is_some() => Some(container.as_ref()),
        _ => None,
    });
    engine.enter(running)?;
    let owner = match to {
        Place::Container(container, _) if request.archive => user_of(engine, container)?,
        Place::Container(container, _) => Owner::Said(engine.owners(&container.config)?),
        _ => Owner::One(Uid::effective().as_raw(), Gid::effective().as_raw()),
    };
    match (side(engine, from)?, side(engine, to)?) {
        (None, None) => bail!(Failure::Invalid("a tar stream cannot be copied to a tar stream".into())),
        (None, Some(to)) => {
            if to.kind()? != Kind::Directory {
                bail!(Failure::Invalid(format!("{}: a tar stream needs a directory to be unpacked in", to.name)));
            }
            unpack::unpack(std::io::stdin().lock(), to.base(&to.path)?, &owner, request.overwrite)
        }
        (Some(from), None) => {
            let top = from.last_word();
            pack::pack(&from.hold()?, top.as_deref(), from.owners.as_ref(), std::io::stdout().lock())
        }
        (Some(from), Some(to)) => {
            let (base, top) = landing(&from, &to)?;
            let (reader, writer) = pipe().context("making a pipe")?;
            through(&from, to.base(&base)?, top.as_deref(), reader, writer, &owner, request.overwrite)
        }
    }
}

fn through(
    from: &Side,
    to: Base,
    top: Option<&Path>,
    reader: impl Read + Send,
    writer: impl Write + Send,
    owner: &Owner,
    overwrite: bool,
) -> Result<()> {
    let source = from.hold()?;
    std::thread::scope(|scope| {
        let packing = scope.spawn(|| pack::pack(&source, top, from.owners.as_ref(), writer));
        let unpacked = unpack::unpack(reader, to, owner, overwrite);
        let packed = packing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        match (packed, unpacked) {
            (Ok(()), Ok(())) => Ok(()),
            // The one is why the other found a broken pipe.
            (Err(error), Ok(())) | (Ok(()), Err(error)) => Err(error),
            (Err(packed), Err(unpacked)) if is_broken_pipe(&packed) => Err(unpacked),
            (Err(packed), Err(_)) => Err(packed),
        }
    })
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|it| it.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

/// The directory to unpack in, and the name that the source gets there; none if only what is in it is copied.
fn landing(from: &Side, to: &Side) -> Result<(PathBuf, Option<PathBuf>)> {
    let source = from.kind()?;
    if source == Kind::Missing {
        bail!(Failure::Invalid(format!("{}: no such file or directory", from.name)));
    }
    let parent = || {
        let path = clean(&to.path);
        (path.parent().unwrap_or(Path::new("/")).to_path_buf(), path.file_name().map(PathBuf::from))
    };
    match (to.kind()?, source) {
        (Kind::Directory, Kind::Directory) => Ok((to.path.clone(), from.last_word())),
        (Kind::Directory, _) => Ok((to.path.clone(), clean(&from.path).file_name().map(PathBuf::from))),
        (Kind::Other, Kind::Directory) => {
            bail!(Failure::Invalid(format!("{} is a directory, and {} is not", from.name, to.name)))
        }
        (Kind::Other, _) => Ok(parent()),
        (Kind::Missing, _) => {
            let (above, name) = parent();
            let root = to.root.as_ref().map(File::try_clone).transpose()?;
            let above = Side { root, path: above, owners: None, name: String::new() };
            let slash = to.path.as_os_str().as_encoded_bytes().ends_with(b"/");
            if above.kind()? != Kind::Directory || slash && source != Kind::Directory {
                bail!(Failure::Invalid(format!("{}: no such directory", to.name)));
            }
            Ok((above.path, name))
        }
    }
}

impl Side {
    fn open(&self, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
        match &self.root {
            None => open(path, flags | OFlag::O_CLOEXEC, Mode::empty()),
            Some(root) => resolve::open_in_root(root, path, flags),
        }
    }

    /// What is at the path. A source that is a link means what it leads to; links below it are copied as links.
    fn hold(&self) -> Result<OwnedFd> {
        self.open(&self.path, OFlag::O_PATH).with_context(|| self.name.clone())
    }

    /// The directory `path` of this side, to be filled.
    fn base(&self, path: &Path) -> Result<Base> {
        match &self.root {
            None => {
                let directory = self.open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY);
                Ok(Base::beneath(directory.with_context(|| path.display().to_string())?))
            }
            Some(root) => Base::inside(root.try_clone()?.into(), path),
        }
    }

    fn kind(&self) -> Result<Kind> {
        match self.open(&self.path, OFlag::O_PATH) {
            Ok(held) if is(&fstat(&held)?, SFlag::S_IFDIR) => Ok(Kind::Directory),
            Ok(_) => Ok(Kind::Other),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(Kind::Missing),
            Err(errno) => Err(errno).with_context(|| self.name.clone()),
        }
    }

    /// The name under which a copy of it arrives; none for `dir/.` and for the root itself.
    fn last_word(&self) -> Option<PathBuf> {
        let text = self.path.as_os_str().as_encoded_bytes();
        if text == b"." || text.ends_with(b"/.") {
            return None;
        }
        clean(&self.path).file_name().map(PathBuf::from)
    }
}

fn side(engine: &Engine, place: &Place) -> Result<Option<Side>> {
    Ok(match place {
        Place::Stream => None,
        Place::Host(path) => {
            let absolute = if path.is_absolute() { path.clone() } else { std::env::current_dir()?.join(path) };
            Some(Side { root: None, path: absolute, owners: None, name: path.display().to_string() })
        }
        Place::Container(container, path) => {
            let name = format!("{}:{}", container.name(), path.display());
            let path = Path::new("/").join(path);
            let volume = if container.process().is_none() { mounted(engine, container, &path) } else { None };
            let (root, path) = match volume {
                Some((root, path)) => (File::open(&root).with_context(|| format!("opening {}", root.display()))?, path),
                None => (engine.root_of(container)?, path),
            };
            Some(Side { root: Some(root), path, owners: engine.owners(&container.config)?, name })
        }
    })
}

/// While a container does not run, its volumes are not mounted in it; a path in one of them is found where they are.
fn mounted(engine: &Engine, container: &Container, path: &Path) -> Option<(PathBuf, PathBuf)> {
    let cleaned = clean(path);
    let below = container.config.mounts.iter().filter(|mount| cleaned.starts_with(&mount.target));
    let mount = below.max_by_key(|mount| mount.target.len())?;
    let source = match &mount.source {
        MountSource::Bind(source) => source.clone(),
        MountSource::Volume { name, .. } => engine.volume_data(name).ok()?,
        _ => return None,
    };
    let mut rest = Path::new("/").join(cleaned.strip_prefix(&mount.target).ok()?).into_os_string();
    // What stands at its end has a meaning: `/.` is "what is in it", and `/` "a directory".
    let text = path.as_os_str().as_encoded_bytes();
    if let Some(end) = ["/.", "/"].into_iter().find(|end| text.ends_with(end.as_bytes())) {
        rest.push(if rest == "/" { &end[1..] } else { end });
    }
    source.is_dir().then(|| (source, PathBuf::from(rest)))
}

fn user_of(engine: &Engine, container: &Container) -> Result<Owner> {
    let root = engine.root_of(container)?;
    let user = super::spec::user::resolve(&root, &container.config.user, &[])?;
    let (uid, gid) = engine.on_disk(&container.config, (user.uid, user.gid))?;
    Ok(Owner::One(uid, gid))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn here(path: &Path) -> Side {
        Side { root: None, path: path.into(), owners: None, name: path.display().to_string() }
    }

    #[test]
    fn a_copy_lands_where_cp_would_put_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let base = directory.path();
        fs::create_dir_all(base.join("from/deep")).expect("made");
        fs::create_dir(base.join("to")).expect("made");
        fs::write(base.join("from/file"), "x").expect("written");
        let lands = |from: &str, to: &str| match landing(&here(&base.join(from)), &here(&base.join(to))) {
            Ok((directory, name)) => {
                let directory = clean(&directory);
                let directory = directory.strip_prefix(base).expect("inside").display().to_string();
                format!("{directory} {}", name.unwrap_or_default().display())
            }
            Err(error) => error.to_string().replace(&base.display().to_string(), ""),
        };
        assert_eq!(lands("from/file", "to"), "to file");
        assert_eq!(lands("from/file", "to/new"), "to new");
        assert_eq!(lands("from", "to"), "to from");
        assert_eq!(lands("from/.", "to"), "to ");
        assert_eq!(lands("from", "new"), " new");
        assert_eq!(lands("from/file", "new/"), "/new/: no such directory");
        assert_eq!(lands("from", "from/file"), "/from is a directory, and /from/file is not");
        assert_eq!(lands("nothing", "to"), "/nothing: no such file or directory");
    }
}
