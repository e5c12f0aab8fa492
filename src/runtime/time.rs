//! The present moment in RFC 3339, which is all this program needs of calendars.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Now, in UTC, to the nanosecond: `2026-11-23T18:48:15.111763842Z`.
pub fn now() -> String {
    format(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn format(since_1970: Duration) -> String {
    let seconds = since_1970.as_secs();
    let (year, month, day) = date(seconds / 86400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let nanoseconds = since_1970.subsec_nanos();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanoseconds:09}Z")
}

/// The date of a day counted from 1970-01-01. Years are made to begin in March, so that the leap day comes last, and 400
/// years always have 146,097 days.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // from 0000-03-01
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_as_in_rfc_3339() {
        assert_eq!(format(Duration::new(0, 0)), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(format(Duration::new(951_782_400, 1)), "2000-02-29T00:00:00.000000001Z");
        assert_eq!(format(Duration::new(1_795_459_695, 0)), "2026-11-23T18:48:15.000000000Z");
    }
}
