//! Times as people write them after `--since` and `--until`.

use anyhow::{Result, bail};
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::failure::Failure;

/// Reads `2026-11-23T18:48:15Z` (RFC 3339), the same without a zone or without a time of day (the caller's zone), a Unix
/// time (`1700000000`, `1700000000.5`), or a Go duration, which means so long before `now` (`10m`, `1h30m`; `-10m` lies
/// ahead).
pub fn parse(text: &str, now: Timestamp) -> Result<Timestamp> {
    let text = text.trim();
    let local = |time: DateTime| TimeZone::system().to_timestamp(time);
    if let Ok(seconds) = text.parse::<f64>()
        && let Ok(time) = Timestamp::from_nanosecond((seconds * 1e9) as i128)
    {
        return Ok(time);
    }
    if let Some(ago) = duration(text)
        && let Ok(time) = now.checked_sub(ago)
    {
        return Ok(time);
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if text.contains(['T', ' '])
        && let Ok(time) = text.parse::<DateTime>()
    {
        return Ok(local(time)?);
    }
    if let Ok(date) = text.parse::<Date>() {
        return Ok(local(date.at(0, 0, 0, 0))?);
    }
    bail!(Failure::Invalid(format!(
        "time {text:?}: expected 2026-11-23T18:48:15Z, a Unix time in seconds, or a duration such as 10m or 1h30m"
    )))
}

/// A duration as Go's library reads it: `300ms`, `1.5h`, `2h45m`, `-10s`.
pub fn duration(text: &str) -> Option<SignedDuration> {
    let (negative, mut rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    if rest.is_empty() {
        return None;
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        // The longer names first: "m" begins "ms".
        let units = [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
        let (unit, scale) = units.into_iter().find(|(unit, _)| rest.starts_with(unit))?;
        seconds += number * scale;
        rest = &rest[unit.len()..];
    }
    SignedDuration::try_from_secs_f64(if negative { -seconds } else { seconds }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_all_their_spellings() {
        let now: Timestamp = "2026-11-23T12:00:00Z".parse().expect("a time");
        let read = |text| parse(text, now).map_or_else(|error| error.to_string(), |time| time.to_string());
        assert_eq!(read("2026-11-23T11:00:00+01:00"), "2026-11-23T10:00:00Z");
        assert_eq!(read("10m"), "2026-11-23T11:50:00Z");
        assert_eq!(read("1h30m"), "2026-11-23T10:30:00Z");
        assert_eq!(read("-1s"), "2026-11-23T12:00:01Z");
        assert_eq!(read("1500ms"), "2026-11-23T11:59:58.5Z");
        assert_eq!(read("0"), "1970-01-01T00:00:00Z");
        assert!(read("yesterday").starts_with("time \"yesterday\": expected"));
    }
}
