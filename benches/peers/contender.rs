//! Who is measured: runtimes (with the bare system calls among them) and engines.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Result;

use crate::measure::Named;
use crate::stage::Stage;
use crate::{bare, succeed};

/// An OCI runtime, or none at all.
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
    /// The OCI runtimes; ours first.
    pub fn oci(stage: &Stage) -> Vec<Self> {
        let ours = || Some(stage.programs.join("podling-runtime"));
        let mut all = vec![
            Self { name: "podling-runtime", program: ours(), options: &[] },
            Self { name: "runc", program: Some("runc".into()), options: &[] },
        ];
        let crun = Self { name: "crun", program: Some("crun".into()), options: &[] };
        if crun.run(stage).is_ok() {
            all.insert(1, crun);
        } else {
            all.push(Self { name: "podling-runtime, no cgroup", program: ours(), options: NO_CGROUP });
            all.push(Self { name: "crun, no cgroup", options: NO_CGROUP, ..crun });
        }
        all
    }

    /// … and the bare system calls.
    pub fn all(stage: &Stage) -> Vec<Self> {
        let mut all = Self::oci(stage);
        all.push(Self { name: "bare system calls", program: None, options: &[] });
        all
    }

    fn command(&self, stage: &Stage, program: &PathBuf, words: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.arg("--root").arg(stage.dir.join("state").join(self.name));
        command.args(self.options).args(words).stdin(Stdio::null()).current_dir(&stage.bundle);
        command
    }

    /// One container from nothing to its exit.
    pub fn run(&self, stage: &Stage) -> Result<()> {
        match &self.program {
            Some(program) => succeed(self.command(stage, program, &["run", "bench"])),
            None => bare::run_true(&stage.bundle.join("rootfs")),
        }
    }

    /// The three commands that an engine gives for one container.
    pub fn cycle(&self, stage: &Stage) -> Result<()> {
        let Some(program) = &self.program else { return Ok(()) };
        for words in [["create", "bench"].as_slice(), &["start", "bench"], &["delete", "--force", "bench"]] {
            // `create` leaves the container holding its streams: a pipe would never end.
            let mut command = self.command(stage, program, words);
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
    home: PathBuf,
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
        let home = stage.home();
        let run = home.join("run");
        let config = home.join(".config/containers");
        std::fs::create_dir_all(&config)?;
        std::fs::create_dir_all(&run)?;
        // Podman picks the slow vfs driver where /dev/fuse is closed, although the kernel's overlay would do.
        std::fs::write(config.join("storage.conf"), "[storage]\ndriver = \"overlay\"\n")?;
        let image = stage.dir.join("image.tar");
        succeed({
            let mut tar = Command::new("tar");
            tar.arg("-C").arg(stage.bundle.join("rootfs")).arg("-cf").arg(&image).arg(".");
            tar
        })?;
        succeed({
            let mut chown = Command::new("chown");
            chown.args(["-R", &format!("{}:{}", stage.user.uid, stage.user.gid)]).arg(&home);
            chown
        })?;
        nix::sys::stat::fchmodat(
            nix::fcntl::AT_FDCWD,
            &run,
            nix::sys::stat::Mode::S_IRWXU,
            nix::sys::stat::FchmodatFlags::FollowSymlink,
        )?;
        let podman = |runtime: &str| {
            ["podman", "--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime", runtime]
                .map(String::from)
                .to_vec()
        };
        let engines: Vec<Self> = [
            ("podling", vec![stage.programs.join("podling").display().to_string()]),
            ("podman + crun", podman("crun")),
            ("podman + runc", podman("runc")),
        ]
        .into_iter()
        .map(|(name, command)| Self { name: name.into(), command, home: home.clone(), user: stage.user.clone() })
        .collect();
        for engine in &engines[..2] {
            succeed(engine.command(&["import", &image.display().to_string(), "true"]))?;
        }
        Ok(engines)
    }

    /// A command of this engine, as the ordinary user in a clean environment.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).args(words).env_clear();
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("HOME", &self.home).env("USER", &self.user.name).env("XDG_RUNTIME_DIR", self.home.join("run"));
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
