//! The process: its words, environment, ids, capabilities, limits.

use anyhow::{Context, Result};
use nix::sys::resource::{Resource, getrlimit};
use serde_json::{Value, json};

use super::init::{INSIDE, Pid1};
use super::user::User;
use crate::engine::container::ContainerConfig;
use crate::engine::failure::Failure;
use crate::engine::request::ExecRequest;
use crate::linux::caps::{self, Capability};

/// The capabilities a container has unless somebody says otherwise: Podman's eleven.
const DEFAULT: [&str; 11] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// The container's first process.
pub fn process(config: &ContainerConfig, user: &User, bounding: u64, pid1: &Pid1) -> Result<Value> {
    let mut arguments = config.arguments();
    if pid1.bound().is_some() {
        arguments.splice(0..0, [INSIDE.into(), "--".into()]);
    }
    let mut process = json!({
        "terminal": config.terminal,
        "user": { "uid": user.uid, "gid": user.gid, "additionalGids": user.groups, "umask": config.umask },
        "args": arguments,
        "env": environment(config, user),
        "cwd": config.working_dir,
        "capabilities": sets(config, user, bounding)?,
        "rlimits": limits(config)?,
        "noNewPrivileges": config.security.no_new_privileges,
    });
    if let Some(adjust) = config.resources.oom_score_adj {
        process["oomScoreAdj"] = adjust.into();
    }
    Ok(process)
}

/// A further process in a running container.
pub fn further(config: &ContainerConfig, user: &User, request: &ExecRequest) -> Result<Value> {
    let mut bounding = capabilities(config)?;
    if request.privileged {
        bounding = caps::current()?.bounding;
    }
    let mut env = environment(config, user);
    if request.terminal {
        set(&mut env, "TERM", "xterm");
    }
    for (name, value) in &request.env {
        env.retain(|pair| pair.split_once('=').is_none_or(|(other, _)| other != name));
        env.push(format!("{name}={value}"));
    }
    Ok(json!({
        "terminal": request.terminal,
        "user": { "uid": user.uid, "gid": user.gid, "additionalGids": user.groups, "umask": config.umask },
        "args": request.command,
        "env": env,
        "cwd": request.working_dir.as_deref().unwrap_or(&config.working_dir),
        "capabilities": sets(config, user, bounding)?,
        "rlimits": limits(config)?,
        "noNewPrivileges": config.security.no_new_privileges && !request.privileged,
    }))
}

fn environment(config: &ContainerConfig, user: &User) -> Vec<String> {
    let mut env = config.env.clone();
    set(&mut env, "HOME", &user.home);
    if !config.hostname.is_empty() {
        set(&mut env, "HOSTNAME", &config.hostname);
    }
    env
}

/// Sets a variable that nobody has set.
fn set(env: &mut Vec<String>, name: &str, value: &str) {
    if !env.iter().any(|pair| pair.split_once('=').is_some_and(|(other, _)| other == name)) {
        env.push(format!("{name}={value}"));
    }
}

/// The bounding set: the defaults, and what was added and dropped. Never more than we have ourselves.
pub fn capabilities(config: &ContainerConfig) -> Result<u64> {
    let security = &config.security;
    let ours = caps::current()?.bounding;
    let said = |list: &[String]| -> Result<(bool, u64)> {
        let mut set = 0;
        for name in list.iter().filter(|name| !name.eq_ignore_ascii_case("all")) {
            set |= name.parse::<Capability>().map_err(|error| Failure::Invalid(format!("{error:#}")))?.bit();
        }
        Ok((list.iter().any(|name| name.eq_ignore_ascii_case("all")), set))
    };
    let (add_all, added) = said(&security.cap_add)?;
    let (drop_all, dropped) = said(&security.cap_drop)?;
    let base = if security.privileged || add_all {
        ours
    } else if drop_all {
        0
    } else {
        let mut set = 0;
        for name in DEFAULT {
            set |= name.parse::<Capability>()?.bit();
        }
        set
    };
    Ok(((base & !dropped) | added) & ours)
}

/// Root gets the set; another user only what was added, and that as ambient, or he would lose it at execve.
/// Nothing is ever inheritable for root: a file's inheritable bits would wake it.
fn sets(config: &ContainerConfig, user: &User, bounding: u64) -> Result<Value> {
    let names = |set: u64| Capability::list(set).map(|it| it.to_string()).collect::<Vec<_>>();
    if user.uid == 0 {
        return Ok(json!({ "bounding": names(bounding), "effective": names(bounding), "permitted": names(bounding) }));
    }
    let mut added = 0;
    for name in &config.security.cap_add {
        added |= if name.eq_ignore_ascii_case("all") { bounding } else { name.parse::<Capability>()?.bit() };
    }
    let own = names(added & bounding);
    Ok(json!({ "bounding": names(bounding), "effective": own, "permitted": own, "inheritable": own, "ambient": own }))
}

/// What was asked; and, as Podman does, as many files and processes as the caller could have himself. With `host` nothing
/// is said: whoever starts the container leaves it the limits he has.
fn limits(config: &ContainerConfig) -> Result<Value> {
    if config.ulimits.iter().any(|limit| limit.name == "host") {
        return Ok(json!([]));
    }
    let mut all = Vec::new();
    for limit in &config.ulimits {
        let number = |value: i64| if value < 0 { u64::MAX } else { value as u64 };
        let name = format!("RLIMIT_{}", limit.name.to_ascii_uppercase());
        all.push(json!({ "type": name, "soft": number(limit.soft), "hard": number(limit.hard) }));
    }
    for (name, resource, most) in
        [("RLIMIT_NOFILE", Resource::RLIMIT_NOFILE, 1 << 20), ("RLIMIT_NPROC", Resource::RLIMIT_NPROC, 1 << 22)]
    {
        if !all.iter().any(|it| it["type"] == name) {
            let hard = getrlimit(resource).context("reading our own limits")?.1.min(most);
            all.push(json!({ "type": name, "soft": hard, "hard": hard }));
        }
    }
    Ok(json!(all))
}
