//! Filters are tried on the kernel: one binds a thread, so each test gives itself a thread to lose. What this machine
//! cannot run (other architectures) is read by a small [`interpreter`] of the kernel's bytecode.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

use super::*;
use crate::sys;
use interpreter::{ALLOWED, answer, refused, verdict};

mod files;
mod interpreter;
mod profile;

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

/// The set of capabilities of these names.
fn bits(names: &[&str]) -> u64 {
    let bit = |name: &&str| name.parse::<crate::linux::caps::Capability>().expect("a capability").bit();
    names.iter().map(bit).sum()
}

/// The errno of a call whose arguments are numbers; 0 if it was made.
fn errno(number: libc::c_long, arguments: [u64; 3]) -> i32 {
    sys::call_with_numbers(number, arguments).map_or_else(|errno| errno as i32, |_| 0)
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
