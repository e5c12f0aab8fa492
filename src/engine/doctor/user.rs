//! What the user has: ids lent to him, a session, directories, programs.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use nix::sys::statfs::{FUSE_SUPER_MAGIC, NFS_SUPER_MAGIC, statfs};
use nix::unistd::{User, getuid};

use super::Finding;
use crate::engine::{Engine, Owner, in_path};
use crate::linux::cgroup::systemd::Instance;
use crate::linux::idmap::{self, Kind};

fn user_name() -> String {
    User::from_uid(getuid()).ok().flatten().map_or_else(|| getuid().to_string(), |user| user.name)
}

/// Ids lent by /etc/subuid and /etc/subgid. Without them one id is mapped: root inside, nobody else.
pub fn subordinate_ids() -> Finding {
    const SUBJECT: &str = "subordinate ids";
    let name = user_name();
    let count = |kind| {
        let ranges = idmap::subordinate(kind, &name, getuid().as_raw())?;
        anyhow::Ok(ranges.iter().map(|range| u64::from(range.count)).sum::<u64>())
    };
    let cure = format!("sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}");
    match (count(Kind::Uid), count(Kind::Gid)) {
        (Err(error), _) | (_, Err(error)) => {
            Finding::broken(SUBJECT, format!("{error:#}"), "every id map", "correct that line")
        }
        (Ok(0), _) | (_, Ok(0)) => Finding::limited(
            SUBJECT,
            format!("/etc/subuid or /etc/subgid has no line for {name}"),
            "images with files of several users, and containers that change user",
            cure,
        ),
        (Ok(uids), Ok(gids)) if uids.min(gids) < 65536 => {
            Finding::limited(SUBJECT, format!("{uids} uids, {gids} gids"), "images with larger ids than that", cure)
        }
        (Ok(uids), Ok(gids)) => Finding::good(SUBJECT, format!("{uids} uids, {gids} gids")),
    }
}

/// newuidmap and newgidmap must be able to write a map that we may not: set-uid root, or with a file capability.
pub fn map_programs() -> Finding {
    const SUBJECT: &str = "newuidmap, newgidmap";
    const BREAKS: &str = "mapping more than your own id";
    for kind in [Kind::Uid, Kind::Gid] {
        let name = kind.program();
        let Some(path) = in_path(name) else {
            let cure = "sudo apt-get install uidmap (Fedora: sudo dnf install shadow-utils)";
            return Finding::limited(SUBJECT, format!("{name} is not installed"), BREAKS, cure);
        };
        let set_uid = fs::metadata(&path).is_ok_and(|it| it.mode() & 0o4000 != 0 && it.uid() == 0);
        if !set_uid && !has_capability(&path) {
            let cure = format!("sudo chmod u+s {}", path.display());
            return Finding::limited(SUBJECT, format!("{} has no privilege", path.display()), BREAKS, cure);
        }
    }
    Finding::good(SUBJECT, "installed and privileged")
}

/// Whether a file has capabilities, as getcap(8) tells.
fn has_capability(path: &Path) -> bool {
    in_path("getcap")
        .is_some_and(|getcap| Command::new(getcap).arg(path).output().is_ok_and(|it| !it.stdout.is_empty()))
}

/// A directory that the system empties at boot and shares with nobody.
pub fn run_directory(engine: &Engine) -> Finding {
    const SUBJECT: &str = "run directory";
    let run = engine.paths.run.display();
    if engine.rootless() && std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        return Finding::limited(
            SUBJECT,
            format!("XDG_RUNTIME_DIR is not set; using {run}"),
            "finding containers that another login started",
            "log in through systemd (not su), or: export XDG_RUNTIME_DIR=/run/user/$(id -u)",
        );
    }
    Finding::good(SUBJECT, run.to_string())
}

/// Overlay wants a local file system with user attributes for what containers write.
pub fn store(engine: &Engine) -> Finding {
    const SUBJECT: &str = "store";
    let data = &engine.paths.data;
    let kind = statfs(data).map(|fs| fs.filesystem_type());
    let free = nix::sys::statvfs::statvfs(data).map_or(0, |fs| fs.blocks_available() * fs.fragment_size());
    let found = format!("{}, {} MB free", data.display(), free / 1_000_000);
    let cure = "keep it on a local disk: podling --root DIR, or PODLING_ROOT";
    match kind {
        Ok(NFS_SUPER_MAGIC | FUSE_SUPER_MAGIC) => {
            Finding::broken(SUBJECT, format!("{found}, on a network or FUSE file system"), "overlay", cure)
        }
        _ if free < 100_000_000 => {
            Finding::limited(SUBJECT, found, "images larger than that", "free some space, or podling system prune")
        }
        Ok(_) => Finding::good(SUBJECT, found),
        Err(error) => Finding::broken(SUBJECT, format!("{}: {error}", data.display()), "everything", cure),
    }
}

/// A user's systemd makes his cgroups and starts his units; without lingering it ends all of them when he logs out.
pub fn session(engine: &Engine) -> Finding {
    const SUBJECT: &str = "systemd";
    if !Path::new("/run/systemd/system").exists() {
        return Finding::limited(
            SUBJECT,
            "not the init system here",
            "units, restart at boot, the systemd cgroup manager",
            "",
        );
    }
    let Owner::User { .. } = engine.owner else { return Finding::good(SUBJECT, "the init system") };
    if !Instance::User.runs() {
        return Finding::limited(
            SUBJECT,
            "no session of yours",
            "units, the systemd cgroup manager",
            "log in through systemd (not su), or: sudo machinectl shell $USER@",
        );
    }
    let name = user_name();
    if Path::new("/var/lib/systemd/linger").join(&name).exists() {
        return Finding::good(SUBJECT, "your session lingers: containers survive a logout");
    }
    Finding::limited(
        SUBJECT,
        "your session ends with your last logout",
        "containers that should survive a logout",
        format!("loginctl enable-linger {name}"),
    )
}

/// What a container's own network needs.
pub fn network() -> Finding {
    const SUBJECT: &str = "network";
    const BREAKS: &str = "--network pasta (--network host and none work)";
    if in_path("pasta").is_none() {
        return Finding::limited(
            SUBJECT,
            "pasta is not installed",
            BREAKS,
            "sudo apt-get install passt (Fedora: sudo dnf install passt)",
        );
    }
    if let Err(error) = fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun") {
        return Finding::limited(
            SUBJECT,
            format!("/dev/net/tun: {error}"),
            BREAKS,
            "sudo modprobe tun; sudo chmod 666 /dev/net/tun",
        );
    }
    let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
    let default = routes.lines().skip(1).any(|line| line.split_whitespace().nth(1) == Some("00000000"));
    let ipv6 = fs::read_to_string("/proc/net/ipv6_route").unwrap_or_default();
    let default6 =
        ipv6.lines().any(|line| line.starts_with(&"0".repeat(32)) && line.contains(" 00 ") && !line.ends_with(" lo"));
    if !default && !default6 {
        return Finding::limited(
            SUBJECT,
            "no default route",
            "the way out of containers",
            "connect this machine to a network",
        );
    }
    Finding::good(SUBJECT, "pasta, /dev/net/tun and a default route")
}

/// Our own other programs.
pub fn companions(engine: &Engine) -> Finding {
    const SUBJECT: &str = "programs";
    match (engine.runtime(""), engine.monitor_program()) {
        (Ok(runtime), Ok(monitor)) => Finding::good(SUBJECT, format!("{}, {}", runtime.display(), monitor.display())),
        (Err(error), _) | (_, Err(error)) => {
            Finding::broken(SUBJECT, format!("{error:#}"), "every container", "cargo build")
        }
    }
}

/// Enters a user namespace as every rootless command does.
pub fn namespace_in_earnest(engine: &Engine) -> Finding {
    const SUBJECT: &str = "a user namespace, tried";
    let tried = std::env::current_exe().and_then(|podling| {
        Command::new(podling)
            .arg("--root")
            .arg(&engine.paths.data)
            .arg("--runroot")
            .arg(&engine.paths.run)
            .args(["unshare", "cat", "/proc/self/uid_map"])
            .output()
    });
    match tried {
        Ok(output) if output.status.success() => {
            let ids: u64 = String::from_utf8_lossy(&output.stdout)
                .lines()
                .filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok())
                .sum();
            Finding::good(SUBJECT, format!("made, with {ids} ids"))
        }
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let line = said.lines().next().unwrap_or("it ended without a word");
            Finding::broken(
                SUBJECT,
                line.trim_start_matches("Error: "),
                "every container",
                "see the line above; the checks before this one passed",
            )
        }
        Err(error) => Finding::broken(SUBJECT, error.to_string(), "every container", ""),
    }
}
