//! What `./try` and `./test` say and install on machines that are not this one (`tests/needs.sh`): on a fresh Debian or
//! Fedora, played by programs that tell what they were asked and do no more.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

/// What the script itself is written with; in $PATH there is nothing else but the machine's programs.
const TOOLS: [&str; 6] = ["bash", "cut", "env", "head", "sed", "sort"];

/// Programs of every machine: a C compiler's, so that only what a test is about is missing.
const COMPILER: [(&str, &str); 2] = [("cc", "true"), ("ld", "true")];

const AN_ORDINARY_USER: (&str, &str) = ("id", "echo 1000");
const ROOT: (&str, &str) = ("id", "echo 0");

/// `tests/needs.sh`, then `words`, on a machine with these programs, each a line of shell: whether it succeeded, and what
/// it said. What the programs were asked begins with `asked:`.
fn on(programs: &[(&str, &str)], words: &str) -> (bool, String) {
    let machine = tempfile::tempdir().expect("a temporary directory");
    let bin = machine.path().join("bin");
    fs::create_dir(&bin).expect("our own directory");
    for tool in TOOLS {
        let found = ["/usr/bin", "/bin"]
            .map(|dir| format!("{dir}/{tool}"))
            .into_iter()
            .find(|path| fs::exists(path).is_ok_and(|it| it));
        symlink(found.expect("every machine has it"), bin.join(tool)).expect("our own directory");
    }
    for (name, does) in programs.iter().chain(&COMPILER) {
        let path = bin.join(name);
        let script = format!(
            "#!/bin/sh\nhere={}\necho \"asked: {name} $*\" >> {}/asked\n{does}\n",
            bin.display(),
            machine.path().display()
        );
        fs::write(&path, script).expect("our own directory");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("our own file");
    }
    let script = format!("set -euo pipefail; . tests/needs.sh; {words}");
    let output = Command::new("/bin/bash")
        .args(["-c", &script])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_clear()
        .env("PATH", &bin)
        .env("HOME", machine.path())
        .output()
        .expect("bash runs");
    let asked = fs::read_to_string(machine.path().join("asked")).unwrap_or_default();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned() + &asked)
}

const NEED: &str = "needs 'what it does' no-such-program:debian-name:fedora-name";

#[test]
fn packages_are_installed_with_sudo_after_saying_so() {
    let sudo = "case $* in *install*debian-name) /bin/cp $here/cc $here/no-such-program; esac";
    let (well, said) = on(&[AN_ORDINARY_USER, ("apt-get", "true"), ("sudo", sudo)], NEED);
    assert!(well, "{said}");
    assert!(said.starts_with("Installing what it does: sudo apt-get install debian-name\n"), "{said}");
}

#[test]
fn who_has_no_sudo_hears_whom_to_ask_for_what() {
    let (well, said) = on(&[AN_ORDINARY_USER, ("apt-get", "true")], NEED);
    assert!(!well, "{said}");
    assert!(said.contains("Please ask whoever administers this machine for: apt-get install debian-name\n"), "{said}");
    assert!(!said.contains("asked: apt-get"), "{said}");
}

#[test]
fn an_unknown_distribution_hears_what_is_missing() {
    let (well, said) = on(&[ROOT], NEED);
    assert!(!well && said.starts_with("Please install what it does, "), "{said}");
}

#[test]
fn fedora_has_its_own_names_and_a_rust_that_is_new_enough() {
    let dnf = "case $* in *repoquery*) echo 1.93.0;; *install*cargo) echo 'echo cargo 1.93.0' > $here/cargo; /bin/chmod +x $here/cargo; esac";
    let (well, said) = on(&[ROOT, ("dnf", dnf)], "needs_rust");
    assert!(well, "{said}");
    assert!(said.contains("Installing Rust: dnf install cargo\n"), "{said}");
    let (_, said) = on(&[ROOT, ("dnf", "true")], NEED);
    assert!(said.contains("asked: dnf -q -y install fedora-name\n"), "{said}");
}

#[test]
fn a_debian_whose_rust_is_too_old_hears_of_rustup() {
    let cache = "case $* in *cargo) echo '  Candidate: 0.66.0+ds1-1';; *) echo '  Candidate: (none)'; esac";
    let (well, said) = on(&[ROOT, ("apt-get", "true"), ("apt-cache", cache)], "needs_rust");
    assert!(!well, "{said}");
    assert!(said.contains("here is none.\nInstall Rust as https://rustup.rs says"), "{said}");
    assert!(!said.contains("asked: apt-get"), "{said}");
}

#[test]
fn a_debian_with_rustup_gets_its_newest_rust() {
    let cache = "case $* in *cargo) echo '  Candidate: 1.85.1+dfsg1-1';; *) echo '  Candidate: 1.27.1-3+b1'; esac";
    let install = "case $* in *install*rustup) /bin/cp $here/rustup-of-debian $here/rustup; esac";
    let rustup = "case $* in 'default stable') echo 'echo cargo 1.95.0' > $here/cargo; /bin/chmod +x $here/cargo;; *) exit 1; esac";
    let machine = [ROOT, ("apt-get", install), ("apt-cache", cache), ("rustup-of-debian", rustup)];
    let (well, said) = on(&machine, "needs_rust");
    assert!(well, "{said}");
    assert!(said.contains("Installing Rust's installer: apt-get install rustup\n"), "{said}");
}
