//! `events`: what a container has used, once or again and again until it ends, and that memory ran out.
//!
//! One poll waits for three things: the container's end (a pidfd), a change of its `memory.events`, and the next time to
//! tell.

use std::fs::File;
use std::io::{Read, Seek, Write, stdout};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Value, json};

use super::arguments::Arguments;
use super::state::{State, Status, Store};
use super::statistics;

/// Tells, in lines of JSON as runc has them.
pub fn tell(store: &Store, id: &str, arguments: &Arguments) -> Result<()> {
    let interval = interval(arguments.value("interval").unwrap_or("5s"))?;
    let state = store.load(id)?;
    if state.status(store)? == Status::Stopped {
        bail!("container {id} is not running");
    }
    if arguments.has("stats") {
        return line(id, "stats", &usage(&state)?);
    }
    let process = state.process()?.with_context(|| format!("container {id} is not running"))?;
    let mut memory = state.cgroup.as_ref().map(super::cgroups::Place::memory_events).transpose()?.flatten();
    let mut killed = memory.as_mut().map_or(0, kills);
    let mut next = Instant::now() + interval;
    loop {
        let left = PollTimeout::try_from(next.saturating_duration_since(Instant::now())).unwrap_or(PollTimeout::MAX);
        let mut fds = vec![PollFd::new(process.as_fd(), PollFlags::POLLIN)];
        fds.extend(memory.as_ref().map(|file| PollFd::new(file.as_fd(), PollFlags::POLLPRI)));
        let ready = match poll(&mut fds, left) {
            Err(Errno::EINTR) => continue,
            ready => ready.context("waiting for an event")?,
        };
        let has_ended = fds.first().is_some_and(|fd| fd.any() == Some(true));
        drop(fds);
        let now = memory.as_mut().map_or(0, kills);
        if now > killed {
            killed = now;
            line(id, "oom", &Value::Null)?;
        }
        if has_ended {
            return Ok(());
        }
        if ready == 0 {
            next += interval;
            match usage(&state) {
                Ok(usage) => line(id, "stats", &usage)?,
                // It ended, and its group is gone: the next poll says so.
                Err(_) if process.has_ended()? => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn usage(state: &State) -> Result<Value> {
    Ok(match &state.cgroup {
        Some(place) => statistics::document(&place.stats()?),
        None => json!({}),
    })
}

/// One event. Who reads may go away, which is no error but our end.
fn line(id: &str, kind: &str, data: &Value) -> Result<()> {
    let mut event = json!({ "type": kind, "id": id });
    if !data.is_null() {
        event["data"] = data.clone();
    }
    Ok(writeln!(stdout(), "{event}")?)
}

/// How many processes of the group the kernel has killed for want of memory.
fn kills(events: &mut File) -> u64 {
    let mut text = String::new();
    if events.rewind().and_then(|()| events.read_to_string(&mut text)).is_err() {
        return 0;
    }
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or(0)
}

/// `5s`, `1m30s`, `250ms`: as Go writes a time.
fn interval(text: &str) -> Result<Duration> {
    let told = || format!("--interval {text:?}: a time such as 5s, 1m30s or 250ms");
    let mut sum = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
        let unit = rest[digits..].find(|letter: char| letter.is_ascii_digit()).map_or(rest.len(), |at| digits + at);
        let number: u64 = rest[..digits].parse().with_context(told)?;
        sum += match &rest[digits..unit] {
            "ms" => Duration::from_millis(number),
            "s" | "" => Duration::from_secs(number),
            "m" => Duration::from_secs(number.saturating_mul(60)),
            "h" => Duration::from_secs(number.saturating_mul(3600)),
            _ => bail!(told()),
        };
        rest = &rest[unit..];
    }
    ensure!(sum > Duration::ZERO, told());
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_written_as_go_writes_times() {
        let all = ["5s", "1m30s", "250ms", "2"].map(|text| interval(text).expect(text).as_millis());
        assert_eq!(all, [5000, 90_000, 250, 2000]);
        for text in ["", "0s", "s", "5x", "-1s", "1.5s"] {
            assert!(interval(text).is_err(), "{text}");
        }
    }
}
