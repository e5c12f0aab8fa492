//! A part of systemd's tree of control groups, as a *scope*: a group that systemd makes, for processes which it has not
//! started. systemd-run asks for it, is moved there, and becomes the program that it was told to run: our parent stays
//! our parent. Chapter 9 tells more of systemd.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::unistd::geteuid;
use podling::hint::hinted;

/// Says to the program that begins anew that it does so.
const ASKED: &str = "PODLING_CHAPTER_ASKED_SYSTEMD";

/// Begins this program anew, as the only process of a group that is ours to divide. Returns only if there is none to be
/// had, with an error that says why and what to do.
pub fn ask_systemd() -> anyhow::Error {
    let refusal = match systemd_run(["true".into()]).output() {
        Err(error) => format!("systemd-run: {error}"),
        Ok(tried) if !tried.status.success() => String::from_utf8_lossy(&tried.stderr).trim().to_owned(),
        Ok(_) if env::var_os(ASKED).is_some() => "the scope that systemd made is not ours to divide".into(),
        Ok(_) => systemd_run(env::args_os()).env(ASKED, "yes").exec().to_string(),
    };
    hinted(
        format!("no control group is ours to divide, and systemd gives us none: {refusal}"),
        "log in at the console or by ssh (not with su); or let root make a group and chown it to you, with its \
         cgroup.procs and cgroup.subtree_control, and start this program in it, alone",
    )
}

fn systemd_run(words: impl IntoIterator<Item = OsString>) -> Command {
    let whose = if geteuid().is_root() { "--system" } else { "--user" };
    let mut command = Command::new("systemd-run");
    command.args([whose, "--scope", "--quiet", "--collect", "--property=Delegate=yes", "--"]).args(words);
    command
}
