//! Chapter 10, the state: for each pod a symbolic link that says who holds it.
//!
//! ```text
//! $XDG_RUNTIME_DIR/chapter10/NAME -> PID-START
//! ```
//!
//! A link is made in one step, whole, and only where none is: of two who want a name one gets it. It says where to look
//! and not what is the case: whether the holder lives, and who is in the pod, the kernel is asked each time.
//!
//! The subtlety is the number. When a process has ended, its pid is free for another; who then joins "process 4711" is in a
//! stranger's namespaces. Pid and start time together mean one process for ever, and a pidfd means it as long as it is open.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use chapters::places;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::poll::PollTimeout;
use nix::unistd::Pid;
use podling::hint::{hinted, line};
use podling::linux::namespace::{Namespace, identity};
use podling::linux::process::{Process, Signal, Stat};
use podling::sys;
use podling::trace::{self, Topic};

/// Where the link of a pod is, or will be.
pub fn place(name: &str) -> Result<PathBuf> {
    places::of("chapter10", name)
}

// ANCHOR: publish
/// Says that this process holds the pod of this link. From now on others find it.
pub fn publish(link: &Path) -> Result<()> {
    let me = Pid::this();
    let start = Stat::of(me)?.context("when we were started")?.start_time;
    let call = || symlink(format!("{me}-{start}"), link);
    match trace::ask(Topic::Pod, "symlink", format_args!("{} -> {me}-{start}", link.display()), call) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let name = link.file_name().unwrap_or_default().display();
            Err(hinted(format!("the name {name} is taken"), format!("chapter10_pods rm {name}")))
        }
        made => made.with_context(|| link.display().to_string()),
    }
}
// ANCHOR_END: publish

/// What is written of a pod: the link, and the pid and the start time of the holder.
fn read(name: &str) -> Result<(PathBuf, Pid, u64)> {
    let link = place(name)?;
    let said = match fs::read_link(&link) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(hinted(format!("there is no pod {name}"), "chapter10_pods ls lists the pods"));
        }
        said => said.with_context(|| link.display().to_string())?,
    };
    let numbers = said.to_str().and_then(|said| said.split_once('-'));
    let numbers = numbers.and_then(|(pid, start)| Some((pid.parse().ok()?, start.parse().ok()?)));
    let (pid, start) = numbers.with_context(|| format!("{} names no process", link.display()))?;
    Ok((link, Pid::from_raw(pid), start))
}

// ANCHOR: held
/// The process that had this number and started then, if it lives.
fn held(pid: Pid, start: u64) -> Result<Option<Process>> {
    // Whoever has the number now is held first, and looked at after. The other way round the number could change its
    // meaning between the look and the grasp; a pidfd never does.
    let pidfd = match trace::ask(Topic::Pod, "pidfd_open", format_args!("{pid}"), || sys::pidfd_open(pid)) {
        // Nobody, or now it is a thread's, and not a process's.
        Err(Errno::ESRCH | Errno::EINVAL | Errno::ENOENT) => return Ok(None),
        opened => opened.with_context(|| format!("opening process {pid}"))?,
    };
    let stat = Stat::of(pid)?.filter(|stat| stat.start_time == start && stat.lives());
    Ok(stat.map(|_| Process::from_parts(pid, pidfd)))
}

/// Who holds the pod `name`.
pub fn holder(name: &str) -> Result<Process> {
    let (_, pid, start) = read(name)?;
    held(pid, start)?.ok_or_else(|| {
        let lost = format!("pod {name} has lost its holder, process {pid}: nobody can join it any more");
        hinted(lost, format!("chapter10_pods rm {name} frees the name; containers that are in it go on"))
    })
}
// ANCHOR_END: held

// ANCHOR: members
/// The containers in the pod of this holder: first processes of pid namespaces that are in its network. Nobody keeps a
/// list of them, so none can be wrong.
fn members(holder: &Process) -> Result<Vec<String>> {
    let pod = identity(holder.pid(), Namespace::Network)?;
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let Ok(pid) = name.parse() else { continue };
        let status = fs::read_to_string(format!("/proc/{name}/status")).unwrap_or_default();
        // One number for each pid namespace that it is in; the last is that in its own.
        let is_first = status.lines().any(|line| line.starts_with("NSpid:") && line.ends_with("\t1"));
        if is_first && identity(Pid::from_raw(pid), Namespace::Network).is_ok_and(|network| network == pod) {
            found.push(name);
        }
    }
    Ok(found)
}
// ANCHOR_END: members

/// A line for each pod.
pub fn list() -> Result<u8> {
    let names = fs::read_dir(places::all("chapter10")?)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into()));
    let mut names = names.collect::<Result<Vec<String>>>()?;
    names.sort();
    for name in names {
        println!("{name}: {}", describe(&name).unwrap_or_else(|error| line(&error)));
    }
    Ok(0)
}

fn describe(name: &str) -> Result<String> {
    let (_, pid, start) = read(name)?;
    let Some(holder) = held(pid, start)? else { return Ok(format!("lost, process {pid} is gone")) };
    Ok(match members(&holder)?.join(" ") {
        nobody if nobody.is_empty() => format!("held by process {pid}, joined by nobody"),
        members => format!("held by process {pid}, joined by {members}"),
    })
}

// ANCHOR: remove
/// Ends the holder, and with it, if nobody else is there, the namespaces. Then the name is free.
pub fn remove(name: &str) -> Result<u8> {
    // One at a time: of two who end a pod the slower one must not remove the link of the next pod of this name.
    let directory = fs::File::open(places::all("chapter10")?)?;
    let _lock = Flock::lock(directory, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
    let (link, pid, start) = read(name)?;
    if let Some(holder) = held(pid, start)? {
        let members = members(&holder)?.join(" ");
        if !members.is_empty() {
            return Err(hinted(format!("there are containers in {name}: {members}"), format!("kill -KILL {members}")));
        }
        match holder.signal(Signal::KILL) {
            Ok(()) | Err(Errno::ESRCH) => holder.await_end(PollTimeout::NONE)?,
            refused => return refused.map(|()| 0).context("ending the holder"),
        };
    }
    fs::remove_file(&link).with_context(|| link.display().to_string())?;
    Ok(0)
}
// ANCHOR_END: remove
