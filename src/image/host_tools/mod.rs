//! The image `localhost/host-tools`: put together on first use from the machine's own programs.
//!
//! It makes the first container possible with no network at all. Each program is copied with the libraries that it
//! loads and the loader that loads them, found as the loader itself would; around them a small /etc. Whatever the
//! machine's own layout, the image has the merged one: /bin, /sbin and /lib* are links into /usr.
//!
//! Files belong to root and have no set-user-id bits, names are sorted and times fixed: the same programs give the same
//! image.

mod elf;
mod libraries;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use oci_spec::image::MediaType;

use super::compose::{Composition, Compressed, store_layer};
use super::layer::{Entry, Kind, Writer};
use super::layout::{Layout, LoadedImage};
use super::platform::Platform;
use super::progress::{Event, Progress};
use super::reference::{LOCALHOST, Reference};
use elf::Elf;
use libraries::Libraries;

/// The image's short name.
pub const NAME: &str = "host-tools";

/// What is taken if it is there. Nothing of it is needed but a shell.
const PROGRAMS: &str = "
    sh bash dash busybox
    arch b2sum base32 base64 basename cat chgrp chmod chown cksum comm cp csplit cut date dd df dir dirname du echo env
    expand expr factor false fmt fold groups head hostid id install join link ln logname ls md5sum mkdir mkfifo mknod
    mktemp mv nice nl nohup nproc numfmt od paste pathchk pr printenv printf ptx pwd readlink realpath rm rmdir runcon
    seq sha1sum sha256sum sha512sum shred shuf sleep sort split stat stdbuf stty sum sync tac tail tee test timeout touch
    tr true truncate tsort tty uname unexpand uniq unlink users vdir wc who whoami yes [
    ps top free vmstat uptime pgrep pkill pidof pmap pwdx watch w kill killall pstree
    ip ss ping nc ifconfig route hostname
    mount umount findmnt mountpoint lsblk losetup unshare nsenter setpriv setsid prlimit taskset chrt ionice renice flock
    lsns lscpu lsipc ipcs ipcmk ipcrm dmesg hexdump more script logger fallocate getopt kill rev column cal lsfd
    capsh getpcaps getcap setcap chroot pivot_root switch_root su
    grep sed awk mawk gawk find xargs tar gzip zstd xz diff cmp less vi getent locale ldconfig tput clear reset tset
    strace lsof
";
/// Loaded by name while a program runs, so that no file names them: who a user is (on older glibc), what a host's address is.
const ALSO_LOADED: [&str; 4] = ["libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2", "libgcc_s.so.1"];
/// Terminals that people sit at.
const TERMINALS: [&str; 18] = [
    "alacritty",
    "ansi",
    "dumb",
    "foot",
    "linux",
    "rxvt",
    "rxvt-unicode-256color",
    "screen",
    "screen-256color",
    "tmux",
    "tmux-256color",
    "vt100",
    "vt102",
    "vt220",
    "xterm",
    "xterm-256color",
    "xterm-color",
    "xterm-kitty",
];
const DIRECTORIES: [(&str, u32); 26] = [
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("mnt", 0o755),
    ("opt", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("srv", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("usr/bin", 0o755),
    ("usr/lib", 0o755),
    ("usr/lib32", 0o755),
    ("usr/lib64", 0o755),
    ("usr/libx32", 0o755),
    ("usr/local", 0o755),
    ("usr/local/bin", 0o755),
    ("usr/sbin", 0o755),
    ("usr/share", 0o755),
    ("var", 0o755),
    ("var/cache", 0o755),
    ("var/lib", 0o755),
    ("var/log", 0o755),
    ("var/tmp", 0o1777),
];
const LINKS: [(&str, &str); 7] = [
    ("bin", "usr/bin"),
    ("sbin", "usr/sbin"),
    ("lib", "usr/lib"),
    ("lib32", "usr/lib32"),
    ("lib64", "usr/lib64"),
    ("libx32", "usr/libx32"),
    ("var/run", "../run"),
];
const ETC: [(&str, &str); 7] = [
    (
        "passwd",
        "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/:/bin/false\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    ),
    ("group", "root:x:0:\ndaemon:x:1:\ntty:x:5:\nnogroup:x:65534:\n"),
    ("shadow", "root:*:::::::\n"),
    (
        "nsswitch.conf",
        "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\nprotocols: files\n",
    ),
    ("os-release", "NAME=\"podling host tools\"\nID=host-tools\nPRETTY_NAME=\"This machine's own programs\"\n"),
    ("profile", "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nPS1='\\u@\\h:\\w\\$ '\n"),
    ("shells", "/bin/sh\n/bin/bash\n"),
];

/// Whether a typed name means this image.
pub fn is_meant_by(typed: &str) -> bool {
    let ours = Reference::in_registry(LOCALHOST, NAME);
    Reference::in_registry(LOCALHOST, typed).is_ok_and(|typed| ours.is_ok_and(|ours| typed == ours))
}

/// Finds the image, making it if it is not there.
pub fn ensure(layout: &Layout, progress: &dyn Progress) -> Result<LoadedImage> {
    let name = Reference::in_registry(LOCALHOST, NAME)?;
    match layout.find(&name.to_string()) {
        Ok(image) => Ok(image),
        Err(error) if error.is::<super::layout::NotFound>() => make(layout, progress),
        Err(error) => Err(error),
    }
}

/// Makes the image anew: the machine's programs may have changed.
pub fn make(layout: &Layout, progress: &dyn Progress) -> Result<LoadedImage> {
    progress.event(Event::Note("Making localhost/host-tools from this machine's own programs"));
    let name = Reference::in_registry(LOCALHOST, NAME)?;
    compose(layout, &name).context("making the image localhost/host-tools")
}

fn compose(layout: &Layout, name: &Reference) -> Result<LoadedImage> {
    let tree = Tree::gather()?;
    let adding = layout.adding()?;
    // Not compressed: it is unpacked at once, and travels nowhere.
    let layer = store_layer(&adding, Compressed::Not, |out| tree.write(out))?;
    debug_assert_eq!(*layer.descriptor.media_type(), MediaType::ImageLayer);
    let mut composition = Composition::empty(&Platform::of_this_machine());
    composition.add_layer(layer);
    for instruction in [
        "CMD [\"sh\"]",
        "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LABEL org.opencontainers.image.title=host-tools",
    ] {
        composition.change(instruction)?;
    }
    composition.note(&tree.newest.to_string(), "podling: this machine's own programs", "", None, false);
    composition.store(&adding, Some(name))
}

/// Something in the image.
enum Node {
    Directory(u32),
    Link(PathBuf),
    Bytes(Vec<u8>, u32),
}

/// The image's files, by their paths in it, relative.
struct Tree {
    nodes: BTreeMap<PathBuf, Node>,
    libraries: Libraries,
    /// When the newest of its programs was made: the image's own date, for the same programs always the same.
    newest: Timestamp,
}

impl Tree {
    fn gather() -> Result<Self> {
        let libraries = Libraries::of_this_machine();
        let mut tree = Self { nodes: BTreeMap::new(), libraries, newest: Timestamp::UNIX_EPOCH };
        for (path, mode) in DIRECTORIES {
            tree.nodes.insert(path.into(), Node::Directory(mode));
        }
        for (path, target) in LINKS {
            tree.nodes.insert(path.into(), Node::Link(target.into()));
        }
        for (name, text) in ETC {
            tree.put(&Path::new("/etc").join(name), text.into(), 0o644);
        }
        for name in PROGRAMS.split_whitespace() {
            tree.program(name);
        }
        if !tree.nodes.contains_key(Path::new("usr/bin/sh")) {
            bail!("this machine has no shell in /bin");
        }
        tree.etc();
        tree.terminals();
        Ok(tree)
    }

    /// Takes a program by its name, through whatever links lead to it, and all that it loads.
    fn program(&mut self, name: &str) {
        let dirs = ["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin"].map(PathBuf::from);
        let path = env::var_os("PATH").unwrap_or_default();
        let found = dirs.into_iter().chain(env::split_paths(&path)).find_map(|dir| {
            let path = dir.join(name);
            let real = path.canonicalize().ok()?;
            let mode = real.metadata().ok()?.permissions().mode();
            (mode & 0o111 != 0).then_some((path, real))
        });
        let Some((path, real)) = found else { return };
        let Ok(bytes) = fs::read(&real) else { return };
        // Scripts want interpreters and whatever those read: left out.
        let Some(elf) = elf::read(&bytes) else { return };
        let made = real.metadata().ok().and_then(|it| Timestamp::from_second(it.mtime()).ok());
        self.newest = self.newest.max(made.unwrap_or_default());
        self.put(&real, bytes, 0o755);
        self.loads(&elf, &real);
        let (own, target) = (placed(&path), placed(&real));
        if own != target {
            self.make_parents(&own);
            self.nodes.entry(own).or_insert_with(|| Node::Link(Path::new("/").join(target)));
        }
    }

    /// Takes a file's loader and libraries, and theirs.
    fn loads(&mut self, elf: &Elf, origin: &Path) {
        if let Some(loader) = &elf.interpreter
            && !self.nodes.contains_key(&placed(loader))
            && let Ok(bytes) = fs::read(loader)
        {
            self.put(loader, bytes, 0o755);
            for name in ALSO_LOADED {
                self.library(name, origin, elf);
            }
        }
        for name in &elf.needed {
            self.library(name, origin, elf);
        }
    }

    fn library(&mut self, name: &str, origin: &Path, by: &Elf) {
        if let Some(found) = self.libraries.find(name, origin, by)
            && !self.nodes.contains_key(&placed(&found.path))
        {
            let real = found.path.canonicalize().unwrap_or_else(|_| found.path.clone());
            self.put(&found.path, found.bytes, 0o755);
            self.loads(&found.elf, &real);
        }
    }

    /// Small files that programs look for: the loader's cache, names of ports, the one locale that is never wrong.
    fn etc(&mut self) {
        let mut files: Vec<PathBuf> = ["/etc/ld.so.cache", "/etc/services", "/etc/protocols"].map(PathBuf::from).into();
        for locale in ["/usr/lib/locale/C.utf8", "/usr/lib/locale/C.UTF-8"] {
            files.extend(files_below(Path::new(locale)));
        }
        for path in files {
            if let Ok(bytes) = fs::read(&path) {
                self.put(&path, bytes, 0o644);
            }
        }
    }

    fn terminals(&mut self) {
        let own = env::var("TERM").unwrap_or_default();
        for name in TERMINALS.iter().copied().chain([own.as_str()]) {
            let Some(first) = name.chars().next().filter(|_| !name.contains(['/', '.'])) else { continue };
            for dir in ["/etc/terminfo", "/lib/terminfo", "/usr/lib/terminfo", "/usr/share/terminfo"] {
                let path = Path::new(dir).join(first.to_string()).join(name);
                if let Ok(bytes) = fs::read(&path) {
                    self.put(&path, bytes, 0o644);
                    break;
                }
            }
        }
    }

    fn put(&mut self, path: &Path, bytes: Vec<u8>, mode: u32) {
        let path = placed(path);
        self.make_parents(&path);
        self.nodes.insert(path, Node::Bytes(bytes, mode));
    }

    fn make_parents(&mut self, path: &Path) {
        for parent in path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
            self.nodes.entry(parent.to_owned()).or_insert(Node::Directory(0o755));
        }
    }

    fn write(&self, out: &mut dyn io::Write) -> Result<()> {
        let mut writer = Writer::new(out);
        for (path, node) in &self.nodes {
            let (kind, mode, bytes): (_, _, &[u8]) = match node {
                Node::Directory(mode) => (Kind::Directory, *mode, &[]),
                Node::Link(target) => (Kind::Symlink(target.clone()), 0o777, &[]),
                Node::Bytes(bytes, mode) => (Kind::File(bytes.len() as u64), *mode, bytes),
            };
            let entry = Entry { path: path.clone(), kind, mode, uid: 0, gid: 0, mtime: (0, 0), xattrs: vec![] };
            writer.entry(&entry, bytes)?;
        }
        writer.finish().map(drop)
    }
}

/// Where a file of the machine is in the image: the same place, but in /usr if it is in one of the old directories.
fn placed(path: &Path) -> PathBuf {
    let relative = path.strip_prefix("/").unwrap_or(path);
    let first = relative.iter().next().and_then(|name| name.to_str()).unwrap_or_default();
    match first {
        "bin" | "sbin" | "lib" | "lib32" | "lib64" | "libx32" => Path::new("usr").join(relative),
        _ => relative.to_owned(),
    }
}

/// The regular files of a directory and those below, sorted.
fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut entries: Vec<PathBuf> = fs::read_dir(directory).into_iter().flatten().flatten().map(|e| e.path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::layer::{Ids, Layers};
    use crate::image::progress::Silent;

    #[test]
    fn old_places_are_in_usr() {
        assert_eq!(placed(Path::new("/lib64/ld.so")), Path::new("usr/lib64/ld.so"));
        assert_eq!(placed(Path::new("/usr/bin/sh")), Path::new("usr/bin/sh"));
        assert_eq!(placed(Path::new("/nix/store/x")), Path::new("nix/store/x"));
    }

    #[test]
    fn only_its_own_names_mean_it() {
        for typed in ["host-tools", "localhost/host-tools", "host-tools:latest"] {
            assert!(is_meant_by(typed), "{typed}");
        }
        for typed in ["host-tools:2", "docker.io/library/host-tools", "tools", ""] {
            assert!(!is_meant_by(typed), "{typed}");
        }
    }

    #[test]
    fn its_programs_find_their_libraries_inside_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let layout = Layout::open(&dir.path().join("images")).expect("opens");
        let image = ensure(&layout, &Silent).expect("made");
        assert_eq!(ensure(&layout, &Silent).expect("found").id, image.id);
        let again = make(&layout, &Silent).expect("made again");
        assert_eq!(again.id, image.id, "the same programs give the same image");
        if Ids::of_this_process().is_err() || !nix::unistd::geteuid().is_root() {
            return;
        }
        let layers = Layers::open(&dir.path().join("layers")).expect("opens");
        let in_use = layers.ensure(&layout, &image, &Silent).expect("unpacked");
        let run = |command: &str| {
            let run = std::process::Command::new("chroot")
                .args([in_use.directories[0].as_os_str(), "/bin/sh".as_ref(), "-c".as_ref(), command.as_ref()])
                .env_clear()
                .env("PATH", "/usr/bin:/usr/sbin")
                .output()
                .expect("chroot runs");
            assert!(run.status.success(), "{command}: {}", String::from_utf8_lossy(&run.stderr));
            String::from_utf8_lossy(&run.stdout).trim().to_owned()
        };
        assert_eq!(run("id -un; echo a | grep a; ls / | head -1"), "root\na\nbin");
        for program in ["ip -V", "mount --version", "ipcs --version", "tar --version", "awk 'BEGIN{}'"] {
            run(program);
        }
    }
}
