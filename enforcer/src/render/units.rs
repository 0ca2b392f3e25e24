//! Numbers and times for people, each as one word as far as it goes.

use std::time::{Duration, SystemTime};

/// `340B`, `1.2MiB`: one word, so that a cell stays one column for `awk`.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut units = UNITS.iter();
    let mut unit = units.next();
    // What would be rounded to 1024.0 belongs to the next unit.
    while value >= 1023.95 {
        value /= 1024.0;
        unit = units.next();
    }
    format!("{value:.1}{}", unit.unwrap_or(&"ZiB"))
}

/// `3s ago`, by the largest unit; a time that cannot be read comes back as it is.
pub(super) fn ago(time: &str, now: SystemTime) -> String {
    age(time, now).map_or_else(|| time.to_owned(), |age| format!("{age} ago"))
}

/// `3s`, by the largest unit; nothing for a time that cannot be read.
pub(super) fn age(time: &str, now: SystemTime) -> Option<String> {
    let time = humantime::parse_rfc3339_weak(time).ok()?;
    // Clocks may be set back: the future is now.
    Some(duration(now.duration_since(time).unwrap_or_default()))
}

/// `14m`, by the largest unit.
pub(super) fn seconds(seconds: u64) -> String {
    duration(Duration::from_secs(seconds))
}

fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// `1 network`, `3 networks`, `2 prefixes`, `2 entries`.
pub fn count(number: usize, thing: &str) -> String {
    let (stem, ending) = match thing.strip_suffix('y') {
        _ if number == 1 => (thing, ""),
        Some(stem) => (stem, "ies"),
        None if thing.ends_with('x') => (thing, "es"),
        None => (thing, "s"),
    };
    format!("{number} {stem}{ending}")
}

/// As much of a digest as people compare.
pub fn short_digest(digest: &str) -> String {
    const SHOWN: usize = 12;
    match digest.get(..SHOWN) {
        Some(start) if digest.len() > SHOWN => format!("{start}…"),
        _ => digest.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(0, "0B")]
    #[case(1023, "1023B")]
    #[case(1024, "1.0KiB")]
    #[case(1_258_291, "1.2MiB")]
    #[case((1 << 20) - 1, "1.0MiB")]
    #[case(u64::MAX, "16.0EiB")]
    fn bytes_are_short(#[case] number: u64, #[case] text: &str) {
        assert_eq!(bytes(number), text);
    }

    #[rstest]
    #[case(0, "0s ago")]
    #[case(59, "59s ago")]
    #[case(60, "1m ago")]
    #[case(3 * 3600 + 100, "3h ago")]
    #[case(100 * 86_400, "100d ago")]
    #[case(-5, "0s ago")]
    fn times_are_ages(#[case] seconds: i64, #[case] text: &str) {
        let time = humantime::parse_rfc3339("2026-01-02T03:04:05Z").unwrap();
        let span = Duration::from_secs(seconds.unsigned_abs());
        let now = if seconds < 0 { time - span } else { time + span };
        assert_eq!(ago("2026-01-02T03:04:05.000Z", now), text);
    }

    #[test]
    fn no_time_stays_as_it_is() {
        assert_eq!(ago("yesterday", SystemTime::UNIX_EPOCH), "yesterday");
        assert_eq!(age("yesterday", SystemTime::UNIX_EPOCH), None);
    }

    #[rstest]
    #[case(1, "entry", "1 entry")]
    #[case(0, "entry", "0 entries")]
    #[case(2, "prefix", "2 prefixes")]
    #[case(3, "network", "3 networks")]
    fn things_are_counted(#[case] number: usize, #[case] thing: &str, #[case] text: &str) {
        assert_eq!(count(number, thing), text);
    }

    #[test]
    fn a_digest_is_cut_where_people_stop_comparing() {
        assert_eq!(short_digest(&"1a".repeat(32)), "1a1a1a1a1a1a…");
        assert_eq!(short_digest("1a"), "1a");
    }
}
