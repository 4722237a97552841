//! Numbers as people read them, spelt as Ollama spells them.

use std::time::Duration;

/// How long ago, in words: `2 days ago`.
pub fn ago(seconds: u64) -> String {
    let (minute, hour, day) = (60, 3600, 86_400);
    let text = match seconds {
        0 => "Less than a second".into(),
        1..60 => plural(seconds, "second"),
        60..120 => "About a minute".into(),
        120..3600 => plural(seconds / minute, "minute"),
        3600..7200 => "About an hour".into(),
        7200..172_800 => plural(seconds / hour, "hour"),
        172_800..1_209_600 => plural(seconds / day, "day"),
        1_209_600..5_184_000 => plural(seconds / (7 * day), "week"),
        5_184_000..63_072_000 => plural(seconds / (30 * day), "month"),
        _ => plural(seconds / (365 * day), "year"),
    };
    format!("{text} ago")
}

/// In how long, in words: `4 minutes from now`.
pub fn from_now(seconds: u64) -> String {
    let text = ago(seconds);
    format!("{} from now", text.strip_suffix(" ago").unwrap_or(&text))
}

fn plural(count: u64, unit: &str) -> String {
    if count == 1 { format!("1 {unit}") } else { format!("{count} {unit}s") }
}

/// A duration as Go prints it: `1m2.5s`, `350.1ms`, `12µs`.
pub fn duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let part = |unit: u128| {
        let text = format!("{:.9}", nanos as f64 / unit as f64);
        text.trim_end_matches('0').trim_end_matches('.').to_string()
    };
    match nanos {
        0 => "0s".into(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => format!("{}µs", part(1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", part(1_000_000)),
        _ => {
            let (minutes, rest) = (duration.as_secs() / 60, nanos % 60_000_000_000);
            let seconds = format!("{:.9}", rest as f64 / 1e9);
            let seconds = seconds.trim_end_matches('0').trim_end_matches('.');
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_spelt_as_ollama_spells_them() {
        assert_eq!(ago(0), "Less than a second ago");
        assert_eq!(ago(75), "About a minute ago");
        assert_eq!(ago(50 * 3600), "2 days ago");
        assert_eq!(ago(20 * 86_400), "2 weeks ago");
        assert_eq!(duration(Duration::from_millis(350)), "350ms");
        assert_eq!(duration(Duration::from_micros(62_500_000)), "1m2.5s");
        assert_eq!(duration(Duration::from_nanos(1_234_567)), "1.234567ms");
    }
}
