//! What a long transfer shows: bars on a terminal, plain lines elsewhere, nothing with `--quiet`. All on standard error:
//! standard output is for what scripts read.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::failure::lively;
use crate::image::digest::Digest;
use crate::image::progress::{Event, Progress, What};

/// Somebody (or nobody) watches a transfer.
pub struct Watch {
    shown: Option<Shown>,
}

enum Shown {
    Lines,
    Bars { all: MultiProgress, by_blob: Mutex<HashMap<Digest, ProgressBar>> },
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

    /// The bar of a blob.
    fn bar(&self, blob: Digest, draw: impl FnOnce(&ProgressBar)) {
        if let Some(Shown::Bars { by_blob, .. }) = &self.shown
            && let Some(bar) = by_blob.lock().unwrap_or_else(PoisonError::into_inner).get(&blob)
        {
            draw(bar);
        }
    }

    fn begin(&self, blob: Digest, size: u64, what: What) {
        match &self.shown {
            Some(Shown::Bars { all, by_blob }) => {
                let bar = all.add(ProgressBar::new(size).with_style(style(BAR)).with_prefix(name(blob, what)));
                by_blob.lock().unwrap_or_else(PoisonError::into_inner).insert(blob, bar);
            }
            _ => self.say(&line(blob, what)),
        }
    }
}

const BAR: &str = "{prefix} [{bar:38}] {decimal_bytes} / {decimal_total_bytes}  {decimal_bytes_per_sec}";
const WORK: &str = "{prefix} {spinner} unpacking";
const DONE: &str = "{prefix} {msg}";

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=>-")
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
        if self.shown.is_none() {
            return;
        }
        match event {
            Event::Trying(place) => self.say(&format!("Trying to pull {place}...")),
            Event::Started { blob, size, what } => self.begin(blob, size, what),
            Event::Bytes { blob, done } => self.bar(blob, |bar| bar.set_position(done)),
            Event::Retrying { blob, why } => {
                self.say(&format!("Copying blob {}: {why}; trying again", &blob.hex()[..12]));
            }
            Event::Done { blob } => self.bar(blob, |bar| {
                bar.set_style(style(DONE));
                bar.finish_with_message("done");
            }),
            Event::Exists { blob, what } => match &self.shown {
                Some(Shown::Bars { all, .. }) => {
                    let bar = all.add(ProgressBar::new(1).with_style(style(DONE)).with_prefix(name(blob, what)));
                    bar.finish_with_message("skipped: already exists");
                }
                _ => self.say(&format!("{} skipped: already exists", line(blob, what))),
            },
            Event::Unpacking { blob } => self.bar(blob, |bar| bar.set_style(style(WORK))),
            Event::Unpacked { blob } => self.bar(blob, |bar| {
                bar.set_style(style(DONE));
                bar.finish_with_message("done");
            }),
            Event::Writing => self.say("Writing manifest to image destination"),
            Event::Note(text) => self.say(text),
        }
    }
}
