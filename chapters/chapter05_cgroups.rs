//! Chapter 5: how much.
//!
//! Namespaces limit what processes can name, control groups what they can use. A group is a directory: made with mkdir,
//! limited by writing files; what the kernel has counted is read from others. A process is *born* into its group: moved
//! there later, it would leave what it uses already on the old one's account.
//!
//! The subtlety is whose the tree is. It is systemd's, which gives a part to those who ask: delegation. And a group that
//! passes controllers on holds no processes itself. So in our part there are two: one for us, one for PROGRAM.

use std::ffi::{CString, OsString};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};

use anyhow::{Context, Result, anyhow};
use chapters::{ask, machine, scope};
use clap::Parser;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{AccessFlags, access, fchdir};
use podling::hint::cured;
use podling::linux::process::{Process, cannot_clone, execute};
use podling::linux::userns::{self, Maps};
use podling::linux::{foreground::Wait, namespace::Namespace, rootfs};
use podling::sys::{self, Side};
use podling::trace::{self, Actor, Topic::Cgroup};

/// Run PROGRAM with limits on what it and all its children may use
///
/// Root, files and processes are those of chapter 4. Where we may make no groups, systemd is asked for a place.
///
/// Try: chapter05_cgroups --pids 20 --counters sh -c 'bomb() { bomb | bomb & }; bomb; sleep 2'
#[derive(Parser)]
#[command(name = "chapter05_cgroups")]
struct Options {
    /// So much memory, and none of it in swap: 64M
    #[arg(long, value_name = "BYTES")]
    memory: Option<String>,
    /// So many processes and threads
    #[arg(long, value_name = "NUMBER")]
    pids: Option<String>,
    /// The time of so many processors: 0.5
    #[arg(long, value_name = "NUMBER")]
    cpu: Option<f64>,
    /// Say at the end what the kernel has counted
    #[arg(long)]
    counters: bool,
    /// The files to start from, instead of the machine's
    #[arg(long, value_name = "DIRECTORY")]
    root: Option<PathBuf>,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true)]
    program: Vec<OsString>,
}

fn main() -> ExitCode {
    chapters::run(outside)
}

// ANCHOR: group
fn outside(options: Options) -> Result<u8> {
    let program = chapters::words(options.program)?;
    let cpu = options.cpu.map(|processors| format!("{:.0} 100000", processors * 100_000.0));
    let swap = options.memory.as_ref().map(|_| "0".into());
    let memory = [("memory.max", options.memory), ("memory.swap.max", swap)];
    let limits = memory.into_iter().chain([("pids.max", options.pids), ("cpu.max", cpu)]);
    let limits: Vec<_> = limits.filter_map(|(file, value)| Some((file, value?))).collect();

    let group = our_part(&limits)?.join(format!("chapter05-{}", process::id()));
    fs::create_dir(&group).with_context(|| format!("making the group {}", group.display()))?;
    let limited = limits.iter().try_for_each(|(file, value)| write(&group, file, value));
    let ended = limited.and_then(|()| run(&group, options.root.as_deref(), &program));
    for file in ["memory.peak", "memory.events", "pids.peak", "pids.events", "cpu.stat"] {
        let text = fs::read_to_string(group.join(file)).unwrap_or_default();
        text.lines().filter(|_| options.counters).for_each(|line| eprintln!("{file:<14} {line}"));
    }
    fs::remove_dir(&group).with_context(|| format!("removing the group {}", group.display()))?;
    ended
}

/// One write is one order, and the kernel says at once whether it obeys.
fn write(group: &Path, file: &str, value: &str) -> Result<()> {
    let told = format!("writing {value:?} into {}/{file}", group.display());
    let written = trace::ask(Cgroup, "write", format_args!("{file} {value}"), || fs::write(group.join(file), value));
    written.map_err(|error| match error.kind() {
        ErrorKind::NotFound => cured(error, told, "the controller is not delegated to you: see 'podling doctor'"),
        _ => anyhow!(error).context(told),
    })
}
// ANCHOR_END: group

// ANCHOR: birth
fn run(group: &Path, files: Option<&Path>, program: &[CString]) -> Result<u8> {
    let signals = Wait::begin(None)?;
    let directory = File::open(group).context("opening the group")?;
    userns::enter(&Maps::of_this_user()?, &[Namespace::User])?;
    // CLONE_INTO_CGROUP: not one byte is used before, outside of the group.
    match sys::clone3((libc::CLONE_NEWNS | libc::CLONE_NEWPID) as u64, Some(directory.as_fd())) {
        Ok(Side::Child) => sys::exit_now(i32::from(chapters::status(inside(files, program)))),
        Ok(Side::Parent(pid, pidfd)) => {
            trace::say(Cgroup, "clone3", format_args!("mnt,pid into {}", group.display()), &format!("pid {pid}"));
            Ok(signals.until_end(&Process::from_parts(pid, pidfd))?.status() as u8)
        }
        Err(errno) => Err(cannot_clone(errno, "mnt,pid")),
    }
}

fn inside(files: Option<&Path>, program: &[CString]) -> Result<u8> {
    trace::become_actor(Actor::Init);
    // The group that we are in becomes the root of the tree that we see, and that is mounted here.
    ask(Cgroup, "unshare", "cgroup", || unshare(CloneFlags::CLONE_NEWCGROUP))?;
    let root = machine::with_proc(files)?;
    fchdir(&root)?;
    fs::create_dir_all("sys/fs/cgroup")?;
    let (kind, flags) = (Some("cgroup2"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC);
    ask(Cgroup, "mount", "cgroup2", || mount(kind, "sys/fs/cgroup", kind, flags, None::<&str>))?;
    rootfs::pivot(&root)?;
    match execute(program)? {}
}
// ANCHOR_END: birth

// ANCHOR: part
/// The directory of a group in which we may make others: our own, if it is ours to divide, or else one from systemd.
fn our_part(limits: &[(&str, String)]) -> Result<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").context("asking for our group")?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let part = Path::new("/sys/fs/cgroup").join(own);
    let processes = fs::read_to_string(part.join("cgroup.procs")).map_err(|error| {
        let cure = "boot with systemd.unified_cgroup_hierarchy=1 on the kernel's command line";
        cured(error, "control groups of version 2 are not mounted on /sys/fs/cgroup", cure)
    })?;
    let is_ours = ["", "cgroup.procs"].iter().all(|name| access(&part.join(name), AccessFlags::W_OK).is_ok());
    if !is_ours || (!limits.is_empty() && processes.trim() != process::id().to_string()) {
        return Err(scope::ask_systemd());
    }
    if !limits.is_empty() {
        // Out of here and into a leaf: a group that holds processes may pass nothing on (EBUSY).
        let leaf = part.join("caller");
        fs::create_dir_all(&leaf).context("making a leaf for ourselves")?;
        write(&leaf, "cgroup.procs", "0")?;
    }
    for (file, _) in limits {
        write(&part, "cgroup.subtree_control", &format!("+{}", file.split('.').next().unwrap_or(file)))?;
    }
    Ok(part)
}
// ANCHOR_END: part
