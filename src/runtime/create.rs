//! The parent's side of a container's birth: claim the id, make the cgroup, clone, write the id maps, wait for "ready".
//!
//! One `clone3` makes all namespaces and puts the child into its cgroup. Only namespaces that are joined can need a second
//! one: a process in the middle joins them, and its child (which is ours: `CLONE_PARENT`) is born inside.
//!
//! The subtlety is what happens when it goes wrong halfway. [`Undo`] holds what was made so far, and takes it back in
//! reverse order unless it is told that all went well.

use std::fs::{self, OpenOptions};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use oci_spec::runtime::Spec;

use super::cgroups::{self, Manager, Prepared, Scarcity};
use super::handshake::{Handshake, Message};
use super::init::{self, Belongings, Gate};
use super::plan::{self, Choices, InitPlan};
use super::state::{State, Store};
use super::{Failure, hooks, lifecycle, time};
use crate::linux::namespace::{self, Namespace};
use crate::linux::process::{self, Process, Signal, start_time};
use crate::linux::pty;
use crate::linux::{foreground, socket};
use crate::sys::{self, Side};
use crate::trace;

/// What `create` and `run` were asked.
#[derive(Debug)]
pub struct Request {
    /// The container's id.
    pub id: String,
    /// The bundle.
    pub bundle: PathBuf,
    /// Another config.json than the bundle's.
    pub config: Option<PathBuf>,
    /// Where to write the pid.
    pub pid_file: Option<PathBuf>,
    /// Who takes the terminal's master.
    pub console_socket: Option<PathBuf>,
    /// Details.
    pub choices: Choices,
    /// Who takes a pidfd of the first process.
    pub pidfd_socket: Option<PathBuf>,
    /// Who makes the cgroup.
    pub manager: Manager,
    /// What if nobody can.
    pub scarcity: Scarcity,
}

/// `create`: everything but the program.
pub fn create(store: &Store, request: &Request) -> Result<()> {
    let bundle = read_bundle(request)?;
    let console = request.console_socket.as_deref().map(connect).transpose()?;
    let born = birth(store, request, &bundle, console, OpenGate::Fifo)?;
    born.handshake.say(&Message::Kept(born.state.pid))?;
    born.undo.keep();
    Ok(())
}

/// `run`: create and start, and unless `detach`, stay until it ends.
pub fn run(store: &Store, request: &Request, detach: bool, keep: bool) -> Result<u8> {
    let bundle = read_bundle(request)?;
    let wants_terminal = bundle.spec.process().as_ref().is_some_and(|process| process.terminal() == Some(true));
    let (console, our_end) = match &request.console_socket {
        Some(path) => (Some(connect(path)?), None),
        None if wants_terminal && detach => {
            bail!("a detached container with a terminal needs somebody who takes its other end (--console-socket)")
        }
        None if wants_terminal => {
            let flags = SockFlag::SOCK_CLOEXEC;
            let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::Stream, None, flags)?;
            (Some(theirs), Some(ours))
        }
        None => (None, None),
    };
    let born = birth(store, request, &bundle, console, OpenGate::Handshake)?;
    let terminal = our_end.map(pty::receive).transpose()?.flatten();
    let wait = (!detach).then(|| foreground::Wait::begin(terminal)).transpose()?;
    born.handshake.say(&Message::Go(born.state.pid))?;
    if let Some(Message::Failed(status, text)) = born.handshake.hear()? {
        return Err(Failure { status, text }.into());
    }
    if bundle.spec.hooks().as_ref().is_some_and(|hooks| hooks.poststart().is_some())
        && let Err(error) = lifecycle::poststart(store, &born.state)
    {
        born.undo.keep();
        lifecycle::delete(store, &request.id, lifecycle::Force::Yes)?;
        return Err(error);
    }
    let Some(wait) = wait else {
        born.undo.keep();
        return Ok(0);
    };
    let exit = wait.until_end(&born.process)?;
    born.undo.keep();
    if !keep {
        lifecycle::delete(store, &request.id, lifecycle::Force::Yes)?;
    }
    Ok(exit.status() as u8)
}

/// A config.json, as it is and as it is understood.
struct Bundle {
    text: Vec<u8>,
    spec: Spec,
}

fn read_bundle(request: &Request) -> Result<Bundle> {
    let path = request.config.clone().unwrap_or_else(|| request.bundle.join("config.json"));
    let text = fs::read(&path).with_context(|| path.display().to_string())?;
    let spec: Spec = plan::parse(&text).with_context(|| path.display().to_string())?;
    if !spec.version().starts_with("1.") {
        bail!("{}: ociVersion {:?} is not 1.x", path.display(), spec.version());
    }
    Ok(Bundle { text, spec })
}

/// Gives whoever listens there a descriptor that names the process for good (`--pidfd-socket`).
pub fn send_pidfd(path: &Path, process: &Process) -> Result<()> {
    let told = || format!("pidfd socket {}", path.display());
    let socket = socket::connect(path).with_context(told)?;
    socket::send(socket, b"pidfd", "pidfd", process.as_fd()).with_context(told)
}

/// Connects to whoever takes the terminal.
pub fn connect(path: &Path) -> Result<OwnedFd> {
    socket::connect(path).with_context(|| format!("console socket {}", path.display()))
}

/// A container whose first process is ready.
struct Born {
    process: Process,
    handshake: Handshake,
    state: State,
    undo: Undo,
}

/// Which gate to make.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OpenGate {
    Fifo,
    Handshake,
}

fn birth(store: &Store, request: &Request, bundle: &Bundle, console: Option<OwnedFd>, gate: OpenGate) -> Result<Born> {
    let spec = &bundle.spec;
    trace::stage(format_args!("what is to be bound is opened first, out here, where its paths can be walked"));
    let mut plan = plan::plan(&request.id, &request.bundle, spec, &request.choices)?;
    if plan.process.terminal.is_some() && console.is_none() {
        bail!("a terminal needs somebody who takes its other end (--console-socket)");
    }
    let directory = store.claim(&request.id)?;
    let mut undo = Undo::new(store, &request.id);
    let path = directory.join("config.json");
    fs::write(&path, &bundle.text).with_context(|| path.display().to_string())?;
    let gate = match gate {
        OpenGate::Fifo => fifo(&directory)?,
        OpenGate::Handshake => Gate::Handshake,
    };

    trace::stage(format_args!("the cgroup, and the first process: born in it, into new namespaces"));
    trace::point("fifo made");
    let prepared = cgroups::prepare(&request.id, spec, request.manager, request.scarcity)?;
    undo.cgroup = prepared.as_ref().and_then(Prepared::place).cloned();
    let (handshake, theirs) = Handshake::pair()?;
    let mut state = State {
        id: request.id.clone(),
        pid: 0,
        start_time: 0,
        bundle: request.bundle.clone(),
        rootfs: plan.filesystem.root.clone(),
        created: time::now(),
        cgroup: undo.cgroup.clone(),
        namespaces: plan.namespaces.names(),
        annotations: spec.annotations().clone().unwrap_or_default(),
    };
    if let Some(agent) = &mut plan.process.agent {
        agent.state = state.for_hooks("created");
    }
    let (maps, urgency, devices) =
        (plan.namespaces.maps.clone(), plan.process.urgency, std::mem::take(&mut plan.net_devices));
    let have = Belongings {
        parent: theirs,
        console,
        gate,
        hooks: spec.hooks().clone().filter(has_any).map(Box::new),
        hook_streams: hooks::Streams::of(&state.annotations)?,
        state: state.for_hooks("creating"),
        placed_later: prepared.as_ref().is_some_and(Prepared::comes_later),
        joined_already: plan.namespaces.need_middle(),
    };
    let is_awaited = have.awaits_placing(maps.is_some());
    let (process, handshake) = clone(plan, have, undo.cgroup.as_ref(), handshake)?;
    let process = undo.process.insert(process);

    if let Some(maps) = maps {
        maps.write(process.pid())?;
    }
    urgency.set(process.pid())?;
    devices.hand_over(process.pid())?;
    if let Some(prepared) = prepared {
        undo.cgroup = Some(prepared.settle(process.pid())?);
        state.cgroup.clone_from(&undo.cgroup);
    }
    if is_awaited {
        handshake.say(&Message::Placed)?;
    }
    state.pid = process.pid().as_raw();
    trace::point("placed");
    if let Err(error) = until_ready(&handshake, spec, &state) {
        // What its hooks have made, others may have to take away.
        lifecycle::poststop(spec, &state);
        return Err(error);
    }
    state.start_time = start_time(process.pid())?.context("the container's first process died before it was ready")?;
    store.save(&state)?;
    if let Some(path) = &request.pid_file {
        write_pid(path, process.pid())?;
    }
    if let Some(path) = &request.pidfd_socket {
        send_pidfd(path, process)?;
    }
    trace::point("pid file");
    let process = Process::from_parts(process.pid(), process.as_fd().try_clone_to_owned()?);
    Ok(Born { process, handshake, state, undo })
}

/// Runs the hooks that belong outside when they are wanted, and hears that the container is ready.
fn until_ready(handshake: &Handshake, spec: &Spec, state: &State) -> Result<()> {
    loop {
        match handshake.expect()? {
            Message::HooksWanted => {
                run_runtime_hooks(spec, state)?;
                handshake.say(&Message::HooksRan(state.pid))?;
            }
            Message::Ready => return Ok(()),
            other => bail!("expected the container to be ready, heard {other:?}"),
        }
    }
}

/// The fifo that `start` writes into, and the file in which it finds why a program could not be run. Both are opened
/// here, so that the child needs no path to them: from inside it has none.
fn fifo(directory: &Path) -> Result<Gate> {
    let (fifo, failure) = (directory.join("exec.fifo"), directory.join("failure"));
    mkfifo(&fifo, Mode::from_bits_truncate(0o600)).with_context(|| fifo.display().to_string())?;
    // For reading and writing: opening does not wait for the other side, and reading never finds the other side gone.
    let fifo = OpenOptions::new().read(true).write(true).open(&fifo).with_context(|| fifo.display().to_string())?;
    let failure = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&failure)?;
    Ok(Gate::Fifo(fifo, failure))
}

/// Makes the first process. In the child this does not return, and our end of the handshake is closed: held there, too, it
/// would keep the child from ever hearing that we are gone.
fn clone(
    plan: InitPlan,
    have: Belongings,
    place: Option<&cgroups::Place>,
    handshake: Handshake,
) -> Result<(Process, Handshake)> {
    let kinds = init::kinds_at_birth(&plan);
    let cgroup = place.map(cgroups::Place::open).transpose()?;
    let cgroup_fd = cgroup.as_ref().map(AsFd::as_fd);
    // Each of the two processes has this variable; the child empties its own.
    let mut ours = Some(handshake);
    let process = if plan.namespaces.need_middle() {
        let middle = process::clone(&[], cgroup_fd, || {
            drop(ours.take());
            middle(plan, have, &kinds)
        })?;
        let heard = ours.as_ref().context("our end of the handshake")?.expect();
        middle.reap()?;
        match heard? {
            // It is our child, so nobody else gets its number before we wait for it.
            Message::Born(pid) => {
                Process::open(Pid::from_raw(pid))?.context("the container's first process died at birth")?
            }
            other => bail!("expected a birth, heard {other:?}"),
        }
    } else {
        process::clone(&kinds, cgroup_fd, || {
            drop(ours.take());
            init::live(plan, have)
        })?
    };
    Ok((process, ours.context("our end of the handshake")?))
}

/// Joins, then clones: the child is born where we are, as a child of our parent.
fn middle(plan: InitPlan, have: Belongings, kinds: &[Namespace]) -> ! {
    let flags = u64::from((namespace::flags(kinds) | libc::CLONE_PARENT) as u32);
    let outcome = join(&plan).and_then(|()| match sys::clone3(flags, None) {
        Ok(Side::Child) => Ok(None),
        Ok(Side::Parent(pid, _)) => Ok(Some(pid)),
        Err(error) => Err(process::cannot_clone(error, &namespace::names(kinds))),
    });
    let said = match outcome {
        Ok(None) => init::live(plan, have),
        Ok(Some(pid)) => have.parent.say(&Message::Born(pid.as_raw())),
        Err(error) => have.parent.say(&Message::Failed(1, crate::hint::line(&error))),
    };
    sys::exit_now(i32::from(said.is_err()))
}

/// Those that our own privilege opens first, the user namespace next, then those that only privilege in it opens.
fn join(plan: &InitPlan) -> Result<()> {
    let mut refused = Vec::new();
    for (kind, file) in plan.namespaces.joined.iter().filter(|(kind, _)| *kind != Namespace::User) {
        match namespace::join(file, *kind) {
            Ok(()) => {}
            Err(Errno::EPERM) if plan.namespaces.joins(Namespace::User) => refused.push((kind, file)),
            Err(error) => return Err(error).with_context(|| format!("joining the {} namespace", kind.file())),
        }
    }
    for (kind, file) in plan.namespaces.joined.iter().filter(|(kind, _)| *kind == Namespace::User) {
        namespace::join(file, *kind).context("joining the user namespace")?;
    }
    for (kind, file) in refused {
        namespace::join(file, *kind).with_context(|| format!("joining the {} namespace", kind.file()))?;
    }
    Ok(())
}

/// The pid file, whole or not at all: whoever waits for it reads it at once.
pub fn write_pid(path: &Path, pid: Pid) -> Result<()> {
    let told = || format!("pid file {}", path.display());
    let name = path.file_name().with_context(told)?.to_string_lossy();
    let new = path.with_file_name(format!(".{name}.new"));
    fs::write(&new, pid.to_string()).with_context(told)?;
    fs::rename(&new, path).with_context(told)
}

#[allow(deprecated)] // OCI has deprecated `prestart`; bundles still have it.
fn has_any(hooks: &oci_spec::runtime::Hooks) -> bool {
    let all = [hooks.prestart(), hooks.create_runtime(), hooks.create_container(), hooks.start_container()];
    all.iter().any(|hooks| hooks.as_ref().is_some_and(|hooks| !hooks.is_empty()))
}

#[allow(deprecated)]
fn run_runtime_hooks(spec: &Spec, state: &State) -> Result<()> {
    let Some(wanted) = spec.hooks() else { return Ok(()) };
    let json = state.for_hooks("creating").to_string();
    let streams = hooks::Streams::of(&state.annotations)?;
    hooks::run("prestart", wanted.prestart().as_ref(), &json, &state.bundle, &streams)?;
    hooks::run("createRuntime", wanted.create_runtime().as_ref(), &json, &state.bundle, &streams)
}

/// What was made so far, taken back when it is dropped.
#[derive(Debug)]
struct Undo {
    store: Store,
    id: String,
    process: Option<Process>,
    cgroup: Option<cgroups::Place>,
}

impl Undo {
    fn new(store: &Store, id: &str) -> Self {
        Self { store: store.clone(), id: id.into(), process: None, cgroup: None }
    }

    /// All went well: nothing is taken back.
    fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        if let Some(process) = &self.process {
            let _ = process.signal(Signal::KILL);
            let _ = process.reap();
        }
        if let Some(place) = &self.cgroup {
            let _ = place.remove();
        }
        let _ = self.store.forget(&self.id);
    }
}
