//! What a long transfer shows: bars on a terminal, plain lines elsewhere, nothing with `--quiet`. All on standard error:
//! standard output is for what scripts read.
//!
//! Only what is under way has a bar; what is done becomes a line above the bars. So an image of more layers than the
//! terminal has rows shows what moves and not what is over. A bar is drawn for the width that the terminal has in that
//! moment, since a line that wraps cannot be drawn over.

use std::collections::HashMap;
use std::fmt::Write;
use std::io::{BufRead, IsTerminal};
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, ensure};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::cli::failure::lively;
use crate::cli::format::human;
use crate::image::Reference;
use crate::image::digest::Digest;
use crate::image::progress::{Event, Progress, What};
use crate::sys;

/// Somebody (or nobody) watches a transfer.
pub struct Watch {
    shown: Option<Shown>,
}

enum Shown {
    Lines,
    /// The bars by what they are of; nothing where a transfer is over.
    Bars {
        all: MultiProgress,
        by_blob: Mutex<HashMap<Digest, Option<ProgressBar>>>,
    },
}

impl Watch {
    /// Chooses how to show it.
    pub fn new(quiet: bool) -> Self {
        let shown = match (quiet, lively(&std::io::stderr())) {
            (true, _) => None,
            (false, false) => Some(Shown::Lines),
            (false, true) => Some(Shown::Bars {
                all: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()),
                by_blob: Mutex::default(),
            }),
        };
        Self { shown }
    }

    fn say(&self, line: &str) {
        match &self.shown {
            None => {}
            Some(Shown::Lines) => eprintln!("{line}"),
            Some(Shown::Bars { all, .. }) => drop(all.println(line)),
        }
    }

    /// Shows a bar for a blob under way.
    fn begin(&self, blob: Digest, text: String, size: Option<u64>) {
        let Some(Shown::Bars { all, by_blob }) = &self.shown else { return };
        let bar = match size {
            Some(size) => ProgressBar::new(size).with_style(transfer(text)),
            None => ProgressBar::new(1).with_style(plain()).with_message(text),
        };
        let bar = all.add(bar);
        bar.tick();
        by_blob.lock().unwrap_or_else(PoisonError::into_inner).insert(blob, Some(bar));
    }

    /// Whether a blob has been transferred before our eyes. What was here already is unpacked without a word.
    fn transferred(&self, blob: Digest) -> bool {
        let Some(Shown::Bars { by_blob, .. }) = &self.shown else { return false };
        by_blob.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&blob)
    }

    fn advance(&self, blob: Digest, done: u64) {
        if let Some(Shown::Bars { by_blob, .. }) = &self.shown
            && let Some(Some(bar)) = by_blob.lock().unwrap_or_else(PoisonError::into_inner).get(&blob)
        {
            bar.set_position(done);
        }
    }

    /// Takes a blob's bar away; false if it had none.
    fn end(&self, blob: Digest) -> bool {
        let Some(Shown::Bars { all, by_blob }) = &self.shown else { return false };
        let mut by_blob = by_blob.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(bar) = by_blob.get_mut(&blob).and_then(Option::take) else { return false };
        bar.finish_and_clear();
        all.remove(&bar);
        true
    }
}

/// The style of a transfer's bar.
fn transfer(text: String) -> ProgressStyle {
    let draw = move |state: &ProgressState, out: &mut dyn Write| {
        let columns = sys::window_size(std::io::stderr().as_fd()).map_or(80, |(_, columns)| usize::from(columns));
        let _ = out.write_str(&bar(&text, state.pos(), state.len().unwrap_or_default(), state.per_sec(), columns));
    };
    template("{bar_line}").with_key("bar_line", draw)
}

fn plain() -> ProgressStyle {
    template("{wide_msg}")
}

fn template(text: &str) -> ProgressStyle {
    ProgressStyle::with_template(text).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// The line of a transfer, never wider than `columns`: first the speed gives way, then the bar, then the sizes.
fn bar(text: &str, done: u64, size: u64, per_second: f64, columns: usize) -> String {
    const WIDEST: usize = 38;
    const NARROWEST: usize = 8;
    let sizes = format!("{} / {}", human::spaced_size(done), human::spaced_size(size));
    let speed = format!("  {}/s", human::spaced_size(per_second.max(0.0) as u64));
    // The last column stays free: some terminals wrap when it is written.
    let room = columns.saturating_sub(1);
    for tail in [format!("{sizes}{speed}"), sizes] {
        // A space on either side of the bar, and its brackets.
        let left = room.saturating_sub(text.len() + tail.len() + 4);
        if left >= NARROWEST {
            let width = left.min(WIDEST);
            let full = usize::try_from(u64::try_from(width).unwrap_or(0) * done.min(size) / size.max(1)).unwrap_or(0);
            let head = if full < width { ">" } else { "" };
            let rest = "-".repeat(width - full - head.len());
            return format!("{text} [{}{head}{rest}] {tail}", "=".repeat(full));
        }
    }
    let percent = format!("{text} {}%", 100 * done.min(size) / size.max(1));
    percent.chars().take(room).collect()
}

fn name(blob: Digest, what: What) -> String {
    let what = if what == What::Layer { "blob" } else { "config" };
    format!("Copying {what} {}", &blob.hex()[..12])
}

fn line(blob: Digest, what: What) -> String {
    let what = if what == What::Layer { "blob" } else { "config" };
    format!("Copying {what} {blob}")
}

impl Progress for Watch {
    fn event(&self, event: Event<'_>) {
        let bars = match &self.shown {
            None => return,
            Some(shown) => matches!(shown, Shown::Bars { .. }),
        };
        match event {
            Event::Trying(place) => self.say(&format!("Trying to pull {place}...")),
            Event::Started { blob, size, what } if bars => self.begin(blob, name(blob, what), Some(size)),
            Event::Started { blob, what, .. } => self.say(&line(blob, what)),
            Event::Bytes { blob, done } => self.advance(blob, done),
            Event::Retrying { blob, why } => {
                self.say(&format!("Copying blob {}: {why}; trying again", &blob.hex()[..12]));
            }
            Event::Done { blob, what } => {
                if self.end(blob) {
                    self.say(&format!("{} done", name(blob, what)));
                }
            }
            Event::Exists { blob, what } => {
                let text = if bars { name(blob, what) } else { line(blob, what) };
                self.say(&format!("{text} skipped: already exists"));
            }
            Event::Unpacking { blob } if self.transferred(blob) => {
                self.begin(blob, format!("Unpacking layer {}", &blob.hex()[..12]), None);
            }
            Event::Unpacking { .. } => {}
            Event::Unpacked { blob } => drop(self.end(blob)),
            Event::Writing => self.say("Writing manifest to image destination"),
            Event::Note(text) => self.say(text),
        }
    }

    fn choose(&self, typed: &str, names: &[Reference]) -> Result<Option<usize>> {
        choose(typed, names)
    }
}

/// Asks on the terminal which name is meant; an empty answer means the first.
fn choose(typed: &str, names: &[Reference]) -> Result<Option<usize>> {
    let (input, error) = (std::io::stdin(), std::io::stderr());
    if !input.is_terminal() || !error.is_terminal() {
        return Ok(None);
    }
    eprintln!("The short name {typed:?} may be any of these:");
    for (at, name) in names.iter().enumerate() {
        eprintln!("  {}  {name}", at + 1);
    }
    loop {
        eprint!("Which? [1] ");
        let mut line = String::new();
        ensure!(input.lock().read_line(&mut line)? > 0, "nobody said which image {typed:?} is");
        match line.trim() {
            "" => return Ok(Some(0)),
            number => match number.parse::<usize>() {
                Ok(number) if (1..=names.len()).contains(&number) => return Ok(Some(number - 1)),
                _ => eprintln!("A number from 1 to {}.", names.len()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fits_its_terminal() {
        let at = |columns| bar("Copying blob 0123456789ab", 1_500_000, 3_000_000, 2e6, columns);
        assert_eq!(at(120), "Copying blob 0123456789ab [===================>------------------] 1.5 MB / 3 MB  2 MB/s");
        assert_eq!(at(60), "Copying blob 0123456789ab [====>----] 1.5 MB / 3 MB  2 MB/s");
        assert_eq!(at(55), "Copying blob 0123456789ab [======>-----] 1.5 MB / 3 MB");
        assert_eq!(at(40), "Copying blob 0123456789ab 50%");
        for columns in 0..120 {
            assert!(at(columns).len() <= columns, "{columns}");
        }
        assert!(bar("x", 3, 0, 0.0, 80).starts_with("x [>-"), "nothing announced, nothing divided by");
    }
}
