//! What a container's program finds when it looks around: its pid, ids, privileges and descriptors; its files and mounts.

use nix::sys::signal::Signal;

use crate::containers::{run, start};
use crate::running::{Input, Running};
use crate::second_opinion::{self, other_runtime};
use crate::setup::setup;

// --------------------------------------------------------------------------------------- itself

both!(descriptors_of_the_caller_do_not_reach_the_program, |world| {
    let fds = run(world, &[], &["fds"]);
    assert_eq!(fds.ok(), "0 /dev/null\n1 pipe\n2 pipe");
});

both!(environment_directory_user_and_host_name_are_as_asked, |world| {
    let env = run(world, &["-e", "COLOUR=blue", "--hostname=box"], &["env"]);
    let env: Vec<_> = env.ok().lines().map(str::to_owned).collect();
    for wanted in ["COLOUR=blue", "HOSTNAME=box", "HOME=/root", "container=podling"] {
        assert!(env.iter().any(|line| line == wanted), "{wanted} is not in {env:?}");
    }
    assert_eq!(run(world, &["--hostname=box"], &["hostname"]).ok(), "box");
    assert_eq!(run(world, &["-w", "/etc"], &["cwd"]).ok(), "/etc");
    let ids = run(world, &["-u", "somebody"], &["ids"]);
    assert!(ids.ok().starts_with("Uid 1000 1000 1000 1000\nGid 1000 1000 1000 1000\nGroups 1000 2000\n"), "{ids}");
    let ids = run(world, &["-u", "5:6"], &["ids"]);
    assert!(ids.ok().starts_with("Uid 5 5 5 5\nGid 6 6 6 6\n"), "{ids}");
});

both!(default_privileges_are_podmans, |world| {
    let caps = run(world, &[], &["caps"]);
    // chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service sys_chroot setfcap
    let expected = "CapInh 0000000000000000\nCapPrm 00000000800405fb\nCapEff 00000000800405fb\n\
                    CapBnd 00000000800405fb\nCapAmb 0000000000000000";
    assert_eq!(caps.ok(), expected);
    assert_eq!(run(world, &[], &["status", "NoNewPrivs", "Seccomp"]).ok(), "NoNewPrivs 0\nSeccomp 2");
    let none = run(world, &["--cap-drop=all", "--security-opt=no-new-privileges"], &["caps"]);
    assert!(none.ok().lines().all(|line| line.ends_with(" 0000000000000000")), "{none}");
    let security = ["--security-opt=no-new-privileges", "--security-opt=seccomp=unconfined"];
    assert_eq!(run(world, &security, &["status", "NoNewPrivs", "Seccomp"]).ok(), "NoNewPrivs 1\nSeccomp 0");
    let one = run(world, &["--cap-drop=all", "--cap-add=net_admin"], &["caps"]);
    assert!(one.ok().contains("CapEff 0000000000001000"), "{one}");
});

both!(only_a_loopback_device_is_in_a_network_of_none, |world| {
    assert_eq!(run(world, &[], &["interfaces"]).ok(), "lo");
});

both!(the_program_is_pid_1_unless_init_is, |world| {
    assert_eq!(run(world, &[], &["pid"]).ok(), "1");
    let below_init = run(world, &["--init"], &["pid"]);
    if second_opinion::is("runc") {
        // Its threads and helpers have used up some numbers.
        assert_ne!(below_init.ok(), "1");
    } else {
        assert_eq!(below_init.ok(), "2");
    }
});

both!(an_init_reaps_orphans_passes_signals_on_and_tells_nothing_of_the_host, |world| {
    let image = world.image("busybox");
    // The orphan ends, is reaped by pid 1, and its /proc entry is gone; a zombie's would stay.
    let script = "orphan=$(sh -c '(exec sleep 0.01) >/dev/null & echo $!'); while [ -e /proc/$orphan ]; do :; done; \
                  trap 'exit 5' TERM; echo up; while :; do sleep 0.01; done";
    world.podling(["run", "-d", "--name=a", "--network=none", "--init", image, "sh", "-c", script]).ok();
    world.spawn(["logs", "-f", "a"]).expect("up");
    let words = world.podling(["exec", "a", "cat", "/proc/1/cmdline"]).ok().to_owned();
    assert!(words.contains("podling-init") && !words.contains("bundle") && !words.contains("--root"), "{words}");
    // catatonit, which is the init below another runtime, is a program like any other and can be looked into.
    if other_runtime().is_none() {
        world.podling(["exec", "a", "cat", "/proc/1/environ"]).fails(1);
    }
    world.podling(["stop", "a"]).ok();
    let code = world.podling(["inspect", "--format={{.State.ExitCode}} {{.HostConfig.Init}}", "a"]).ok().to_owned();
    assert_eq!(code, "5 true", "SIGTERM came through");
});

both!(a_program_below_init_has_the_terminal, |world| {
    let script = "trap 'exit 4' INT; echo ready; while :; do sleep 0.01; done";
    let words = ["run", "--rm", "-it", "--network=none", "--init", world.image("busybox"), "sh", "-c", script];
    let mut program = world.spawn_on_terminal(words);
    program.expect("ready");
    // Ctrl-C goes to the group in the terminal's foreground: the program's, not pid 1's.
    program.write("\x03");
    assert_eq!(program.wait().status, 4);
});

both!(what_the_caller_ignores_the_program_does_not, |world| {
    let mut command = world.command("sh");
    command.args(["-c", "trap '' INT HUP USR1; exec \"$@\"", "sh"]).arg(setup().bin("podling"));
    command.args(["run", "--rm", "--network=none", world.image("witness"), "status", "SigIgn"]);
    let seen = Running::start(command, Input::Empty).wait();
    let ignored = seen.ok().strip_prefix("SigIgn ").and_then(|mask| u64::from_str_radix(mask, 16).ok());
    let bit = |signal: Signal| 1_u64 << (signal as i32 - 1);
    let asked = bit(Signal::SIGINT) | bit(Signal::SIGHUP) | bit(Signal::SIGUSR1);
    assert!(ignored.expect("a mask") & asked == 0 || other_runtime().is_some(), "{seen}");
});

both!(an_init_needs_its_own_pid_namespace_and_a_missing_program_is_told_below_it, |world| {
    let said = run(world, &["--init", "--pid=host"], &["pid"]);
    assert!(said.fails(125).contains("--init needs a PID namespace of the container's own"), "{said}");
    let said = world.podling(["run", "--rm", "--init", "--network=none", world.image("busybox"), "nosuch"]);
    // Below another runtime the init is catatonit, which has one status for all that it cannot do.
    said.fails(if other_runtime().is_none() { 127 } else { 1 });
});

both!(mounts_in_a_container_are_these, |world| {
    let mounts = run(world, &[], &["mounts"]);
    let mut targets: Vec<_> =
        mounts.ok().lines().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    targets.retain(|line| !line.starts_with("/etc/") && !line.starts_with("/run/"));
    for wanted in ["/ overlay", "/proc proc", "/dev tmpfs", "/dev/pts devpts", "/dev/shm tmpfs", "/dev/mqueue mqueue"] {
        assert!(targets.iter().any(|line| line == wanted), "{wanted} is not in\n{mounts}");
    }
});

// --------------------------------------------------------------------------------------- its files

both!(bind_mounts_are_seen_from_both_sides, |world| {
    let shared = world.directory("shared");
    world.file("shared/letter", "from outside\n");
    let writable = format!("{}:/mnt", shared.display());
    assert_eq!(run(world, &["-v", &writable], &["cat", "/mnt/letter"]).ok(), "from outside");
    run(world, &["-v", &writable], &["write", "/mnt/answer", "from inside"]).ok();
    assert_eq!(std::fs::read_to_string(shared.join("answer")).ok().as_deref(), Some("from inside"));
    let read_only = format!("{}:/mnt:ro", shared.display());
    let refused = run(world, &["-v", &read_only], &["write", "/mnt/answer", "x"]);
    assert_eq!(refused.fails(1), "/mnt/answer: Read-only file system (os error 30)");
});

both!(a_volume_outlives_its_containers, |world| {
    run(world, &["-v", "kept:/data"], &["write", "/data/file", "kept"]).ok();
    assert_eq!(run(world, &["-v", "kept:/data"], &["cat", "/data/file"]).ok(), "kept");
    assert_eq!(world.podling(["volume", "ls", "-q"]).ok(), "kept");
    world.podling(["volume", "rm", "kept"]).ok();
    assert_eq!(world.podling(["volume", "ls", "-q"]).ok(), "");
});

both!(what_is_in_a_volume_is_no_program_with_its_owners_rights_and_no_device, |world| {
    let image = world.image("busybox");
    let options = |flags: &[&str]| {
        let words =
            [&["run", "--rm", "--network=none"], flags, &[image, "grep", " /data ", "/proc/self/mountinfo"]].concat();
        let said = world.podling(words).ok().to_owned();
        let options = said.split(' ').nth(5).expect("options of a mount").to_owned();
        ["nosuid", "nodev", "noexec"].map(|it| options.split(',').any(|option| option == it))
    };
    assert_eq!(options(&["-v=data:/data"]), [true, true, false]);
    assert_eq!(options(&["--mount=type=volume,src=data,dst=/data"]), [true, true, false]);
    assert_eq!(options(&["-v=/data"]), [true, true, false]);
    assert_eq!(options(&["-v=data:/data:noexec"]), [true, true, true]);
    assert_eq!(options(&["-v=data:/data:suid,dev"]), [false, false, false]);
    world.podling(["create", "--name=it", "--network=none", "-v=data:/data", image]).ok();
    let told = world.podling(["inspect", "--format={{(index .Mounts 0).Options}}", "it"]);
    assert_eq!(told.ok(), "[nosuid nodev]");
});

both!(a_working_directory_that_somebody_names_is_there_and_an_images_is_made, |world| {
    let image = world.image("busybox");
    let run = |flags: &[&str], image: &str, script: &str| {
        world.podling([&["run", "--rm", "--network=none"], flags, &[image, "sh", "-c", script]].concat())
    };
    let missing = run(&["-w=/no/such"], image, "pwd");
    assert!(missing.fails(126).contains("workdir \"/no/such\" does not exist on container "), "{missing}");
    let file = run(&["-w=/bin/busybox"], image, "pwd");
    assert!(file.fails(126).ends_with(", but is not a directory"), "{file}");
    world.podling(["create", "--name=later", "--network=none", "-w=/nosuch", image, "true"]).ok();
    world.podling(["start", "later"]).fails(126);
    // What is mounted later is nobody's to miss.
    assert_eq!(run(&["-w=/data/below", "-v=data:/data"], image, "pwd").ok(), "/data/below");
    assert_eq!(run(&["-w=/tmp/a", "--tmpfs=/tmp"], image, "pwd").ok(), "/tmp/a");
    assert_eq!(run(&["-w=/dev/shm"], image, "pwd").ok(), "/dev/shm");
    world.podling(["commit", "-q", "--change=WORKDIR=/from/image", "later", "wishes"]).ok();
    assert_eq!(run(&["-u=7:8"], "wishes", "pwd; stat -c %u:%g . ..").ok(), "/from/image\n7:8\n0:0");
    assert_eq!(run(&["--read-only"], "wishes", "pwd").ok(), "/from/image");
    run(&["-w=/from/image"], "wishes", "pwd").fails(126);
});

both!(a_read_only_container_can_write_to_its_tmpfs_only, |world| {
    let flags = ["--read-only", "--tmpfs=/scratch"];
    let refused = run(world, &flags, &["write", "/file", "x"]);
    assert_eq!(refused.fails(1), "/file: Read-only file system (os error 30)");
    run(world, &flags, &["write", "/scratch/file", "x"]).ok();
});

both!(a_container_whose_program_has_dug_deep_can_be_removed, |world| {
    let image = world.image("busybox");
    let script = "i=0; while [ $i -lt 1500 ]; do mkdir d d/e && cd d || exit; i=$((i+1)); done";
    world.podling(["run", "--network=none", "--name=mole", image, "sh", "-c", script]).ok();
    // Fewer descriptors than levels.
    let mut command = world.command("sh");
    command.args(["-c", "ulimit -n 100; exec \"$@\"", "sh"]).arg(setup().bin("podling"));
    command.args(["rm", "mole"]);
    let removed = Running::start(command, Input::Empty).wait();
    assert_eq!(removed.ok(), "mole");
});

both!(layers_and_whiteouts_make_one_tree, |world| {
    let image = world.image("layers");
    let see = |words: &[&str]| world.podling([&["run", "--rm", "--network=none", image], words].concat());
    assert_eq!(
        see(&["cat", "/changed", "/merged/old", "/merged/new", "/replaced/new", "/link"]).ok(),
        "middle\nlower\nmiddle\nmiddle\nupper"
    );
    see(&["cat", "/gone"]).fails(1);
    assert_eq!(see(&["ls", "/replaced"]).ok(), "new");
    assert_eq!(see(&["ls", "/merged"]).ok(), "new\nold");
});

both!(files_are_copied_in_and_out, |world| {
    start(world, "store", &["until-term"]);
    let letter = world.file("letter", "hello\n");
    let letter = letter.to_str().expect("plain ASCII");
    world.podling(["cp", letter, "store:/tmp/letter"]).ok();
    assert_eq!(world.podling(["exec", "store", "/witness", "cat", "/tmp/letter"]).ok(), "hello");
    let back = world.dir.join("tmp/.back");
    world.podling(["cp", "store:/etc/passwd", back.to_str().expect("plain ASCII")]).ok();
    assert!(std::fs::read_to_string(&back).is_ok_and(|text| text.starts_with("root:x:0:0")));
    world.podling(["rm", "-f", "store"]).ok();
});

both!(what_a_container_wrote_is_there_when_it_starts_again, |world| {
    let image = world.image("witness");
    world.podling(["run", "--network=none", "--name=writer", image, "write", "/tmp/note", "still here"]).ok();
    let note = world.dir.join("tmp/.note");
    world.podling(["cp", "writer:/tmp/note", note.to_str().expect("plain ASCII")]).ok();
    assert_eq!(std::fs::read_to_string(note).ok().as_deref(), Some("still here"));
    world.podling(["rm", "writer"]).ok();
});
