//! Usage: contained ROOT <LAYER

use std::fs::{self, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{chdir, chroot};

fn main() -> Result<()> {
    let root = PathBuf::from(std::env::args_os().nth(1).context("into which directory?")?);
    let mut layer = io::stdin().lock();
    // From here on there is no outside: every name and every link begins at the root, and ROOT is the root. The layer is open.
    unshare(CloneFlags::CLONE_NEWUSER).context("a user namespace")?;
    chroot(&root).with_context(|| format!("chroot to {}", root.display()))?;
    chdir("/")?;
    while let Some(entry) = Entry::read(&mut layer)? {
        unpack(Path::new("/"), &entry).with_context(|| format!("unpacking {}", entry.name))?;
    }
    Ok(())
}

/// Puts an entry in its place below ROOT.
fn unpack(root: &Path, entry: &Entry) -> Result<()> {
    let path = root.join(&entry.name);
    if let Some(above) = path.parent() {
        fs::create_dir_all(above)?;
    }
    match entry.kind {
        b'5' => {
            if !path.symlink_metadata().is_ok_and(|found| found.is_dir()) {
                remove(&path)?;
                fs::create_dir(&path)?;
            }
            fs::set_permissions(&path, Permissions::from_mode(entry.mode))?;
        }
        b'2' => {
            remove(&path)?;
            symlink(&entry.link, &path)?;
        }
        b'1' => {
            remove(&path)?;
            fs::hard_link(root.join(&entry.link), &path)?;
        }
        b'0' => {
            // It could be a link, to another file within.
            remove(&path)?;
            fs::write(&path, &entry.content)?;
            fs::set_permissions(&path, Permissions::from_mode(entry.mode))?;
        }
        other => bail!("an entry of kind {}", char::from(other)),
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    if path.symlink_metadata().is_ok_and(|found| !found.is_dir()) {
        fs::remove_file(path)?;
    }
    Ok(())
}

/// What one entry of a tar file says.
struct Entry {
    name: String,
    /// 0 a file, 1 a hard link, 2 a symlink, 5 a directory; as an ASCII digit.
    kind: u8,
    mode: u32,
    /// Where a link leads.
    link: String,
    content: Vec<u8>,
}

impl Entry {
    /// The next one. The end is a block of zeros.
    fn read(layer: &mut impl Read) -> Result<Option<Self>> {
        let mut head = [0; 512];
        layer.read_exact(&mut head)?;
        if head.iter().all(|byte| *byte == 0) {
            io::copy(layer, &mut io::sink())?;
            return Ok(None);
        }
        let text = |from: usize, length: usize| {
            let bytes = head[from..from + length].iter().copied().take_while(|byte| *byte != 0);
            String::from_utf8_lossy(&bytes.collect::<Vec<_>>()).into_owned()
        };
        let number = |from, length| u64::from_str_radix(text(from, length).trim(), 8).context("a number in a tar file");
        // A long name is in two parts.
        let name = if text(345, 155).is_empty() { text(0, 100) } else { format!("{}/{}", text(345, 155), text(0, 100)) };
        let size = number(124, 12)?;
        let mut content = Vec::new();
        layer.take(size).read_to_end(&mut content)?;
        // To the next multiple of 512.
        io::copy(&mut layer.take(size.next_multiple_of(512) - size), &mut io::sink())?;
        Ok(Some(Self { name, kind: head[156], mode: number(100, 8)? as u32 & 0o7777, link: text(157, 100), content }))
    }
}
