//! What the user has: ids lent to him, a session, directories, programs.

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::statfs::{FUSE_SUPER_MAGIC, NFS_SUPER_MAGIC, statfs};
use nix::unistd::{User, getuid};

use super::Finding;
use crate::engine::{Engine, Owner, fallback_run, in_path, room};
use crate::hint::{self, without_numbers};
use crate::linux::cgroup::systemd::Instance;
use crate::linux::idmap::{self, Kind, Lack};

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
    let cure = Lack::Ranges.cure(&name);
    match (count(Kind::Uid), count(Kind::Gid)) {
        (Err(error), _) | (_, Err(error)) => {
            let file = if count(Kind::Uid).is_err() { Kind::Uid } else { Kind::Gid };
            let cure = format!("sudo nano {}", file.subordinate_file().display());
            Finding::broken(SUBJECT, hint::line(&error), "every id map", cure)
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
    match Lack::of_programs() {
        None => Finding::good(SUBJECT, "installed and privileged"),
        Some(lack) => {
            Finding::limited(SUBJECT, lack.to_string(), "mapping more than your own id", lack.cure(&user_name()))
        }
    }
}

/// The directories that everything is kept in cannot be had.
pub fn no_engine(why: &anyhow::Error) -> Finding {
    Finding::broken("directories", hint::line(why), "everything", hint::cure(why).unwrap_or_default())
}

/// A directory that the system empties at boot and shares with nobody.
pub fn run_directory(engine: &Engine) -> Finding {
    const SUBJECT: &str = "run directory";
    let run = engine.paths.run.display();
    if engine.paths.run == fallback_run(getuid().as_raw()) {
        // Lingering, too, makes the directory.
        let cure = if Path::new("/run/systemd/system").exists() {
            format!("loginctl enable-linger {}; export XDG_RUNTIME_DIR=/run/user/{}", user_name(), getuid())
        } else {
            String::new()
        };
        return Finding::limited(
            SUBJECT,
            format!("there is none; using {run}"),
            "running containers, when something cleans /tmp",
            cure,
        );
    }
    if room::is_full(&engine.paths.run) {
        let around = engine.paths.run.parent().unwrap_or(&engine.paths.run).display();
        return Finding::broken(SUBJECT, format!("{run} is full"), "starting containers", format!("du -ahx {around}"));
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
    let cure = "keep it on a local disk: podling --root DIR, or export PODLING_ROOT=DIR";
    if let Err(error) = nix::unistd::access(data, nix::unistd::AccessFlags::W_OK) {
        let cure = "name another place: podling --root DIR, or export PODLING_ROOT=DIR";
        return Finding::broken(SUBJECT, format!("{}: {}", data.display(), error.desc()), "every change", cure);
    }
    match kind {
        Ok(NFS_SUPER_MAGIC | FUSE_SUPER_MAGIC) => {
            Finding::broken(SUBJECT, format!("{found}, on a network or FUSE file system"), "overlay", cure)
        }
        _ if free < 100_000_000 => Finding::limited(SUBJECT, found, "images larger than that", "podling system prune"),
        Ok(_) => Finding::good(SUBJECT, found),
        Err(error) => Finding::broken(SUBJECT, format!("{}: {}", data.display(), error.desc()), "everything", cure),
    }
}

/// A user's systemd makes his cgroups and starts his units; without lingering it ends all of them when he logs out.
pub fn session(owner: Owner) -> Finding {
    const SUBJECT: &str = "systemd";
    if !Path::new("/run/systemd/system").exists() {
        let cure = if super::kernel::is_wsl() {
            "in /etc/wsl.conf, below [boot]: systemd=true; then in Windows: wsl --shutdown"
        } else {
            ""
        };
        return Finding::limited(
            SUBJECT,
            "not the init system here",
            "units, restart at boot, the systemd cgroup manager",
            cure,
        );
    }
    let Owner::User { .. } = owner else { return Finding::good(SUBJECT, "the init system") };
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
            without_numbers(&format!("/dev/net/tun: {error}")),
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
            Finding::broken(SUBJECT, hint::line(&error), "every container", "cargo build")
        }
    }
}

/// Enters a user namespace as every rootless command does, but with a run directory of its own: it must make the namespace
/// rather than join one that is there, and a warning that is said once must be left for whoever runs a container.
pub fn namespace_in_earnest(engine: &Engine) -> Finding {
    const SUBJECT: &str = "a user namespace, tried";
    let run = engine.paths.run.join(format!("doctor.{}", std::process::id()));
    let tried = std::env::current_exe().and_then(|podling| {
        let mut command = Command::new(podling);
        command.arg("--root").arg(&engine.paths.data).arg("--runroot").arg(&run);
        command.args(["unshare", "cat", "/proc/self/uid_map"]).output()
    });
    let _ = fs::remove_dir_all(&run);
    match tried {
        Ok(output) if output.status.success() => {
            let ids: u64 = String::from_utf8_lossy(&output.stdout)
                .lines()
                .filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok())
                .sum();
            Finding::good(SUBJECT, format!("made, with {ids} {}", if ids == 1 { "id" } else { "ids" }))
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
        Err(error) => Finding::broken(SUBJECT, without_numbers(&error.to_string()), "every container", ""),
    }
}
