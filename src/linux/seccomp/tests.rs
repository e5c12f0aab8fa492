//! Filters are tried on the kernel: one binds a thread, so each test gives itself a thread to lose. What this machine
//! cannot run (other architectures) is read by a small interpreter of the kernel's bytecode; the kernel's answers are
//! compared with it first, so that it can be believed.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

use super::*;
use crate::sys;

const ENOSYS: u16 = libc::ENOSYS as u16;
const EPERM: u16 = libc::EPERM as u16;

fn rule(syscalls: &[&str], action: Action, conditions: &[Condition]) -> Rule {
    let syscalls = syscalls.iter().map(|&name| name.into()).collect();
    Rule { syscalls, action, conditions: conditions.to_vec() }
}

fn when(operator: Operator, value: u64) -> Condition {
    Condition { argument: 0, operator, value }
}

/// All is allowed but for what `rules` say.
fn deny(rules: Vec<Rule>) -> Filter {
    Filter { default_action: Action::Allow, rules, architectures: vec![], flags: 0 }
}

/// Runs `test` in a thread that lives under `filter`.
fn under<T: Send + 'static>(filter: &Filter, test: impl FnOnce() -> T + Send + 'static) -> T {
    let program = compile(filter).expect("a filter that compiles");
    let thread = std::thread::spawn(move || {
        nix::sys::prctl::set_no_new_privs().expect("no_new_privs");
        program.install().expect("a filter that the kernel takes");
        test()
    });
    thread.join().expect("the test thread ran to its end")
}

/// The errno of a call whose arguments are numbers; 0 if it was made.
fn errno(number: libc::c_long, arguments: [u64; 3]) -> i32 {
    sys::call_with_numbers(number, arguments).map_or_else(|errno| errno as i32, |_| 0)
}

// ------------------------------------------------------------------------------------------- an interpreter

/// What `filter` answers to a call, by the rules of classic BPF.
fn answer(filter: &Filter, architecture: Architecture, number: u32, arguments: [u64; 6]) -> u32 {
    let audit = match architecture {
        Architecture::X86_64 | Architecture::X32 => 0xc000_003e,
        Architecture::X86 => 0x4000_0003,
        Architecture::Aarch64 => 0xc000_00b7,
        Architecture::Arm => 0x4000_0028,
    };
    let mut words = vec![number, audit, 0, 0];
    words.extend(arguments.iter().flat_map(|argument| [*argument as u32, (argument >> 32) as u32]));
    let program = compile(filter).expect("a filter that compiles");
    let (mut at, mut accumulator) = (0, 0);
    loop {
        let one = program.instructions[at];
        at += 1;
        let mut skip = |holds: bool| at += usize::from(if holds { one.jt } else { one.jf });
        match u32::from(one.code) {
            0x20 => accumulator = words[one.k as usize / 4],
            0x54 => accumulator &= one.k,
            0x05 => at += one.k as usize,
            0x15 => skip(accumulator == one.k),
            0x25 => skip(accumulator > one.k),
            0x35 => skip(accumulator >= one.k),
            0x06 => return one.k,
            other => panic!("the kernel's interpreter for constant answers does not know instruction {other:#x}"),
        }
    }
}

fn verdict(filter: &Filter, architecture: Architecture, name: &str, arguments: [u64; 6]) -> u32 {
    answer(filter, architecture, architecture.number(name).expect(name), arguments)
}

const ALLOWED: u32 = libc::SECCOMP_RET_ALLOW;

fn refused(errno: u16) -> u32 {
    libc::SECCOMP_RET_ERRNO | u32::from(errno)
}

// ------------------------------------------------------------------------------------------- the table

#[test]
fn the_table_is_sorted_and_gives_no_number_twice() {
    assert!(table::CALLS.windows(2).all(|pair| pair[0].0 < pair[1].0), "sorted by name");
    for column in 0..4 {
        let mut numbers: Vec<i32> =
            table::CALLS.iter().map(|(_, row)| row[column]).filter(|&n| n != table::NO).collect();
        numbers.sort_unstable();
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "column {column}");
    }
}

#[test]
fn the_table_knows_what_libc_knows() {
    for (name, number) in [("read", libc::SYS_read), ("clone3", libc::SYS_clone3), ("seccomp", libc::SYS_seccomp)] {
        assert_eq!(Architecture::NATIVE.number(name).map(i64::from), Some(number), "{name}");
    }
    assert_eq!(Architecture::X86.number("socketcall"), Some(102));
    assert_eq!(Architecture::Aarch64.number("open"), None);
    assert_eq!(Architecture::X86_64.number("no_such_call"), None);
}

// ------------------------------------------------------------------------------------------- on the kernel

#[test]
fn a_refused_call_returns_its_errno_and_others_go_through() {
    let filter = deny(vec![rule(&["mkdir", "mkdirat"], Action::Errno(libc::EXDEV as u16), &[])]);
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("made");
    let (made, listed) = under(&filter, {
        let (path, place) = (path.clone(), place.path().to_owned());
        move || (std::fs::create_dir(path).map_err(|e| e.raw_os_error()), std::fs::read_dir(place).is_ok())
    });
    assert_eq!((made, listed), (Err(Some(libc::EXDEV)), true));
    assert!(!path.exists(), "refused means not done");
    std::fs::create_dir(path).expect("other threads have no filter");
}

#[test]
fn every_comparison_is_of_all_64_bits() {
    type Case = (Operator, fn(u64) -> bool);
    const LARGE: u64 = 0x5_0000_0007;
    // Values around LARGE that differ in the lower half, the upper half, or both, against each other.
    let values = [0, 7, 8, 0x4_ffff_ffff, 0x5_0000_0006, LARGE, 0x5_0000_0008, 0x6_0000_0000, 0x6_0000_0007, u64::MAX];
    let mask = 0xf_0000_000f;
    let operators: [Case; 7] = [
        (Operator::Equal, |a| a == LARGE),
        (Operator::NotEqual, |a| a != LARGE),
        (Operator::Less, |a| a < LARGE),
        (Operator::LessOrEqual, |a| a <= LARGE),
        (Operator::Greater, |a| a > LARGE),
        (Operator::GreaterOrEqual, |a| a >= LARGE),
        (Operator::MaskedEqual(mask), |a| a & 0xf_0000_000f == LARGE),
    ];
    for (operator, holds) in operators {
        // getpriority with a nonsense first argument fails with EINVAL, unless the filter answers EXDEV first.
        let filter = deny(vec![rule(&["getpriority"], Action::Errno(libc::EXDEV as u16), &[when(operator, LARGE)])]);
        let seen =
            under(&filter, move || values.map(|value| errno(libc::SYS_getpriority, [value, 0, 0]) == libc::EXDEV));
        assert_eq!(seen, values.map(holds), "{operator:?} on the kernel");
        let read = values.map(|value| {
            verdict(&filter, Architecture::NATIVE, "getpriority", [value, 0, 0, 0, 0, 0]) == refused(libc::EXDEV as u16)
        });
        assert_eq!(read, seen, "{operator:?}: the interpreter agrees with the kernel");
    }
}

#[test]
fn on_32_bits_only_the_lower_half_is_compared() {
    let mut filter = deny(vec![rule(&["kill"], Action::Errno(1), &[when(Operator::Equal, u64::MAX)])]);
    filter.architectures = vec![Architecture::X86, Architecture::Arm];
    for architecture in [Architecture::X86, Architecture::Arm] {
        assert_eq!(verdict(&filter, architecture, "kill", [0xffff_ffff, 0, 0, 0, 0, 0]), refused(1));
        assert_eq!(verdict(&filter, architecture, "kill", [0xffff_fffe, 0, 0, 0, 0, 0]), ALLOWED);
    }
}

#[test]
fn all_conditions_of_a_rule_must_hold() {
    let conditions: Vec<Condition> =
        (0..6).map(|argument| Condition { argument, operator: Operator::GreaterOrEqual, value: 1 << 40 }).collect();
    let filter = deny(vec![rule(&["mremap"], Action::Errno(1), &conditions)]);
    let all = [1 << 40; 6];
    assert_eq!(verdict(&filter, Architecture::NATIVE, "mremap", all), refused(1));
    for missing in 0..6 {
        let mut arguments = all;
        arguments[missing] -= 1;
        assert_eq!(verdict(&filter, Architecture::NATIVE, "mremap", arguments), ALLOWED, "argument {missing}");
    }
}

#[test]
fn the_first_rule_that_fits_answers() {
    let filter = deny(vec![
        rule(&["getpriority"], Action::Errno(1), &[when(Operator::Equal, 1)]),
        rule(&["getpriority"], Action::Errno(2), &[when(Operator::LessOrEqual, 2)]),
        rule(&["getpriority"], Action::Errno(3), &[]),
        rule(&["getpriority"], Action::Errno(4), &[]),
    ]);
    let seen = under(&filter, || [0, 1, 2, 3].map(|value| errno(libc::SYS_getpriority, [value, 0, 0])));
    assert_eq!(seen, [2, 1, 2, 3]);
}

#[test]
fn a_second_filter_can_only_take_away() {
    let allow_all = deny(vec![]);
    let seen = under(&deny(vec![rule(&["getpriority"], Action::Errno(EPERM), &[])]), move || {
        compile(&allow_all).expect("compiles").install().expect("installs");
        errno(libc::SYS_getpriority, [0, 0, 0])
    });
    assert_eq!(seen, libc::EPERM);
}

#[test]
fn the_numbers_of_x32_open_no_second_door() {
    let filter = deny(vec![rule(&["getpriority"], Action::Errno(EPERM), &[])]);
    let x32 = Architecture::X86_64.number("getpriority").expect("a number") | 0x4000_0000;
    assert_eq!(answer(&filter, Architecture::X86_64, x32, [0; 6]), refused(ENOSYS));
    if Architecture::NATIVE == Architecture::X86_64 {
        assert_eq!(under(&filter, move || errno(i64::from(x32), [0; 3])), libc::ENOSYS);
    }
}

#[test]
fn a_call_younger_than_the_filter_does_not_exist() {
    let mut filter = deny(vec![]);
    assert_eq!(answer(&filter, Architecture::X86_64, 5000, [0; 6]), ALLOWED);
    filter.default_action = Action::Errno(EPERM);
    assert_eq!(answer(&filter, Architecture::X86_64, 5000, [0; 6]), refused(ENOSYS));
    assert_eq!(verdict(&filter, Architecture::X86_64, "read", [0; 6]), refused(EPERM));
    filter.default_action = Action::KillProcess;
    assert_eq!(answer(&filter, Architecture::X86_64, 5000, [0; 6]), libc::SECCOMP_RET_KILL_PROCESS);
}

#[test]
fn an_architecture_that_the_filter_does_not_speak_of_is_killed() {
    let foreign = [Architecture::X86, Architecture::Arm];
    for architecture in foreign {
        assert_eq!(verdict(&deny(vec![]), architecture, "read", [0; 6]), libc::SECCOMP_RET_KILL_PROCESS);
    }
}

#[test]
fn a_listener_is_returned_where_a_rule_notifies() {
    let program = compile(&deny(vec![rule(&["swapoff"], Action::Notify, &[])])).expect("compiles");
    let listener = std::thread::spawn(move || {
        nix::sys::prctl::set_no_new_privs().expect("no_new_privs");
        program.install().expect("installs").is_some()
    });
    assert!(listener.join().expect("the thread ran"));
}

// A killed process takes its tests with it: these start the test program once more, with one test, which dies.

fn die_by(action: Action) -> ExitStatus {
    let program = std::env::current_exe().expect("this test program");
    let mut command = Command::new(program);
    command.args(["--exact", "linux::seccomp::tests::the_one_that_dies", "--ignored", "--nocapture"]);
    command.env("PODLING_TEST_ACTION", format!("{action:?}")).output().expect("the test program runs").status
}

#[test]
#[ignore = "it dies; others start it"]
fn the_one_that_dies() {
    let said = std::env::var("PODLING_TEST_ACTION").unwrap_or_default();
    let action = [Action::KillProcess, Action::Trap, Action::Allow].into_iter().find(|a| format!("{a:?}") == said);
    let Some(action) = action else { return };
    under(&deny(vec![rule(&["getpriority"], action, &[])]), || errno(libc::SYS_getpriority, [0; 3]));
}

#[test]
fn kill_and_trap_end_the_process_with_sigsys() {
    assert_eq!(die_by(Action::KillProcess).signal(), Some(libc::SIGSYS));
    assert_eq!(die_by(Action::Trap).signal(), Some(libc::SIGSYS));
    assert_eq!(die_by(Action::Allow).code(), Some(0));
}

#[test]
fn nonsense_is_refused_before_the_kernel_sees_it() {
    let error = |filter: &Filter| compile(filter).expect_err("nonsense").to_string();
    let sixth = Condition { argument: 6, operator: Operator::Equal, value: 0 };
    assert_eq!(
        error(&deny(vec![rule(&["read"], Action::Allow, &[sixth])])),
        "seccomp: a system call has arguments 0 to 5, not 6"
    );
    assert_eq!(
        error(&deny(vec![rule(&["read"], Action::Errno(4096), &[])])),
        "seccomp: no errno is above 4095: Errno(4096)"
    );
    let most = [when(Operator::MaskedEqual(u64::MAX), 7); 32];
    under(&deny(vec![rule(&["getpriority"], Action::Errno(1), &most)]), || ());
    let many = [when(Operator::Equal, 7); 33];
    assert_eq!(error(&deny(vec![rule(&["read"], Action::Allow, &many)])), "seccomp: over 32 conditions in a rule");
    let long: Vec<Rule> =
        (0..500).map(|value| rule(&["read"], Action::Errno(1), &[when(Operator::Equal, value); 2])).collect();
    assert!(error(&deny(long)).starts_with("seccomp: the filter is too long: "));
}

// ------------------------------------------------------------------------------------------- the default profile

fn bits(names: &[&str]) -> u64 {
    let bit = |name: &&str| name.parse::<crate::linux::caps::Capability>().expect("a capability").bit();
    names.iter().map(bit).sum()
}

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

// ------------------------------------------------------------------------------------------- other people's files

fn read(text: &str, capabilities: u64) -> Result<Filter> {
    let here = Circumstances { capabilities, kernel: (6, 1), architecture: Architecture::X86_64 };
    Filter::from_json(&serde_json::from_str(text).expect("JSON"), &here)
}

const PROFILE: &str = r#"{
  "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
  "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]},
              {"architecture": "SCMP_ARCH_S390X", "subArchitectures": ["SCMP_ARCH_S390"]}],
  "syscalls": [
    {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": null, "comment": "x", "includes": {}, "excludes": {}},
    {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
    {"names": ["mount"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
    {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
    {"names": ["uselib"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "6.2"}},
    {"names": ["cacheflush"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm", "arm64"]}},
    {"names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64", "x32"]}},
    {"names": ["clone"], "action": "SCMP_ACT_ALLOW",
     "args": [{"index": 0, "value": 2114060288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]},
    {"names": ["personality"], "action": "SCMP_ACT_ALLOW",
     "args": [{"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]}
  ]}"#;

#[test]
fn a_profile_file_is_read_with_its_conditions() {
    let named =
        |filter: &Filter| -> Vec<String> { filter.rules.iter().flat_map(|rule| rule.syscalls.clone()).collect() };
    let plain = read(PROFILE, 0).expect("a profile");
    assert_eq!(named(&plain), ["read", "mount", "ptrace", "arch_prctl", "clone", "personality", "personality"]);
    assert_eq!(plain.architectures, [Architecture::X86_64, Architecture::X86, Architecture::X32]);
    let ask = |filter: &Filter, name, argument| verdict(filter, Architecture::X86_64, name, [argument, 0, 0, 0, 0, 0]);
    assert_eq!(ask(&plain, "mount", 0), refused(EPERM));
    assert_eq!(ask(&read(PROFILE, bits(&["SYS_ADMIN"])).expect("a profile"), "mount", 0), ALLOWED);
    assert_eq!(ask(&plain, "write", 0), refused(ENOSYS));
    assert_eq!([0, 8, 9].map(|value| ask(&plain, "personality", value)), [ALLOWED, ALLOWED, refused(ENOSYS)]);
    assert_eq!(ask(&plain, "clone", libc::CLONE_NEWUSER as u64), refused(ENOSYS));
    assert_eq!(ask(&plain, "clone", 17), ALLOWED);
}

#[test]
fn what_is_wrong_in_a_profile_is_named_with_its_place() {
    let error = |text| format!("{:#}", read(text, 0).expect_err(text));
    assert_eq!(error("{}"), "defaultAction: unknown action \"\"");
    assert_eq!(error("[]"), "defaultAction: unknown action \"\"");
    assert_eq!(
        error(r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "ALLOW"}]}"#),
        "syscalls[0]: action: unknown action \"ALLOW\""
    );
    assert_eq!(
        error(
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_KILL",
               "args": [{"index": 0, "value": -1, "op": "SCMP_CMP_EQ"}]}]}"#
        ),
        "syscalls[0]: args[0]: value: not a number from 0 to 2^64-1: -1"
    );
    assert_eq!(
        error(r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"action": "SCMP_ACT_KILL"}]}"#),
        "syscalls[0]: names: no system call is named"
    );
    assert_eq!(error(r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": "all"}"#), "syscalls: not a list: \"all\"");
    assert_eq!(error(r#"{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["FAST"]}"#), "flags: unknown flag \"FAST\"");
}

#[test]
fn a_filter_survives_being_written_and_read() {
    let mut filter = profile(bits(&["CHOWN", "SYS_ADMIN", "AUDIT_WRITE"]));
    filter.flags |= libc::SECCOMP_FILTER_FLAG_LOG;
    filter.rules.push(rule(&["read"], Action::Trace(7), &[when(Operator::Greater, u64::MAX)]));
    filter.architectures = Architecture::X86_64.with_relatives();
    assert_eq!(read(&filter.to_json().to_string(), 0).expect("our own JSON"), filter);
}

#[test]
fn podmans_own_profile_can_be_read_where_it_is_installed() {
    let Ok(text) = std::fs::read_to_string("/usr/share/containers/seccomp.json") else { return };
    let filter = read(&text, 0).expect("Podman's profile");
    let seen = under(&filter, || (errno(libc::SYS_getpriority, [0; 3]), errno(libc::SYS_bpf, [0; 3])));
    assert_eq!(seen, (0, libc::EPERM));
}
