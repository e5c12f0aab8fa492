//! Many containers: one after another, all at once, and a list of a thousand.

use std::fs;

use anyhow::{Result, ensure};
use nix::poll::PollTimeout;
use nix::unistd::Pid;
use podling::linux::process::Process;

use crate::command::{Running, succeed};
use crate::contender::Engine;
use crate::idle;
use crate::measure::{Report, each};

/// A hundred containers, one after another.
pub fn in_a_row(report: &Report, engines: &[Engine]) -> Result<()> {
    let count = report.scaled(100);
    report.compare(&format!("{count} × run --rm --network none true in a row (rootless)"), 1, engines, |engine| {
        (0..count).try_for_each(|_| succeed(engine.run_true()))
    })
}

/// A hundred containers, started together.
pub fn at_once(report: &Report, engines: &[Engine]) -> Result<()> {
    let count = report.scaled(100);
    report.compare(&format!("{count} × run --rm --network none true at once (rootless)"), 3, engines, |engine| {
        let started = (0..count).map(|_| Running::start(engine.run_true())).collect::<Result<Vec<_>>>()?;
        let failed: Vec<_> = started.into_iter().filter_map(|it| it.succeed().err()).collect();
        ensure!(failed.is_empty(), "{} of {count} failed: {:#}", failed.len(), failed[0]);
        Ok(())
    })?;
    nothing_is_left(&engines[0])
}

/// `ps` with a thousand containers, none of which runs. Last of all: the peers' containers go with the stage.
pub fn ps(report: &Report, engines: &[Engine]) -> Result<()> {
    let count = report.scaled(1000);
    let engines = each(Engine::stores(engines).iter().collect(), |engine| {
        (0..count).try_for_each(|number| {
            let name = format!("c{number}");
            succeed(engine.command(&["create", "--name", &name, "--network", "none", "true", "/bin/true"]))
        })
    })?;
    report.compare(&format!("ps -a with {count} containers (rootless)"), 10, &engines, |engine| {
        succeed(engine.command(&["ps", "-a"]))
    })?;
    succeed(engines[0].command(&["rm", "--all"]))?;
    nothing_is_left(engines[0])
}

/// Fails if containers that are gone have left anything of themselves in podling's store or among its processes.
fn nothing_is_left(podling: &Engine) -> Result<()> {
    let ours = idle::processes(podling.user_id()).into_iter().filter(|pid| idle::name(*pid).starts_with("podling"));
    for pid in ours {
        // A monitor is the last to leave.
        let ended =
            Process::open(Pid::from_raw(pid))?.map_or(Ok(true), |it| it.await_end(PollTimeout::from(1000_u16)))?;
        ensure!(ended, "process {pid} ({}) of a container that is gone runs on", idle::name(pid));
    }
    let [data, run] = podling.store();
    let emptied = ["containers", "partial", "names"].map(|name| data.join(name)).into_iter();
    for directory in emptied.chain(["containers", "runtime"].map(|name| run.join(name))) {
        let left = fs::read_dir(&directory).into_iter().flatten().count();
        ensure!(left == 0, "{left} entries are left in {}", directory.display());
    }
    Ok(())
}
