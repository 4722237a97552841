//! Amounts that say what they are amounts of.

use core::{fmt, time::Duration};

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Bytes(pub u64);

impl Bytes {
    /// Reads `1234`, `50GB`, `1.5 GiB`: units of 1000 with `B`, of 1024 with `iB`, in any case.
    /// `None` for anything else, and for what does not fit.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = (&text[..digits], text[digits..].trim());
        let lower = |c: char| c.to_ascii_lowercase();
        let mut letters = unit.chars().map(lower);
        let power = match letters.next() {
            None | Some('b') if unit.len() <= 1 => 0,
            Some('k') => 1,
            Some('m') => 2,
            Some('g') => 3,
            Some('t') => 4,
            _ => return None,
        };
        let base: u64 = match (power, letters.next(), letters.next(), letters.next()) {
            (0, None, _, _) | (_, None, _, _) | (1.., Some('b'), None, _) => 1000,
            (1.., Some('i'), Some('b'), None) => 1024,
            _ => return None,
        };
        let scale = base.checked_pow(power)?;
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        let part = part.get(..part.len().min(9))?;
        if whole.is_empty() {
            return None;
        }
        let fraction: u64 = if part.is_empty() { 0 } else { part.parse().ok()? };
        let below = u128::from(fraction) * u128::from(scale) / 10u128.pow(part.len() as u32);
        whole.parse::<u64>().ok()?.checked_mul(scale)?.checked_add(u64::try_from(below).ok()?).map(Self)
    }
}

impl fmt::Display for Bytes {
    /// As Ollama prints sizes: units of 1000, one decimal below ten, none above.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["B", "KB", "MB", "GB", "TB"];
        let mut unit = 0;
        let mut scale: u64 = 1;
        while unit + 1 < UNITS.len() && self.0 / scale >= 1000 {
            scale *= 1000;
            unit += 1;
        }
        let (whole, tenth) = (self.0 / scale, self.0 % scale * 10 / scale);
        if unit > 0 && whole < 10 && tenth > 0 {
            write!(f, "{whole}.{tenth} {}", UNITS[unit])
        } else {
            write!(f, "{whole} {}", UNITS[unit])
        }
    }
}

/// How long something stays that nobody uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// So long; not at all for nothing.
    For(Duration),
    /// Until room is needed.
    Forever,
}

impl Keep {
    /// Reads a time as Go writes it: `5m`, `1.5h`, `2h45m`, `300ms`; a number alone counts seconds. What is negative is
    /// for ever, and so is what no clock can count. `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let negative = text.starts_with('-');
        let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
        let (mut nanos, mut parts) = (0u128, 0);
        while !rest.is_empty() {
            let unit = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let next = rest[unit..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| unit + at);
            let scale: u128 = match &rest[unit..next] {
                "ns" => 1,
                "us" | "µs" | "μs" => 1_000,
                "ms" => 1_000_000,
                "s" => 1_000_000_000,
                "m" => 60_000_000_000,
                "h" => 3_600_000_000_000,
                "" if parts == 0 && next == rest.len() => 1_000_000_000,
                _ => return None,
            };
            nanos = nanos.saturating_add(amount(&rest[..unit], scale)?);
            (rest, parts) = (&rest[next..], parts + 1);
        }
        match (parts, u64::try_from(nanos)) {
            (0, _) => None,
            (_, Ok(0)) => Some(Self::For(Duration::ZERO)),
            (_, Ok(nanos)) if !negative => Some(Self::For(Duration::from_nanos(nanos))),
            _ => Some(Self::Forever),
        }
    }
}

/// `1.5` of something that has `scale` parts; saturates.
fn amount(number: &str, scale: u128) -> Option<u128> {
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(whole) || !is_digits(part) || (whole.is_empty() && part.is_empty()) {
        return None;
    }
    let digits = &part[..part.len().min(18)];
    let below = digits.parse::<u128>().unwrap_or(0).saturating_mul(scale) / 10u128.pow(digits.len() as u32);
    // More digits than a number has room for are as good as all of them.
    let whole = if whole.is_empty() { 0 } else { whole.parse::<u128>().unwrap_or(u128::MAX) };
    Some(whole.saturating_mul(scale).saturating_add(below))
}

/// Millionths of a credit. Sums are checked: money is neither made nor lost by rounding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Credits(pub u64);

impl Credits {
    /// One whole credit.
    pub const ONE: Self = Self(1_000_000);

    /// The sum; `None` if it does not fit.
    pub fn plus(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// What is left; `None` if `other` is more.
    pub fn minus(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }
}

impl fmt::Display for Credits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0 / 1_000_000)?;
        let part = self.0 % 1_000_000;
        if part == 0 {
            return Ok(());
        }
        let (mut width, mut digits) = (6, part);
        while digits.is_multiple_of(10) {
            (width, digits) = (width - 1, digits / 10);
        }
        write!(f, ".{digits:0width$}")
    }
}

/// A share, in parts per million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Ppm(pub u32);

impl Ppm {
    /// All of it.
    pub const ALL: Self = Self(1_000_000);

    /// This share of `whole`, rounded down.
    pub const fn of(self, whole: u64) -> u64 {
        (whole as u128 * self.0 as u128 / 1_000_000) as u64
    }
}

impl fmt::Display for Ppm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02} %", self.0 / 10_000, self.0 % 10_000 / 100)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_units() {
        for (text, bytes) in [
            ("0", 0),
            ("12", 12),
            ("12B", 12),
            ("50GB", 50_000_000_000),
            ("1.5 GiB", 1_610_612_736),
            ("2k", 2000),
            ("1mib", 1_048_576),
        ] {
            assert_eq!(Bytes::parse(text), Some(Bytes(bytes)), "{text}");
        }
        for text in ["", "GB", "-1", "1.2.3", "5 XB", "1 Gi", "99999999999999999999", "9999999TB9"] {
            assert_eq!(Bytes::parse(text), None, "{text}");
        }
    }

    #[test]
    fn times_are_read_as_go_writes_them() {
        for (text, millis) in [
            ("5m", 300_000),
            ("300ms", 300),
            ("1.5h", 5_400_000),
            ("2h45m", 9_900_000),
            ("10", 10_000),
            ("0.25", 250),
            ("0", 0),
            ("-0s", 0),
            ("+1s", 1000),
        ] {
            assert_eq!(Keep::parse(text), Some(Keep::For(Duration::from_millis(millis))), "{text}");
        }
        for text in ["-1", "-5m", "99999999999999999999999999999999999999999h"] {
            assert_eq!(Keep::parse(text), Some(Keep::Forever), "{text}");
        }
        for text in ["", "-", "m", "5x", "1m5", "1.2.3s", ".", "NaN", "5 m"] {
            assert_eq!(Keep::parse(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_printed_as_ollama_prints_them() {
        for (bytes, text) in [(999, "999 B"), (98_362_432, "98 MB"), (4_700_000_000, "4.7 GB"), (5_000_000_000, "5 GB")]
        {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }

    #[test]
    fn credits_are_printed_with_as_many_digits_as_they_have() {
        for (micros, text) in [(0, "0"), (1, "0.000001"), (1_500_000, "1.5"), (20_030_000, "20.03"), (7_000_000, "7")] {
            assert_eq!(Credits(micros).to_string(), text);
        }
        assert_eq!(Credits::ONE.minus(Credits(1_000_001)), None);
        assert_eq!(Credits(u64::MAX).plus(Credits(1)), None);
        assert_eq!(Credits::ONE.plus(Credits::ONE), Some(Credits(2_000_000)));
    }

    #[test]
    fn shares_are_rounded_down_and_do_not_overflow() {
        assert_eq!((Ppm(500_000).of(3), Ppm::ALL.of(u64::MAX), Ppm(1).of(999_999)), (1, u64::MAX, 0));
        assert_eq!(Ppm(123_456).to_string(), "12.34 %");
    }
}
