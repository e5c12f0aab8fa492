//! One more process in a container: join what its first process has, and become the program.
//!
//! The pid namespace is joined here, since only children are born into one; the child joins the rest, all in one `setns` on
//! a pidfd. It is not the container's child but ours: we, or whoever adopts it, learn how it ended.
//!
//! The subtlety: from that `setns` on, the container's processes see ours in their /proc. It still holds descriptors of
//! the host, so it must not be one they may look into (CVE-2016-9962): it gives up being dumpable before it joins.

use std::convert::Infallible;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{Gid, Pid, Uid, setresgid, setresuid, setsid};
use oci_spec::runtime::Process as OciProcess;

use super::handshake::{Handshake, Message};
use super::plan::process::{self, ProcessPlan};
use super::plan::scheduling::Processors;
use super::state::{State, Status, Store};
use super::{Failure, cgroups, create, filesystem, init, program};
use crate::hint;
use crate::linux::foreground;
use crate::linux::namespace::{self, Namespace};
use crate::linux::process::{Process, forbid_inspection};
use crate::linux::pty::{self, Pty};
use crate::linux::{resolve, scheduling};
use crate::sys::{self, Side};
use crate::trace::{self, Actor, Topic};

/// What `exec` was asked.
#[derive(Debug)]
pub struct Request {
    /// The container.
    pub id: String,
    /// The process, complete.
    pub process: OciProcess,
    /// Do not wait for it.
    pub detach: bool,
    /// Where to write its pid.
    pub pid_file: Option<PathBuf>,
    /// Who takes its terminal's master.
    pub console_socket: Option<PathBuf>,
    /// How many descriptors from 3 on it gets.
    pub preserve_fds: i32,
    /// Who takes a pidfd of it.
    pub pidfd_socket: Option<PathBuf>,
    /// Also where the container is frozen; it waits then, as all the others do.
    pub ignore_paused: bool,
    /// A cgroup below the container's own.
    pub sub_cgroup: Option<String>,
}

/// `exec`.
pub fn exec(store: &Store, request: &Request) -> Result<u8> {
    let state = store.load(&request.id)?;
    match state.status(store)? {
        Status::Running | Status::Created => {}
        Status::Paused if request.ignore_paused => {}
        status => bail!("cannot exec in container {}: it is {}", request.id, status.name()),
    }
    let target = state.process()?.with_context(|| format!("container {} is not running", request.id))?;
    let spec = store.spec(&request.id)?;
    let mut plan = process::plan(&request.process, &spec, request.preserve_fds)?;
    if let Some(agent) = &mut plan.agent {
        agent.state = state.for_hooks("running");
    }
    let processors = Processors::of(request.process.exec_cpu_affinity().as_ref())?;

    let (console, our_end) = match (&request.console_socket, plan.terminal.is_some()) {
        (_, false) => (None, None),
        (Some(path), true) => (Some(create::connect(path)?), None),
        (None, true) if request.detach => {
            bail!("a detached process with a terminal needs somebody who takes its other end (--console-socket)")
        }
        (None, true) => {
            let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
            (Some(OwnedFd::from(theirs)), Some(OwnedFd::from(ours)))
        }
    };

    let place = state.cgroup.as_ref().map(|place| place.below(request.sub_cgroup.as_deref())).transpose()?;
    let cgroup = place.as_ref().map(cgroups::Place::open).transpose()?;
    let kinds: Vec<Namespace> = state.namespaces.iter().filter_map(|name| Namespace::from_file(name)).collect();
    let early = join_pid_namespace(&target, &kinds)?;
    let late: Vec<Namespace> = kinds.into_iter().filter(|kind| !early.contains(kind)).collect();

    let (handshake, theirs) = Handshake::pair()?;
    if let Some(first) = &processors.first {
        scheduling::set_processors(Pid::this(), first).context("process.execCPUAffinity")?;
    }
    // From a login session's group the kernel lets nobody be born elsewhere; then systemd must move the child.
    let (side, moved) = match sys::clone3(0, cgroup.as_ref().map(AsFd::as_fd)) {
        Err(Errno::EACCES) => (sys::clone3(0, None), place.as_ref()),
        // A container that divides its group (systemd in it) has moved everybody down: its own level takes no process.
        Err(Errno::EBUSY) if cgroup.is_some() => {
            let lower = place.as_ref().map(|place| place.of(target.pid())).transpose()?.flatten();
            (sys::clone3(0, lower.as_ref().map(AsFd::as_fd)), None)
        }
        side => (side, None),
    };
    let child = match side {
        Ok(Side::Child) => {
            drop(handshake);
            live(&plan, &target, &late, &theirs, console.as_ref())
        }
        Ok(Side::Parent(pid, fd)) => {
            trace::say(Topic::Process, "clone3", format_args!("into the container's cgroup"), &format!("pid {pid}"));
            Process::from_parts(pid, fd)
        }
        Err(error) => return Err(error).context("making the process"),
    };
    drop((theirs, console));
    let mut undo = Undo(Some(&child));
    if let Some(place) = moved {
        place.adopt(child.pid())?;
    }
    plan.urgency.set(child.pid())?;
    if let Some(then) = &processors.then {
        scheduling::set_processors(child.pid(), then).context("process.execCPUAffinity")?;
    }
    if handshake.expect()? != Message::Ready {
        bail!("the process did not get ready");
    }
    if let Some(path) = &request.pid_file {
        create::write_pid(path, child.pid())?;
    }
    if let Some(path) = &request.pidfd_socket {
        create::send_pidfd(path, &child)?;
    }
    let terminal = our_end.map(pty::receive).transpose()?.flatten();
    let wait = (!request.detach).then(|| foreground::Wait::begin(terminal)).transpose()?;
    handshake.say(&Message::Go(child.pid().as_raw()))?;
    if let Some(Message::Failed(status, text)) = handshake.hear()? {
        return Err(Failure { status, text }.into());
    }
    undo.0 = None;
    Ok(match wait {
        Some(wait) => wait.until_end(&child)?.status() as u8,
        None => 0,
    })
}

/// Ends a process that did not become the program.
struct Undo<'a>(Option<&'a Process>);

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        if let Some(process) = self.0 {
            let _ = process.signal(crate::linux::process::Signal::KILL);
            let _ = process.reap();
        }
    }
}

/// Joins the pid namespace for our next child; and the user namespace, if only privilege there lets us. Our user id is
/// not changed by that, so the files we still have to write are still ours. Returns what was joined.
fn join_pid_namespace(target: &Process, kinds: &[Namespace]) -> Result<Vec<Namespace>> {
    if !kinds.contains(&Namespace::Pid) {
        return Ok(Vec::new());
    }
    match namespace::join_process(target, &[Namespace::Pid]) {
        Ok(()) => Ok(vec![Namespace::Pid]),
        Err(Errno::EPERM) if kinds.contains(&Namespace::User) => {
            let both = [Namespace::User, Namespace::Pid];
            namespace::join_process(target, &both).context("joining the container's user namespace")?;
            Ok(both.to_vec())
        }
        Err(error) => Err(error).context("joining the container's pid namespace"),
    }
}

fn live(plan: &ProcessPlan, target: &Process, kinds: &[Namespace], parent: &Handshake, console: Option<&OwnedFd>) -> ! {
    trace::become_actor(Actor::Init);
    let outcome = catch_unwind(AssertUnwindSafe(|| enter(plan, target, kinds, parent, console)));
    let (status, text) = match outcome {
        Ok(Ok(never)) => match never {},
        Ok(Err(error)) => (error.downcast_ref::<Failure>().map_or(1, |failure| failure.status), hint::line(&error)),
        Err(_) => (1, "the new process panicked".into()),
    };
    let _ = parent.say(&Message::Failed(status, text));
    sys::exit_now(i32::from(status))
}

fn enter(
    plan: &ProcessPlan,
    target: &Process,
    kinds: &[Namespace],
    parent: &Handshake,
    console: Option<&OwnedFd>,
) -> Result<Infallible> {
    let oom_score: Option<File> =
        plan.oom_score.map(|_| filesystem::open_proc(None, Path::new("self/oom_score_adj"))).transpose()?;
    let label = program::Label::open(plan)?;
    forbid_inspection()?;
    if !kinds.is_empty() {
        namespace::join_process(target, kinds)
            .with_context(|| format!("joining the container's namespaces ({})", namespace::names(kinds)))?;
    }
    trace::ask(Topic::Process, "setsid", format_args!(""), setsid).context("starting a session")?;
    if let (Some(file), Some(score)) = (oom_score, plan.oom_score) {
        program::set_oom_score(file, score)?;
    }
    program::limit(plan)?;
    // Root of the container's user namespace; elsewhere this changes nothing.
    let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
    let _ = setresgid(gid, gid, gid);
    let _ = setresuid(uid, uid, uid);
    if let Some(socket) = console {
        let root = File::open("/").context("/")?;
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY;
        let ptmx = resolve::open_in_root(&root, Path::new("/dev/pts/ptmx"), flags).context("opening /dev/pts/ptmx")?;
        let terminal = Pty::of(ptmx)?;
        if let Some((rows, columns)) = plan.terminal.filter(|size| *size != (0, 0)) {
            sys::set_window_size(terminal.master.as_fd(), rows, columns).context("sizing the terminal")?;
        }
        pty::send(socket, terminal.master.as_fd())?;
        init::use_terminal(&terminal.slave)?;
    }
    let path = program::find(plan)?;
    parent.say(&Message::Ready)?;
    match parent.hear()? {
        Some(Message::Go(pid)) => program::become_program(plan, &path, label, pid),
        other => bail!("expected to be let go, heard {other:?}"),
    }
}

/// The process of `exec ID program …`: the container's own, with what the command line changes.
pub fn process_like_first(store: &Store, state: &State) -> Result<OciProcess> {
    let spec = store.spec(&state.id)?;
    let mut process = spec.process().clone().context("the container's config.json has no process")?;
    process.set_terminal(Some(false));
    Ok(process)
}
