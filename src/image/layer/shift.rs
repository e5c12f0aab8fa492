//! Shifting: layers once more, with other owners, for a container whose user namespace maps ids in its own way.
//!
//! An unpacked layer has the owners that the user namespace all containers share gives them. A container with a namespace
//! of its own (`--userns=keep-id`) sees the same numbers on the disk as other ids: root's files as another's. Root could
//! have the kernel translate (an idmapped mount); who is not root may not, on the usual file systems, and needs inodes of
//! other owners.
//!
//! Inodes, but not data. Where overlay follows redirects ([`crate::linux::overlay`]), a shifted file is empty and says
//! which file of the original layer has its bytes; a large image costs what its names cost. Elsewhere the bytes are
//! copied, which file systems that can share blocks do by sharing.
//!
//! The first subtlety: with `userxattr`, overlay follows a redirect only from the lowest of the directories it merges. So
//! files that redirect are all put in one: an image's layers are merged here, as overlay would. Copies stay apart, layer
//! by layer, whiteouts and all, for other images to share.
//!
//! The second is the order for each file: a new owner takes set-user-id and file capabilities away, so both come after
//! it, and times last.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{
    FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, fstat, fstatat, futimens, mkdirat, mknodat,
    utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Whence, fchown, fchownat, ftruncate, linkat, lseek, symlinkat};

use super::ids::Ids;
use super::tree::{Tree, is_whiteout, names};
use super::unpack::{OPAQUE, travels};
use crate::linux::idmap::{self, IdMap, Kind};
use crate::linux::overlay::{METACOPY, REDIRECT};
use crate::linux::stat::{is, kind};
use crate::sys;

/// Where a shifted file's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data {
    /// In the original layer, which must stay.
    Original,
    /// In the shifted file.
    Copied,
}

/// A layer to shift.
pub struct Original {
    /// The layer.
    pub directory: OwnedFd,
    /// Where overlay finds it in the data-only directory, from `/` on.
    pub place: PathBuf,
}

/// Fills the empty directory `to` with what the layers (the topmost first) show together, each file with the owners that
/// its own have outside `ids`. With [`Data::Copied`] it is one layer, and what it says of those below is kept.
/// `seen` hears after each directory how many files it had.
pub fn shift(layers: Vec<Original>, to: OwnedFd, ids: &Ids, data: Data, seen: &dyn Fn(usize)) -> Result<()> {
    let others = (outsider(&ids.uids, Kind::Uid)?, outsider(&ids.gids, Kind::Gid)?);
    let layers: Vec<_> = layers.into_iter().map(|layer| (Tree::new(layer.directory), layer.place)).collect();
    let mut shifting = Shifting { layers, to: Tree::new(to), ids, others, data, links: HashMap::new() };
    // Paths instead of recursion: the depth is a stranger's choice. Beside each, the layers that have the directory.
    let mut left = vec![(PathBuf::new(), (0..shifting.layers.len()).collect::<Vec<_>>())];
    let mut directories = Vec::new();
    while let Some((path, having)) = left.pop() {
        let directory = shifting.directory(&path, &having, &mut left);
        let (stat, count) = directory.with_context(|| format!("directory /{}", path.display()))?;
        seen(count);
        directories.push((path, stat));
    }
    // Making files in a directory changed what it shows, and its own mode may forbid it: both come when all is made.
    for (path, stat) in directories.iter().rev() {
        let directory = shifting.to.open_directory(path)?;
        fchmod(&directory, mode(stat))?;
        let time = mtime(stat);
        futimens(&directory, &time, &time)?;
    }
    Ok(())
}

/// An id that exists here and not inside: whoever owns what the map lacks is nobody there.
fn outsider(map: &[IdMap], kind: Kind) -> Result<Option<u32>> {
    let here = idmap::current(kind)?;
    let ends = here.iter().map(|range| range.container + (range.size - 1));
    let beside = map.iter().flat_map(|range| [range.host.checked_sub(1), range.host.checked_add(range.size)]).flatten();
    let free = |id: &u32| idmap::to_host(&here, *id).is_some() && idmap::to_container(map, *id).is_none();
    Ok(ends.chain(beside).filter(free).max())
}

struct Shifting<'a> {
    /// Each with its place.
    layers: Vec<(Tree, PathBuf)>,
    to: Tree,
    ids: &'a Ids,
    /// uid and gid for what the map lacks.
    others: (Option<u32>, Option<u32>),
    data: Data,
    /// Files with several names, by layer and inode: the first name that was met.
    links: HashMap<(usize, u64), PathBuf>,
}

type Left = Vec<(PathBuf, Vec<usize>)>;

impl Shifting<'_> {
    /// Dresses a directory, which is there, and fills it but for its own directories, which are made and `left` to do.
    /// How the topmost layer has it, and the number of names in it.
    fn directory(&mut self, path: &Path, having: &[usize], left: &mut Left) -> Result<(FileStat, usize)> {
        let open = |layer: &usize| Ok::<_, Errno>((*layer, self.layers[*layer].0.open_directory(path)?));
        let sources = having.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let target = self.to.open_directory(path)?;
        let top = &sources.first().context("some layer has it")?.1;
        let stat = fstat(top)?;
        self.give(target.as_fd(), &stat)?;
        self.attributes(top.as_fd(), target.as_fd())?;
        let mut met = HashSet::new();
        for (number, (layer, source)) in sources.iter().enumerate() {
            for name in names(source.try_clone()?)? {
                if !met.insert(name.clone()) {
                    continue;
                }
                let path = path.join(&name);
                let stat = fstatat(source, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
                if is(&stat, SFlag::S_IFDIR) {
                    mkdirat(&target, name.as_os_str(), Mode::S_IRWXU)?;
                    left.push((path, having_too(&sources[number..], &name)?));
                } else {
                    let what = || format!("/{}", path.display());
                    self.entry(*layer, source.as_fd(), target.as_fd(), &name, &path, &stat).with_context(what)?;
                }
            }
        }
        Ok((stat, met.len()))
    }

    /// Makes what is no directory.
    fn entry(
        &mut self,
        layer: usize,
        source: BorrowedFd,
        target: BorrowedFd,
        name: &OsStr,
        path: &Path,
        stat: &FileStat,
    ) -> Result<()> {
        if is_whiteout(stat) {
            if self.data == Data::Copied {
                mknodat(target, name, SFlag::S_IFCHR, Mode::empty(), 0).context("making a whiteout")?;
            }
            return Ok(());
        }
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(layer, stat.st_ino)) {
                let parent = self.to.open_directory(first.parent().unwrap_or(Path::new("")))?;
                return Ok(linkat(
                    &parent,
                    first.file_name().context("a file has a name")?,
                    target,
                    name,
                    AtFlags::empty(),
                )?);
            }
            self.links.insert((layer, stat.st_ino), path.to_owned());
        }
        if is(stat, SFlag::S_IFREG) {
            return self.file(source, target, name, &self.layers[layer].1.join(path), stat);
        }
        if is(stat, SFlag::S_IFLNK) {
            symlinkat(readlinkat(source, name)?.as_os_str(), target, name)?;
        } else {
            mknodat(target, name, kind(stat), mode(stat), stat.st_rdev)?;
        }
        let (uid, gid) = self.owners(stat)?;
        fchownat(target, name, Some(uid.into()), Some(gid.into()), AtFlags::AT_SYMLINK_NOFOLLOW)?;
        if !is(stat, SFlag::S_IFLNK) {
            // Not followed: we made it a moment ago, in a directory that nobody else writes.
            fchmodat(target, name, mode(stat), FchmodatFlags::FollowSymlink)?;
        }
        let time = mtime(stat);
        Ok(utimensat(target, name, &time, &time, UtimensatFlags::NoFollowSymlink)?)
    }

    fn file(&self, source: BorrowedFd, target: BorrowedFd, name: &OsStr, place: &Path, stat: &FileStat) -> Result<()> {
        let flags = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let from = File::from(openat(source, name, OFlag::O_RDONLY | flags, Mode::empty())?);
        let new = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
        let to = File::from(openat(target, name, new | flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
        if stat.st_size > 0 {
            match self.data {
                Data::Original => {
                    sys::fsetxattr(to.as_fd(), OsStr::new(METACOPY), b"").context(METACOPY)?;
                    sys::fsetxattr(to.as_fd(), OsStr::new(REDIRECT), place.as_os_str().as_bytes()).context(REDIRECT)?;
                }
                Data::Copied => copy_data(&from, &to).context("copying")?,
            }
            ftruncate(&to, stat.st_size)?;
        }
        self.give(to.as_fd(), stat)?;
        fchmod(&to, mode(stat))?;
        self.attributes(from.as_fd(), to.as_fd())?;
        let time = mtime(stat);
        Ok(futimens(&to, &time, &time)?)
    }

    fn give(&self, to: BorrowedFd, stat: &FileStat) -> Result<()> {
        let (uid, gid) = self.owners(stat)?;
        Ok(fchown(to, Some(uid.into()), Some(gid.into()))?)
    }

    fn owners(&self, stat: &FileStat) -> Result<(u32, u32)> {
        let (uid, gid) = self.ids.outside(stat.st_uid, stat.st_gid);
        match (uid.or(self.others.0), gid.or(self.others.1)) {
            (Some(uid), Some(gid)) => Ok((uid, gid)),
            _ => bail!("its owner {}:{} is not in the container's user namespace", stat.st_uid, stat.st_gid),
        }
    }

    /// Copies the attributes that are part of a layer.
    fn attributes(&self, from: BorrowedFd, to: BorrowedFd) -> Result<()> {
        let names = match sys::flistxattr(from) {
            Err(Errno::ENOTSUP) => return Ok(()),
            names => names?,
        };
        let ours = |name: &OsString| travels(name) || (self.data == Data::Copied && name == OPAQUE);
        for name in names.iter().filter(|name| ours(name)) {
            // A capability is read as it is meant in this user namespace, and the kernel notes the namespace anew.
            let set = || sys::fsetxattr(to, name, &sys::fgetxattr(from, name)?);
            set().with_context(|| format!("attribute {}", name.display()))?;
        }
        Ok(())
    }
}

/// The layers that have a part of directory `name`, of which the first one has it: those below, down to one that has
/// something else of that name, or says that nothing below it shows.
fn having_too(sources: &[(usize, OwnedFd)], name: &OsStr) -> Result<Vec<usize>> {
    let mut having = Vec::new();
    for (layer, source) in sources {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        match openat(source, name, flags, Mode::empty()) {
            Ok(directory) => {
                having.push(*layer);
                if sys::fgetxattr(directory.as_fd(), OsStr::new(OPAQUE)).is_ok_and(|value| value == b"y") {
                    break;
                }
            }
            Err(Errno::ENOENT) => {}
            Err(Errno::ENOTDIR | Errno::ELOOP) => break,
            Err(error) => return Err(error).with_context(|| name.display().to_string()),
        }
    }
    Ok(having)
}

/// Copies what is data, and leaves holes as holes. Between two files of a file system that can share blocks,
/// copy_file_range(2) (which `io::copy` uses) shares them.
fn copy_data(mut from: &File, mut to: &File) -> Result<()> {
    let mut at = 0;
    loop {
        let start = match lseek(from, at, Whence::SeekData) {
            // Only a hole is left.
            Err(Errno::ENXIO) => return Ok(()),
            start => start?,
        };
        let end = lseek(from, start, Whence::SeekHole)?;
        from.seek(SeekFrom::Start(start as u64))?;
        to.seek(SeekFrom::Start(start as u64))?;
        io::copy(&mut from.take((end - start) as u64), &mut to)?;
        at = end;
    }
}

fn mode(stat: &FileStat) -> Mode {
    Mode::from_bits_truncate(stat.st_mode & 0o7777)
}

fn mtime(stat: &FileStat) -> TimeSpec {
    TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec)
}
