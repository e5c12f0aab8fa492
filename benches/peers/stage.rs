//! Where the measurements take place: a private view of mounts and cgroups, two bundles, an ordinary user.

use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, User, mkdtemp};
use podling::linux::seccomp;

use crate::command::succeed;
use crate::{idle, is_installed};

/// Set in the process that already runs inside the private view.
const STAGED: &str = "PODLING_BENCH_STAGED";
/// The ordinary user of the rootless half; made when absent.
const USER: &str = "podling-bench";
/// Ours.
pub const PROGRAMS: [&str; 3] = ["podling", "podling-monitor", "podling-runtime"];
/// The size of the disk: a file with holes.
const DISK: u64 = 8 << 30;
/// What root's own containers keep, as engines give it: CHOWN, DAC_OVERRIDE, FSETID, FOWNER, SETGID, SETUID, SETPCAP,
/// NET_BIND_SERVICE, SYS_CHROOT, KILL, SETFCAP.
const CAPABILITIES: u64 = 0x8004_05fb;

pub struct Stage {
    /// Everything we write is below; removed at the end.
    pub dir: PathBuf,
    /// An OCI bundle whose program is /bin/true.
    pub plain: PathBuf,
    /// The same with the seccomp filter that podling gives by default.
    pub filtered: PathBuf,
    pub user: User,
    /// Where podling, podling-monitor and podling-runtime are, executable for everybody.
    pub programs: PathBuf,
}

/// Makes a mount namespace with cgroup v2 alone, an openable /dev/net/tun and mounts that are shared, as systemd has them.
/// The shell stays: it is the first process of a pid namespace, which whatever a contender leaves running ends with, and it
/// reaps those whose parents are gone.
const ENTER: &str = "mount --make-rshared / && umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && \
    mkdir -p /dev/net && mount -t tmpfs -o mode=755 tmpfs /dev/net && mknod -m 666 /dev/net/tun c 10 200 && \
    \"$0\" \"$@\"; exit $?";

impl Stage {
    /// Re-executes this program in the view that [`ENTER`] makes; then makes user, bundles and copies of our programs.
    pub fn enter() -> Result<Self> {
        ensure!(Uid::effective().is_root(), "the benches need root: sudo -E cargo bench");
        if std::env::var_os(STAGED).is_none() {
            let error = Command::new("unshare")
                .args(["--mount", "--pid", "--mount-proc", "--kill-child", "sh", "-c", ENTER])
                .arg(std::env::current_exe()?)
                .args(std::env::args_os().skip(1))
                .env(STAGED, "1")
                .exec();
            bail!("unshare: {error}");
        }
        for (program, package) in
            [("busybox", "busybox-static"), ("newuidmap", "uidmap"), ("mkfs.ext4", "e2fsprogs"), ("mount", "mount")]
        {
            ensure!(is_installed(program), "{program} is not installed (Debian's package {package})");
        }
        let user = ordinary_user()?;
        // Our pid is the same in every such namespace, and no name.
        let dir = mkdtemp("/var/tmp/podling-bench-XXXXXX").context("making a directory in /var/tmp")?;
        std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o755))?;
        let [plain, filtered, programs] = ["plain", "filtered", "bin"].map(|name| dir.join(name));
        let stage = Self { dir, plain, filtered, user, programs };
        if let Err(error) = stage.build() {
            let _ = stage.leave();
            return Err(error);
        }
        Ok(stage)
    }

    fn build(&self) -> Result<()> {
        self.mount_disk()?;
        let (home, run) = (self.dir.join("home"), self.dir.join("run"));
        for dir in [&home, &run, &self.programs] {
            std::fs::create_dir_all(dir)?;
        }
        // /run, as a system has it: in memory.
        mount(Some("tmpfs"), &run, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))?;
        let given = std::env::var_os("PODLING_BENCH_PROGRAMS").map(PathBuf::from);
        let built = Path::new(env!("CARGO_BIN_EXE_podling")).parent().context("cargo's folder of programs")?;
        for name in PROGRAMS {
            std::fs::copy(given.as_deref().unwrap_or(built).join(name), self.programs.join(name))?;
        }
        self.bundle(&self.plain, None)?;
        self.bundle(&self.filtered, Some(seccomp::profile(CAPABILITIES).to_json()))?;
        succeed({
            let mut tar = Command::new("tar");
            tar.arg("-C").arg(self.plain.join("rootfs")).arg("-cf").arg(self.image()).arg(".");
            tar
        })?;
        // Podman picks the slow vfs driver where /dev/fuse is closed, although the kernel's overlay would do.
        let config = home.join(".config/containers");
        std::fs::create_dir_all(&config)?;
        std::fs::write(config.join("storage.conf"), "[storage]\ndriver = \"overlay\"\n")?;
        let own = |path: &Path| chown(path, Some(self.user.uid.as_raw()), Some(self.user.gid.as_raw()));
        for dir in [home.as_path(), &home.join(".config"), &config] {
            own(dir)?;
        }
        let private = run.join("user");
        std::fs::create_dir(&private)?;
        std::fs::set_permissions(&private, PermissionsExt::from_mode(0o700))?;
        Ok(own(&private)?)
    }

    /// A new ext4 as systems have it. The machine's own may be tuned in a way that taxes who makes and removes files: without
    /// a journal ext4 looks at every inode that was freed in the last minute before it takes a new one, and mounted with
    /// `discard` it then waits for the disk at each directory that is removed.
    fn mount_disk(&self) -> Result<()> {
        let disk = self.dir.with_extension("ext4");
        std::fs::File::create(&disk)?.set_len(DISK)?;
        let mut mkfs = Command::new("mkfs.ext4");
        mkfs.args(["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"]).arg(&disk);
        let mut mount = Command::new("mount");
        mount.args(["-o", "loop"]).arg(&disk).arg(&self.dir);
        let mounted = succeed(mkfs).and_then(|()| succeed(mount));
        // The mount holds it. Without a name it goes with the mount, whatever ends us.
        std::fs::remove_file(&disk)?;
        mounted
    }

    /// A bundle as podling-runtime's `spec` writes it, which all runtimes can run.
    fn bundle(&self, bundle: &Path, filter: Option<serde_json::Value>) -> Result<()> {
        let root = bundle.join("rootfs");
        for dir in ["bin", "proc", "dev", "sys", "tmp", "etc"] {
            std::fs::create_dir_all(root.join(dir))?;
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let busybox = std::env::split_paths(&path).map(|dir| dir.join("busybox")).find(|file| file.is_file());
        std::fs::copy(busybox.context("busybox was there a moment ago")?, root.join("bin/busybox"))?;
        for name in ["sh", "true", "sleep"] {
            symlink("busybox", root.join("bin").join(name))?;
        }
        succeed({
            let mut spec = Command::new(self.programs.join("podling-runtime"));
            spec.args(["spec", "--bundle"]).arg(bundle);
            spec
        })?;
        let path = bundle.join("config.json");
        let mut spec: serde_json::Value = serde_json::from_slice(&std::fs::read(&path)?)?;
        spec["process"]["terminal"] = false.into();
        spec["process"]["args"] = serde_json::json!(["/bin/true"]);
        if let Some(filter) = filter {
            spec["linux"]["seccomp"] = filter;
        }
        Ok(std::fs::write(&path, spec.to_string())?)
    }

    /// The root file system of the bundles, as a tar archive to import.
    pub fn image(&self) -> PathBuf {
        self.dir.join("image.tar")
    }

    /// Ends what the engines left running (Podman's pause process) and removes everything: with the disk all that is on it.
    pub fn leave(&self) -> Result<()> {
        for pid in idle::processes(self.user.uid.as_raw()) {
            // Another of them may have ended with the one before.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        for mounted in [&self.dir.join("run"), &self.dir] {
            // They were not mounted yet if the stage could not be built.
            let _ = umount2(mounted, MntFlags::MNT_DETACH);
        }
        std::fs::remove_dir(&self.dir).with_context(|| format!("removing {}", self.dir.display()))
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
