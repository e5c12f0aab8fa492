//! The walls around a container's program: which system calls it may make and which it may not, whatever it tries.

use std::fs;

use crate::world::World;

/// What system call `number` answers in a container with these flags: an errno, 0 if it was made.
#[track_caller]
fn answer(world: &World, flags: &[&str], number: i64, arguments: &[u64]) -> i32 {
    let mut words = vec!["run", "--rm", "--network=none"];
    words.extend(flags);
    let number = number.to_string();
    let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    words.extend([world.image("witness"), "syscall", &number]);
    words.extend(arguments.iter().map(String::as_str));
    world.podling(&words).ok().parse().expect("the witness prints a number")
}

const NEWUSER: u64 = libc::CLONE_NEWUSER as u64;

both!(an_ordinary_container_makes_no_namespaces_mounts_keys_or_programs_for_the_kernel, |world| {
    // Each with arguments that would fail in another way, or do no harm, if the call were let through.
    for (name, number, arguments) in [
        ("unshare", libc::SYS_unshare, &[NEWUSER][..]),
        ("clone", libc::SYS_clone, &[NEWUSER | libc::SIGCHLD as u64]),
        ("setns", libc::SYS_setns, &[99]),
        ("mount", libc::SYS_mount, &[]),
        ("fsopen", libc::SYS_fsopen, &[]),
        ("keyctl", libc::SYS_keyctl, &[0]),
        ("bpf", libc::SYS_bpf, &[99]),
        ("perf_event_open", libc::SYS_perf_event_open, &[]),
        ("userfaultfd", libc::SYS_userfaultfd, &[u64::MAX]),
        ("init_module", libc::SYS_init_module, &[]),
        ("reboot", libc::SYS_reboot, &[]),
    ] {
        assert_eq!(answer(world, &[], number, arguments), libc::EPERM, "{name}");
    }
    assert_eq!(answer(world, &[], libc::SYS_clone3, &[]), libc::ENOSYS, "the C library falls back on clone");
});

both!(a_socket_family_is_refused_also_with_bits_that_the_kernel_throws_away, |world| {
    let vsock = libc::AF_VSOCK as u64;
    for family in [vsock, vsock | 1 << 32, libc::AF_ALG as u64] {
        assert_eq!(answer(world, &[], libc::SYS_socket, &[family, 1, 0]), libc::EAFNOSUPPORT, "{family:#x}");
    }
    assert_eq!(answer(world, &[], libc::SYS_socket, &[libc::AF_UNIX as u64, 1, 0]), 0);
});

both!(what_the_filter_refuses_a_capability_or_the_user_can_allow, |world| {
    for flags in [&["--cap-add=sys_admin"][..], &["--security-opt=seccomp=unconfined"], &["--privileged"]] {
        assert_eq!(answer(world, flags, libc::SYS_unshare, &[NEWUSER]), 0, "{flags:?}");
    }
});

both!(a_profile_of_ones_own_is_obeyed, |world| {
    let profile = world.directory("profile").join("seccomp.json");
    let text = r#"{ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        { "names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 18,
          "args": [{ "index": 0, "value": 0, "op": "SCMP_CMP_EQ" }, { "index": 0, "value": 2, "op": "SCMP_CMP_EQ" }] },
        { "names": ["sched_yield"], "action": "SCMP_ACT_ERRNO", "excludes": { "caps": ["CAP_CHOWN"] } } ] }"#;
    fs::write(&profile, text).expect("our own directory");
    let option = format!("--security-opt=seccomp={}", profile.display());
    let ask = |number, which| answer(world, &[&option], number, &[which, 0]);
    assert_eq!([0, 1, 2].map(|which| ask(libc::SYS_getpriority, which)), [18, 0, 18]);
    assert_eq!(ask(libc::SYS_sched_yield, 0), 0, "the container has CAP_CHOWN");
    let without = answer(world, &[&option, "--cap-drop=chown"], libc::SYS_sched_yield, &[]);
    assert_eq!(without, libc::EPERM);
});

both!(a_broken_profile_is_refused_with_its_place, |world| {
    let profile = world.directory("profile").join("seccomp.json");
    let option = format!("--security-opt=seccomp={}", profile.display());
    for (text, expected) in [
        ("{", "EOF while parsing"),
        (r#"{ "defaultAction": "ALLOW" }"#, "defaultAction: unknown action \"ALLOW\""),
        (
            r#"{ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["read"], "action": "SCMP_ACT_NO" }] }"#,
            "syscalls[0]: action: unknown action \"SCMP_ACT_NO\"",
        ),
    ] {
        fs::write(&profile, text).expect("our own directory");
        let output = world.podling(["run", "--rm", "--network=none", &option, world.image("witness")]);
        let error = output.fails(125);
        assert!(error.contains(expected) && error.contains("seccomp.json"), "{error}");
    }
});

both!(whoever_is_let_in_later_is_behind_the_same_walls, |world| {
    let image = world.image("witness");
    world.podling(["run", "-d", "--name=host", "--network=none", image, "until-term"]).ok();
    let unshare = libc::SYS_unshare.to_string();
    let user = NEWUSER.to_string();
    let output = world.podling(["exec", "host", "/witness", "syscall", &unshare, &user]);
    assert_eq!(output.ok(), libc::EPERM.to_string());
    world.podling(["rm", "-f", "-t0", "host"]).ok();
});
