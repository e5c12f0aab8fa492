//! The time of day as logs and records want it: RFC 3339 with nanoseconds.
//!
//! Written by hand because a busy log asks a million times a second: the part up to the second is kept and written anew
//! only when the second changes.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::sys;

/// Which clock face.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zone {
    /// `…Z`, as Docker's logs have it.
    Utc,
    /// `…+02:00`, as conmon's logs have it.
    Local,
}

/// Writes time stamps.
pub struct Clock {
    zone: Zone,
    second: i64,
    /// `2026-11-23T18:48:15` and `+00:00` of `second`.
    date: String,
    offset: String,
    text: String,
}

impl Clock {
    /// A clock that shows `zone`.
    pub fn new(zone: Zone) -> Self {
        Self { zone, second: i64::MIN, date: String::new(), offset: String::new(), text: String::new() }
    }

    /// Now.
    pub fn now(&mut self) -> &str {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.at(since.as_secs() as i64, since.subsec_nanos())
    }

    fn at(&mut self, second: i64, nanosecond: u32) -> &str {
        if second != self.second {
            let offset = if self.zone == Zone::Local { sys::local_offset(second) } else { 0 };
            self.second = second;
            self.date = civil(second + offset);
            self.offset = match self.zone {
                Zone::Utc => "Z".into(),
                Zone::Local => {
                    let minutes = offset.abs() / 60;
                    format!("{}{:02}:{:02}", if offset < 0 { '-' } else { '+' }, minutes / 60, minutes % 60)
                }
            };
        }
        self.text.clear();
        // Writing to a string cannot fail.
        let _ = write!(self.text, "{}.{nanosecond:09}{}", self.date, self.offset);
        &self.text
    }
}

/// The date and time of day of a second since 1970, without zone. The days are counted from 1 March, so that the leap day
/// is a year's last, in eras of 400 years, which all have the same number of days.
fn civil(second: i64) -> String {
    let (days, rest) = (second.div_euclid(86_400), second.rem_euclid(86_400));
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let shifted = (5 * day + 2) / 153;
    let day = day - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", rest / 3_600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        for (second, text) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_782_400, "2000-02-29T00:00:00"),
            (4_107_542_400, "2100-03-01T00:00:00"),
            (1_795_459_695, "2026-11-23T18:48:15"),
            (-1, "1969-12-31T23:59:59"),
        ] {
            assert_eq!(civil(second), text);
        }
    }

    #[test]
    fn nanoseconds_have_nine_digits() {
        assert_eq!(Clock::new(Zone::Utc).at(1_795_459_695, 42), "2026-11-23T18:48:15.000000042Z");
    }
}
