//! Where the measurements take place: a private view of mounts and cgroups, a bundle, an ordinary user.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::{Uid, User};

use crate::contender::Engine;
use crate::succeed;

/// Set in the process that already runs inside the private view.
const STAGED: &str = "PODLING_BENCH_STAGED";
/// The ordinary user of the rootless half; made when absent.
const USER: &str = "podling-bench";

pub struct Stage {
    /// Everything we write is below; removed at the end.
    pub dir: PathBuf,
    /// An OCI bundle whose program is /bin/true.
    pub bundle: PathBuf,
    pub user: User,
    /// Where podling, podling-monitor and podling-runtime are, executable for everybody.
    pub programs: PathBuf,
}

impl Stage {
    /// Re-executes this program in its own mount namespace with cgroup v2 alone and an openable /dev/net/tun, then makes
    /// user, bundle and copies of our programs.
    pub fn enter() -> Result<Self> {
        ensure!(Uid::effective().is_root(), "the benches need root: sudo -E cargo bench");
        if std::env::var_os(STAGED).is_none() {
            let script = "mount --make-rprivate / && umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && \
                          mount -t tmpfs -o mode=755 tmpfs /dev/net && mknod -m 666 /dev/net/tun c 10 200 && exec \"$0\" \"$@\"";
            let error = Command::new("unshare")
                .args(["-m", "sh", "-c", script])
                .arg(std::env::current_exe()?)
                .args(std::env::args_os().skip(1))
                .env(STAGED, "1")
                .exec();
            bail!("unshare: {error}");
        }
        for program in ["podman", "runc", "crun", "conmon", "skopeo", "docker-registry", "newuidmap", "busybox"] {
            let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output()?.status.success();
            ensure!(
                found,
                "{program} is not installed: the benches compare with it (Debian: podman runc crun skopeo docker-registry uidmap busybox-static)"
            );
        }
        let user = ordinary_user()?;
        let dir = PathBuf::from(format!("/var/tmp/podling-bench-{}", std::process::id()));
        let stage = Self { bundle: dir.join("bundle"), programs: dir.join("bin"), user, dir };
        stage.build()?;
        Ok(stage)
    }

    fn build(&self) -> Result<()> {
        let root = self.bundle.join("rootfs");
        for dir in ["bin", "proc", "dev", "sys", "tmp", "etc"] {
            std::fs::create_dir_all(root.join(dir))?;
        }
        std::fs::create_dir_all(&self.programs)?;
        let busybox = String::from_utf8(Command::new("sh").args(["-c", "command -v busybox"]).output()?.stdout)?;
        std::fs::copy(busybox.trim(), root.join("bin/busybox"))?;
        for name in ["sh", "true", "sleep"] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(name))?;
        }
        let given = std::env::var_os("PODLING_BENCH_PROGRAMS").map(PathBuf::from);
        let built = Path::new(env!("CARGO_BIN_EXE_podling")).parent().context("cargo's folder of programs")?;
        for name in ["podling", "podling-monitor", "podling-runtime"] {
            std::fs::copy(given.as_deref().unwrap_or(built).join(name), self.programs.join(name))?;
        }
        // The specification that runc writes is the one that all three can run.
        let mut spec = Command::new("runc");
        spec.args(["spec", "--bundle"]).arg(&self.bundle);
        succeed(spec)?;
        let path = self.bundle.join("config.json");
        let mut spec: serde_json::Value = serde_json::from_slice(&std::fs::read(&path)?)?;
        spec["process"]["terminal"] = false.into();
        spec["process"]["args"] = serde_json::json!(["/bin/true"]);
        std::fs::write(&path, spec.to_string())?;
        Ok(())
    }

    /// The folder that is `HOME` for the ordinary user; each engine has its stores below.
    pub fn home(&self) -> PathBuf {
        self.dir.join("home")
    }

    /// Ends what the engines left running (Podman's pause process) and removes everything.
    pub fn leave(&self, engines: &[Engine]) -> Result<()> {
        for engine in engines {
            // As the engine itself: files of subordinate ids can only be removed in its user namespace.
            succeed(engine.command(&["system", "reset", "--force"]))?;
            let pause = self.home().join("run/libpod/tmp/pause.pid");
            if let Ok(pid) = std::fs::read_to_string(pause) {
                let _ = succeed({
                    let mut kill = Command::new("kill");
                    kill.arg(pid.trim());
                    kill
                });
            }
        }
        std::fs::remove_dir_all(&self.dir).with_context(|| format!("removing {}", self.dir.display()))
    }
}

fn ordinary_user() -> Result<User> {
    if let Some(user) = User::from_name(USER)? {
        return Ok(user);
    }
    println!("making the ordinary user {USER}, with a range of subordinate ids");
    let mut useradd = Command::new("useradd");
    useradd.args(["--create-home", "--shell", "/bin/sh", USER]);
    succeed(useradd)?;
    for file in ["/etc/subuid", "/etc/subgid"] {
        let ranges = std::fs::read_to_string(file).unwrap_or_default();
        if !ranges.lines().any(|line| line.starts_with(USER)) {
            let start =
                ranges.lines().filter_map(|line| line.split(':').nth(1)?.parse().ok()).max().unwrap_or(100_000u32);
            std::fs::write(file, format!("{ranges}{USER}:{}:65536\n", start + 65536))?;
        }
    }
    User::from_name(USER)?.context("useradd made no user")
}
