//! What the runtime remembers of a container: one directory, whose existence is the id's being taken.
//!
//! ```text
//! ROOT/ID/  state.json   pid, start time, bundle, cgroup; written once, by rename
//!           config.json  the bundle's, as it was at create
//!           exec.fifo    until start: its being there means "created"
//!           failure      why the program could not be run, for start to read
//! ```
//!
//! The status is not stored: it follows from whether the process lives, the fifo exists, the cgroup is frozen.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::{Pid, geteuid};
use oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};

use super::cgroups;
use crate::linux::idmap;
use crate::linux::process::Process;
use crate::trace;

/// The version of OCI's runtime specification that we follow.
pub const OCI_VERSION: &str = "1.3.0";

/// `state.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    /// The container's id.
    pub id: String,
    /// Its first process.
    pub pid: i32,
    /// When that began, to tell it from a later one of the same number.
    pub start_time: u64,
    /// The bundle's directory.
    pub bundle: PathBuf,
    /// The root file system's directory.
    pub rootfs: PathBuf,
    /// When, in RFC 3339.
    pub created: String,
    /// Its cgroup, if it has one of its own.
    pub cgroup: Option<cgroups::Place>,
    /// Its namespaces, by their names in /proc/PID/ns.
    pub namespaces: Vec<String>,
    /// The bundle's annotations.
    pub annotations: std::collections::HashMap<String, String>,
}

/// OCI's four, and runc's fifth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Waits for start.
    Created,
    /// Its program runs.
    Running,
    /// Frozen.
    Paused,
    /// Ended.
    Stopped,
}

impl Status {
    /// OCI's word.
    pub fn name(self) -> &'static str {
        match self {
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}

/// Where all containers' directories are.
#[derive(Debug, Clone)]
pub struct Store(PathBuf);

impl Store {
    /// The one asked for, or the default: root's own in /run, else the user's.
    pub fn open(root: Option<&str>) -> Result<Self> {
        if let Some(root) = root {
            return Ok(Self(std::path::absolute(root)?));
        }
        // Root of a user namespace is a user.
        if geteuid().is_root() && idmap::is_initial(&idmap::current(idmap::Kind::Uid)?) {
            return Ok(Self("/run/podling-runtime".into()));
        }
        match std::env::var_os("XDG_RUNTIME_DIR").filter(|directory| !directory.is_empty()) {
            Some(directory) => Ok(Self(Path::new(&directory).join("podling-runtime"))),
            None => bail!("XDG_RUNTIME_DIR is not set; say with --root where containers' states are kept"),
        }
    }

    /// A container's directory. The id is checked: it is about to be part of a path.
    pub fn directory(&self, id: &str) -> Result<PathBuf> {
        check_id(id)?;
        Ok(self.0.join(id))
    }

    /// Takes the id.
    pub fn claim(&self, id: &str) -> Result<PathBuf> {
        let directory = self.directory(id)?;
        // Only its owner may look inside, whatever our umask: there lie the bundle's secrets (environment).
        let make = |path: &Path, recursive: bool| fs::DirBuilder::new().mode(0o700).recursive(recursive).create(path);
        let made = make(&directory, false).or_else(|error| match error.kind() {
            ErrorKind::NotFound => make(&self.0, true).and_then(|()| make(&directory, false)),
            _ => Err(error),
        });
        match made {
            Ok(()) => {
                trace::point("id claimed");
                Ok(directory)
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => bail!("container {id} already exists"),
            Err(error) => Err(error).with_context(|| directory.display().to_string()),
        }
    }

    /// A container's state.
    pub fn load(&self, id: &str) -> Result<State> {
        let path = self.directory(id)?.join("state.json");
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).with_context(|| path.display().to_string()),
            Err(error) if error.kind() == ErrorKind::NotFound => bail!("container {id} does not exist"),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    /// Its config.json as it was at create.
    pub fn spec(&self, id: &str) -> Result<Spec> {
        self.spec_if_it_says(id, "")?.context("an empty word is in every text")
    }

    /// The same, if the text holds `word`; else it is not even parsed.
    pub fn spec_if_it_says(&self, id: &str, word: &str) -> Result<Option<Spec>> {
        let path = self.directory(id)?.join("config.json");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        if !text.contains(word) {
            return Ok(None);
        }
        super::plan::parse(text.as_bytes()).map(Some).with_context(|| path.display().to_string())
    }

    /// Writes the state, whole or not at all.
    pub fn save(&self, state: &State) -> Result<()> {
        let directory = self.directory(&state.id)?;
        let (new, path) = (directory.join("state.json.new"), directory.join("state.json"));
        fs::write(&new, serde_json::to_vec(state)?).with_context(|| new.display().to_string())?;
        trace::point("state written");
        fs::rename(&new, &path).with_context(|| path.display().to_string())?;
        trace::point("state saved");
        Ok(())
    }

    /// Frees the id.
    pub fn forget(&self, id: &str) -> Result<()> {
        let directory = self.directory(id)?;
        match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| directory.display().to_string())
            }
            _ => Ok(()),
        }
    }

    /// All containers that were created, by id. One that another process deletes meanwhile is left out.
    pub fn all(&self) -> Result<Vec<State>> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(|| self.0.display().to_string()),
        };
        let mut states = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let Some(id) = name.to_str().filter(|id| check_id(id).is_ok()) else { continue };
            if self.0.join(id).join("state.json").exists()
                && let Ok(state) = self.load(id)
            {
                states.push(state);
            }
        }
        states.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(states)
    }

    /// The fifo at which a created container waits.
    pub fn fifo(&self, id: &str) -> Result<PathBuf> {
        Ok(self.directory(id)?.join("exec.fifo"))
    }
}

impl State {
    /// Its first process, held, if it lives.
    pub fn process(&self) -> Result<Option<Process>> {
        Process::find(Pid::from_raw(self.pid), self.start_time)
    }

    /// What state it is in now.
    pub fn status(&self, store: &Store) -> Result<Status> {
        if self.process()?.is_none() {
            return Ok(Status::Stopped);
        }
        if store.fifo(&self.id)?.exists() {
            return Ok(Status::Created);
        }
        let frozen = self.cgroup.as_ref().is_some_and(cgroups::Place::is_frozen);
        Ok(if frozen { Status::Paused } else { Status::Running })
    }

    /// The state as OCI prescribes it.
    pub fn json(&self, status: Status) -> serde_json::Value {
        let mut json = serde_json::json!({
            "ociVersion": OCI_VERSION,
            "id": self.id,
            "pid": if status == Status::Stopped { 0 } else { self.pid },
            "status": status.name(),
            "bundle": self.bundle,
            "rootfs": self.rootfs,
            "created": self.created,
        });
        if !self.annotations.is_empty() {
            json["annotations"] = serde_json::json!(self.annotations);
        }
        json
    }

    /// The same for hooks: at some of their moments the status is one that nobody else sees.
    pub fn for_hooks(&self, status: &str) -> serde_json::Value {
        serde_json::json!({
            "ociVersion": OCI_VERSION,
            "id": self.id,
            "pid": self.pid,
            "status": status,
            "bundle": self.bundle,
            "annotations": self.annotations,
        })
    }
}

/// Letters, digits, `_`, `+`, `-`, `.`; at most 255, as a file's name; never `.` or `..` (the id names a directory).
pub fn check_id(id: &str) -> Result<()> {
    let is_sound = |letter: char| letter.is_ascii_alphanumeric() || "_+-.".contains(letter);
    ensure!(!id.is_empty(), "the container's id is empty");
    ensure!(
        id.len() <= 255 && id.chars().all(is_sound) && id != "." && id != "..",
        "{id:?} is no id of a container: letters, digits, and _ + - . are allowed"
    );
    Ok(())
}

/// Who made a container, by name or number: whom its directory belongs to.
pub fn owner(directory: &Path) -> Result<String> {
    let uid = fs::metadata(directory).with_context(|| directory.display().to_string())?.uid();
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let user = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.get(2).and_then(|field| field.parse().ok()) == Some(uid));
    Ok(user.and_then(|fields| fields.first().map(ToString::to_string)).unwrap_or_else(|| uid.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_cannot_lead_elsewhere() {
        for id in ["", ".", "..", "a/b", "../a", "a\0b", "a b", "é"] {
            assert!(check_id(id).is_err(), "{id:?}");
        }
        for id in ["a", "A-b_c.d+e", "..."] {
            check_id(id).expect(id);
        }
    }
}
