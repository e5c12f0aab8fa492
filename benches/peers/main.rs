//! One command that says what podling costs, beside its peers, in one run: `cargo bench`.
//!
//! Numbers from two machines, or from two days, cannot be compared; ratios from one run can. So every contender does the
//! same work here, in turns (one run of each, then again), on the same file system, in the same cgroup view. Each line
//! gives the median, the fastest round, and the median's ratio to podling's. No time is asserted: a busy machine is no
//! fault of the code. That podling fails at nothing and leaves nothing behind is.
//!
//! Usage: `cargo bench [-- [--quick] [PART…]]`; the parts are in [`PARTS`]. Root is needed, to give crun a view of cgroup v2
//! alone (it refuses hybrid hosts) and to become an ordinary user for the rootless half. A peer that is not installed,
//! fails or hangs is left out, loudly. `PODLING_BENCH_PROGRAMS=DIR` measures the programs in DIR (say, static ones) in
//! place of cargo's. Results of one run, and where the time goes: README.md in this directory.
#![allow(missing_docs)]

mod bare;
mod command;
mod contender;
mod idle;
mod many;
mod measure;
mod pull;
mod stage;

use anyhow::{Result, bail};
use command::succeed;
use contender::{Engine, Runtime};
use measure::{Report, each};
use stage::Stage;

/// What can be asked for, in the order of the report.
const PARTS: [&str; 7] = ["runtime", "run", "hundred", "exec", "idle", "pull", "ps"];

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let quick = words.iter().any(|word| word == "--quick");
    let parts: Vec<String> = words.into_iter().filter(|word| !word.starts_with("--")).collect();
    if let Some(unknown) = parts.iter().find(|part| !PARTS.contains(&part.as_str())) {
        bail!("there is no part {unknown:?}; there are: {}", PARTS.join(" "));
    }
    let wants = |part: &str| parts.is_empty() || parts.iter().any(|wanted| wanted == part);
    let stage = Stage::enter()?;
    let report = Report::new(quick);
    Report::machine(&stage.programs);

    let measured = (|| {
        if wants("runtime") {
            runtimes(&stage, &report)?;
        }
        if PARTS[1..].iter().any(|part| wants(part)) {
            engines(&stage, &report, wants)?;
        }
        Ok(())
    })();
    // Also after a failure nothing is left behind; but the failure is what counts.
    let left = stage.leave();
    measured.and(left)
}

fn runtimes(stage: &Stage, report: &Report) -> Result<()> {
    for (bundle, what) in [(&stage.plain, "no seccomp filter"), (&stage.filtered, "with the default seccomp filter")] {
        let runtimes = Runtime::oci(stage, bundle);
        let cycle = |runtime: &Runtime| runtime.cycle(stage, bundle);
        report.compare(&format!("runtime: create, start, delete of true (root, {what})"), 40, &runtimes, cycle)?;
    }
    let mut all = Runtime::oci(stage, &stage.plain);
    all.push(Runtime::bare());
    report.compare("runtime: run true (root, no seccomp filter)", 40, &all, |runtime| runtime.run(stage, &stage.plain))
}

fn engines(stage: &Stage, report: &Report, wants: impl Fn(&str) -> bool) -> Result<()> {
    let nobody = idle::processes(stage.user.uid.as_raw());
    let engines = Engine::all(stage)?;
    if wants("run") {
        report.compare("run --rm --network none true (rootless)", 20, &engines, |engine| succeed(engine.run_true()))?;
        // Asked for by name, for where it cannot work podling would go on without a network, and faster.
        let networks = "podling with pasta, Podman with its default network: slirp4netns, from version 5 on pasta";
        report.compare(&format!("run --rm true (rootless; {networks})"), 20, &engines, |engine| {
            let pasta = ["--network", "pasta"];
            let network = if engine.is_ours() { pasta.as_slice() } else { &[] };
            succeed(engine.command(&[&["run", "--rm"], network, &["true", "/bin/true"]].concat()))
        })?;
    }
    if wants("hundred") {
        many::in_a_row(report, &engines)?;
        many::at_once(report, &engines)?;
    }
    if wants("exec") {
        let engines = each(engines.iter().collect(), |engine| idle::start(engine))?;
        report.compare("exec true (rootless)", 20, &engines, |engine| {
            succeed(engine.command(&["exec", engine.container, "/bin/true"]))
        })?;
        each(engines, |engine| idle::remove(engine))?;
    }
    if wants("idle") {
        idle::report(&engines, &nobody)?;
    }
    if wants("pull") {
        pull::compare(stage, report, &engines)?;
    }
    if wants("ps") {
        many::ps(report, &engines)?;
    }
    Ok(())
}

/// What a machine lacks is said where nobody overlooks it.
fn skip(what: &str, why: &str) {
    println!("\nSKIPPED {what}: {why}");
}

/// Whether a program is installed.
fn is_installed(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}
