//! No deputy: whatever flags an ordinary user gives, nobody with more rights acts for him. What makes a user of Docker's
//! daemon root (the disk mounted, all privileges, a device) must leave a user of podling what he was.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

/// The flags that take walls down, each alone and all together.
const FLAGS: [&[&str]; 8] = [
    &[],
    &["--privileged"],
    &["--cap-add=ALL", "--security-opt=seccomp=unconfined", "--security-opt=unmask=ALL"],
    &["--pid=host"],
    &["--ipc=host", "--uts=host", "--network=host"],
    &["--userns=host", "--privileged"],
    &["--userns=keep-id", "--privileged"],
    &["--privileged", "--pid=host", "--ipc=host", "--uts=host", "--network=host", "--userns=host"],
];

as_user!(no_flag_makes_its_user_more_than_he_was, |world| {
    if nix::unistd::geteuid().is_root() {
        // What only root may read and write; the directory is open, so only the file's own rights count.
        let (secret, theirs) = (world.dir.join("secret"), world.dir.join("theirs"));
        fs::write(&secret, "root's secret").expect("root writes");
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("its own file");
        fs::write(&theirs, "root's").expect("root writes");
        fs::set_permissions(&theirs, fs::Permissions::from_mode(0o644)).expect("its own file");
    }
    let image = world.image("busybox");
    // Process 1 of the host is root's; with --pid=host it is in sight.
    let script = "cat /host/etc/shadow; echo $?; cat /host$0/secret; echo $?; echo owned > /host$0/theirs; echo $?; \
                  chroot /host /bin/sh -c 'cat /etc/shadow; : > /etc/owned'; echo $?; chmod 777 /host/etc; echo $?; \
                  if [ -e /host/proc/1 ] && [ \"$(stat -c %u /proc/1)\" = 65534 ]; then kill -0 1; else false; fi; echo $?; \
                  mknod /tmp/disk b 8 0 && cat /tmp/disk; echo $?; \
                  for disk in /host/dev/vda /host/dev/sda /host/dev/nvme0n1; do head -c1 $disk && echo read; done; \
                  mount -o remount,rw /host/etc; echo $?; touch /host/etc/owned; echo $?";
    for flags in FLAGS {
        let dir = world.dir.to_str().expect("plain ASCII");
        let words = [&["run", "--rm", "-v=/:/host"], flags, &[image, "sh", "-c", script, dir]].concat();
        let said = world.podling(words);
        let statuses: Vec<&str> =
            said.ok().lines().filter(|line| line.bytes().all(|byte| byte.is_ascii_digit())).collect();
        assert_eq!(statuses.len(), 9, "{said}");
        let got: Vec<_> = statuses.iter().enumerate().filter(|(_, status)| **status == "0").collect();
        assert!(got.is_empty(), "{flags:?} let through {got:?}: {said}");
        assert!(!said.stdout.contains("root") && !said.stdout.contains("read"), "{flags:?}: {said}");
    }
    assert!(!std::path::Path::new("/etc/owned").exists(), "a container wrote into the host's /etc");
    if nix::unistd::geteuid().is_root() {
        assert_eq!(fs::read_to_string(world.dir.join("theirs")).expect("root's file"), "root's");
        assert_eq!(fs::metadata("/etc").expect("the host's").mode() & 0o7777, 0o755);
    }
});

as_user!(a_device_of_roots_stays_roots, |world| {
    // Not even a device that is named: the host's node is bound as it is, with its owner and its mode.
    let disks = ["/dev/vda", "/dev/sda", "/dev/nvme0n1", "/dev/mem", "/dev/kmsg"];
    let there = disks.into_iter().find(|disk| fs::metadata(disk).is_ok_and(|node| node.mode() & 0o006 == 0));
    let disk = there.expect("a machine has a device that is root's alone");
    let image = world.image("busybox");
    for flags in [&[][..], &["--privileged"]] {
        let device = format!("--device={disk}");
        let words = [&["run", "--rm"], flags, &[&device, image, "head", "-c1", disk]].concat();
        let said = world.podling(words);
        assert!(said.status != 0 && said.stdout.is_empty(), "{said}");
        assert!(said.stderr.contains("ermission denied") || said.stderr.contains("not permitted"), "{said}");
    }
});
