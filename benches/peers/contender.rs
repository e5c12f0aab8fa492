//! Who is measured: runtimes (with the bare system calls among them) and engines.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Result;

use crate::measure::Named;
use crate::stage::Stage;
use crate::{bare, is_installed, skip, succeed};

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
        command.args(self.options).args(words).stdin(Stdio::null()).current_dir(bundle);
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
            // `create` leaves the container holding its streams: a pipe would never end.
            let mut command = self.command(stage, program, bundle, words);
            let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
            anyhow::ensure!(status.success(), "{command:?} ended with {status}");
        }
        Ok(())
    }
}

/// A container engine, run as the ordinary user.
pub struct Engine {
    pub name: String,
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
        let mut all = vec![("podling".to_owned(), vec![stage.programs.join("podling").display().to_string()])];
        if is_installed("podman") {
            for runtime in ["crun", "runc"].into_iter().filter(|runtime| is_installed(runtime)) {
                let words =
                    ["podman", "--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime", runtime];
                all.push((format!("podman + {runtime}"), words.map(String::from).to_vec()));
            }
        }
        if all.len() == 1 {
            skip("podman", "it, or each of its runtimes, is not installed");
        }
        let engines: Vec<Self> = all
            .into_iter()
            .map(|(name, command)| Self { name, command, stage: stage.dir.clone(), user: stage.user.clone() })
            .collect();
        // Podman's two runtimes share one store.
        for engine in &engines[..2.min(engines.len())] {
            succeed(engine.command(&["import", &stage.image().display().to_string(), "true"]))?;
        }
        Ok(engines)
    }

    /// A command of this engine, as the ordinary user in a clean environment.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).args(words).env_clear();
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("HOME", self.stage.join("home")).env("USER", &self.user.name);
        command.env("XDG_RUNTIME_DIR", self.stage.join("run/user"));
        command.uid(self.user.uid.as_raw()).gid(self.user.gid.as_raw()).current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
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
