//! A tree becomes a tar stream.

use std::fs::{self, File, Metadata};
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, Result};
use tar::{Builder, EntryType, Header};

use crate::image::layer::Ids;

/// Packs what is at `path`, called `top` in the stream; without `top`, what is in the directory. With `owners`, files
/// belong in the stream to who they belong to inside that map.
pub fn pack(path: &Path, top: Option<&Path>, owners: Option<&Ids>, out: impl Write) -> Result<()> {
    // A source that is a link means what it leads to; links below it are copied as links.
    let path = fs::canonicalize(path).with_context(|| path.display().to_string())?;
    let mut builder = Builder::new(out);
    match top {
        Some(top) => add(&mut builder, &path, top, owners)?,
        None => children(&mut builder, &path, Path::new(""), owners)?,
    }
    builder.into_inner().and_then(|mut out| out.flush()).context("writing the tar stream")
}

fn children<W: Write>(builder: &mut Builder<W>, path: &Path, name: &Path, owners: Option<&Ids>) -> Result<()> {
    let mut entries = fs::read_dir(path)
        .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
        .with_context(|| path.display().to_string())?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        add(builder, &entry.path(), &name.join(entry.file_name()), owners)?;
    }
    Ok(())
}

fn add<W: Write>(builder: &mut Builder<W>, path: &Path, name: &Path, owners: Option<&Ids>) -> Result<()> {
    let what = || path.display().to_string();
    let about = match fs::symlink_metadata(path) {
        Ok(about) => about,
        // It has gone since its directory was read: containers run on while they are copied.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(what),
    };
    let kind = about.file_type();
    let mut header = header(&about, owners);
    if kind.is_dir() {
        header.set_entry_type(EntryType::Directory);
        builder.append_data(&mut header, name, std::io::empty()).with_context(what)?;
        return children(builder, path, name, owners);
    }
    if kind.is_symlink() {
        header.set_entry_type(EntryType::Symlink);
        let target = fs::read_link(path).with_context(what)?;
        return builder.append_link(&mut header, name, target).with_context(what);
    }
    if kind.is_file() {
        header.set_entry_type(EntryType::Regular);
        // A running container may put a fifo in its place meanwhile, which would keep us waiting for a writer, or a link.
        let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW;
        let file = File::options().read(true).custom_flags(flags).open(path).with_context(what)?;
        header.set_size(about.len());
        // Exactly as long as the header says, even if somebody is writing to it.
        let exactly = std::io::Read::take(std::io::Read::chain(file, std::io::repeat(0)), about.len());
        return builder.append_data(&mut header, name, exactly).with_context(what);
    }
    let entry = if kind.is_char_device() {
        EntryType::Char
    } else if kind.is_block_device() {
        EntryType::Block
    } else if kind.is_fifo() {
        EntryType::Fifo
    } else {
        return Ok(()); // A socket is nothing without who listens on it.
    };
    header.set_entry_type(entry);
    header.set_device_major(libc::major(about.rdev()))?;
    header.set_device_minor(libc::minor(about.rdev()))?;
    builder.append_data(&mut header, name, std::io::empty()).with_context(what)
}

fn header(about: &Metadata, owners: Option<&Ids>) -> Header {
    let (uid, gid) = owners.map_or((about.uid(), about.gid()), |ids| ids.inside(about.uid(), about.gid()));
    let mut header = Header::new_gnu();
    header.set_mode(about.mode() & 0o7777);
    header.set_uid(uid.into());
    header.set_gid(gid.into());
    header.set_mtime(u64::try_from(about.mtime()).unwrap_or(0));
    header.set_size(0);
    header
}
