//! One command that says what podling costs, beside its peers, in one run: `cargo bench`.
//!
//! Numbers from two machines, or from two days, cannot be compared; ratios from one run can. So every contender does the
//! same work here, in turns (one run of each, then again), on the same file system, in the same cgroup view; each line
//! gives the median and its ratio to podling's. Nothing is asserted: a busy machine is no fault of the code.
//!
//! Usage: `cargo bench [-- [--quick] [WORD…]]`; a word keeps the measurements whose title holds it. Root is needed, to
//! give crun a view of cgroup v2 alone (it refuses hybrid hosts) and to become an ordinary user for the rootless half.
//! `PODLING_BENCH_PROGRAMS=DIR` measures the programs in DIR (say, static ones) in place of cargo's.
#![allow(missing_docs)]

mod bare;
mod contender;
mod idle;
mod measure;
mod pull;
mod stage;

use std::process::Command;

use anyhow::Result;
use contender::{Engine, Runtime};
use measure::Report;
use stage::Stage;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let quick = words.iter().any(|word| word == "--quick");
    let words = words.into_iter().filter(|word| !word.starts_with("--")).collect();
    let stage = Stage::enter()?;
    let mut report = Report::new(quick, words);
    Report::machine();

    let runtimes = Runtime::all(&stage);
    report.compare("runtime run true (root)", 40, &runtimes, |runtime| runtime.run(&stage))?;
    report
        .compare("runtime create, start, delete (root)", 40, &Runtime::oci(&stage), |runtime| runtime.cycle(&stage))?;

    let engines = Engine::all(&stage)?;
    report.compare("run --rm true (rootless)", 20, &engines, |engine| succeed(engine.run_true()))?;
    report.compare("100 × run --rm true in a row (rootless)", 1, &engines, |engine| {
        (0..100).try_for_each(|_| succeed(engine.run_true()))
    })?;
    report.compare("100 × run --rm true at once (rootless)", 1, &engines, |engine| {
        let children = (0..100).map(|_| Ok(engine.run_true().spawn()?)).collect::<Result<Vec<_>>>()?;
        for mut child in children {
            anyhow::ensure!(child.wait()?.success(), "{} failed among a hundred", engine.name);
        }
        Ok(())
    })?;
    if report.wants("exec true (rootless)") {
        for engine in &engines {
            succeed(engine.command(&[
                "run",
                "-d",
                "--name",
                "idle",
                "--network",
                "none",
                "true",
                "/bin/sleep",
                "1000",
            ]))?;
        }
        report.compare("exec true (rootless)", 20, &engines, |engine| {
            succeed(engine.command(&["exec", "idle", "/bin/true"]))
        })?;
        for engine in &engines {
            succeed(engine.command(&["rm", "-f", "-t", "0", "idle"]))?;
        }
    }
    if report.wants("idle container (rootless)") {
        idle::report(&engines)?;
    }
    let many = if quick { 100 } else { 1000 };
    let title = format!("ps -a with {many} containers (rootless)");
    if report.wants(&title) {
        // Podman's two runtimes share one store: once is enough.
        for engine in &engines[..2.min(engines.len())] {
            for number in 0..many {
                let name = format!("c{number}");
                succeed(engine.command(&["create", "--name", &name, "--network", "none", "true", "/bin/true"]))?;
            }
        }
        report
            .compare(&title, 10, &engines[..2.min(engines.len())], |engine| succeed(engine.command(&["ps", "-a"])))?;
    }
    pull::compare(&stage, &mut report, &engines)?;
    stage.leave(&engines)
}

/// Runs a command to its end and fails unless it succeeds.
fn succeed(mut command: Command) -> Result<()> {
    let output = command.output()?;
    anyhow::ensure!(
        output.status.success(),
        "{command:?} ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
