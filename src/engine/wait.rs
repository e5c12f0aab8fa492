//! Waiting for a container's end without looking again and again.
//!
//! A container started with `--rm` leaves no file to read its exit code from. But its monitor tells everyone who is
//! connected to the attach socket, last thing of all; so whoever waits connects, and drops the output that comes by.

use std::fs;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::Result;
use nix::poll::PollTimeout;
use nix::sys::socket::SockType;

use super::Engine;
use super::container::{Container, Status};
use crate::handover::{ExitRecord, packet};
use crate::linux::ipc;

/// A connection to a container's monitor, if it has one.
pub(super) struct Waiting(Option<UnixStream>);

impl Waiting {
    /// Connects. Done before a signal is sent, the answer cannot be missed.
    pub fn begin(container: &Container) -> Self {
        Self(ipc::reach(&container.attach_socket(), SockType::SeqPacket).ok())
    }

    /// Waits for the end. Without a monitor, or if it is killed, for the process; then only a file can tell.
    pub fn record(self, container: &Container) -> Option<ExitRecord> {
        let mut buffer = vec![0; 1 + packet::OUTPUT_MAX];
        if let Some(mut stream) = self.0 {
            while let Ok(length) = stream.read(&mut buffer) {
                match buffer[..length].split_first() {
                    Some((&packet::EXIT, record)) => return serde_json::from_slice(record).ok(),
                    Some(_) => {}
                    None => break,
                }
            }
        }
        if let Some(process) = container.process()
            && let Ok(Some(held)) = process.hold()
        {
            let _ = held.await_end(PollTimeout::NONE);
        }
        container.exit()
    }
}

impl Engine {
    /// Waits until the container's status is one of `conditions` (Podman's words; none: it does not run) and tells its
    /// exit code. Where there is nothing to wait on it looks again after `every`.
    pub fn wait(&self, container: &Container, conditions: &[String], every: Duration) -> Result<i32> {
        let ended = |word: &str| matches!(word, "stopped" | "exited");
        let met = |status: &Status| {
            let word = status.word();
            if conditions.is_empty() {
                ended(word)
            } else {
                conditions
                    .iter()
                    .any(|it| it == word || it == "configured" && word == "created" || ended(it) && ended(word))
            }
        };
        let mut last = None;
        loop {
            let status = container.status();
            if met(&status) {
                return Ok(match status {
                    Status::Exited(record) => record.code,
                    _ => last.unwrap_or(-1),
                });
            }
            if !fs::exists(container.data.join("container.json"))? {
                return Ok(last.unwrap_or(-1));
            }
            let for_the_end = conditions.is_empty() || conditions.iter().any(|it| ended(it) || it == "removing");
            if for_the_end && status.process().is_some_and(|process| process.lives()) {
                if let Some(record) = Waiting::begin(container).record(container) {
                    last = Some(record.code);
                    if conditions.iter().all(|it| ended(it)) {
                        return Ok(record.code);
                    }
                }
            } else {
                // Between an end and its record there is nothing to wait on either, but not for long.
                let soon = status.is_running().then_some(Duration::from_millis(5));
                std::thread::sleep(soon.map_or(every, |soon| soon.min(every)));
            }
        }
    }
}
