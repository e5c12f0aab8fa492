//! Who is measured: runtimes (with the bare system calls among them) and engines.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::command::succeed;
use crate::measure::{Named, each};
use crate::stage::Stage;
use crate::{bare, is_installed, skip};

/// An OCI runtime, or none at all.
#[derive(Clone)]
pub struct Runtime {
    name: &'static str,
    /// `None`: the bare system calls.
    program: Option<PathBuf>,
    options: &'static [&'static str],
}

impl Named for Runtime {
    fn name(&self) -> &str {
        self.name
    }
}

/// A clean environment: a variable may ask a program for more work (`RUST_BACKTRACE`).
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// crun raises its locked-memory limit to load a device filter, which root may not do on every machine; then it can only
/// be compared without control groups, and so are we, once more.
const NO_CGROUP: &[&str] = &["--cgroup-manager", "disabled"];

impl Runtime {
    /// The OCI runtimes that can run `bundle` here; ours first.
    pub fn oci(stage: &Stage, bundle: &Path) -> Vec<Self> {
        let ours =
            Self { name: "podling-runtime", program: Some(stage.programs.join("podling-runtime")), options: &[] };
        let mut all = vec![ours.clone()];
        for name in ["crun", "runc"] {
            let peer = Self { name, program: Some(name.into()), options: &[] };
            if !is_installed(name) {
                skip(name, "not installed");
            } else if let Err(error) = peer.run(stage, bundle) {
                if name == "crun" && (Self { options: NO_CGROUP, ..peer.clone() }).run(stage, bundle).is_ok() {
                    all.push(Self { name: "podling-runtime, no cgroup", options: NO_CGROUP, ..ours.clone() });
                    all.push(Self { name: "crun, no cgroup", options: NO_CGROUP, ..peer });
                } else {
                    skip(name, &format!("{error:#}"));
                }
            } else {
                all.push(peer);
            }
        }
        all
    }

    /// The bare system calls.
    pub fn bare() -> Self {
        Self { name: "bare system calls", program: None, options: &[] }
    }

    fn command(&self, stage: &Stage, program: &PathBuf, bundle: &Path, words: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.arg("--root").arg(stage.dir.join("run/state").join(self.name));
        command.args(self.options).args(words).env_clear().env("PATH", PATH).current_dir(bundle);
        command
    }

    /// One container from nothing to its exit.
    pub fn run(&self, stage: &Stage, bundle: &Path) -> Result<()> {
        match &self.program {
            Some(program) => succeed(self.command(stage, program, bundle, &["run", "bench"])),
            None => bare::run_true(&bundle.join("rootfs")),
        }
    }

    /// The three commands that an engine gives for one container.
    pub fn cycle(&self, stage: &Stage, bundle: &Path) -> Result<()> {
        let Some(program) = &self.program else { return Ok(()) };
        for words in [["create", "bench"].as_slice(), &["start", "bench"], &["delete", "--force", "bench"]] {
            succeed(self.command(stage, program, bundle, words))?;
        }
        Ok(())
    }
}

const OURS: &str = "podling";

/// A container engine, run as the ordinary user.
pub struct Engine {
    pub name: String,
    /// The name of the container that it lets idle.
    pub container: &'static str,
    command: Vec<String>,
    stage: PathBuf,
    user: nix::unistd::User,
}

impl Named for Engine {
    fn name(&self) -> &str {
        &self.name
    }
}

impl Engine {
    /// podling, then Podman on each of its runtimes, each with the image `true` (busybox) in its store.
    pub fn all(stage: &Stage) -> Result<Vec<Self>> {
        let mut all = vec![(OURS.to_owned(), "ours", vec![stage.programs.join("podling").display().to_string()])];
        if is_installed("podman") {
            for runtime in ["crun", "runc"].into_iter().filter(|runtime| is_installed(runtime)) {
                let words =
                    ["podman", "--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime", runtime];
                all.push((format!("podman + {runtime}"), runtime, words.map(String::from).to_vec()));
            }
        }
        if all.len() == 1 {
            skip("podman", "it, or each of its runtimes, is not installed");
        }
        let mut engines: Vec<Self> = all
            .into_iter()
            .map(|(name, container, command)| Self {
                name,
                container,
                command,
                stage: stage.dir.clone(),
                user: stage.user.clone(),
            })
            .collect();
        let image = stage.image().display().to_string();
        let able = each(Self::stores(&engines).iter().collect(), |engine| {
            succeed(engine.command(&["import", &image, "true"]))
        })?;
        if able.len() == 1 {
            engines.truncate(1);
        }
        Ok(engines)
    }

    /// One engine for each store: Podman's runtimes share one.
    pub fn stores(engines: &[Self]) -> &[Self] {
        &engines[..2.min(engines.len())]
    }

    /// A command of this engine, as the ordinary user in a clean environment.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).args(words).env_clear();
        command.env("PATH", PATH).env("HOME", self.stage.join("home")).env("USER", &self.user.name);
        command.env("XDG_RUNTIME_DIR", self.stage.join("run/user"));
        command.uid(self.user.uid.as_raw()).gid(self.user.gid.as_raw()).current_dir("/");
        command
    }

    /// Whether it is podling.
    pub fn is_ours(&self) -> bool {
        self.name == OURS
    }

    /// Of an engine that is ours: its store, `$DATA` and `$RUN`.
    pub fn store(&self) -> [PathBuf; 2] {
        [self.stage.join("home/.local/share/podling"), self.stage.join("run/user/podling")]
    }

    /// The uid it runs as.
    pub fn user_id(&self) -> u32 {
        self.user.uid.as_raw()
    }

    /// The smallest whole job.
    pub fn run_true(&self) -> Command {
        self.command(&["run", "--rm", "--network", "none", "true", "/bin/true"])
    }
}
