//! A mount of config.json, its option words sorted: attributes of the mount, propagation, and the file system's own.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::mount::MsFlags;

use super::namespaces::maps;
use crate::linux::mount::{Attributes, Propagation, Reach, Setting};
use crate::linux::resolve::clean;
use crate::linux::userns::Maps;

/// A mount, ready to be made.
#[derive(Debug)]
pub struct Mount {
    /// Where, inside the root: absolute and without dots.
    pub target: PathBuf,
    /// What.
    pub source: Source,
    /// Attributes of the mount itself.
    pub attributes: Attributes,
    /// Attributes of all mounts below it too.
    pub tree_attributes: Attributes,
    /// Propagation, in the order asked for.
    pub propagation: Vec<(Propagation, Reach)>,
    /// Fill the new tmpfs with what the image has there.
    pub copy_up: bool,
    /// Show the files' owners through other ids.
    pub id_map: Option<MappedIds>,
}

/// What is mounted.
#[derive(Debug)]
pub enum Source {
    /// A file or directory of the host.
    Bind {
        /// Where.
        path: PathBuf,
        /// With what is mounted below it?
        reach: Reach,
        /// A detached copy, if the parent might make it.
        tree: Option<OwnedFd>,
        /// If it is a symlink, make such a symlink instead.
        copy_symlink: bool,
    },
    /// A new file system that takes its settings one by one.
    New {
        /// `tmpfs`, `proc`, …
        kind: String,
        /// The name shown in mountinfo.
        source: String,
        /// Its own options.
        settings: Vec<Setting>,
    },
    /// The container's view of the cgroup tree.
    Cgroup,
    /// Another file system, with its options in one string, as mount(2) takes them.
    Other {
        /// `overlay`, `ext4`, …
        kind: String,
        /// A device, or a name.
        source: String,
        /// Its own options.
        options: String,
        /// What holds for the whole file system, not for one mount of it.
        flags: MsFlags,
    },
}

/// How an idmapped mount shows its files' owners.
#[derive(Debug)]
pub struct MappedIds {
    /// Through these maps; or through those of the container's user namespace.
    pub maps: Option<Maps>,
    /// The mounts below it too?
    pub reach: Reach,
}

impl Source {
    /// In a few words, for the narration.
    pub fn told(&self) -> String {
        match self {
            Source::Bind { path, .. } => format!("{} of the host, bound", path.display()),
            Source::New { kind, .. } | Source::Other { kind, .. } => format!("a new {kind}"),
            Source::Cgroup => "the cgroup tree from its own group down".into(),
        }
    }
}

impl Mount {
    /// Whether it shows something of the host.
    pub fn is_bind(&self) -> bool {
        matches!(self.source, Source::Bind { .. })
    }
}

const RDONLY: u64 = libc::MOUNT_ATTR_RDONLY;
const NOSUID: u64 = libc::MOUNT_ATTR_NOSUID;
const NODEV: u64 = libc::MOUNT_ATTR_NODEV;
const NOEXEC: u64 = libc::MOUNT_ATTR_NOEXEC;
const NODIRATIME: u64 = libc::MOUNT_ATTR_NODIRATIME;
const NOSYMFOLLOW: u64 = libc::MOUNT_ATTR_NOSYMFOLLOW;

/// A word for an attribute: what it sets, what it clears. With `r` before it, it means the whole tree.
fn attribute(word: &str) -> Option<(u64, u64)> {
    Some(match word {
        "ro" => (RDONLY, 0),
        "rw" => (0, RDONLY),
        "nosuid" => (NOSUID, 0),
        "suid" => (0, NOSUID),
        "nodev" => (NODEV, 0),
        "dev" => (0, NODEV),
        "noexec" => (NOEXEC, 0),
        "exec" => (0, NOEXEC),
        "nodiratime" => (NODIRATIME, 0),
        "diratime" => (0, NODIRATIME),
        "nosymfollow" => (NOSYMFOLLOW, 0),
        "symfollow" => (0, NOSYMFOLLOW),
        "noatime" => (libc::MOUNT_ATTR_NOATIME, 0),
        "strictatime" => (libc::MOUNT_ATTR_STRICTATIME, 0),
        // Relative access times are the kernel's default, and 0 among the bits.
        "relatime" | "atime" | "norelatime" | "nostrictatime" => (0, libc::MOUNT_ATTR__ATIME),
        _ => return None,
    })
}

fn change(attributes: &mut Attributes, (set, clear): (u64, u64)) {
    // The later word wins.
    attributes.set = attributes.set & !clear | set;
    attributes.clear = attributes.clear & !set | clear;
}

/// A word for propagation (mount(8)); with `r` before it, it means the whole tree.
pub fn propagation(name: &str) -> Result<(Propagation, Reach)> {
    let (name, reach) = match name.strip_prefix('r') {
        Some(rest) => (rest, Reach::Tree),
        None => (name, Reach::One),
    };
    let kind = match name {
        "shared" => Propagation::Shared,
        "slave" => Propagation::Slave,
        "private" => Propagation::Private,
        "unbindable" => Propagation::Unbindable,
        _ => bail!("unknown mount propagation {name:?}"),
    };
    Ok((kind, reach))
}

/// Reads one mount. Relative sources of bind mounts begin at the bundle.
pub fn parse(asked: &oci_spec::runtime::Mount, bundle: &Path) -> Result<Mount> {
    let target = clean(asked.destination());
    let told = || format!("mount {}", target.display());
    if target == Path::new("/") {
        bail!("mount /: the root itself is no place to mount on");
    }
    let kind = asked.typ().clone().unwrap_or_default();
    let source = asked.source().clone().unwrap_or_default();

    let mut mount = Mount {
        target: target.clone(),
        source: Source::Cgroup,
        attributes: Attributes::default(),
        tree_attributes: Attributes::default(),
        propagation: Vec::new(),
        copy_up: false,
        id_map: None,
    };
    let mut bind = (kind == "bind").then_some(Reach::One);
    let mut copy_symlink = false;
    let mut id_mapped = None;
    let mut settings: Vec<Setting> = Vec::new();
    for word in asked.options().iter().flatten() {
        match word.as_str() {
            "bind" => bind = bind.or(Some(Reach::One)),
            "rbind" => bind = Some(Reach::Tree),
            "defaults" | "async" | "nomand" | "loud" | "silent" | "noiversion" | "nolazytime" | "" => {}
            "tmpcopyup" => mount.copy_up = true,
            "copy-symlink" => copy_symlink = true,
            "idmap" => id_mapped = id_mapped.or(Some(Reach::One)),
            "ridmap" => id_mapped = Some(Reach::Tree),
            "remount" => bail!("{}: remount is no mount of its own", told()),
            // A user's own label for a mount (fstab(5)), which means nothing to the kernel.
            word if word.starts_with("x-") => {}
            word => {
                if let Some(bits) = attribute(word) {
                    change(&mut mount.attributes, bits);
                } else if let Some(bits) = word.strip_prefix('r').and_then(attribute) {
                    change(&mut mount.tree_attributes, bits);
                } else if let Ok(propagation) = propagation(word) {
                    mount.propagation.push(propagation);
                } else {
                    let (name, value) = match word.split_once('=') {
                        Some((name, value)) => (name, Some(value.to_string())),
                        None => (word, None),
                    };
                    settings.push((name.into(), value));
                }
            }
        }
    }

    let (uids, gids) = (maps(asked.uid_mappings().as_deref()), maps(asked.gid_mappings().as_deref()));
    if uids.is_empty() != gids.is_empty() {
        bail!("{}: an idmapped mount needs both uidMappings and gidMappings", told());
    }
    let maps = (!uids.is_empty()).then_some(Maps { uids, gids });
    if id_mapped.is_some() || maps.is_some() {
        if bind.is_none() {
            bail!("{}: ids are mapped on bind mounts only", told());
        }
        mount.id_map = Some(MappedIds { maps, reach: id_mapped.unwrap_or(Reach::One) });
    }

    let text = || source.to_str().map(ToString::to_string).with_context(|| format!("{}: source is not text", told()));
    mount.source = if let Some(reach) = bind {
        if source.as_os_str().is_empty() {
            bail!("{}: a bind mount needs a source", told());
        }
        if let Some((name, _)) = settings.first() {
            bail!("{}: unknown option {name:?} of a bind mount", told());
        }
        Source::Bind { path: bundle.join(source), reach, tree: None, copy_symlink }
    } else {
        match kind.as_str() {
            "" => bail!("{}: no type, and it is no bind mount", told()),
            "cgroup" | "cgroup2" => Source::Cgroup,
            "proc" | "sysfs" | "tmpfs" | "devpts" | "mqueue" => Source::New { source: text()?, settings, kind },
            _ => Source::Other {
                source: text()?,
                flags: take_flags(&mut settings, mount.attributes),
                options: settings
                    .iter()
                    .map(|(name, value)| value.as_ref().map_or(name.clone(), |value| format!("{name}={value}")))
                    .collect::<Vec<_>>()
                    .join(","),
                kind,
            },
        }
    };
    if mount.copy_up && !matches!(&mount.source, Source::New { kind, .. } if kind == "tmpfs") {
        bail!("{}: tmpcopyup is for tmpfs", told());
    }
    Ok(mount)
}

/// The words that mount(2) does not take among a file system's options, but as flags. A file system that cannot be
/// written to must be told so, too: it may lie on a device that cannot.
fn take_flags(settings: &mut Vec<Setting>, attributes: Attributes) -> MsFlags {
    let mut flags = MsFlags::empty();
    flags.set(MsFlags::MS_RDONLY, attributes.set & RDONLY != 0);
    settings.retain(|(word, value)| {
        let flag = match word.as_str() {
            _ if value.is_some() => return true,
            "sync" => MsFlags::MS_SYNCHRONOUS,
            "dirsync" => MsFlags::MS_DIRSYNC,
            "lazytime" => MsFlags::MS_LAZYTIME,
            "mand" => MsFlags::MS_MANDLOCK,
            "iversion" => MsFlags::MS_I_VERSION,
            _ => return true,
        };
        flags |= flag;
        false
    });
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(json: &str) -> Result<Mount> {
        parse(&serde_json::from_str(json).expect("json"), Path::new("/bundle"))
    }

    #[test]
    fn option_words_are_sorted() {
        let made = mount(
            r#"{"destination":"/a/../b","type":"tmpfs","source":"tmpfs",
                "options":["nosuid","rw","ro","rprivate","rnodev","size=64k","mode=1777","tmpcopyup"]}"#,
        )
        .expect("sound");
        assert_eq!(made.target, Path::new("/b"));
        assert_eq!(made.attributes, Attributes { set: NOSUID | RDONLY, clear: 0 });
        assert_eq!(made.tree_attributes, Attributes { set: NODEV, clear: 0 });
        assert_eq!(made.propagation, [(Propagation::Private, Reach::Tree)]);
        assert!(made.copy_up);
        let Source::New { settings, .. } = made.source else { panic!("a tmpfs") };
        assert_eq!(settings, [("size".into(), Some("64k".into())), ("mode".into(), Some("1777".into()))]);
    }

    #[test]
    fn what_holds_for_a_whole_file_system_is_no_option_of_it() {
        let made = mount(
            r#"{"destination":"/d","type":"ext4","source":"/dev/x",
                "options":["ro","sync","silent","lazytime","data=ordered","noacl"]}"#,
        )
        .expect("sound");
        let Source::Other { options, flags, .. } = made.source else { panic!("a file system of its own kind") };
        assert_eq!(options, "data=ordered,noacl");
        assert_eq!(flags, MsFlags::MS_RDONLY | MsFlags::MS_SYNCHRONOUS | MsFlags::MS_LAZYTIME);
    }

    #[test]
    fn a_relative_source_begins_at_the_bundle() {
        let made = mount(r#"{"destination":"/d","source":"data","options":["rbind"]}"#).expect("sound");
        let Source::Bind { path, reach, .. } = made.source else { panic!("a bind mount") };
        assert_eq!((path.as_path(), reach), (Path::new("/bundle/data"), Reach::Tree));
    }

    #[test]
    fn what_cannot_be_mounted_is_refused() {
        for json in [
            r#"{"destination":"/","type":"tmpfs","source":"tmpfs"}"#,
            r#"{"destination":"/a"}"#,
            r#"{"destination":"/a","type":"bind"}"#,
            r#"{"destination":"/a","source":"/b","options":["bind","bidn"]}"#,
            r#"{"destination":"/a","type":"bind","source":"/b","options":["tmpcopyup"]}"#,
            r#"{"destination":"/a","type":"tmpfs","source":"tmpfs","options":["idmap"]}"#,
            r#"{"destination":"/a","type":"bind","source":"/b","uidMappings":[{"containerID":0,"hostID":1,"size":1}]}"#,
        ] {
            assert!(mount(json).is_err(), "{json}");
        }
    }
}
