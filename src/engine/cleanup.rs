//! After the end: what the monitor's exit command does, `podling container cleanup ID`.
//!
//! No daemon notices that a container ended; its monitor does, and runs this. The network's helpers go, the runtime's
//! state and cgroup go, `--rm` is kept, and the restart policy is applied. Whoever waits in the foreground, or stops the
//! container, does the same himself and sooner. All take the container's lock, and whoever comes second finds nothing
//! left to do.

use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;

use super::Engine;
use super::container::Container;
use super::failure::Failure;
use super::partial::Volumes;
use super::settings::RestartPolicy;
use super::store::write_whole;
use crate::handover::ExitRecord;
use crate::trace;

/// A container that ran so long may fail again without being called one that always does.
const STEADY: i64 = 10;

/// What `container cleanup` was told.
#[derive(Debug, Clone, Default)]
pub struct Cleanup {
    /// `--rm`.
    pub remove: bool,
    /// `--exec SESSION` ended, not the container.
    pub exec: Option<String>,
}

impl Engine {
    /// What the monitor runs when the container has ended.
    pub fn cleanup(&self, container: &Container, request: &Cleanup) -> Result<()> {
        if let Some(session) = &request.exec {
            return self.cleanup_exec(container, session);
        }
        self.enter(None)?;
        let lock = match self.hold(container) {
            Err(error) if matches!(error.downcast_ref(), Some(Failure::NoSuchContainer(_))) => return Ok(()),
            other => other?,
        };
        // It runs again, or has just ended again: then its present monitor will have a cleanup of its own.
        if container.status().process().is_some() {
            return Ok(());
        }
        trace::stage(format_args!("after the end: away with what the run has left"));
        self.tear_down_ended(container);
        if request.remove || container.config.remove {
            return self.erase(container, Volumes::Removed);
        }
        let Some(delay) = self.restart_after(container) else { return Ok(()) };
        drop(lock);
        // Longer after each failure in a row, so that a container which cannot run does not keep the machine busy.
        sleep(delay);
        let lock = self.hold(container)?;
        if container.process().is_some() || !container.data.join("wanted").exists() {
            return Ok(());
        }
        let restarts = container.started().map_or(0, |started| started.restarts) + 1;
        drop(self.bring_up(container, &lock, false)?);
        self.let_go(container, restarts)
    }

    /// Tears down what has ended, and notes its end, once.
    pub(super) fn tear_down_ended(&self, container: &Container) {
        let ran = container.ran();
        if ran && container.exit().is_none() {
            // Nobody saw how: its monitor was killed. Podman's code for that is -1, and its time the one when it is noticed.
            let unseen = ExitRecord { code: -1, signal: None, oom: false, timed_out: false, finished: super::now() };
            if let Ok(json) = serde_json::to_vec(&unseen) {
                let _ = write_whole(&container.data.join("exit.json"), &json);
            }
        }
        let code = container.exit().map_or(-1, |record| record.code).to_string();
        if self.tear_down(container).is_ok() && ran {
            self.record(container, "died", &[("containerExitCode", &code)]);
        }
    }

    /// How long after its end a container is to be started again; none: not at all.
    fn restart_after(&self, container: &Container) -> Option<Duration> {
        if !container.data.join("wanted").exists() {
            return None;
        }
        let (exit, started) = (container.exit()?, container.started()?);
        let again = match container.config.restart {
            RestartPolicy::No => false,
            RestartPolicy::OnFailure(most) => exit.code != 0 && most.is_none_or(|most| started.restarts < most),
            RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
        };
        let lived = (|| {
            let (from, to): (Timestamp, Timestamp) = (started.at.parse().ok()?, exit.finished.parse().ok()?);
            Some(to.as_second() - from.as_second())
        })();
        let in_a_row = if lived.unwrap_or(0) >= STEADY { 0 } else { started.restarts.min(9) };
        again.then(|| Duration::from_millis(if in_a_row == 0 { 0 } else { 50 << in_a_row }))
    }
}
