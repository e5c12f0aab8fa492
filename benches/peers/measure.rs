//! Taking turns, medians, ratios.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::skip;
use crate::stage::PROGRAMS;

/// Something that can be measured beside others.
pub trait Named {
    /// How a line of the report calls it.
    fn name(&self) -> &str;
}

impl<T: Named> Named for &T {
    fn name(&self) -> &str {
        (*self).name()
    }
}

/// Does something with each contender in turn, and returns those with whom it worked. A peer that fails is left out from
/// then on, and everybody hears of it; ours, the first, must not fail.
pub fn each<T: Named>(contenders: Vec<T>, mut work: impl FnMut(&mut T) -> Result<()>) -> Result<Vec<T>> {
    let mut able = Vec::new();
    for mut contender in contenders {
        match work(&mut contender) {
            Ok(()) => able.push(contender),
            Err(error) if able.is_empty() => return Err(error),
            Err(error) => skip(contender.name(), &format!("{error:#}")),
        }
    }
    Ok(able)
}

/// A contender, and how long its rounds took.
struct Turns<'a, C> {
    contender: &'a C,
    times: Vec<Duration>,
}

impl<C: Named> Named for Turns<'_, C> {
    fn name(&self) -> &str {
        self.contender.name()
    }
}

impl<C> Turns<'_, C> {
    fn sorted(&self) -> Vec<f64> {
        let mut times: Vec<_> = self.times.iter().map(|time| time.as_secs_f64() * 1e3).collect();
        times.sort_by(f64::total_cmp);
        times
    }
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

    /// The facts that a reader needs to believe a ratio. `programs`: where ours are.
    pub fn machine(programs: &Path) {
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
        for name in PROGRAMS {
            let size = std::fs::metadata(programs.join(name)).map_or(0, |about| about.len());
            println!("{name}: {} kB", size / 1000);
        }
    }

    /// Runs each contender in turn, `rounds` times (a tenth with `--quick`), after one unmeasured round if there are many,
    /// and prints the medians. The first contender is the one that the ratios are taken to.
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
        println!("\n{title}");
        let mut all: Vec<_> = contenders.iter().map(|contender| Turns { contender, times: Vec::new() }).collect();
        let unmeasured = usize::from(rounds > 3);
        for round in 0..unmeasured + rounds {
            all = each(all, |it| {
                prepare(it.contender)?;
                let begin = Instant::now();
                work(it.contender)?;
                if round >= unmeasured {
                    it.times.push(begin.elapsed());
                }
                Ok(())
            })?;
        }
        let head = format!("{rounds} round{}", if rounds == 1 { "" } else { "s" });
        println!("  {head:<28} {:>10}    {:>10}    {:>6}", "median", "fastest", "ratio");
        let ours = all[0].sorted()[rounds / 2];
        for it in &all {
            let times = it.sorted();
            let (median, fastest) = (times[rounds / 2], times[0]);
            println!("  {:<28} {median:>10.1} ms {fastest:>10.1} ms {:>6.2}", it.name(), median / ours);
        }
        Ok(())
    }
}
