//! What lies where the kernel's own files are looked for: /proc, /sys and the tree of control groups.

use std::fs;

use serde_json::json;

use super::{image, text};
use crate::images::Layer;
use crate::runtime::{bundle, id};

/// A layer with busybox, and at `data` a link into /proc/sys; there, where the image's own directory is, a link to another of
/// the kernel's files.
fn redirecting() -> Layer {
    let busybox = fs::read(crate::images::busybox()).expect("a program");
    let layer = Layer::new().dir("bin", 0o755).file("bin/busybox", 0o755, busybox).link("data", "/proc/sys/net/ipv4");
    let layer =
        ["proc", "proc/sys", "proc/sys/net", "proc/sys/net/ipv4"].iter().fold(layer, |it, dir| it.dir(dir, 0o755));
    layer.link("proc/sys/net/ipv4/ping_group_range", "/sys/kernel/domainname")
}

/// Sets a harmless number, and tells whether it has landed in the container's own domain name.
const SYSCTL: &str = "--sysctl=net.ipv4.ping_group_range=0 0";

both!(a_volume_of_the_images_does_not_send_a_sysctl_elsewhere, |world| {
    // CVE-2019-16884, CVE-2025-52881. The volume would lie over a part of /proc, filled by the image with a link; and the
    // engine, or runtime, would write to where that leads: to core_pattern of the machine, if the image says so.
    let config = json!({"Cmd": ["/bin/busybox", "cat", "/proc/sys/kernel/domainname"], "Volumes": {"/data": {}}});
    let image = image(world, "redirecting", vec![redirecting()], &config);
    let output = world.podling(["run", "--rm", "--network=none", SYSCTL, image]);
    assert!(!output.stdout.contains("0 0"), "{output}");
    if crate::second_opinion::other_runtime().is_none() {
        assert!(output.fails(125).contains("a symlink in the container's root leads it into /proc"), "{output}");
    }
});

both!(an_image_gets_no_volume_over_proc, |world| {
    // CVE-2019-16884: what is written "to /proc" would be the image's, and so would be what is read from it.
    for place in ["/proc", "/proc/sys/net/ipv4", "/x/../proc/self"] {
        let config = json!({"Cmd": ["/bin/busybox", "true"], "Volumes": {place: {}}});
        let image = image(world, "over", vec![redirecting()], &config);
        let output = world.podling(["run", "--rm", "--network=none", image]);
        assert!(output.fails(125).contains("the image wants a volume at"), "{output}");
    }
    assert_eq!(world.podling(["volume", "ls", "-q"]).ok(), "", "none was made for it");
});

both!(no_control_group_calls_a_program_of_the_containers, |world| {
    // CVE-2022-0492: release_agent of version 1 is started by the kernel, as the machine's root. CVE-2023-25809: a writable
    // tree of groups.
    let script = "for file in $(find /sys/fs/cgroup -name release_agent); do (: >>$file) && echo WON; done; mkdir /tmp/c; \
                  for controller in memory rdma misc cpu; do mount -t cgroup -o $controller c /tmp/c && echo WON; \
                  unshare -r -m -C mount -t cgroup -o $controller c /tmp/c && echo WON; done; \
                  mkdir /sys/fs/cgroup/mine && echo WON; echo end";
    let image = world.image("busybox");
    world.podling(["run", "-d", "--name=box", "--network=none", image, "sleep", "1000"]).ok();
    for words in [&["run", "--rm", "--network=none", image][..], &["exec", "box"]] {
        let output = world.podling([words, &["sh", "-c", script]].concat());
        assert_eq!(output.ok(), "end", "{output}");
    }
    world.podling(["rm", "-f", "-t0", "box"]).ok();
});

both!(a_sysctl_of_the_machine_is_nobodys_to_set, |world| {
    let image = world.image("witness");
    for sysctl in ["kernel.core_pattern=|/evil", "net/../kernel/core_pattern=|/evil", "kernel.shmmax/../core_pattern=x"]
    {
        let output = world.podling(["run", "--rm", "--network=none", "--sysctl", sysctl, image]);
        assert_ne!(output.status, 0, "{output}");
    }
    assert!(!fs::read_to_string("/proc/sys/kernel/core_pattern").expect("readable").contains("evil"));
});

/// Our own words.
mod only_ours {
    use super::*;

    both!(a_mount_over_a_sysctl_is_not_written_to, |world| {
        // Here the bundle itself asks for the mount; the runtime still writes to the kernel's file or to none.
        let source = world.directory("source");
        let bundle = bundle(world, &["cat", "/proc/sys/kernel/domainname"], |config| {
            let target = "/proc/sys/net/ipv4";
            let mount = json!({"destination": target, "type": "bind", "source": source, "options": ["bind"]});
            config["mounts"].as_array_mut().expect("there are mounts").push(mount);
            config["linux"]["sysctl"] = json!({"net.ipv4.ping_group_range": "0 0"});
        });
        for link in ["/sys/kernel/domainname", "../../kernel/domainname"] {
            let file = source.join("ping_group_range");
            let _ = fs::remove_file(&file);
            std::os::unix::fs::symlink(link, &file).expect("our own directory");
            let output = world.runtime(["run", "--bundle", text(&bundle), &id(world)]);
            assert!(output.fails(1).contains("something lies over it that is not the kernel's"), "{output}");
        }
    });
}
