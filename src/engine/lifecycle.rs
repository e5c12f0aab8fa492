//! The life of a container after it is created: start, stop, kill, restart, pause, rename, remove, wait.

use std::fs;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::poll::PollTimeout;
use nix::unistd::Pid;

use super::attach::AttachRequest;
use super::cleanup::Cleanup;
use super::container::{Container, Process, Status};
use super::failure::Failure;
use super::partial::Volumes;
use super::settings::RestartPolicy;
use super::store::{Lock, write_atomic, write_whole};
use super::{Engine, attach, service};
use crate::handover::ExitRecord;
use crate::hint;
use crate::linux::process::{self, Signal};
use crate::trace;

/// In a container's directory while it is being given another name.
pub(super) const RENAMING: &str = "renaming";

/// How a foreground `run`, `start -a`, `attach` or `exec` ended.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// The process ended.
    Exited(ExitRecord),
    /// The person detached; it runs on.
    Detached,
}

/// What `rm` may do.
#[derive(Debug, Clone, Copy, Default)]
pub struct Removal {
    /// `-f`: stop it first.
    pub force: bool,
    /// `-v`: its anonymous volumes too.
    pub volumes: bool,
    /// `-t`: seconds until a forced removal kills.
    pub timeout: Option<u64>,
}

impl Engine {
    /// Starts a container; with `attach`, in the foreground until it ends.
    pub fn start(&self, container: &Container, attach: Option<&AttachRequest>) -> Result<Option<Outcome>> {
        self.enter(None)?;
        let lock = self.hold(container)?;
        let mut launched = match container.status() {
            Status::Running(_) | Status::Paused(_) => {
                self.note_started(container)?;
                drop(lock);
                return attach.map(|attach| self.attach(container, attach)).transpose();
            }
            Status::Initialized(_) if container.monitor().is_some() => None,
            // It waits to be let go, but its monitor was killed: nobody would hear what its program says, or how it ends.
            Status::Initialized(_) | Status::Created | Status::Exited(_) => {
                Some(self.bring_up(container, &lock, attach.is_some())?)
            }
        };
        self.set_wanted(container, true)?;
        let started = (|| {
            let streams = attach.map(|attach| self.join_streams(container, attach)).transpose()?;
            self.let_go(container, 0)?;
            if let Err(error) = service::tell(container, attach.is_some()) {
                eprintln!("podling: {}", hint::line(&error));
            }
            Ok(streams)
        })();
        let streams = match started {
            Ok(streams) => streams,
            Err(error) => {
                let _ = self.tear_down(container);
                let _ = fs::remove_file(container.data.join("exit.json"));
                return Err(error);
            }
        };
        drop(lock);
        let Some(streams) = streams else { return Ok(None) };
        let outcome = self.stream(container, streams)?;
        let Some(launched) = &mut launched else { return self.concluded(container, outcome).map(Some) };
        match outcome {
            attach::Outcome::Detached => Ok(Some(Outcome::Detached)),
            attach::Outcome::Exited(_) | attach::Outcome::Closed => {
                // After its last packet the monitor tells us, who started it, and leaves the rest to us.
                let record = launched.end();
                let record = self.concluded(container, record.map_or(outcome, attach::Outcome::Exited))?;
                self.cleanup(container, &Cleanup { remove: container.config.remove, exec: None })?;
                Ok(Some(record))
            }
        }
    }

    /// `podling init`: everything but letting the program go.
    pub fn init(&self, container: &Container) -> Result<()> {
        self.enter(None)?;
        let lock = self.hold(container)?;
        match container.status() {
            Status::Created | Status::Exited(_) => self.bring_up(container, &lock, false).map(drop),
            status => Err(wrong(container, &status, "only a container that does not run can be initialized")),
        }
    }

    /// Joins a running container.
    pub fn attach(&self, container: &Container, request: &AttachRequest) -> Result<Outcome> {
        let status = container.status();
        if !status.is_running() {
            return Err(wrong(container, &status, "you can only attach to running containers"));
        }
        let streams = self.join_streams(container, request)?;
        let outcome = self.stream(container, streams)?;
        self.concluded(container, outcome)
    }

    fn stream(&self, container: &Container, streams: attach::Attachment) -> Result<attach::Outcome> {
        streams.run(|signal| {
            if let Some(process) = container.process() {
                let _ = process.signal(signal);
            }
        })
    }

    /// What an attachment's end means. A connection lost without a word: the monitor was killed, and whatever its file
    /// says is all that is known.
    fn concluded(&self, container: &Container, outcome: attach::Outcome) -> Result<Outcome> {
        match outcome {
            attach::Outcome::Exited(record) => Ok(Outcome::Exited(record)),
            attach::Outcome::Detached => Ok(Outcome::Detached),
            attach::Outcome::Closed => match container.status() {
                Status::Exited(record) => Ok(Outcome::Exited(record)),
                status if status.is_running() => Ok(Outcome::Detached),
                _ => bail!(Failure::Start(format!("lost sight of {}: its monitor is gone", container.name()))),
            },
        }
    }

    /// Asks it to stop, and after `timeout` seconds (none: its own) kills it. Nothing to do if it does not run.
    pub fn stop(&self, container: &Container, timeout: Option<u64>) -> Result<()> {
        self.enter(Some(container))?;
        let lock = self.hold(container)?;
        self.set_wanted(container, false)?;
        let status = container.status();
        let Some(process) = status.process() else { return Ok(()) };
        if let Status::Paused(_) = status {
            self.runtime_call(container, &["resume", container.id()])?;
        }
        let timeout = timeout.unwrap_or(container.config.stop_timeout);
        self.end(container, &status, process, timeout)?;
        self.tear_down_ended(container);
        // The monitor finds no bundle and leaves this to us.
        if container.config.remove {
            self.erase(container, Volumes::Removed)?;
        }
        drop(lock);
        Ok(())
    }

    /// From a live process to its exit record.
    fn end(&self, container: &Container, status: &Status, process: Process, timeout: u64) -> Result<()> {
        // What was never let go has no program yet that could heed a signal.
        let timeout = if matches!(status, Status::Initialized(_)) { 0 } else { timeout };
        let Some(held) = process.hold()? else { return Ok(()) };
        let waiting = super::wait::Waiting::begin(container);
        if timeout > 0 {
            let signal: Signal = container.config.stop_signal.parse()?;
            ignore_gone(held.signal(signal))?;
        }
        if timeout == 0 || !held.await_end(seconds(timeout))? {
            if timeout > 0 {
                eprintln!(
                    "podling: {} did not stop {timeout} seconds after {}; killing it (as pid 1 a program gets only the \
                     signals it handles: try --init or --stop-signal)",
                    container.name(),
                    container.config.stop_signal
                );
            }
            ignore_gone(held.signal(Signal::KILL))?;
            held.await_end(PollTimeout::NONE)?;
        }
        trace::point("process ended");
        waiting.record(container);
        Ok(())
    }

    /// Sends a signal to its first process.
    pub fn kill(&self, container: &Container, signal: &str) -> Result<()> {
        let signal: Signal = signal.parse().map_err(|error| Failure::Invalid(format!("{error:#}")))?;
        self.enter(Some(container))?;
        let status = container.status();
        let Some(process) = status.process() else {
            return Err(wrong(container, &status, "can only kill running containers"));
        };
        process.signal(signal)?;
        self.record(container, "kill", &[("signal", &signal.number().to_string())]);
        Ok(())
    }

    /// Stops it if it runs, and starts it.
    pub fn restart(&self, container: &Container, timeout: Option<u64>) -> Result<()> {
        self.stop(container, timeout)?;
        self.start(container, None)?;
        self.record(container, "restart", &[]);
        Ok(())
    }

    /// Freezes it.
    pub fn pause(&self, container: &Container) -> Result<()> {
        self.enter(Some(container))?;
        let _lock = self.hold(container)?;
        let status = container.status();
        if !matches!(status, Status::Running(_)) {
            return Err(wrong(container, &status, "only running containers can be paused"));
        }
        self.runtime_call(container, &["pause", container.id()])?;
        self.record(container, "pause", &[]);
        Ok(())
    }

    /// Thaws it.
    pub fn unpause(&self, container: &Container) -> Result<()> {
        self.enter(Some(container))?;
        let _lock = self.hold(container)?;
        let status = container.status();
        if !matches!(status, Status::Paused(_)) {
            return Err(wrong(container, &status, "only paused containers can be unpaused"));
        }
        self.runtime_call(container, &["resume", container.id()])?;
        self.record(container, "unpause", &[]);
        Ok(())
    }

    /// Gives it another name. The new one is claimed first, so at no time has it none. A crash on the way leaves one of the
    /// two that leads nowhere: free for others, and taken away with the container or when it is renamed again.
    pub fn rename(&self, container: &Container, name: &str) -> Result<()> {
        super::names::check(name)?;
        if container.name() == name {
            return Ok(());
        }
        let _lock = self.hold(container)?;
        // It may have been changed while we waited.
        let container = &self.read_again(container)?;
        let renaming = container.data.join(RENAMING);
        if renaming.exists() {
            self.release_names(container.id(), Some(container.name()));
        }
        write_whole(&renaming, b"")?;
        self.claim_name(Some(name), container.id())?;
        let mut config = container.config.clone();
        config.name = name.into();
        let written = write_atomic(&container.data.join("container.json"), &serde_json::to_vec_pretty(&config)?);
        // It has two names now, and keeps the one that its file says.
        let given_up = if written.is_ok() { container.name() } else { name };
        self.release_name(given_up, container.id());
        let _ = fs::remove_file(renaming);
        written?;
        self.record(&Container { config, ..container.clone() }, "rename", &[]);
        Ok(())
    }

    /// Removes it.
    pub fn remove(&self, container: &Container, removal: Removal) -> Result<()> {
        self.enter(Some(container))?;
        let _lock = self.hold(container)?;
        self.set_wanted(container, false)?;
        let status = container.status();
        if let Some(process) = status.process() {
            if !removal.force {
                let id = container.id();
                bail!(Failure::WrongState {
                    name: id.into(),
                    state: format!("{}: container state improper", status.word()),
                    wanted: "running or paused containers cannot be removed without force",
                });
            }
            if let Status::Paused(_) = status {
                let _ = self.runtime_call(container, &["resume", container.id()]);
            }
            self.end(container, &status, process, removal.timeout.unwrap_or(container.config.stop_timeout))?;
            self.tear_down_ended(container);
        }
        self.erase(container, if removal.volumes { Volumes::Removed } else { Volumes::Kept })
    }

    /// Removes a container that does not run, under its lock, with what its last run left.
    pub(super) fn erase(&self, container: &Container, volumes: Volumes) -> Result<()> {
        self.tear_down(container)
            .and_then(|()| self.retire(container, volumes))
            .with_context(|| format!("removing {}", container.name()))
    }

    /// Locks a container, and makes sure that it still is there once we have the lock.
    pub(super) fn hold(&self, container: &Container) -> Result<Lock> {
        let lock = Lock::of(&container.data)?.filter(|_| container.data.join("container.json").exists());
        lock.with_context(|| Failure::NoSuchContainer(container.name().into()))
    }

    /// The same container as its file says now, whoever has written that before we had its lock.
    pub(super) fn read_again(&self, container: &Container) -> Result<Container> {
        let read = Container::read(&self.paths, container.id())?;
        read.with_context(|| Failure::NoSuchContainer(container.name().into()))
    }

    /// Remembers whether a person wants it to run, apart from whether it does: a restart policy asks for that.
    fn set_wanted(&self, container: &Container, wanted: bool) -> Result<()> {
        if container.config.restart == RestartPolicy::No {
            return Ok(());
        }
        let file = container.data.join("wanted");
        if wanted {
            return write_atomic(&file, b"");
        }
        match fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("removing {}", file.display()))
            }
            _ => Ok(()),
        }
    }
}

impl Process {
    /// Holds it by a descriptor, if it is still there.
    pub(super) fn hold(self) -> Result<Option<process::Process>> {
        process::Process::find(Pid::from_raw(self.pid), self.start_time)
    }

    /// Kills it and waits until it is gone.
    pub(super) fn kill(self) {
        if let Ok(Some(held)) = self.hold() {
            let _ = held.signal(Signal::KILL);
            let _ = held.await_end(PollTimeout::NONE);
        }
    }

    /// Signals it; that it has ended meanwhile is no error.
    pub(super) fn signal(self, signal: Signal) -> Result<()> {
        match self.hold()? {
            Some(held) => ignore_gone(held.signal(signal)),
            None => Ok(()),
        }
    }
}

fn ignore_gone(sent: nix::Result<()>) -> Result<()> {
    match sent {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error).context("signalling the container's process"),
    }
}

/// Seconds, as poll takes them; a time longer than it can say is for ever.
fn seconds(timeout: u64) -> PollTimeout {
    PollTimeout::try_from(timeout.saturating_mul(1000)).unwrap_or(PollTimeout::NONE)
}

pub(super) fn wrong(container: &Container, status: &Status, wanted: &'static str) -> anyhow::Error {
    let (name, state) = (container.name().to_string(), format!("{}: container state improper", status.word()));
    Failure::WrongState { name, state, wanted }.into()
}
