//! Taking turns, medians, ratios.

use std::time::{Duration, Instant};

use anyhow::Result;

/// Something that can be measured beside others.
pub trait Named {
    /// How a line of the report calls it.
    fn name(&self) -> &str;
}

/// What is measured and how often.
pub struct Report {
    quick: bool,
    words: Vec<String>,
}

impl Report {
    pub fn new(quick: bool, words: Vec<String>) -> Self {
        Self { quick, words }
    }

    /// Whether the user asked for this measurement.
    pub fn wants(&self, title: &str) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| title.contains(word.as_str()))
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
    }

    /// Runs each contender in turn, `rounds` times (a tenth with `--quick`, at least once), after one unmeasured round,
    /// and prints the medians. The first contender is the one that the ratios are taken to.
    pub fn compare<C: Named>(
        &self,
        title: &str,
        rounds: usize,
        contenders: &[C],
        mut work: impl FnMut(&C) -> Result<()>,
    ) -> Result<()> {
        if !self.wants(title) {
            return Ok(());
        }
        let rounds = if self.quick { rounds.div_ceil(10) } else { rounds };
        let mut times = vec![Vec::new(); contenders.len()];
        if rounds > 1 {
            contenders.iter().try_for_each(&mut work)?;
        }
        for _ in 0..rounds {
            for (contender, times) in contenders.iter().zip(&mut times) {
                let begin = Instant::now();
                work(contender)?;
                times.push(begin.elapsed());
            }
        }
        println!("\n{title}, {rounds} round{}", if rounds == 1 { "" } else { "s" });
        let medians: Vec<Duration> = times.into_iter().map(median).collect();
        for (contender, time) in contenders.iter().zip(&medians) {
            let ratio = time.as_secs_f64() / medians[0].as_secs_f64();
            println!("  {:<28} {:>10.1} ms {ratio:>8.2}", contender.name(), time.as_secs_f64() * 1e3);
        }
        Ok(())
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
