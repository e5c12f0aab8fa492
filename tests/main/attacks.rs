//! What an image, or a process in a container, may try against the runtime: each known attack by its name, and that it
//! fails. `runtime` has the first few; here are those that want more of a stage.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};

use serde_json::{Value, json};

use crate::running::until;
use crate::runtime::{bundle, create, id, run, state};
use crate::second_opinion::{self, other_runtime};
use crate::world::{Who, World};

/// Runs a bundle that was prepared by hand.
#[track_caller]
fn run_prepared(world: &World, bundle: &std::path::Path) -> crate::running::Output {
    world.runtime(["run", "--bundle", bundle.to_str().expect("plain ASCII"), &id(world)])
}

/// Takes what the runtime would mount on /dev out of the configuration: the image's own /dev is used.
fn without_dev(config: &mut Value) {
    let mounts = config["mounts"].as_array_mut().expect("there are mounts");
    mounts.retain(|mount| !mount["destination"].as_str().is_some_and(|place| place.starts_with("/dev")));
}

both!(a_program_that_is_the_runtime_itself_gets_nothing_from_it, |world| {
    // CVE-2019-5736, the other half: the image names /proc/self/exe as its program.
    let output =
        run(world, &[], |config| config["process"]["args"] = json!(["/proc/self/exe", "delete", "--force", "x"]));
    assert!(!output.stderr.contains("panicked"), "{output}");
});

both!(a_dev_that_is_a_link_gets_no_devices, |world| {
    // CVE-2026-41579, CVE-2026-47766: device files made on the host, behind a symlink.
    let outside = world.directory("outside");
    let bundle = bundle(world, &["true"], without_dev);
    fs::remove_dir(bundle.join("rootfs/dev")).expect("our own directory");
    symlink(&outside, bundle.join("rootfs/dev")).expect("our own directory");
    let output = run_prepared(world, &bundle);
    // runc 1.1.5 and crun 1.8.1 do make them there.
    if other_runtime().is_none() {
        assert!(output.fails(1).contains("/dev"), "{output}");
        assert!(fs::read_dir(&outside).expect("ours").next().is_none(), "{output}");
    }
});

both!(a_sys_that_is_a_link_is_refused, |world| {
    // CVE-2023-27561, CVE-2023-28642: the same as for /proc.
    let bundle = bundle(world, &["true"], |_| {});
    fs::remove_dir(bundle.join("rootfs/sys")).expect("our own directory");
    symlink("tmp", bundle.join("rootfs/sys")).expect("our own directory");
    let output = run_prepared(world, &bundle);
    // A user's sysfs is a bind mount, for which runc follows a link, within the root.
    if world.who == Who::Root || !second_opinion::is("runc") {
        assert_ne!(output.status, 0, "{output}");
    }
    assert!(fs::read_dir(bundle.join("rootfs/tmp")).expect("ours").next().is_none(), "{output}");
});

both!(nothing_the_caller_left_open_reaches_the_program, |world| {
    // CVE-2024-21626 begins with a descriptor that leaked.
    let bundle = bundle(world, &["fds"], |_| {});
    let program = second_opinion::runtime();
    let script = r#"exec 7</ 9</etc/passwd; exec "$0" --root "$1" run --bundle "$2" "$3""#;
    let words = [script.into(), program, world.dir.join("run/runtime"), bundle, id(world).into()];
    let output = world.program("sh", [&[std::path::PathBuf::from("-c")], &words[..]].concat());
    let open: Vec<&str> = output.ok().lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(open, ["0", "1", "2"], "{output}");
});

both!(an_executed_process_inherits_no_capability, |world| {
    // CVE-2022-29162, CVE-2022-27650.
    let bundle = bundle(world, &["sleep-forever"], |_| {});
    create(world, &bundle);
    world.runtime(["start", &id(world)]).ok();
    let output = world.runtime(["exec", "--cap", "CAP_CHOWN", &id(world), "/witness", "caps"]);
    let line = output.ok().lines().next().map(str::to_owned);
    assert!(line.as_deref().is_some_and(|line| line.ends_with("0000000000000000")), "{output}");
    world.runtime(["delete", "--force", &id(world)]).ok();
});

both!(a_sysctl_of_the_whole_machine_is_refused, |world| {
    let output = run(world, &["true"], |config| config["linux"]["sysctl"] = json!({"kernel.core_pattern": "|/evil"}));
    assert_ne!(output.status, 0, "{output}");
    let output = run(world, &["true"], |config| {
        config["linux"]["sysctl"] = json!({"net/../kernel/core_pattern": "|/evil"});
    });
    assert_ne!(output.status, 0, "{output}");
});

both!(a_mask_cannot_be_lifted_from_inside, |world| {
    let output = run(world, &["write", "/proc/sysrq-trigger", "h"], |_| {});
    assert_ne!(output.status, 0, "{output}");
    let output = run(world, &["ls", "/sys/firmware"], |_| {});
    assert_eq!(output.ok(), "");
});

/// Attacks that the other runtimes of the field do not all withstand, or answer in other words.
mod only_ours {
    use super::*;

    as_user!(the_groups_of_a_user_stay_on, |world| {
        // Who could drop a group could pass where "everyone but this group" may. crun maps one group, too, with newgidmap, which
        // then leaves setgroups(2) allowed.
        let output = run(world, &["cat", "/proc/self/setgroups"], |_| {});
        assert_eq!(output.ok(), "deny");
    });

    as_root!(the_executable_in_a_container_cannot_be_written, |world| {
        // CVE-2019-5736: a process of the container opens /proc/PID/exe, waits until the runtime is no longer running ("text
        // file busy"), and writes. An ordinary user's runtime is root's file here, which he cannot write anyway.
        let bundle = bundle(world, &["true"], |_| {});
        create(world, &bundle);
        let pid = state(world)["pid"].clone();
        let held = fs::File::open(format!("/proc/{pid}/exe")).expect("root may look");
        world.runtime(["delete", "--force", &id(world)]).ok();
        let again = format!("/proc/self/fd/{}", held.as_raw_fd());
        // Busy is not safe: other tests' runtimes are executing the same file just now.
        let error = until("nobody executes the runtime", || {
            let error = fs::OpenOptions::new().write(true).open(&again).expect_err("it must not open");
            (error.kind() != std::io::ErrorKind::ExecutableFileBusy).then_some(error)
        });
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem, "{error}");
    });

    both!(a_null_device_of_the_images_making_is_not_used_as_a_mask, |world| {
        // CVE-2025-31133: /dev/null is a symlink, and what it names would be bound over a masked path, writable.
        let bundle = bundle(world, &["cat", "/proc/uptime"], |config| {
            without_dev(config);
            config["linux"]["maskedPaths"] = json!(["/proc/uptime"]);
        });
        symlink("/proc/sys/kernel/core_pattern", bundle.join("rootfs/dev/null")).expect("our own directory");
        let output = run_prepared(world, &bundle);
        assert_ne!(output.status, 0, "{output}");
        assert_eq!(output.stdout, "", "{output}");
    });

    both!(a_console_that_is_a_link_is_refused, |world| {
        // CVE-2025-52565: /dev/console leads elsewhere, and the terminal would be bound there.
        let bundle = bundle(world, &["tty"], |config| {
            config["process"]["terminal"] = json!(true);
            let mounts = config["mounts"].as_array_mut().expect("there are mounts");
            mounts.retain(|mount| mount["destination"] != "/dev");
        });
        for name in ["pts", "shm", "mqueue"] {
            fs::create_dir(bundle.join("rootfs/dev").join(name)).expect("our own directory");
        }
        symlink("/proc/sys/kernel/core_pattern", bundle.join("rootfs/dev/console")).expect("our own directory");
        let output = run_prepared(world, &bundle);
        assert!(output.fails(1).contains("/dev/console is a symlink"), "{output}");
    });

    both!(a_user_that_is_not_two_numbers_is_refused, |world| {
        // CVE-2026-30892: `-u` misread as root.
        let bundle = bundle(world, &["sleep-forever"], |_| {});
        create(world, &bundle);
        world.runtime(["start", &id(world)]).ok();
        for user in ["", "1:", ":1", "root", "-1", "0x0", "1:2:3"] {
            let output = world.runtime(["exec", "--user", user, &id(world), "/witness", "ids"]);
            assert!(output.fails(1).contains("--user"), "{output}");
        }
        world.runtime(["delete", "--force", &id(world)]).ok();
    });

    both!(the_state_is_nobody_elses_business, |world| {
        let bundle = bundle(world, &["sleep-forever"], |config| config["process"]["env"] = json!(["SECRET=x"]));
        create(world, &bundle);
        let directory = world.dir.join("run/runtime").join(id(world));
        let mode = fs::metadata(&directory).expect("the container's directory").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{mode:o}");
        assert!(fs::metadata(directory.join("exec.fifo")).expect("it was created").file_type().is_fifo());
        world.runtime(["delete", "--force", &id(world)]).ok();
    });
}
