//! Sizes and times as people read them, in the words of Docker's go-units, which Podman uses.

use jiff::Timestamp;

/// A size in decimal units, three digits: `7.05MB`.
pub fn size(bytes: u64) -> String {
    scaled(bytes, DECIMAL, 3, "")
}

/// The same with a space, as `podman images` has it: `7.05 MB`.
pub fn spaced_size(bytes: u64) -> String {
    scaled(bytes, DECIMAL, 3, " ")
}

/// The same with four digits, as `podman stats` has it: `7.049MB`.
pub fn exact_size(bytes: u64) -> String {
    scaled(bytes, DECIMAL, 4, "")
}

/// A size in units of 1024, four digits: `6.723MiB`.
pub fn binary_size(bytes: u64) -> String {
    scaled(bytes, BINARY, 4, "")
}

/// A base, and the names of its powers.
type Units = (f64, [&'static str; 7]);

const DECIMAL: Units = (1000.0, ["B", "kB", "MB", "GB", "TB", "PB", "EB"]);
const BINARY: Units = (1024.0, ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]);

#[allow(clippy::cast_precision_loss)] // a few digits are shown
fn scaled(bytes: u64, (base, names): Units, digits: usize, space: &str) -> String {
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= base && unit + 1 < names.len() {
        value /= base;
        unit += 1;
    }
    format!("{}{space}{}", significant(value, digits), names[unit])
}

/// C's `%.*g` for numbers that need no exponent: so many significant digits, no trailing zeros.
fn significant(value: f64, digits: usize) -> String {
    let whole = if value < 1.0 { 1 } else { value.log10().floor() as usize + 1 };
    let text = format!("{value:.*}", digits.saturating_sub(whole));
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A size in bytes, written with a unit of 1024: `64M`, `1.5g`, `100kb`, `4096`.
#[allow(clippy::cast_precision_loss)] // a fraction of a unit was asked for
pub fn parse_size(text: &str) -> Result<i64, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic() || letter == ' ');
    let number: f64 = digits.parse().map_err(|_| "not a size: expected a number and a unit, such as 64m".to_owned())?;
    let unit = text[digits.len()..].trim().to_ascii_lowercase();
    let scale = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return Err(format!("unknown unit {unit:?}: use b, k, m, g, t or p")),
    };
    if !number.is_finite() || number < 0.0 {
        return Err("a size cannot be negative".into());
    }
    let bytes = number * 1024f64.powi(scale);
    if bytes >= i64::MAX as f64 { Err("too large".into()) } else { Ok(bytes as i64) }
}

/// How long something lasted, in its largest unit: `About a minute`, `3 hours`.
pub fn duration(seconds: i64) -> String {
    let minutes = seconds / 60;
    let hours = (seconds + 1800) / 3600;
    match () {
        () if seconds < 1 => "Less than a second".into(),
        () if seconds == 1 => "1 second".into(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".into(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".into(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

/// A span of nanoseconds as Go prints it: `4m39.028579s`, `1h0m0s`, `4.933ms`.
#[allow(clippy::cast_precision_loss)] // below a second
pub fn go_duration(nanoseconds: u64) -> String {
    let short = |unit: u64, name: &str| format!("{}{name}", nanoseconds as f64 / unit as f64);
    match nanoseconds {
        0 => "0s".into(),
        1..1_000 => short(1, "ns"),
        1_000..1_000_000 => short(1_000, "µs"),
        1_000_000..1_000_000_000 => short(1_000_000, "ms"),
        _ => {
            let (seconds, fraction) = (nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000);
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let mut text = if hours > 0 { format!("{hours}h") } else { String::new() };
            if seconds >= 60 {
                text += &format!("{minutes}m");
            }
            let exact = format!("{}.{fraction:09}", seconds % 60);
            text + exact.trim_end_matches('0').trim_end_matches('.') + "s"
        }
    }
}

/// How long ago `then` was: `3 hours ago`.
pub fn ago(then: Timestamp) -> String {
    format!("{} ago", duration(since(then)))
}

/// Whole seconds since `then`.
pub fn since(then: Timestamp) -> i64 {
    Timestamp::now().as_second() - then.as_second()
}

/// A time as Go prints it: `2026-11-23 21:12:06.123456789 +0000 UTC`, in the user's zone.
pub fn go_time(then: Timestamp) -> String {
    let zoned = then.to_zoned_datetime(jiff::tz::TimeZone::system());
    zoned.strftime("%Y-%m-%d %H:%M:%S%.f %z %Z").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        let text: Vec<_> = [0, 5, 999, 1000, 1234, 7_049_000, 77_830_000, 123_456_789, 1_000_000_000].map(size).into();
        assert_eq!(text, ["0B", "5B", "999B", "1kB", "1.23kB", "7.05MB", "77.8MB", "123MB", "1GB"]);
    }

    #[test]
    fn sizes_of_stats_have_four_digits() {
        assert_eq!([0, 3_092_000, 16_700_000_000].map(exact_size), ["0B", "3.092MB", "16.7GB"]);
        assert_eq!([0, 1023, 50_331_648, 52_428_801].map(binary_size), ["0B", "1023B", "48MiB", "50MiB"]);
    }

    #[test]
    fn spans_are_gos() {
        let spans = [0, 5, 4_933_000, 1_500, 1_000_000_000, 279_028_579_000, 3_600_000_000_000, 3_661_000_000_001];
        let told = ["0s", "5ns", "4.933ms", "1.5µs", "1s", "4m39.028579s", "1h0m0s", "1h1m1.000000001s"];
        assert_eq!(spans.map(go_duration), told);
    }

    #[test]
    fn sizes_are_read_in_units_of_1024() {
        for (text, bytes) in [("0", 0), ("10", 10), ("10b", 10), ("1k", 1024), ("1.5m", 1_572_864), ("2GiB", 1 << 31)] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "m", "-1", "1x", "1e400", "10q"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_said_in_their_largest_unit() {
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (61, "About a minute"),
            (150, "2 minutes"),
            (3600, "About an hour"),
            (5400, "2 hours"),
            (86400 * 3, "3 days"),
            (86400 * 20, "2 weeks"),
            (86400 * 90, "3 months"),
            (86400 * 365 * 3, "3 years"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }
}
