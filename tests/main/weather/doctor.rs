//! `podling doctor`: each of its checks, as far as one machine can be made to look like another.

use std::collections::BTreeMap;

use serde_json::Value;

use super::places::EMPTY_TMP;
use super::{Small, after, can_mount, with_environment};
use crate::running::Output;
use crate::setup::setup;
use crate::world::World;

/// What was found, by subject.
#[track_caller]
pub fn findings(output: &Output) -> BTreeMap<String, Value> {
    let all: Vec<Value> = serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output}"));
    let broken = all.iter().any(|finding| finding["verdict"] == "broken");
    assert_eq!(output.status, if broken { 3 } else { 0 }, "{output}");
    for finding in &all {
        let good = finding["verdict"] == "good";
        assert_eq!(good, finding["breaks"] == "", "{finding}");
        assert!(!finding["found"].as_str().is_some_and(|found| found.contains("os error")), "{finding}");
    }
    all.into_iter().map(|finding| (finding["subject"].as_str().unwrap_or_default().to_owned(), finding)).collect()
}

/// After `script` the doctor finds this of `subject`: a verdict, a part of what was found, a part of the cure.
#[track_caller]
fn finds(world: &World, script: &str, subject: &str, expected: (&str, &str, &str)) {
    let output = after(world, script, "podling", &["doctor", "--format=json"]);
    let all = findings(&output);
    let found = all.get(subject).unwrap_or_else(|| panic!("nothing of {subject}: {output}"));
    let has = |field: &str, part: &str| found[field].as_str().is_some_and(|text| text.contains(part));
    let (verdict, part, cure) = expected;
    assert!(found["verdict"] == verdict && has("found", part) && has("cure", cure), "{found}, not {expected:?}");
}

/// A /proc/sys/kernel with what podling reads of it, and more.
fn kernel(changes: &str) -> String {
    format!(
        "rm -rf $WORLD/kernel; mkdir -p $WORLD/kernel/seccomp; cd /proc/sys/kernel
         cp osrelease overflowuid overflowgid pid_max cap_last_cap $WORLD/kernel/; cp seccomp/* $WORLD/kernel/seccomp/
         chmod -R u+w $WORLD/kernel; cd $WORLD/kernel; {changes}; cd /; mount --bind $WORLD/kernel /proc/sys/kernel"
    )
}

as_user!(a_sound_machine_is_called_so_by_each_check, |world| {
    let found = findings(&world.podling(["doctor", "--format=json"]));
    let good = ["kernel", "seccomp", "overlay", "user namespaces", "subordinate ids", "newuidmap, newgidmap"];
    for subject in good.iter().chain(&["run directory", "store", "programs", "a user namespace, tried"]) {
        assert_eq!(found[*subject]["verdict"], "good", "{found:?}");
    }
    let text = world.podling(["doctor"]);
    assert!(text.ok().contains("\nok       store "), "{text}");
    assert_eq!(std::fs::read_dir(world.run_dir()).map(Iterator::count).ok(), Some(0), "it leaves nothing");
});

as_user!(what_is_broken_ends_with_three_and_a_cure, |world| {
    if !can_mount() {
        return;
    }
    let script = "echo 0 >$WORLD/none; mount --bind $WORLD/none /proc/sys/user/max_user_namespaces";
    finds(world, script, "user namespaces", ("broken", "is 0", "sudo sysctl -w user.max_user_namespaces=15000"));
    let output = after(world, script, "podling", &["doctor"]);
    assert_eq!((output.status, output.stderr.as_str()), (3, ""), "{output}");
    let subject = output.stdout.lines().position(|line| line.starts_with("BROKEN   user namespaces"));
    let lines: Vec<&str> = output.stdout.lines().skip(subject.expect("a line")).take(3).map(str::trim).collect();
    assert!(lines[0].ends_with("  user.max_user_namespaces is 0"), "{output}");
    assert_eq!(lines[1], "without it: every container of an ordinary user");
    assert_eq!(lines[2], "cure: sudo sysctl -w user.max_user_namespaces=15000");
    assert!(output.stdout.ends_with("\nContainers do not run here until the above is cured.\n"), "{output}");
    assert!(world.podling(["doctor", "--help"]).ok().contains("exit status 3"));
});

as_user!(kernels_that_lack_something_are_told, |world| {
    if !can_mount() {
        return;
    }
    let cases = [
        ("echo 4.18.0-305.el8 >osrelease", "kernel", ("broken", "Linux 4.18.0-305.el8", "use Linux 5.14 or newer")),
        ("echo 5.12.1 >osrelease", "kernel", ("limited", "Linux 5.12.1", "use Linux 5.14 or newer")),
        ("echo 5.15.153.1-microsoft-standard-WSL2 >osrelease", "kernel", ("good", "(WSL)", "")),
        ("rm seccomp/actions_avail", "seccomp", ("broken", "no seccomp filters", "CONFIG_SECCOMP_FILTER")),
        (
            "echo 0 >unprivileged_userns_clone",
            "user namespaces",
            ("broken", "unprivileged_userns_clone is 0", "sudo sysctl -w kernel.unprivileged_userns_clone=1"),
        ),
        (
            "echo 1 >apparmor_restrict_unprivileged_userns",
            "user namespaces",
            ("broken", "AppArmor", "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"),
        ),
    ];
    for (changes, subject, expected) in cases {
        finds(world, &kernel(changes), subject, expected);
    }
    let without = "grep -v overlay /proc/filesystems >$WORLD/fs; mount --bind $WORLD/fs /proc/filesystems";
    let modules = "mkdir $WORLD/modules; mount --bind $WORLD/modules /lib/modules";
    let script = format!("{without}; [ ! -e /lib/modules ] || {{ {modules}; }}");
    finds(world, &script, "overlay", ("broken", "does not have it", "CONFIG_OVERLAY_FS"));
});

as_user!(control_groups_of_version_one_have_a_cure_for_each_system, |world| {
    if !can_mount() {
        return;
    }
    let old = "mount -t tmpfs tmpfs /sys/fs/cgroup";
    let grub = "add it to GRUB_CMDLINE_LINUX";
    finds(world, old, "control groups", ("limited", "version 1 or hybrid", grub));
    // Nobody has delegated a group to whoever comes by setpriv.
    let new = "umount -R /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup";
    let expected = ("limited", "version 2, but no group of yours may have children", "-p Delegate=yes $SHELL");
    finds(world, new, "control groups", expected);
    let wsl = kernel("echo 5.15.153.1-microsoft-standard-WSL2 >osrelease");
    let wsl = format!("{old}; {wsl}; mount -t tmpfs tmpfs /run");
    finds(world, &wsl, "control groups", ("limited", "version 1 or hybrid", "wsl --shutdown"));
    finds(
        world,
        &wsl,
        "systemd",
        ("limited", "not the init system here", "in /etc/wsl.conf, below [boot]: systemd=true"),
    );
});

as_user!(a_session_and_lingering_are_looked_for, |world| {
    if !can_mount() {
        return;
    }
    let systemd = "mount -t tmpfs tmpfs /run; mkdir -p /run/systemd/system
                   mount -t tmpfs tmpfs /var/lib/systemd; mkdir /var/lib/systemd/linger";
    finds(world, systemd, "systemd", ("limited", "no session of yours", "sudo machinectl shell $USER@"));
    let session = format!("{systemd}; mkdir -p /run/user/$USER_ID/systemd; touch /run/user/$USER_ID/systemd/private");
    let name = &setup().user.name;
    let cure = format!("loginctl enable-linger {name}");
    finds(world, &session, "systemd", ("limited", "your session ends with your last logout", &cure));
    let lingering = format!("{session}; touch /var/lib/systemd/linger/{name}");
    finds(world, &lingering, "systemd", ("good", "your session lingers", ""));
});

as_user!(what_the_network_lacks_is_told, |world| {
    if !can_mount() {
        return;
    }
    let closed = "mount -t tmpfs -o mode=755 tmpfs /dev/net; mknod -m 600 /dev/net/tun c 10 200";
    finds(world, closed, "network", ("limited", "/dev/net/tun: Permission denied", "sudo chmod 666 /dev/net/tun"));
    let absent = "mount -t tmpfs -o mode=755 tmpfs /dev/net";
    finds(world, absent, "network", ("limited", "/dev/net/tun: No such file", "sudo modprobe tun"));
    let none = "mkdir -p $WORLD/none
                for file in sh cat setpriv newuidmap newgidmap; do ln -sf $(command -v $file) $WORLD/none/; done
                export PATH=${PATH%%:*}:$WORLD/none";
    finds(world, none, "network", ("limited", "pasta is not installed", "sudo apt-get install passt"));
});

as_user!(directories_are_looked_at, |world| {
    if !can_mount() {
        return;
    }
    let store = world.data().display().to_string();
    let script = format!(
        "mkdir -p {store}; chown $USER_ID {store}; mount --bind {store} {store}; mount -o remount,bind,ro {store}"
    );
    finds(world, &script, "store", ("broken", "Read-only file system", "podling --root DIR"));
    let small = format!("mount -t tmpfs -o mode=700,uid=$USER_ID,size=1m tmpfs {store}");
    finds(world, &small, "store", ("limited", "1 MB free", "podling system prune"));
    let home = world.data().parent().expect("below the world").display().to_string();
    let script = format!("mkdir -p {home}; mount -t tmpfs -o ro tmpfs {home}");
    finds(world, &script, "directories", ("broken", "Read-only file system", "podling --root DIR"));

    let run = Small::mount(world, world.run_dir(), "64k");
    run.leave(0);
    let cure = format!("du -ahx {}", world.dir.join("run").display());
    finds(world, "", "run directory", ("broken", "is full", &cure));
    let nowhere = std::ffi::OsStr::new("/proc/nowhere");
    let output = with_environment(world, &[("XDG_RUNTIME_DIR", nowhere)], &["doctor", "--format=json"]);
    assert_eq!(findings(&output)["directories"]["verdict"], "broken");
});

as_user!(a_run_directory_that_may_be_cleaned_away_is_told, |world| {
    if !can_mount() {
        return;
    }
    let run = EMPTY_TMP;
    finds(world, run, "run directory", ("limited", "there is none; using /tmp/podling-run-", ""));
    let systemd = format!("{run}mkdir -p /run/systemd/system");
    let cure = format!("loginctl enable-linger {}; export XDG_RUNTIME_DIR=/run/user/", setup().user.name);
    finds(world, &systemd, "run directory", ("limited", "there is none; using /tmp/podling-run-", &cure));
});
