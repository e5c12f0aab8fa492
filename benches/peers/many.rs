//! Many containers: one after another, all at once, and a list of a thousand.

use anyhow::{Result, ensure};

use crate::contender::Engine;
use crate::measure::Report;
use crate::succeed;

/// A hundred containers, one after another.
pub fn in_a_row(report: &Report, engines: &[Engine]) -> Result<()> {
    let count = report.scaled(100);
    report.compare(&format!("{count} × run --rm --network none true in a row (rootless)"), 3, engines, |engine| {
        (0..count).try_for_each(|_| succeed(engine.run_true()))
    })
}

/// A hundred containers, started together.
pub fn at_once(report: &Report, engines: &[Engine]) -> Result<()> {
    let count = report.scaled(100);
    report.compare(&format!("{count} × run --rm --network none true at once (rootless)"), 3, engines, |engine| {
        let children = (0..count).map(|_| Ok(engine.run_true().spawn()?)).collect::<Result<Vec<_>>>()?;
        let mut failed = Vec::new();
        for child in children {
            let output = child.wait_with_output()?;
            if !output.status.success() {
                failed.push(String::from_utf8_lossy(&output.stderr).trim().to_owned());
            }
        }
        ensure!(failed.is_empty(), "{} of {count} failed: {}", failed.len(), failed[0]);
        Ok(())
    })
}

/// `ps` with a thousand containers, none of which runs.
pub fn ps(report: &Report, engines: &[Engine]) -> Result<()> {
    let count = report.scaled(1000);
    // Podman's two runtimes share one store: once is enough.
    let engines = &engines[..2.min(engines.len())];
    for engine in engines {
        for number in 0..count {
            let name = format!("c{number}");
            succeed(engine.command(&["create", "--name", &name, "--network", "none", "true", "/bin/true"]))?;
        }
    }
    report.compare(&format!("ps -a with {count} containers (rootless)"), 10, engines, |engine| {
        succeed(engine.command(&["ps", "-a"]))
    })?;
    engines.iter().try_for_each(|engine| succeed(engine.command(&["rm", "--all"])))
}
