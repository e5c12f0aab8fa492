//! `exec`'s request: a process from a file, or the container's own with what the command line changes.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use oci_spec::runtime::{Capabilities, Process as OciProcess};

use super::descriptors;
use crate::runtime::arguments::Arguments;
use crate::runtime::exec;
use crate::runtime::plan;
use crate::runtime::state::Store;

/// Reads it.
pub fn execution(store: &Store, arguments: &Arguments) -> Result<exec::Request> {
    let Some((id, program)) = arguments.words.split_first() else {
        bail!("exec: which container? (its id is missing)");
    };
    let process = match arguments.value("process") {
        Some(path) => {
            let text = std::fs::read(path).with_context(|| path.to_string())?;
            let mut process: OciProcess = plan::parse(&text).with_context(|| path.to_string())?;
            // Older conmons repeat on the command line what the file says.
            if arguments.has("tty") {
                process.set_terminal(Some(true));
            }
            process
        }
        None => process_of_words(store, id, program, arguments)?,
    };
    Ok(exec::Request {
        id: id.clone(),
        process,
        detach: arguments.has("detach"),
        pid_file: arguments.value("pid-file").map(PathBuf::from),
        console_socket: arguments.value("console-socket").filter(|path| !path.is_empty()).map(PathBuf::from),
        preserve_fds: descriptors(arguments)?,
        pidfd_socket: arguments.value("pidfd-socket").filter(|path| !path.is_empty()).map(PathBuf::from),
        ignore_paused: arguments.has("ignore-paused"),
        sub_cgroup: arguments.value("cgroup").map(ToString::to_string),
    })
}

/// The container's own process, with what the command line changes.
fn process_of_words(store: &Store, id: &str, program: &[String], arguments: &Arguments) -> Result<OciProcess> {
    ensure!(!program.is_empty(), "exec: there is no program to run");
    let mut process = exec::process_like_first(store, &store.load(id)?)?;
    process.set_args(Some(program.to_vec())).set_terminal(Some(arguments.has("tty")));
    if let Some(cwd) = arguments.value("cwd") {
        process.set_cwd(cwd.into());
    }
    let mut environment = process.env().clone().unwrap_or_default();
    environment.extend(arguments.values("env").map(ToString::to_string));
    process.set_env(Some(environment));
    if let Some(user) = arguments.value("user") {
        let (uid, gid) = user_and_group(user)?;
        process.user_mut().set_uid(uid).set_gid(gid).set_additional_gids(None);
    }
    if let Some(gids) = arguments.value("additional-gids") {
        let gids: Result<Vec<u32>, _> = gids.split(',').map(str::parse).collect();
        process.user_mut().set_additional_gids(Some(gids.context("--additional-gids: numbers with commas")?));
    }
    if arguments.has("no-new-privs") {
        process.set_no_new_privileges(Some(true));
    }
    add_capabilities(&mut process, arguments)?;
    if let Some(profile) = arguments.value("apparmor") {
        process.set_apparmor_profile(Some(profile.into()));
    }
    if let Some(label) = arguments.value("process-label") {
        process.set_selinux_label(Some(label.into()));
    }
    Ok(process)
}

/// `--cap`: added to what may be used, never to what is inherited (CVE-2022-29162).
fn add_capabilities(process: &mut OciProcess, arguments: &Arguments) -> Result<()> {
    let mut added = Capabilities::new();
    for name in arguments.values("cap") {
        let upper = name.to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        added.insert(serde_json::from_value(format!("CAP_{name}").into()).with_context(|| format!("--cap {name}"))?);
    }
    if added.is_empty() {
        return Ok(());
    }
    let wider = |set: &Option<Capabilities>| Some(set.iter().flatten().chain(&added).copied().collect());
    let mut sets = process.capabilities().clone().unwrap_or_default();
    let (bounding, effective, permitted) = (wider(sets.bounding()), wider(sets.effective()), wider(sets.permitted()));
    sets.set_bounding(bounding).set_effective(effective).set_permitted(permitted);
    process.set_capabilities(Some(sets));
    Ok(())
}

/// Strictly `UID` or `UID:GID` (CVE-2026-30892).
fn user_and_group(text: &str) -> Result<(u32, u32)> {
    let digits = |text: &str| -> Result<u32> {
        ensure!(
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()),
            "--user {text:?}: UID[:GID], numbers"
        );
        text.parse().with_context(|| format!("--user {text:?}: too large"))
    };
    match text.split_once(':') {
        Some((uid, gid)) => Ok((digits(uid)?, digits(gid)?)),
        None => Ok((digits(text)?, 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_two_numbers_and_nothing_else() {
        assert_eq!(user_and_group("1000").expect("a uid"), (1000, 0));
        assert_eq!(user_and_group("1:2").expect("both"), (1, 2));
        for text in ["", ":", "1:", ":1", "root", "-1", "+1", "1:2:3", " 1", "4294967296", "0x1"] {
            assert!(user_and_group(text).is_err(), "{text:?}");
        }
    }
}
