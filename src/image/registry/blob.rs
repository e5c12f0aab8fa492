//! Fetching a blob: streamed to its partial file, hashed on the way, resumed after a break.
//!
//! The descriptor that named the blob said its size. A registry that sends more is cut off at once, and one that says
//! otherwise in its header is not even read. What has arrived before a break is kept, and asked for no more.

use std::io::Read;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail, ensure};
use oci_spec::image::Descriptor;
use ureq::Body;
use ureq::http::{Method, Response, StatusCode};

use super::Remote;
use super::http::{explain_io, refusal};
use crate::image::digest::Digest;
use crate::image::layout::{Adding, Partial};
use crate::image::progress::{Event, Progress, What};

/// Slower than this over [`SLOW_WINDOW`] counts as a stall: a server that drips bytes must not hold us for ever.
const SLOW_BYTES: u64 = 4 << 10;
const SLOW_WINDOW: Duration = Duration::from_secs(60);

impl Remote {
    /// Fetches a blob into the layout, unless it is there.
    pub fn fetch(&self, blob: &Descriptor, what: What, adding: &Adding, progress: &dyn Progress) -> Result<()> {
        let digest = Digest::try_from(blob.digest())?;
        let Some(mut partial) = adding.partial(digest)? else {
            progress.event(Event::Exists { blob: digest, what });
            return Ok(());
        };
        progress.event(Event::Started { blob: digest, size: blob.size(), what });
        if partial.have() > blob.size() {
            partial.restart()?;
        }
        let mut idle = 0;
        while partial.have() < blob.size() || blob.size() == 0 {
            let before = partial.have();
            match self.fetch_some(digest, blob.size(), &mut partial, progress) {
                Ok(()) => break,
                Err(Broken::ForGood(error)) => {
                    partial.leave();
                    return Err(error);
                }
                Err(Broken::Again(error)) => {
                    // An attempt that brought something counts for nothing against the registry.
                    idle = if partial.have() > before { 1 } else { idle + 1 };
                    if idle >= self.patience.attempts {
                        partial.leave();
                        return Err(error);
                    }
                    progress.event(Event::Retrying { blob: digest, why: &error.to_string() });
                    thread::sleep(self.patience.pause_before(idle, None));
                }
            }
        }
        partial.finish()?;
        progress.event(Event::Done { blob: digest, what });
        Ok(())
    }

    /// Fetches from where the partial file ends.
    fn fetch_some(
        &self,
        digest: Digest,
        size: u64,
        partial: &mut Partial,
        progress: &dyn Progress,
    ) -> Result<(), Broken> {
        let range = format!("bytes={}-", partial.have());
        let headers: &[(&str, &str)] = if partial.have() > 0 { &[("Range", &range)] } else { &[] };
        let response = self.ask(&Method::GET, &self.url(&format!("blobs/{digest}")), headers).map_err(Broken::Again)?;
        match response.status() {
            StatusCode::PARTIAL_CONTENT if partial.have() > 0 => {}
            // It does not do ranges, and begins anew.
            StatusCode::OK => partial.restart().map_err(|error| Broken::ForGood(error.into()))?,
            StatusCode::RANGE_NOT_SATISFIABLE => {
                partial.restart().map_err(|error| Broken::ForGood(error.into()))?;
                return Err(Broken::Again(anyhow!("the registry cannot resume")));
            }
            status if super::busy(status) => return Err(Broken::Again(refusal(response))),
            _ => return Err(Broken::ForGood(refusal(response))),
        }
        check_length(&response, size, partial.have()).map_err(Broken::ForGood)?;
        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0; 256 << 10];
        let mut window = (Instant::now(), partial.have());
        loop {
            let read = match body.read(&mut buffer) {
                Ok(0) if partial.have() < size => {
                    return Err(Broken::Again(anyhow!(
                        "the connection broke after {} of {size} bytes",
                        partial.have()
                    )));
                }
                Ok(0) => return Ok(()),
                Ok(read) => read,
                Err(error) => return Err(Broken::Again(explain_io(&error))),
            };
            if partial.have() + read as u64 > size {
                let _ = partial.restart();
                return Err(Broken::ForGood(anyhow!("the registry sends more than the {size} bytes it announced")));
            }
            if let Err(error) = partial.append(&buffer[..read]) {
                // On a full disk what we have of it helps nobody.
                let _ = partial.restart();
                return Err(Broken::ForGood(anyhow::Error::new(error).context(partial.writing())));
            }
            progress.event(Event::Bytes { blob: digest, done: partial.have() });
            if window.0.elapsed() > SLOW_WINDOW {
                if partial.have() - window.1 < SLOW_BYTES {
                    return Err(Broken::Again(anyhow!("the registry stalls: it sends next to nothing")));
                }
                window = (Instant::now(), partial.have());
            }
        }
    }
}

/// A transfer that ended before its end.
enum Broken {
    /// It may go better in a moment.
    Again(anyhow::Error),
    /// It will not.
    ForGood(anyhow::Error),
}

/// Whether the answer's header agrees with what the manifest said.
fn check_length(response: &Response<Body>, size: u64, have: u64) -> Result<()> {
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
    if let Some(length) = header("content-length").and_then(|text| text.parse::<u64>().ok()) {
        ensure!(
            have.checked_add(length) == Some(size),
            "the registry offers {length} bytes where the manifest says {}",
            size - have
        );
    }
    if response.status() == StatusCode::PARTIAL_CONTENT {
        let begins =
            header("content-range").and_then(|text| text.strip_prefix("bytes ")?.split('-').next()?.parse().ok());
        if begins != Some(have) {
            bail!("the registry was asked to go on at byte {have}, and does not");
        }
    }
    Ok(())
}
