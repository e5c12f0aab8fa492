//! The default profile: which walls stand, which doors open with which capability, and that ordinary work goes on.

use super::interpreter::{ALLOWED, refused, verdict};
use super::*;

#[test]
fn the_default_profile_names_only_known_calls() {
    for name in profile(0).rules.iter().flat_map(|rule| &rule.syscalls) {
        assert!(table::CALLS.iter().any(|(known, _)| known == name), "{name}");
    }
}

#[test]
fn ordinary_work_goes_on_under_the_default_profile() {
    let place = tempfile::tempdir().expect("a directory");
    let file = place.path().join("file");
    under(&profile(0), move || {
        std::fs::write(&file, "x").expect("writing");
        assert_eq!(std::fs::read(&file).expect("reading"), b"x");
        std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        std::thread::spawn(|| ()).join().expect("a thread");
        let status = Command::new("true").status().expect("a process");
        assert!(status.success());
    });
}

#[test]
fn the_walls_of_the_default_profile_stand() {
    let refused_with = |number, arguments| under(&profile(0), move || errno(number, arguments));
    for (name, number) in [
        ("unshare", libc::SYS_unshare),
        ("setns", libc::SYS_setns),
        ("mount", libc::SYS_mount),
        ("umount2", libc::SYS_umount2),
        ("open_tree", libc::SYS_open_tree),
        ("fsopen", libc::SYS_fsopen),
        ("keyctl", libc::SYS_keyctl),
        ("add_key", libc::SYS_add_key),
        ("bpf", libc::SYS_bpf),
        ("perf_event_open", libc::SYS_perf_event_open),
        ("userfaultfd", libc::SYS_userfaultfd),
        ("open_by_handle_at", libc::SYS_open_by_handle_at),
        ("init_module", libc::SYS_init_module),
        ("kexec_load", libc::SYS_kexec_load),
        ("reboot", libc::SYS_reboot),
        ("pivot_root", libc::SYS_pivot_root),
    ] {
        // No call would do harm with these arguments even if it were let through.
        assert_eq!(refused_with(number, [u64::MAX - 1, 0, 0]), libc::EPERM, "{name}");
    }
    assert_eq!(refused_with(libc::SYS_clone3, [0; 3]), libc::ENOSYS, "clone3: its flags cannot be seen");
    assert_eq!(refused_with(libc::SYS_personality, [0x40_0000, 0, 0]), libc::ENOSYS, "one that we do not know");
    assert_eq!(refused_with(libc::SYS_io_uring_setup, [0; 3]), libc::ENOSYS, "io_uring: programs fall back");
}

#[test]
fn a_namespace_needs_sys_admin_whichever_way_it_is_asked_for() {
    const NEWUSER: u64 = libc::CLONE_NEWUSER as u64;
    const SIGCHLD: u64 = libc::SIGCHLD as u64;
    let clone = |filter: &Filter, flags| verdict(filter, Architecture::NATIVE, "clone", [flags, 0, 0, 0, 0, 0]);
    let (plain, admin) = (profile(0), profile(bits(&["SYS_ADMIN"])));
    let threads = 0x003d_0f00; // what glibc's pthread_create asks for
    assert_eq!(clone(&plain, threads), ALLOWED);
    assert_eq!(clone(&plain, NEWUSER | SIGCHLD), refused(EPERM));
    assert_eq!(clone(&plain, NEWUSER | threads | 1 << 40), refused(EPERM));
    assert_eq!(clone(&admin, NEWUSER | SIGCHLD), ALLOWED);
    for name in ["clone3", "unshare", "setns", "mount", "bpf", "fsopen"] {
        assert_eq!(verdict(&admin, Architecture::NATIVE, name, [0; 6]), ALLOWED, "{name}");
    }
}

#[test]
fn a_call_with_two_keys_opens_with_either() {
    for keys in [&["SYS_ADMIN"][..], &["BPF"], &["SYS_ADMIN", "BPF"]] {
        assert_eq!(verdict(&profile(bits(keys)), Architecture::NATIVE, "bpf", [0; 6]), ALLOWED, "{keys:?}");
    }
    assert_eq!(verdict(&profile(bits(&["SYSLOG"])), Architecture::NATIVE, "bpf", [0; 6]), refused(EPERM));
}

/// Whether no call can fit both rules: they ask different things of one argument.
fn exclude_each_other(one: &Rule, other: &Rule) -> bool {
    let bits = |condition: &Condition| match condition.operator {
        Operator::Equal => (u64::MAX, condition.value),
        Operator::MaskedEqual(mask) => (mask, condition.value),
        other => panic!("{other:?} is not expected in the default profile"),
    };
    one.conditions.iter().any(|a| {
        other.conditions.iter().filter(|b| a.argument == b.argument).any(|b| {
            let ((mask, value), (other_mask, other_value)) = (bits(a), bits(b));
            (value ^ other_value) & mask & other_mask != 0
        })
    })
}

#[test]
fn no_call_fits_two_rules_of_the_default_profile_with_different_answers() {
    for capabilities in [0, u64::MAX].into_iter().chain((0..41).map(|number| 1 << number)) {
        let rules = profile(capabilities).rules;
        for (index, one) in rules.iter().enumerate() {
            for other in &rules[index + 1..] {
                let common = one.syscalls.iter().find(|name| other.syscalls.contains(name));
                let is_sound = one.action == other.action || exclude_each_other(one, other);
                assert!(common.is_none() || is_sound, "{common:?}: {one:?} {other:?}");
            }
        }
    }
}

#[test]
fn a_socket_family_is_refused_even_with_bits_that_the_kernel_throws_away() {
    let seen = under(&profile(0), || {
        [(libc::AF_VSOCK, 0), (libc::AF_VSOCK, 1), (libc::AF_ALG, 0), (libc::AF_ALG, 1 << 31), (libc::AF_UNIX, 0)]
            .map(|(family, high)| errno(libc::SYS_socket, [family as u64 | high << 32, libc::SOCK_STREAM as u64, 0]))
    });
    let no = libc::EAFNOSUPPORT;
    assert_eq!(seen, [no, no, no, no, 0]);
    // Audit: told that there is none, login programs go on without.
    let audit = [libc::AF_NETLINK as u64, libc::SOCK_RAW as u64, libc::NETLINK_AUDIT as u64];
    assert_eq!(under(&profile(0), move || errno(libc::SYS_socket, audit)), libc::EINVAL);
    let key = profile(bits(&["AUDIT_WRITE"]));
    let [family, kind, protocol] = audit;
    assert_eq!(verdict(&key, Architecture::NATIVE, "socket", [family, kind, protocol, 0, 0, 0]), ALLOWED);
}

#[test]
fn the_default_profile_says_the_same_on_every_architecture() {
    let mut filter = profile(0);
    for architecture in [Architecture::X86_64, Architecture::X86, Architecture::Aarch64, Architecture::Arm] {
        filter.architectures = architecture.with_relatives();
        for (name, expected) in [
            ("read", ALLOWED),
            ("futex", ALLOWED),
            ("mount", refused(EPERM)),
            ("keyctl", refused(EPERM)),
            ("clone3", refused(ENOSYS)),
            ("io_uring_setup", refused(ENOSYS)),
        ] {
            assert_eq!(verdict(&filter, architecture, name, [0; 6]), expected, "{name} on {architecture:?}");
        }
    }
    filter.architectures = Architecture::Aarch64.with_relatives();
    assert_eq!(verdict(&filter, Architecture::Arm, "cacheflush", [0; 6]), ALLOWED, "a private number");
}
