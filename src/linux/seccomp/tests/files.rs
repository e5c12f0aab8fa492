//! Profiles that other people wrote, in Docker's JSON.

use super::interpreter::{ALLOWED, refused, verdict};
use super::*;

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
