//! Taking turns, medians, ratios.

use std::time::{Duration, Instant};

use anyhow::Result;

/// Something that can be measured beside others.
pub trait Named {
    /// How a line of the report calls it.
    fn name(&self) -> &str;
}

/// How much is measured.
pub struct Report {
    quick: bool,
}

impl Report {
    pub fn new(quick: bool) -> Self {
        Self { quick }
    }

    /// This number, or with `--quick` a tenth of it.
    pub fn scaled(&self, number: usize) -> usize {
        if self.quick { number.div_ceil(10) } else { number }
    }

    /// The facts that a reader needs to believe a ratio.
    pub fn machine() {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let model = read("/proc/cpuinfo");
        let model = model.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        println!(
            "{cores} × {}, Linux {}",
            model.trim_start_matches(['\t', ':', ' ']),
            read("/proc/sys/kernel/osrelease").trim()
        );
        for program in ["podman", "crun", "runc", "conmon", "pasta", "slirp4netns"] {
            let output = std::process::Command::new(program).arg("--version").output();
            let said = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
            println!("{}", said.lines().next().unwrap_or("").trim());
        }
    }

    /// Runs each contender in turn, `rounds` times (a tenth with `--quick`), after one unmeasured round, and prints the
    /// medians. The first contender is the one that the ratios are taken to.
    pub fn compare<C: Named>(
        &self,
        title: &str,
        rounds: usize,
        contenders: &[C],
        work: impl FnMut(&C) -> Result<()>,
    ) -> Result<()> {
        self.compare_prepared(title, rounds, contenders, |_| Ok(()), work)
    }

    /// The same, where each round of each contender has to be prepared, unmeasured.
    pub fn compare_prepared<C: Named>(
        &self,
        title: &str,
        rounds: usize,
        contenders: &[C],
        mut prepare: impl FnMut(&C) -> Result<()>,
        mut work: impl FnMut(&C) -> Result<()>,
    ) -> Result<()> {
        let rounds = self.scaled(rounds);
        let mut times = vec![Vec::new(); contenders.len()];
        if rounds > 3 {
            contenders.iter().try_for_each(|contender| prepare(contender).and_then(|()| work(contender)))?;
        }
        for _ in 0..rounds {
            for (contender, times) in contenders.iter().zip(&mut times) {
                prepare(contender)?;
                let begin = Instant::now();
                work(contender)?;
                times.push(begin.elapsed());
            }
        }
        println!(
            "\n{title}\n  {:<28} {:>10}    {:>10}    {:>6}",
            format!("{rounds} rounds"),
            "median",
            "fastest",
            "ratio"
        );
        for times in &mut times {
            times.sort_unstable();
        }
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        let ours = milliseconds(times[0][rounds / 2]);
        for (contender, times) in contenders.iter().zip(&times) {
            let (median, fastest) = (milliseconds(times[rounds / 2]), milliseconds(times[0]));
            println!("  {:<28} {median:>10.1} ms {fastest:>10.1} ms {:>6.2}", contender.name(), median / ours);
        }
        Ok(())
    }
}
