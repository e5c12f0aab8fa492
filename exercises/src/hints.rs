//! Hints. Before the author's three, what can be seen: the last check's words and the machine as it is now often say which
//! of the well-known traps somebody fell into.

use std::fs;
use std::path::{Path, PathBuf};

use crate::folder::Failure;

/// What the last failure, and the machine's state, tell.
pub fn live(last: Option<&Failure>) -> Vec<String> {
    let Some(failure) = last else { return Vec::new() };
    let text = format!("{}\n{}", failure.message, failure.output).to_lowercase();
    let here =
        TRAPS.iter().filter(|trap| trap.1.iter().chain(&[trap.0]).all(|row| row.iter().any(|it| text.contains(it))));
    here.map(|trap| format!("{}{}", trap.2, (trap.3)())).collect()
}

/// A trap: the error's names; further words, one of each row; what it means; and what the machine adds to that now.
type Trap = (&'static [&'static str], &'static [&'static [&'static str]], &'static str, fn() -> String);

const EACCES: &[&str] = &["eacces", "permission denied"];
const EBUSY: &[&str] = &["ebusy", "resource busy"];
const EINVAL: &[&str] = &["einval", "invalid argument"];
const ENOENT: &[&str] = &["enoent", "no such file or directory"];
const ENOSPC: &[&str] = &["enospc", "no space left"];
const EPERM: &[&str] = &["eperm", "operation not permitted"];

#[rustfmt::skip] // A table.
const TRAPS: &[Trap] = &[
    (EPERM, &[&["gid_map", "gid map"]], "EPERM on gid_map: an ordinary user must first write `deny` into /proc/PID/setgroups. \
        (Why? A group can also take rights away, and setgroups would drop it.)", String::new),
    (EPERM, &[&["uid_map", "uid map"]], "EPERM on uid_map: with your own rights you may map one id, your own; the map is \
        written once, by the process itself or its parent. More ids need newuidmap.", String::new),
    (EINVAL, &[&["unshare", "setns"]], "EINVAL from unshare or setns with a user namespace: the process has a second thread. \
        Do it before any thread begins, or in a child made by fork.", String::new),
    (EPERM, &[&["unshare", "clone"]], "An ordinary user may make the other namespaces only inside a user namespace of his: ask \
        for CLONE_NEWUSER in the same call, or before.", user_namespaces),
    (ENOSPC, &[&["unshare", "clone"]], "ENOSPC from unshare or clone: a limit of namespaces is reached.", user_namespaces),
    (EBUSY, &[&["subtree_control", "cgroup", "rmdir"]], "EBUSY: a group with processes in it can neither be removed (rmdir) nor \
        pass controllers on to groups below it (cgroup.subtree_control). Move the processes into a leaf first, or wait for \
        their end.", populated_groups),
    (EACCES, &[&["cgroup"]], "You may write only in a control group that was delegated to you: systemd-run --user --scope \
        -p Delegate=yes.", own_group),
    (EINVAL, &[&["pivot_root"]], "EINVAL from pivot_root: the new root must be a mount point (bind it onto itself), and neither \
        it nor the old root may be a shared mount: make / private, recursively, first.", shared_root),
    (EPERM, &[&["proc"], &["mount"]], "EPERM when mounting proc: it needs a pid namespace that belongs to your user namespace, so \
        the mount is made by a process *born* after unshare(CLONE_NEWPID); and the /proc that you can see must not be covered \
        in part.", String::new),
    (ENOENT, &[&["exec"]], "ENOENT from execve names the program, but may mean its interpreter: the loader of a dynamic program \
        (`ldd` names it), or what stands after `#!`. Both are looked for below the *new* root.", String::new),
];

fn setting(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn user_namespaces() -> String {
    if setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").as_deref() == Some("1") {
        return " And this machine's AppArmor takes the rights out of user namespaces \
            (kernel.apparmor_restrict_unprivileged_userns is 1): `podling doctor` says what to do."
            .to_owned();
    }
    if setting("/proc/sys/user/max_user_namespaces").as_deref() == Some("0") {
        return " And this machine allows no user namespaces (user.max_user_namespaces is 0).".to_owned();
    }
    String::new()
}

fn shared_root() -> String {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let shared = mounts.lines().any(|line| line.split(' ').nth(4) == Some("/") && line.contains(" shared:"));
    if shared {
        " (On this machine / is shared now, and a new mount namespace begins so.)".to_owned()
    } else {
        String::new()
    }
}

fn my_group() -> Option<PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(Path::new("/sys/fs/cgroup").join(path))
}

fn own_group() -> String {
    my_group().map(|group| format!(" You are in {}: see whose it is with ls -ld.", group.display())).unwrap_or_default()
}

/// The groups beside and below our own that have processes.
fn populated_groups() -> String {
    let mut found = Vec::new();
    if let Some(own) = my_group() {
        collect(own.parent().unwrap_or(&own), &mut found, 3);
    }
    if found.is_empty() { String::new() } else { format!(" Processes are now in {}.", found.join(", ")) }
}

fn collect(group: &Path, found: &mut Vec<String>, depth: u8) {
    let inside = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    if !inside.is_empty() && found.len() < 5 {
        found.push(format!("{} ({})", group.display(), inside.lines().count()));
    }
    for entry in fs::read_dir(group).into_iter().flatten().flatten().filter(|_| depth > 0) {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), found, depth - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(message: &str, output: &str) -> String {
        live(Some(&Failure { message: message.into(), output: output.into() })).join("\n")
    }

    #[test]
    fn well_known_traps_are_recognised_by_their_words() {
        assert!(said("", "Error: writing /proc/7/gid_map: EPERM: Operation not permitted").contains("setgroups"));
        assert!(said("", "pivot_root: Invalid argument (os error 22)").contains("mount point"));
        assert!(said("", "rmdir /sys/fs/cgroup/a: Device or resource busy").contains("processes in it"));
        assert_eq!(said("the sum is wrong", "5"), "", "and nothing is said without a reason");
        assert!(live(None).is_empty());
    }
}
