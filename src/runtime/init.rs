//! The life of a container's first process, in order, from its birth to `execve`.
//!
//! It is born of `clone3` into its namespaces and its cgroup: a copy of podling-runtime, with all that its parent has
//! parsed and opened in its memory. It makes its surroundings, says that it is ready, waits for `start`, and becomes the
//! container's program.
//!
//! The subtlety: between `create` and `start` lies any length of time, and it is meant for others: somebody connects the
//! network namespace, somebody attaches. Whatever can go wrong should have gone wrong before, while `create` still listens.

use std::convert::Infallible;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::unistd::{Gid, Uid, dup2_stderr, dup2_stdin, dup2_stdout, setresgid, setresuid, setsid};

use super::filesystem::{self, Root};
use super::handshake::{Handshake, Message};
use super::plan::InitPlan;
use super::{Failure, hooks, program};
use crate::hint;
use crate::linux::namespace::{self, Namespace};
use crate::linux::process::forbid_inspection;
use crate::linux::{mount, pty, resolve, rootfs};
use crate::sys;
use crate::trace::{self, Actor, Topic};

/// What waits at the door until the program may run.
#[derive(Debug)]
pub enum Gate {
    /// `start` writes one byte into this fifo. If the program cannot be run, the reason goes into the file, where `start`
    /// finds it.
    Fifo(File, File),
    /// `run` says [`Message::Go`] itself.
    Handshake,
}

/// What the child holds besides the plan.
#[derive(Debug)]
pub struct Belongings {
    /// The parent's ear.
    pub parent: Handshake,
    /// Where the terminal's master goes, if the program gets a terminal.
    pub console: Option<OwnedFd>,
    /// The gate.
    pub gate: Gate,
    /// The bundle's hooks and how the container is called, for those that run inside.
    pub hooks: Option<Box<oci_spec::runtime::Hooks>>,
    /// Where those say what.
    pub hook_streams: hooks::Streams,
    /// The state for hooks, as JSON without the pid.
    pub state: serde_json::Value,
    /// The parent will put us into our cgroup; wait for it.
    pub placed_later: bool,
    /// The process in the middle has joined these namespaces for us.
    pub joined_already: bool,
}

impl Belongings {
    /// Whether the first process has to wait until its parent says [`Message::Placed`]: for id maps, for its cgroup, or for
    /// the process in the middle to have said whom it has made. A first word that overtook that would be mistaken for it.
    pub fn awaits_placing(&self, maps: bool) -> bool {
        maps || self.placed_later || self.joined_already
    }
}

/// The whole life. Nothing may return from here into code that is the parent's.
pub fn live(mut plan: InitPlan, belongings: Belongings) -> ! {
    trace::become_actor(Actor::Init);
    let outcome = catch_unwind(AssertUnwindSafe(|| init(&mut plan, &belongings)));
    let (status, text) = match outcome {
        Ok(Ok(never)) => match never {},
        Ok(Err(error)) => (error.downcast_ref::<Failure>().map_or(1, |failure| failure.status), hint::line(&error)),
        Err(_) => (1, "the container's first process panicked".into()),
    };
    // The parent may be long gone; then `start` reads the file.
    let _ = belongings.parent.say(&Message::Failed(status, text.clone()));
    if let Gate::Fifo(_, report) = &belongings.gate {
        let mut report = report;
        let _ = report.write_all(format!("{status} {text}").as_bytes());
    }
    sys::exit_now(i32::from(status))
}

fn init(plan: &mut InitPlan, have: &Belongings) -> Result<Infallible> {
    enter_namespaces(plan, have)?;
    // From here on processes of other containers, with whom we may share a pid namespace, cannot look into us, who still
    // hold the host's files (CVE-2016-9962). /proc/self becomes root's then: what we need of it is opened before.
    let oom_score = open_oom_score(plan)?;
    let label = program::Label::open(&plan.process)?;
    if plan.namespaces.joins(Namespace::Pid) {
        forbid_inspection()?;
    }
    trace::ask(Topic::Process, "setsid", format_args!(""), setsid).context("starting a session")?;
    if plan.new_keyring {
        new_keyring(&plan.id)?;
    }
    if let Some(file) = oom_score {
        program::set_oom_score(file, plan.process.oom_score.unwrap_or(0))?;
    }
    program::limit(&plan.process)?;

    trace::stage(format_args!("a root of its own, built on top of the old one"));
    let root = filesystem::build(&mut plan.filesystem)?;
    run_hooks(have, "createRuntime")?;
    if plan.process.terminal.is_some() {
        take_terminal(plan, &root, have)?;
    }
    if let Some(name) = &plan.hostname {
        namespace::name_host(name)?;
    }
    if let Some(name) = &plan.domainname {
        namespace::name_domain(name)?;
    }
    for (name, value) in &plan.sysctls {
        set_sysctl(&root, name, value)?;
    }
    // Images often name a directory that they do not have; later the root may be read-only.
    resolve::directory_in_root(&root.tree, &plan.process.directory).context("the working directory")?;
    filesystem::finish(&root, &plan.filesystem)?;
    run_hooks(have, "createContainer")?;
    let Root { tree, proc } = root;
    trace::stage(format_args!("the new root in the old one's place"));
    if plan.pivot {
        rootfs::pivot(&tree)?;
    } else {
        rootfs::change(&tree)?;
    }
    if let Some((propagation, reach)) = plan.filesystem.propagation {
        // Only now: a root whose mounts travel cannot be pivoted to.
        mount::set_propagation(&tree, propagation, reach).context("the root's propagation")?;
    }
    drop((tree, proc));

    let path = program::find(&plan.process)?;
    forbid_inspection()?;
    trace::stage(format_args!("ready: whoever called `create` may do the rest, and call `start`"));
    have.parent.say(&Message::Ready)?;
    let pid = wait_at(&have.gate, &have.parent)?;

    run_hooks(have, "startContainer")?;
    program::become_program(&plan.process, &path, label, pid)
}

/// Joins, becomes root of a new user namespace, and makes what could not be made at birth.
fn enter_namespaces(plan: &InitPlan, have: &Belongings) -> Result<()> {
    if !have.joined_already {
        for (kind, file) in &plan.namespaces.joined {
            namespace::join(file, *kind).with_context(|| format!("joining the {} namespace", kind.file()))?;
        }
    }
    trace::stage(format_args!("born into new namespaces"));
    if have.awaits_placing(plan.namespaces.maps.is_some()) {
        match have.parent.expect()? {
            Message::Placed => {}
            other => bail!("expected to be placed, heard {other:?}"),
        }
    }
    if plan.namespaces.maps.is_some() || plan.namespaces.joins(Namespace::User) {
        become_root(plan)?;
    }
    // The kernel would root a namespace made by clone3 at the *parent's* cgroup: it is copied before the move.
    if plan.namespaces.new.contains(&Namespace::Cgroup) {
        namespace::unshare(&[Namespace::Cgroup])?;
    }
    if plan.namespaces.new.contains(&Namespace::Time) {
        // Takes effect at execve, for us; no process may be in it yet when the offsets are written.
        namespace::unshare(&[Namespace::Time])?;
    }
    if let Some(offsets) = &plan.time_offsets {
        trace::ask(Topic::Process, "write", format_args!("/proc/self/timens_offsets {}", offsets.trim()), || {
            std::fs::write("/proc/self/timens_offsets", offsets)
        })
        .context("setting the clocks' offsets")?;
    }
    if plan.namespaces.new.contains(&Namespace::Network) {
        namespace::raise_loopback()?;
    }
    Ok(())
}

/// Root of the user namespace. Whoever made it has all capabilities in it, but is nobody there until he takes an id.
fn become_root(plan: &InitPlan) -> Result<()> {
    if !plan.process.keep_groups {
        // Not allowed where the gid map was written without privilege, and then there is no group to lose.
        let _ = trace::ask(Topic::User, "setgroups", format_args!("[]"), || sys::setgroups(&[]));
    }
    let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
    trace::ask(Topic::User, "setresgid", format_args!("0"), || setresgid(gid, gid, gid))
        .context("becoming group 0 of the user namespace")?;
    trace::ask(Topic::User, "setresuid", format_args!("0"), || setresuid(uid, uid, uid))
        .context("becoming user 0 of the user namespace")
}

fn open_oom_score(plan: &InitPlan) -> Result<Option<File>> {
    plan.process.oom_score.map(|_| filesystem::open_proc(None, Path::new("self/oom_score_adj"))).transpose()
}

/// The caller's keys (Kerberos tickets, file system keys) are not the container's.
fn new_keyring(id: &str) -> Result<()> {
    use nix::errno::Errno;
    let joined = trace::ask(Topic::Security, "keyctl", format_args!("JOIN_SESSION_KEYRING {id}"), || {
        sys::join_session_keyring(id)
    });
    match joined {
        // A kernel without keyrings has no keys to hide. A user's quota of keys may be used up by his other containers:
        // then there is still his old session keyring, which a new user namespace hides.
        Ok(()) | Err(Errno::ENOSYS | Errno::EDQUOT) => Ok(()),
        Err(error) => Err(error).context("joining a new session keyring"),
    }
}

/// Asks the parent to run those that belong outside; runs the others here.
fn run_hooks(have: &Belongings, moment: &str) -> Result<()> {
    let Some(hooks) = &have.hooks else { return Ok(()) };
    if moment == "createRuntime" {
        have.parent.say(&Message::HooksWanted)?;
        return match have.parent.expect()? {
            Message::HooksRan(pid) => {
                HOST_PID.store(pid, std::sync::atomic::Ordering::Relaxed);
                Ok(())
            }
            other => bail!("expected the hooks' end, heard {other:?}"),
        };
    }
    let wanted = if moment == "createContainer" { hooks.create_container() } else { hooks.start_container() };
    let mut state = have.state.clone();
    state["pid"] = HOST_PID.load(std::sync::atomic::Ordering::Relaxed).into();
    state["status"] = (if moment == "createContainer" { "creating" } else { "created" }).into();
    hooks::run(moment, wanted.as_ref(), &state.to_string(), Path::new("/"), &have.hook_streams)
}

/// Our pid as the host counts, which we cannot see from here.
static HOST_PID: std::sync::atomic::AtomicI32 = std::sync::atomic::AtomicI32::new(0);

fn take_terminal(plan: &InitPlan, root: &Root, have: &Belongings) -> Result<()> {
    let terminal = filesystem::make_terminal(root)?;
    if let Some((rows, columns)) = plan.process.terminal.filter(|size| *size != (0, 0)) {
        sys::set_window_size(terminal.master.as_fd(), rows, columns).context("sizing the terminal")?;
    }
    let socket =
        have.console.as_ref().context("a terminal needs somebody who takes its other end (--console-socket)")?;
    pty::send(socket, terminal.master.as_fd())?;
    use_terminal(&terminal.slave)
}

/// Makes a terminal our controlling one and our standard streams.
pub fn use_terminal(slave: &OwnedFd) -> Result<()> {
    trace::ask(Topic::Monitor, "TIOCSCTTY", format_args!(""), || sys::set_controlling_terminal(slave.as_fd()))
        .context("taking the terminal")?;
    dup2_stdin(slave)?;
    dup2_stdout(slave)?;
    dup2_stderr(slave)?;
    Ok(())
}

fn set_sysctl(root: &Root, name: &Path, value: &str) -> Result<()> {
    let told = || format!("sysctl {}={value}", name.display());
    let mut file = filesystem::open_proc(Some(root), &Path::new("sys").join(name)).with_context(told)?;
    trace::ask(Topic::Process, "write", format_args!("/proc/sys/{} {value}", name.display()), || {
        file.write_all(value.as_bytes())
    })
    .with_context(told)
}

/// Blocks until the program may run; returns our pid outside.
fn wait_at(gate: &Gate, parent: &Handshake) -> Result<i32> {
    match gate {
        Gate::Handshake => match parent.hear()? {
            Some(Message::Go(pid)) => Ok(pid),
            // Whoever wanted to run us is gone; so are we.
            other => bail!("expected to be let go, heard {other:?}"),
        },
        Gate::Fifo(fifo, _) => {
            // Were the runtime killed before it has written down who we are, nobody could ever start or delete us.
            let pid = match parent.hear()? {
                Some(Message::Kept(pid)) => pid,
                other => bail!("expected to be kept, heard {other:?}"),
            };
            let mut fifo = fifo;
            let mut byte = [0u8];
            trace::ask(Topic::Process, "read", format_args!("exec.fifo"), || {
                loop {
                    match fifo.read(&mut byte) {
                        Err(error) if error.kind() == ErrorKind::Interrupted => {}
                        result => return result,
                    }
                }
            })
            .context("waiting for start")?;
            Ok(pid)
        }
    }
}

/// The namespaces that `clone3` makes, all at once: every new one but those that [`enter_namespaces`] makes itself.
pub fn kinds_at_birth(plan: &InitPlan) -> Vec<Namespace> {
    let later = [Namespace::Cgroup, Namespace::Time];
    plan.namespaces.new.iter().copied().filter(|kind| !later.contains(kind)).collect()
}
