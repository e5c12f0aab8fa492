//! `update`: other limits for a container that is there.
//!
//! If it runs, the runtime writes them to its cgroup; then `container.json` is written anew, so that the next start has
//! them, too. In this order: a limit that cannot be set is not one that was decided.

use std::fs;

use anyhow::Result;

use super::container::Container;
use super::settings::{Resources, RestartPolicy};
use super::store::{write_atomic, write_whole};
use super::{Engine, spec};

impl Engine {
    /// Changes what is said in `asked` and leaves the rest as it is.
    pub fn update(&self, container: &Container, asked: Resources, restart: Option<RestartPolicy>) -> Result<()> {
        self.enter(Some(container))?;
        let _lock = self.hold(container)?;
        // It may have been changed while we waited.
        let container = &self.read_again(container)?;
        let mut config = container.config.clone();
        let limits = merged(&config.resources, asked);
        if container.status().is_running() && limits != config.resources {
            let file = container.run.join("resources.json");
            write_whole(&file, &serde_json::to_vec(&spec::resources(&limits)?)?)?;
            let told =
                self.runtime_call(container, &["update", "--resources", &file.to_string_lossy(), container.id()]);
            let _ = fs::remove_file(file);
            told?;
        }
        config.resources = limits;
        config.restart = restart.unwrap_or(config.restart);
        write_atomic(&container.data.join("container.json"), &serde_json::to_vec_pretty(&config)?)?;
        self.record(container, "update", &[]);
        Ok(())
    }
}

/// What was asked, and where nothing was, what was before.
fn merged(before: &Resources, asked: Resources) -> Resources {
    let old = before.clone();
    // Two ways to say the same: the later one is meant.
    let (cpus, cpu_period, cpu_quota) = match (asked.cpus, asked.cpu_period, asked.cpu_quota) {
        (None, None, None) => (old.cpus, old.cpu_period, old.cpu_quota),
        (None, period, quota) => (None, period.or(old.cpu_period), quota.or(old.cpu_quota)),
        said => said,
    };
    Resources {
        memory: asked.memory.or(old.memory),
        memory_reservation: asked.memory_reservation.or(old.memory_reservation),
        memory_swap: asked.memory_swap.or(old.memory_swap),
        cpus,
        cpu_period,
        cpu_quota,
        cpu_shares: asked.cpu_shares.or(old.cpu_shares),
        cpuset_cpus: asked.cpuset_cpus.or(old.cpuset_cpus),
        cpuset_mems: asked.cpuset_mems.or(old.cpuset_mems),
        pids: asked.pids.or(old.pids),
        blkio_weight: asked.blkio_weight.or(old.blkio_weight),
        throttles: if asked.throttles.is_empty() { old.throttles } else { asked.throttles },
        unified: old.unified,
        oom_score_adj: old.oom_score_adj,
        shm_size: old.shm_size,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_stays() {
        let before = Resources { memory: Some(1), cpus: Some(0.5), pids: Some(9), ..Resources::default() };
        let asked = Resources { memory: Some(2), cpu_quota: Some(100), ..Resources::default() };
        let expected = Resources { memory: Some(2), cpu_quota: Some(100), pids: Some(9), ..Resources::default() };
        assert_eq!(merged(&before, asked), expected);
        assert_eq!(merged(&before, Resources::default()), before);
    }
}
