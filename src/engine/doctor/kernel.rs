//! What the kernel has, and what the machine's owner lets users do with it.

use std::fs;
use std::path::Path;

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};

use super::Finding;
use crate::engine::Owner;

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// The system calls that podling has no other way for: clone3 (5.3), openat2 (5.6), overlay in a user namespace (5.11),
/// mount_setattr (5.12). cgroup.kill (5.14) is worth having.
pub fn version() -> Finding {
    const SUBJECT: &str = "kernel";
    let release = read("/proc/sys/kernel/osrelease").unwrap_or_default();
    let wsl = if is_wsl() { " (WSL)" } else { "" };
    let found = format!("Linux {release}{wsl}");
    match parse_version(&release) {
        Some(version) if version >= (5, 14) => Finding::good(SUBJECT, found),
        Some(version) if version >= (5, 12) => Finding::limited(
            SUBJECT,
            found,
            "cgroup.kill is missing: stopping a group kills one by one",
            "use Linux 5.14 or newer",
        ),
        _ => Finding::broken(
            SUBJECT,
            found,
            "overlay in user namespaces, mounts by descriptor",
            "use Linux 5.14 or newer",
        ),
    }
}

/// Whether this is the Windows Subsystem for Linux.
pub fn is_wsl() -> bool {
    read("/proc/sys/kernel/osrelease").is_some_and(|release| release.to_ascii_lowercase().contains("microsoft"))
}

/// Major and minor of `6.12.0-amd64`.
fn parse_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

pub fn seccomp() -> Finding {
    const SUBJECT: &str = "seccomp";
    match read("/proc/sys/kernel/seccomp/actions_avail") {
        Some(actions) if actions.contains("errno") => Finding::good(SUBJECT, "filters are available"),
        _ => Finding::broken(
            SUBJECT,
            "the kernel has no seccomp filters",
            "containers run only with --security-opt seccomp=unconfined",
            "use a kernel built with CONFIG_SECCOMP_FILTER",
        ),
    }
}

pub fn overlay() -> Finding {
    const SUBJECT: &str = "overlay";
    let known = read("/proc/filesystems").is_some_and(|list| list.lines().any(|line| line.ends_with("\toverlay")));
    // A module that is not loaded yet is loaded by the first mount, if root makes it.
    let release = read("/proc/sys/kernel/osrelease").unwrap_or_default();
    let module = ["/lib/modules", "/usr/lib/modules"].iter().any(|dir| {
        let list = Path::new(dir).join(&release).join("modules.dep");
        fs::read_to_string(list).is_ok_and(|list| list.contains("/overlay.ko"))
    });
    match (known, module) {
        (true, _) => Finding::good(SUBJECT, "the file system is there"),
        (false, true) => Finding::limited(
            SUBJECT,
            "a module that is not loaded",
            "the first rootless container",
            "sudo modprobe overlay",
        ),
        (false, false) => Finding::broken(
            SUBJECT,
            "the kernel does not have it",
            "every image",
            "use a kernel with CONFIG_OVERLAY_FS",
        ),
    }
}

/// Three switches can forbid users their own namespaces: a count, Debian's old sysctl, and Ubuntu's AppArmor rule.
pub fn user_namespaces() -> Finding {
    const SUBJECT: &str = "user namespaces";
    const BREAKS: &str = "every container of an ordinary user";
    if !Path::new("/proc/self/ns/user").exists() {
        return Finding::broken(SUBJECT, "the kernel has none", BREAKS, "use a kernel built with CONFIG_USER_NS");
    }
    if read("/proc/sys/user/max_user_namespaces").as_deref() == Some("0") {
        return Finding::broken(
            SUBJECT,
            "user.max_user_namespaces is 0",
            BREAKS,
            "sudo sysctl -w user.max_user_namespaces=15000",
        );
    }
    if read("/proc/sys/kernel/unprivileged_userns_clone").as_deref() == Some("0") {
        return Finding::broken(
            SUBJECT,
            "kernel.unprivileged_userns_clone is 0",
            BREAKS,
            "sudo sysctl -w kernel.unprivileged_userns_clone=1",
        );
    }
    if read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").as_deref() == Some("1") {
        let profile = read("/proc/self/attr/current").unwrap_or_default();
        // A profile for this very program lifts the rule; without one namespaces are made but hold no privilege.
        if profile.is_empty() || profile == "unconfined" {
            return Finding::broken(
                SUBJECT,
                "AppArmor takes the privileges of unconfined programs' user namespaces away",
                BREAKS,
                "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0 (or an AppArmor profile for podling with 'userns,')",
            );
        }
    }
    Finding::good(SUBJECT, "allowed")
}

/// Which controllers we may hand to containers.
pub fn cgroup(owner: Owner) -> Finding {
    const SUBJECT: &str = "control groups";
    const MOUNT: &str = "/sys/fs/cgroup";
    const BREAKS: &str = "--memory, --cpus, --pids-limit, stats";
    if !statfs(MOUNT).is_ok_and(|fs| fs.filesystem_type() == CGROUP2_SUPER_MAGIC) {
        let cure = if is_wsl() {
            "in .wslconfig, below [wsl2]: kernelCommandLine=cgroup_no_v1=all; then in Windows: wsl --shutdown"
        } else {
            "boot with systemd.unified_cgroup_hierarchy=1: in /etc/default/grub, add it to GRUB_CMDLINE_LINUX; then \
             sudo update-grub (Fedora: sudo grubby --update-kernel=ALL --args=systemd.unified_cgroup_hierarchy=1) and reboot"
        };
        return Finding::limited(SUBJECT, "version 1 or hybrid", BREAKS, cure);
    }
    let own = read("/proc/self/cgroup")
        .and_then(|text| text.lines().find_map(|line| Some(line.strip_prefix("0::")?.to_owned())));
    let Some(own) = own else {
        return Finding::limited(SUBJECT, "this process is in no group", BREAKS, "log in through systemd");
    };
    // An ordinary user's groups are below user@UID.service, wherever his shell itself is.
    let group = match owner {
        Owner::Root => MOUNT.to_owned(),
        Owner::User { uid, .. } => {
            let service = format!("{MOUNT}/user.slice/user-{uid}.slice/user@{uid}.service");
            if Path::new(&service).exists() { service } else { format!("{MOUNT}{own}") }
        }
    };
    let controllers = read(&format!("{group}/cgroup.controllers")).unwrap_or_default();
    let lacking: Vec<_> =
        ["cpu", "memory", "pids"].into_iter().filter(|name| !controllers.split(' ').any(|it| it == *name)).collect();
    let writable =
        nix::unistd::access(Path::new(&format!("{group}/cgroup.subtree_control")), nix::unistd::AccessFlags::W_OK)
            .is_ok();
    if !writable {
        return Finding::limited(
            SUBJECT,
            "version 2, but no group of yours may have children",
            BREAKS,
            "log in through systemd (not su), or: systemd-run --user --scope -p Delegate=yes $SHELL",
        );
    }
    if lacking.is_empty() {
        return Finding::good(SUBJECT, format!("version 2, you may use {}", controllers.replace(' ', ", ")));
    }
    Finding::limited(
        SUBJECT,
        format!("version 2, without {}", lacking.join(", ")),
        BREAKS,
        "as root, in /etc/systemd/system/user@.service.d/delegate.conf: [Service] Delegate=cpu cpuset io memory pids; then log in again",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_distributions_are_understood() {
        assert_eq!(parse_version("6.12.0-amd64"), Some((6, 12)));
        assert_eq!(parse_version("5.15.153.1-microsoft-standard-WSL2"), Some((5, 15)));
        assert_eq!(parse_version("six"), None);
    }
}
