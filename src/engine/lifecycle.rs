//! The life of a container after it is created: start, stop, kill, restart, pause, rename, remove, wait.

use std::time::Duration;

use anyhow::{Result, bail};

use super::Engine;
use super::container::Container;
use super::request::ExecRequest;
use crate::handover::ExitRecord;

/// Whether and how the caller's own streams are joined to the container's.
#[derive(Debug, Clone, Default)]
pub struct AttachRequest {
    /// Our standard input goes in.
    pub stdin: bool,
    /// Its output comes out (stdout, stderr).
    pub output: bool,
    /// The keys that detach, as written (`ctrl-p,ctrl-q`); none: Podman's default; empty: none do.
    pub detach_keys: Option<String>,
    /// Pass signals on.
    pub signal_proxy: bool,
}

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
    pub fn start(&self, _container: &Container, _attach: Option<&AttachRequest>) -> Result<Option<Outcome>> {
        bail!("start is not built yet")
    }

    /// `podling init`: everything but letting the program go.
    pub fn init(&self, _container: &Container) -> Result<()> {
        bail!("init is not built yet")
    }

    /// Joins a running container.
    pub fn attach(&self, _container: &Container, _attach: &AttachRequest) -> Result<Outcome> {
        bail!("attach is not built yet")
    }

    /// Runs a further process in a running container. Detached: none, with the session's id printed by the caller.
    pub fn exec(&self, _container: &Container, _request: &ExecRequest) -> Result<ExecOutcome> {
        bail!("exec is not built yet")
    }

    /// Asks it to stop, and after `timeout` seconds (none: its own) kills it. Nothing to do if it does not run.
    pub fn stop(&self, _container: &Container, _timeout: Option<u64>) -> Result<()> {
        bail!("stop is not built yet")
    }

    /// Sends a signal to its first process.
    pub fn kill(&self, _container: &Container, _signal: &str) -> Result<()> {
        bail!("kill is not built yet")
    }

    /// Stops it if it runs, and starts it.
    pub fn restart(&self, _container: &Container, _timeout: Option<u64>) -> Result<()> {
        bail!("restart is not built yet")
    }

    /// Freezes it.
    pub fn pause(&self, _container: &Container) -> Result<()> {
        bail!("pause is not built yet")
    }

    /// Thaws it.
    pub fn unpause(&self, _container: &Container) -> Result<()> {
        bail!("unpause is not built yet")
    }

    /// Gives it another name.
    pub fn rename(&self, _container: &Container, _name: &str) -> Result<()> {
        bail!("rename is not built yet")
    }

    /// Removes it.
    pub fn remove(&self, _container: &Container, _removal: Removal) -> Result<()> {
        bail!("rm is not built yet")
    }

    /// Waits until its status is one of `conditions` (Podman's words; none: it is not running) and tells its exit code;
    /// `every`: look again after so long where there is nothing to wait on.
    pub fn wait(&self, _container: &Container, _conditions: &[String], _every: Duration) -> Result<i32> {
        bail!("wait is not built yet")
    }

    /// What the monitor runs when the container has ended: network, `--rm`, restart policy.
    pub fn cleanup(&self, _container: &Container, _request: Cleanup) -> Result<()> {
        bail!("cleanup is not built yet")
    }

    /// Makes an image of a container's changes; its id.
    pub fn commit(&self, _container: &Container, _request: &CommitRequest) -> Result<String> {
        bail!("commit is not built yet")
    }
}

/// How `exec` went.
#[derive(Debug, Clone)]
pub enum ExecOutcome {
    /// It ended with this status.
    Exited(i32),
    /// The person detached.
    Detached,
    /// `-d`: the session's id.
    Started(String),
}

/// What `container cleanup` was told.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cleanup {
    /// `--rm`.
    pub remove: bool,
    /// `--exec SESSION` ended, not the container: there is nothing to tear down.
    pub exec: bool,
}

/// What `commit` may be told.
#[derive(Debug, Clone, Default)]
pub struct CommitRequest {
    /// The new image's name.
    pub name: Option<String>,
    /// `--author`.
    pub author: Option<String>,
    /// `--message`.
    pub message: Option<String>,
    /// `--change`: Containerfile lines.
    pub changes: Vec<String>,
    /// `--pause`.
    pub pause: bool,
}
