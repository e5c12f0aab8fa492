//! From our process to the container's program: user, capabilities, directory, filter, execve; in the one order that works.
//!
//! Everything here runs inside the container's root, in the process that is to become the program. `create` and `exec`
//! both end here.
//!
//! The subtlety is the order: each step takes away the power that an earlier one needed. Groups before the user (only
//! root may set them), the bounding set before the user (it wants `CAP_SETPCAP`), the user before the capabilities (the
//! change of user clears them), the filter last.

use std::convert::Infallible;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, bail};
use nix::errno::Errno;
use nix::sys::resource::setrlimit;
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::stat::{Mode, SFlag, fstat, umask};
use nix::unistd::{Gid, Uid, chdir, execve, fchown, setresgid, setresuid};

use super::Failure;
use super::plan::process::ProcessPlan;
use crate::linux::process::NotRunnable;
use crate::linux::stat::kind;
use crate::linux::{caps, reaper, scheduling};
use crate::sys;
use crate::trace::{self, Topic};

/// Where a program's name is looked for if its environment has no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Finds the program inside the root, before anybody is told that the container is ready: a missing one is an error of
/// `create`, not a container that dies at once.
pub fn find(process: &ProcessPlan) -> Result<CString> {
    let name = process.program();
    if name.as_os_str().as_bytes().contains(&b'/') {
        let path = process.directory.join(name);
        check_executable(&path).map_err(|errno| not_runnable(name, errno))?;
        return Ok(CString::new(path.as_os_str().as_bytes())?);
    }
    let mut refused = None;
    for directory in process.variable("PATH").unwrap_or(DEFAULT_PATH).split(':') {
        // An empty entry means the working directory.
        let path = process.directory.join(directory).join(name);
        match check_executable(&path) {
            Ok(()) => return Ok(CString::new(path.as_os_str().as_bytes())?),
            Err(errno @ Errno::EACCES) => refused = Some(errno),
            Err(_) => {}
        }
    }
    Err(not_runnable(name, refused.unwrap_or(Errno::ENOENT)))
}

fn check_executable(path: &Path) -> Result<(), Errno> {
    let found = std::fs::metadata(path).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
    // Whether *this* user may run it is asked by execve itself.
    if found.is_file() && found.permissions().mode() & 0o111 != 0 { Ok(()) } else { Err(Errno::EACCES) }
}

fn not_runnable(name: &Path, errno: Errno) -> Error {
    let why = NotRunnable { program: name.display().to_string(), errno };
    Failure { status: why.status(), text: why.to_string() }.into()
}

/// Resource limits and what else execve keeps. Before the user changes: raising a limit above the hard one wants
/// `CAP_SYS_RESOURCE`.
pub fn limit(process: &ProcessPlan) -> Result<()> {
    if let Some(policy) = &process.memory_policy {
        policy.set()?;
    }
    if let Some(personality) = process.personality {
        scheduling::set_personality(personality)?;
    }
    for (kind, name, soft, hard) in &process.limits {
        let call = || setrlimit(*kind, *soft, *hard);
        trace::ask(Topic::Process, "setrlimit", format_args!("{name} {soft}:{hard}"), call).or_else(|errno| {
            let present = nix::sys::resource::getrlimit(*kind).map_or(0, |(_, hard)| hard);
            match errno {
                Errno::EPERM => {
                    bail!("setting {name} to {hard}: operation not permitted: the hard limit here is {present}")
                }
                errno => Err(errno).with_context(|| format!("setting {name}")),
            }
        })?;
    }
    Ok(())
}

/// How gladly the kernel kills us for want of memory. `file` is /proc/self/oom_score_adj of a /proc we trust.
pub fn set_oom_score(file: File, score: i32) -> Result<()> {
    let mut file = file;
    trace::ask(Topic::Process, "write", format_args!("/proc/self/oom_score_adj {score}"), || {
        file.write_all(score.to_string().as_bytes())
    })
    .or_else(|error| match error.raw_os_error() {
        // Asking for less than we have wants CAP_SYS_RESOURCE: without, we keep what we have, as runc does.
        Some(libc::EACCES | libc::EPERM) => Ok(()),
        _ => Err(error),
    })
    .with_context(|| format!("setting oom_score_adj to {score}"))
}

/// A label that a security module (AppArmor, SELinux) gives the program at execve.
#[derive(Debug)]
pub struct Label(File, String);

impl Label {
    /// Opens the file through which a label is asked for, while we stand in front of a /proc that we trust: one that an
    /// image prepared could swallow the label (CVE-2019-16884). `None` if there is none to set.
    pub fn open(process: &ProcessPlan) -> Result<Option<Self>> {
        if let Some(profile) = &process.apparmor {
            // The older place is whichever module came first.
            let file = super::filesystem::open_proc(None, Path::new("self/attr/apparmor/exec"))
                .or_else(|_| super::filesystem::open_proc(None, Path::new("self/attr/exec")))?;
            return Ok(Some(Self(file, format!("exec {profile}"))));
        }
        let Some(label) = &process.selinux else { return Ok(None) };
        Ok(Some(Self(super::filesystem::open_proc(None, Path::new("self/attr/exec"))?, label.clone())))
    }

    fn set(mut self) -> Result<()> {
        let Self(file, label) = &mut self;
        trace::ask(Topic::Security, "write", format_args!("/proc/self/attr {label}"), || {
            file.write_all(label.as_bytes())
        })
        .with_context(|| format!("setting the security label {label:?}"))
    }
}

/// Becomes the program. Returns only with an error, and then with the status that shells give it.
///
/// `path` is what [`find`] found, `pid` ours as the host counts.
pub fn become_program(process: &ProcessPlan, path: &CString, label: Option<Label>, pid: i32) -> Result<Infallible> {
    trace::stage(format_args!("less power, one step after the other, and then the program"));
    // Whatever our caller ignores: a container that is started again by another must not be another one.
    sys::default_signals();
    let child = if process.below_init { reaper::part(process.terminal.is_some())? } else { None };
    give_terminal_and_pipes(process);
    if let Some(wanted) = &process.capabilities {
        caps::limit_bounding(wanted.bounding)?;
    }
    // Without no_new_privs a filter is only for those who have CAP_SYS_ADMIN: it must come before we give that up.
    if !process.no_new_privileges {
        install_filter(process, pid)?;
    }
    // As root, or if root may not (a network file system, a foreign home), as the user.
    let entered = enter_directory(&process.directory);
    change_user(process)?;
    entered.or_else(|_| enter_directory(&process.directory))?;
    if let Some(wanted) = &process.capabilities {
        caps::apply(wanted)?;
    }
    umask(Mode::from_bits_truncate(process.umask));
    trace::say(Topic::Process, "umask", format_args!("{:04o}", process.umask), "ok");
    if process.no_new_privileges {
        trace::ask(Topic::Security, "prctl", format_args!("PR_SET_NO_NEW_PRIVS"), nix::sys::prctl::set_no_new_privs)
            .context("setting no_new_privs")?;
    }
    if child.is_none() {
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).context("unblocking signals")?;
    }
    let environment = with_home(process);
    label.map_or(Ok(()), Label::set)?;
    // Whatever we, or whoever called us, still hold: the program gets only what it was promised (CVE-2024-21626).
    let first = 3 + process.passed_descriptors;
    trace::ask(Topic::Security, "close_range", format_args!("{first}.. cloexec"), || sys::close_on_exec_from(first))
        .context("marking descriptors to be closed")?;
    if process.no_new_privileges {
        install_filter(process, pid)?;
    }
    if let Some(program) = child {
        reaper::stay(&program);
    }
    trace::say(Topic::Process, "execve", format_args!("{}", path.to_string_lossy()), "ok");
    let Err(errno) = execve(path, &process.arguments, &environment);
    Err(not_runnable(Path::new(OsStr::from_bytes(path.as_bytes())), errno))
}

fn install_filter(process: &ProcessPlan, pid: i32) -> Result<()> {
    if let Some(agent) = &process.agent {
        agent.ask_from_now_on(pid)?;
    }
    match &process.filter {
        Some(filter) => filter.install().map(drop).context("installing the seccomp filter"),
        None => Ok(()),
    }
}

/// The user may reopen his standard streams (`/dev/stdout`) only if they are his.
fn give_terminal_and_pipes(process: &ProcessPlan) {
    for fd in [std::io::stdin().as_fd(), std::io::stdout().as_fd(), std::io::stderr().as_fd()] {
        let Ok(found) = fstat(fd) else { continue };
        let is_ours_alone = match kind(&found) {
            SFlag::S_IFIFO | SFlag::S_IFSOCK => true,
            SFlag::S_IFCHR => process.terminal.is_some(),
            _ => false,
        };
        if is_ours_alone && found.st_uid != process.uid {
            // Not possible on a stream of someone else's: then he has what he has.
            let _ = fchown(fd, Some(Uid::from_raw(process.uid)), None);
        }
    }
}

fn change_user(process: &ProcessPlan) -> Result<()> {
    let told = format!("{}:{}", process.uid, process.gid);
    if !process.keep_groups {
        let set = || sys::setgroups(&process.groups);
        match trace::ask(Topic::User, "setgroups", format_args!("{:?}", process.groups), set) {
            // Denied for good where an ordinary user wrote the gid map: then there are no groups to drop, either.
            Err(Errno::EPERM) if process.groups.iter().all(|group| *group == process.gid) => {}
            result => result.context("setting the supplementary groups")?,
        }
    }
    // Capabilities would be lost here if the new user is not root; what he shall keep is set right after.
    keep_capabilities(true)?;
    let gid = Gid::from_raw(process.gid);
    trace::ask(Topic::User, "setresgid", format_args!("{gid}"), || setresgid(gid, gid, gid))
        .with_context(|| format!("becoming user {told}: the gid is not in the container's map"))?;
    let uid = Uid::from_raw(process.uid);
    trace::ask(Topic::User, "setresuid", format_args!("{uid}"), || setresuid(uid, uid, uid))
        .with_context(|| format!("becoming user {told}: the uid is not in the container's map"))?;
    keep_capabilities(false)
}

fn keep_capabilities(keep: bool) -> Result<()> {
    let call = || sys::set_keep_capabilities(keep);
    trace::ask(Topic::Security, "prctl", format_args!("PR_SET_KEEPCAPS {}", u8::from(keep)), call)
        .context("PR_SET_KEEPCAPS")
}

/// Goes there, and refuses to be anywhere but inside: a leaked descriptor of the host, reached through /proc/self/fd,
/// could lead out (CVE-2024-21626). The kernel then names the directory `(unreachable)…`.
fn enter_directory(directory: &Path) -> Result<()> {
    trace::ask(Topic::Mount, "chdir", format_args!("{}", directory.display()), || chdir(directory))
        .with_context(|| format!("entering the working directory {}", directory.display()))?;
    let here = nix::unistd::getcwd();
    match here {
        Ok(path) if path.is_absolute() => Ok(()),
        _ => bail!("the working directory {} is outside of the container's root", directory.display()),
    }
}

/// The environment, with HOME as the container's /etc/passwd has it unless it is set.
fn with_home(process: &ProcessPlan) -> Vec<CString> {
    let mut environment = process.environment.clone();
    if process.variable("HOME").is_none() {
        let home = home(&passwd(), process.uid).unwrap_or_else(|| "/".into());
        environment.extend(CString::new(format!("HOME={}", home.display())));
    }
    environment
}

/// The container's /etc/passwd, if it is a file, and no more of it than any has: an image may have put a fifo there, or a
/// link to something that never ends.
fn passwd() -> String {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = File::options().read(true).custom_flags(flags).open("/etc/passwd").ok();
    let file = file.filter(|file| file.metadata().is_ok_and(|it| it.is_file()));
    let mut text = Vec::new();
    let _ = file.map(|file| file.take(4 << 20).read_to_end(&mut text));
    String::from_utf8_lossy(&text).into_owned()
}

fn home(passwd: &str, uid: u32) -> Option<PathBuf> {
    let fields = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let mut users = fields.filter(|fields| fields.get(2).and_then(|uid| uid.parse().ok()) == Some(uid));
    users.next()?.get(5).filter(|home| !home.is_empty()).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_found_by_uid() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\nann:x:7:7::/home/ann:/bin/sh\n";
        assert_eq!(home(passwd, 7), Some("/home/ann".into()));
        assert_eq!(home(passwd, 8), None);
    }
}
