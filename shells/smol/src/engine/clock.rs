//! Dates, for templates that ask for them and for APIs.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// So many days before today, `2026-01-31`.
pub fn days_ago(days: i64) -> String {
    let (year, month, day) = civil((now() / 86_400) as i64 - days);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Today's date in the few formats that templates ask for (`%Y-%m-%d`, `%d %B %Y`, `%d %b %Y`).
pub fn today(format: &str) -> String {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let seconds = now();
    let (year, month, day) = civil((seconds / 86_400) as i64);
    let name = MONTHS[month as usize - 1];
    let time = seconds % 86_400;
    format
        .replace("%Y", &format!("{year:04}"))
        .replace("%m", &format!("{month:02}"))
        .replace("%d", &format!("{day:02}"))
        .replace("%B", name)
        .replace("%b", &name[..3])
        .replace("%H", &format!("{:02}", time / 3600))
        .replace("%M", &format!("{:02}", time / 60 % 60))
        .replace("%S", &format!("{:02}", time % 60))
}

/// A moment as RFC 3339 has it, in UTC with nanoseconds.
pub fn rfc3339(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, nanos) = (since.as_secs(), since.subsec_nanos());
    let (year, month, day) = civil((seconds / 86_400) as i64);
    let (hour, minute, second) = (seconds % 86_400 / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

/// Days since 1970 to year, month, day.
///
/// Source: Hinnant, "chrono-Compatible Low-Level Date Algorithms" (2013), `civil_from_days`.
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_has_its_date_and_nanoseconds() {
        let at = UNIX_EPOCH + std::time::Duration::new(1_785_501_296, 7);
        assert_eq!(rfc3339(at), "2026-07-31T12:34:56.000000007Z");
    }

    #[test]
    fn days_become_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(19_782), (2024, 2, 29));
        assert_eq!(civil(20_781), (2026, 11, 24));
    }
}
