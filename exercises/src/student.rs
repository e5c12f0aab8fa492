//! As whom a student's code runs. On his own machine he checks himself, and it is he. Where he is graded, it is somebody
//! who cannot touch the checker: in the grading container the checker is root and the student is not.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, setresuid};
use podling::linux::process;

static STUDENT: OnceLock<u32> = OnceLock::new();

/// From now on the student is this user, of whom there may be so many processes.
pub fn is(uid: u32) {
    let _ = STUDENT.set(uid);
}

/// How many processes a graded student may have: enough for a compiler, and no fork bomb.
const MOST_PROCESSES: u32 = 256;

/// How much memory one process of his may ask for, in bytes: enough for a compiler. Where control groups limit memory, all of
/// his together are held to less; elsewhere nothing else keeps one from taking the machine's.
const MOST_MEMORY: u64 = 2 << 30;

/// How many seconds of a processor one process of his may use: enough for a compiler on a slow machine, but a constant that is
/// calculated for ever ends it. Time that others use does not count.
const MOST_CALCULATING: u32 = 20;

/// What comes before a command of his: nothing of the checker's rights is left, nor can any be had again.
fn before() -> Option<Vec<String>> {
    let uid = STUDENT.get()?;
    let words = format!(
        "prlimit --nproc={MOST_PROCESSES} --as={MOST_MEMORY} --cpu={MOST_CALCULATING} --core=0 setpriv --reuid={uid} --regid={uid} \
         --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all"
    );
    Some(words.split(' ').map(str::to_owned).collect())
}

/// The same for a shell: what a test puts before a command that the student's user shall run.
pub fn prefix() -> String {
    before().unwrap_or_default().join(" ")
}

/// A command run as the student.
pub fn command(program: &str) -> Command {
    let Some(words) = before() else { return Command::new(program) };
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).arg(program);
    command
}

/// Ends all processes of the student's, at once: who kills them one by one never comes to the end of a fork bomb. (On his own
/// machine he is not alone: nothing is done.)
pub fn kill_everything() {
    let Some(uid) = STUDENT.get().map(|uid| Uid::from_raw(*uid)) else { return };
    let killer = process::clone(&[], None, || {
        let killed = setresuid(uid, uid, uid).and_then(|()| kill(Pid::from_raw(-1), Signal::SIGKILL));
        u8::from(killed.is_err())
    });
    let _ = killer.and_then(|killer| killer.reap());
}

/// The student's program, as a test calls it.
pub fn program(program: &Path, scratch: &Path) -> Result<PathBuf> {
    let Some(words) = before() else { return Ok(program.to_owned()) };
    let path = scratch.join("program");
    fs::write(&path, format!("#!/bin/sh\nexec {} '{}' \"$@\"\n", words.join(" "), program.display()))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

/// Gives him a file or directory.
pub fn own(path: &Path) -> Result<()> {
    if let Some(uid) = STUDENT.get() {
        chown(path, Some(*uid), Some(*uid)).with_context(|| format!("giving {} to the student", path.display()))?;
    }
    Ok(())
}
