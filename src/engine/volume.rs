//! Volumes: directories with a name, which outlive the containers that use them.
//!
//! ```text
//! $DATA/volumes/<name>/  volume.json  _data/  lock
//! ```
//!
//! Which containers use a volume is not written anywhere: their `container.json` says it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use nix::mount::MsFlags;
use serde::{Deserialize, Serialize};

use super::Engine;
use super::container::{Container, MountSource};
use super::copy::unpack::{Base, Owner, unpack};
use super::events::Type;
use super::failure::Failure;
use super::store::{Lock, read_if_there, write_atomic};
use crate::image::layer::decompress;
use crate::trace::{self, Topic};

/// What was decided about a volume: `volume.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// `local`.
    pub driver: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// `type`, `device`, `o`: what mount(8) is to do with it.
    pub options: BTreeMap<String, String>,
    /// It belongs to the container that it was made for.
    pub anonymous: bool,
    /// Its directory (not kept in the file).
    #[serde(skip)]
    pub directory: PathBuf,
}

/// What may be asked of a new volume.
#[derive(Debug, Clone, Default)]
pub struct VolumeRequest {
    /// Its name; none: a random one.
    pub name: Option<String>,
    /// `--driver`.
    pub driver: Option<String>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// `--opt`.
    pub options: BTreeMap<String, String>,
    /// `--ignore`: one that is there will do.
    pub existing: bool,
    /// It belongs to one container.
    pub anonymous: bool,
}

impl Volume {
    /// Where its files are.
    pub fn data(&self) -> PathBuf {
        self.directory.join("_data")
    }

    fn is_tmpfs(&self) -> bool {
        self.options.get("type").is_some_and(|kind| kind == "tmpfs")
    }

    /// `o=bind`: the volume is a name for this directory of the host.
    fn device(&self) -> Option<&Path> {
        let bind = self.options.get("o").is_some_and(|o| o.split(',').any(|word| word == "bind" || word == "rbind"));
        let device = self.options.get("device").filter(|device| device.starts_with('/'));
        device.filter(|_| bind && !self.is_tmpfs()).map(Path::new)
    }
}

fn read(directory: &Path) -> Result<Option<Volume>> {
    let file = directory.join("volume.json");
    let Some(content) = read_if_there(&file)? else { return Ok(None) };
    let volume: Volume = serde_json::from_slice(&content).with_context(|| format!("reading {}", file.display()))?;
    Ok(Some(Volume { directory: directory.into(), ..volume }))
}

/// Writes a new volume, whole but for its place.
fn write(volume: &Volume, directory: &Path) -> Result<()> {
    let data = directory.join("_data");
    fs::create_dir(&data).with_context(|| format!("making {}", data.display()))?;
    // Its users need not be its owner.
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755))?;
    write_atomic(&directory.join("volume.json"), &serde_json::to_vec_pretty(volume)?)
}

/// As Podman: letters, digits, `_`, `.`, `-`, the first a letter or digit.
fn check_name(name: &str) -> Result<()> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if name.bytes().all(fine) && name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric()) {
        return Ok(());
    }
    bail!(Failure::Invalid(format!(
        "volume name {name:?}: names are of letters, digits, _ . and -, and begin with a letter or a digit"
    )))
}

impl Engine {
    /// All volumes, by name.
    pub fn volumes(&self) -> Result<Vec<Volume>> {
        let directory = self.paths.volumes();
        let entries = match fs::read_dir(&directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.with_context(|| format!("reading {}", directory.display()))?,
        };
        let mut all = Vec::new();
        for entry in entries {
            all.extend(read(&entry?.path())?);
        }
        all.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(all)
    }

    /// The volume with this name, or an unambiguous beginning of it. Fails with [`Failure::NoSuchVolume`].
    pub fn volume(&self, name: &str) -> Result<Volume> {
        if check_name(name).is_ok()
            && let Some(volume) = read(&self.paths.volumes().join(name))?
        {
            return Ok(volume);
        }
        let mut fitting: Vec<Volume> =
            self.volumes()?.into_iter().filter(|volume| !name.is_empty() && volume.name.starts_with(name)).collect();
        match (fitting.pop(), fitting.is_empty()) {
            (Some(volume), true) => Ok(volume),
            (Some(_), false) => bail!(Failure::Invalid(format!("more than one volume begins with \"{name}\""))),
            (None, _) => bail!(Failure::NoSuchVolume(name.into())),
        }
    }

    /// Makes a volume.
    pub fn create_volume(&self, request: &VolumeRequest) -> Result<Volume> {
        let driver = request.driver.clone().unwrap_or_else(|| "local".into());
        if driver != "local" {
            bail!(Failure::Invalid(format!("volume driver {driver:?}: there is only local")));
        }
        check_options(&request.options)?;
        let name = match &request.name {
            Some(name) => name.clone(),
            None => super::names::new_id()?,
        };
        check_name(&name)?;
        let directory = self.paths.volumes().join(&name);
        let there = || match read(&self.paths.volumes().join(&name))? {
            Some(_) if !request.existing => {
                bail!(Failure::Invalid(format!("volume with name {name} already exists: volume already exists")))
            }
            volume => Ok(volume),
        };
        if let Some(volume) = there()? {
            return Ok(volume);
        }
        let volume = Volume {
            name: name.clone(),
            created: Timestamp::now().to_string(),
            driver,
            labels: request.labels.clone(),
            options: request.options.clone(),
            anonymous: request.anonymous,
            directory,
        };
        let place = self.begin_volume()?;
        if let Err(error) = write(&volume, &place.directory) {
            self.abandon(place);
            return Err(error).with_context(|| format!("creating volume {name}"));
        }
        if !self.finish_volume(place, &volume.directory)? {
            // Of two that want the same one at once, one makes it.
            return there()?.with_context(|| format!("{} is in the way and no volume", volume.directory.display()));
        }
        self.record_other(Type::Volume, "create", "", &volume.name);
        Ok(volume)
    }

    /// The volume with exactly this name, made if there is none.
    pub fn ensure_volume(&self, name: &str, anonymous: bool) -> Result<Volume> {
        self.create_volume(&VolumeRequest {
            name: Some(name.into()),
            existing: true,
            anonymous,
            ..VolumeRequest::default()
        })
    }

    /// Where the files of a volume are, for a mount of it in this process's mount namespace. One of `type=tmpfs` is
    /// mounted here and now: it lives as long as the container, and each container has its own.
    pub fn volume_data(&self, name: &str) -> Result<PathBuf> {
        let volume = read(&self.paths.volumes().join(name))?.with_context(|| Failure::NoSuchVolume(name.into()))?;
        if let Some(device) = volume.device() {
            return Ok(device.into());
        }
        let data = volume.data();
        if volume.is_tmpfs() {
            let (flags, options) = tmpfs_options(volume.options.get("o").map_or("", String::as_str));
            trace::ask(Topic::Mount, "mount", format_args!("tmpfs {} {options}", data.display()), || {
                nix::mount::mount(Some("tmpfs"), &data, Some("tmpfs"), flags, Some(options.as_str()))
            })
            .with_context(|| format!("mounting volume {name} (tmpfs, {options})"))?;
        }
        Ok(data)
    }

    /// Unpacks a tar stream in a volume, over what is there, with the owners that it says.
    pub fn fill_volume(&self, volume: &Volume, stream: impl Read + Send) -> Result<()> {
        self.enter(None)?;
        let data = self.volume_data(&volume.name)?;
        let data = fs::File::open(&data).with_context(|| format!("opening {}", data.display()))?;
        unpack(decompress(stream)?, Base::beneath(data.into()), &Owner::Said(None), true)
    }

    /// The containers that name a volume.
    pub fn users_of_volume(&self, name: &str) -> Result<Vec<Container>> {
        let mut users = self.containers()?;
        users.retain(|container| uses(container, name));
        Ok(users)
    }

    /// Removes a volume that no container names; with `force`, the containers that name it are removed first.
    pub fn remove_volume(&self, volume: &Volume, force: bool) -> Result<()> {
        // A container that cannot be read may name it.
        let users =
            self.users_of_volume(&volume.name).with_context(|| format!("finding out who uses {}", volume.name))?;
        if !force && !users.is_empty() {
            let ids: Vec<&str> = users.iter().map(Container::id).collect();
            bail!(Failure::Invalid(format!(
                "volume {} is being used by the following container(s): {}: volume is being used",
                volume.name,
                ids.join(", ")
            )));
        }
        for user in &users {
            self.remove(user, super::lifecycle::Removal { force: true, volumes: false, timeout: None })?;
        }
        // A container that is being created holds the store's lock from before it looks at volumes until its
        // container.json names them.
        let store = Lock::exclusive(&self.paths.lock())?;
        if !self.users_of_volume(&volume.name)?.is_empty() {
            bail!(Failure::Invalid(format!("volume {} has just been taken into use", volume.name)));
        }
        // Files in it may belong to any of the user's ids, which only root of his namespace may remove.
        self.enter(None)?;
        if !volume.directory.exists() {
            bail!(Failure::NoSuchVolume(volume.name.clone()));
        }
        self.retire_volume(&volume.directory, store).with_context(|| format!("removing volume {}", volume.name))?;
        self.record_other(Type::Volume, "remove", "", &volume.name);
        Ok(())
    }
}

/// Whether a container names a volume.
pub fn uses(container: &Container, volume: &str) -> bool {
    container
        .config
        .mounts
        .iter()
        .any(|mount| matches!(&mount.source, MountSource::Volume { name, .. } if name == volume))
}

/// The words of `o=` that are flags of mount(2), and those that tmpfs reads itself.
fn tmpfs_options(words: &str) -> (MsFlags, String) {
    let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let mut own = Vec::new();
    for word in words.split(',').filter(|word| !word.is_empty()) {
        match word {
            "ro" => flags |= MsFlags::MS_RDONLY,
            "noexec" => flags |= MsFlags::MS_NOEXEC,
            "noatime" => flags |= MsFlags::MS_NOATIME,
            "rw" | "nosuid" | "nodev" => {}
            other => own.push(other),
        }
    }
    (flags, own.join(","))
}

fn check_options(options: &BTreeMap<String, String>) -> Result<()> {
    for (name, value) in options {
        match name.as_str() {
            "device" | "o" => {}
            "type" if matches!(value.as_str(), "tmpfs" | "none" | "bind") => {}
            "type" => bail!(Failure::Invalid(format!(
                "volume option type={value}: there are tmpfs, and none with o=bind; mount others on the host and bind them"
            ))),
            _ => bail!(Failure::Invalid(format!("volume option {name:?}: there are type, device and o"))),
        }
    }
    if let Some(device) = options.get("device").filter(|device| device.starts_with('/'))
        && !Path::new(device).is_dir()
    {
        bail!(Failure::Invalid(format!("volume option device={device}: there is no such directory")));
    }
    Ok(())
}
