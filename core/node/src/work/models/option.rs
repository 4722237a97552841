//! What can be set on a model: the names, the types, the ranges.
//!
//! The names are Ollama's, and so are the meanings; numbers are decimal and exact, for the node has no floats.

use alloc::{
    format,
    string::{String, ToString},
};
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::kit::near;

/// A number with six decimals, in millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Decimal(pub i64);

impl Decimal {
    /// Reads `12`, `-0.5`, `.7`, `1e-3`; what is beyond the sixth decimal is rounded, half away from zero.
    /// `None` for anything else, and for what does not fit.
    pub fn parse(text: &str) -> Option<Self> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok().filter(|e| e.abs() <= 30)?),
            None => (text, 0),
        };
        let (negative, digits) = match mantissa.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
        };
        let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
        let count = whole.len() + part.len();
        if count == 0 || count > 30 || !whole.bytes().chain(part.bytes()).all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let all: i128 = whole.bytes().chain(part.bytes()).fold(0, |sum, byte| sum * 10 + i128::from(byte - b'0'));
        // `all` has its point `part.len()` from the right; millionths have it six further on.
        let shift = 6 + exponent - part.len() as i32;
        let millionths = if shift >= 0 {
            all.checked_mul(10i128.checked_pow(shift as u32)?)?
        } else {
            match 10i128.checked_pow(shift.unsigned_abs()) {
                Some(scale) => (all + scale / 2) / scale,
                None => 0,
            }
        };
        i64::try_from(if negative { -millionths } else { millionths }).ok().map(Self)
    }
}

impl fmt::Display for Decimal {
    /// As short as it can be: `0.7`, `1`, `-0.000001`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, size) = (if self.0 < 0 { "-" } else { "" }, self.0.unsigned_abs());
        let (whole, part) = (size / 1_000_000, format!("{:06}", size % 1_000_000));
        match part.trim_end_matches('0') {
            "" => write!(f, "{sign}{whole}"),
            part => write!(f, "{sign}{whole}.{part}"),
        }
    }
}

/// Something that can be set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Known {
    /// What it is called.
    pub name: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// What it does.
    pub about: &'static str,
}

/// What a value may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A whole number, both ends included.
    Integer(i64, i64),
    /// A decimal number, both ends included.
    Number(Decimal, Decimal),
    /// `true` or `false`.
    Flag,
    /// Any text; may be set several times.
    Texts,
    /// Any text.
    Text,
    /// Something that older programs knew: accepted, without effect.
    Gone,
}

/// A value that was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Value {
    /// A whole number.
    Integer(i64),
    /// A decimal number.
    Number(Decimal),
    /// Yes or no.
    Flag(bool),
    /// Text.
    Text(String),
}

/// Why something cannot be set.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// Nothing is called that.
    Unknown {
        /// What was asked for.
        name: String,
        /// What was probably meant.
        near: Option<&'static str>,
    },
    /// The value is not of the type, or out of range.
    Value {
        /// Of what.
        name: &'static str,
        /// What was given.
        value: String,
        /// What it may be.
        wanted: String,
    },
}

const MOST: i64 = i32::MAX as i64;

const fn integer(name: &'static str, least: i64, most: i64, about: &'static str) -> Known {
    Known { name, kind: Kind::Integer(least, most), about }
}

/// `least` and `most` in millionths.
const fn number(name: &'static str, least: i64, most: i64, about: &'static str) -> Known {
    Known { name, kind: Kind::Number(Decimal(least), Decimal(most)), about }
}

const fn gone(name: &'static str) -> Known {
    Known { name, kind: Kind::Gone, about: "has no effect any more" }
}

const ONE: i64 = 1_000_000;

/// All that can be set. Ranges are those of the sampler where it has one.
pub const ALL: &[Known] = &[
    integer("num_ctx", 4, MOST, "tokens of context"),
    integer("num_batch", 1, MOST, "tokens that are read at a time"),
    integer("num_gpu", -1, MOST, "layers on the GPU; -1: as many as fit"),
    integer("main_gpu", 0, MOST, "which GPU has what is not split"),
    Known { name: "use_mmap", kind: Kind::Flag, about: "map the file instead of reading it" },
    integer("num_thread", 0, 4096, "threads; 0: as many as cores"),
    integer("draft_num_predict", 0, MOST, "tokens that a draft model guesses ahead"),
    integer("num_keep", -1, MOST, "tokens kept when the context is full; -1: all of the prompt"),
    integer("seed", i64::MIN, i64::MAX, "where chance begins; -1: anywhere"),
    integer("num_predict", -2, MOST, "most new tokens; -1: no end, -2: until the context is full"),
    number("temperature", 0, 100 * ONE, "0: always the best token"),
    integer("top_k", 0, MOST, "only so many of the best tokens; 0: all"),
    number("top_p", 0, ONE, "only the best tokens that together have this share"),
    number("min_p", 0, ONE, "only tokens with this part of the best one's share"),
    number("typical_p", 0, ONE, "only tokens as surprising as is typical; 1: off"),
    integer("repeat_last_n", -1, MOST, "tokens that penalties look back at; -1: all"),
    number("repeat_penalty", 1, 100 * ONE, "logits of recent tokens are divided by it; 1: off"),
    number("presence_penalty", -100 * ONE, 100 * ONE, "taken from the logits of recent tokens"),
    number("frequency_penalty", -100 * ONE, 100 * ONE, "the same, for each time that a token came"),
    integer("mirostat", 0, 2, "0: off, 1, or 2"),
    number("mirostat_tau", 0, 100 * ONE, "the surprise that mirostat aims at"),
    number("mirostat_eta", 0, ONE, "how fast mirostat corrects itself"),
    Known { name: "draft_model", kind: Kind::Text, about: "a small model that guesses ahead; the answer is the same" },
    Known { name: "stop", kind: Kind::Texts, about: "text that ends the answer" },
    gone("tfs_z"),
    gone("penalize_newline"),
    gone("numa"),
    gone("low_vram"),
    gone("f16_kv"),
    gone("logits_all"),
    gone("vocab_only"),
    gone("use_mlock"),
    gone("embedding_only"),
];

/// What is called `name`, in any case.
///
/// # Errors
/// [`Error::Unknown`].
pub fn find(name: &str) -> Result<&'static Known, Error> {
    ALL.iter().find(|known| known.name.eq_ignore_ascii_case(name)).ok_or_else(|| {
        let living = ALL.iter().filter(|known| known.kind != Kind::Gone).map(|known| known.name);
        Error::Unknown { name: name.into(), near: near::nearest(&name.to_ascii_lowercase(), living) }
    })
}

impl Known {
    /// Reads a value.
    ///
    /// # Errors
    /// [`Error::Value`].
    pub fn read(&self, text: &str) -> Result<Value, Error> {
        let value = match self.kind {
            Kind::Integer(least, most) => {
                text.parse().ok().filter(|value| (least..=most).contains(value)).map(Value::Integer)
            }
            Kind::Number(least, most) => {
                Decimal::parse(text).filter(|value| (least..=most).contains(value)).map(Value::Number)
            }
            Kind::Flag => match text.to_ascii_lowercase().as_str() {
                "true" | "1" => Some(Value::Flag(true)),
                "false" | "0" => Some(Value::Flag(false)),
                _ => None,
            },
            Kind::Text | Kind::Texts | Kind::Gone => Some(Value::Text(text.into())),
        };
        value.ok_or_else(|| Error::Value { name: self.name, value: text.into(), wanted: self.kind.to_string() })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(i64::MIN, _) => f.write_str("a whole number"),
            Self::Integer(least, MOST) => write!(f, "a whole number of at least {least}"),
            Self::Integer(least, most) => write!(f, "a whole number from {least} to {most}"),
            Self::Number(least, most) => write!(f, "a number from {least} to {most}"),
            Self::Flag => f.write_str("true or false"),
            Self::Text | Self::Texts | Self::Gone => f.write_str("text"),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(value) => value.fmt(f),
            Self::Number(value) => value.fmt(f),
            Self::Flag(value) => value.fmt(f),
            Self::Text(value) => value.fmt(f),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { name, near: Some(near) } => write!(f, "there is no parameter {name:?}; {near} is near"),
            Self::Unknown { name, near: None } => write!(f, "there is no parameter {name:?}"),
            Self::Value { name, value, wanted } => write!(f, "{name} is {wanted}, and not {value:?}"),
        }
    }
}

impl core::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_read_and_printed() {
        for (text, printed) in [
            ("0.7", "0.7"),
            (".5", "0.5"),
            ("5.", "5"),
            ("-1", "-1"),
            ("+2.50", "2.5"),
            ("1e-3", "0.001"),
            ("1.5E2", "150"),
            ("0.0000005", "0.000001"),
            ("-0.00000049", "0"),
            ("9e-30", "0"),
            ("9223372036854.775807", "9223372036854.775807"),
        ] {
            let value = Decimal::parse(text).unwrap();
            assert_eq!(value.to_string(), printed, "{text}");
            assert_eq!(Decimal::parse(printed), Some(value));
        }
        for text in
            ["", ".", "-", "1.2.3", "e5", "1e", "1e99", "NaN", "inf", "0x1", "1 ", "9223372036854.775808", "--1"]
        {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }

    #[test]
    fn values_are_checked_and_the_refusal_says_what_would_do() {
        let set = |name: &str, text: &str| find(name).and_then(|known| known.read(text));
        assert_eq!(set("Temperature", "0.70"), Ok(Value::Number(Decimal(700_000))));
        assert_eq!(set("num_ctx", "8192"), Ok(Value::Integer(8192)));
        assert_eq!(set("use_mmap", "false"), Ok(Value::Flag(false)));
        assert_eq!(set("stop", " \n"), Ok(Value::Text(" \n".into())));
        let refusal = |name, text| set(name, text).unwrap_err().to_string();
        assert_eq!(refusal("temprature", "1"), "there is no parameter \"temprature\"; temperature is near");
        assert_eq!(refusal("flavour", "1"), "there is no parameter \"flavour\"");
        assert_eq!(refusal("top_p", "1.5"), "top_p is a number from 0 to 1, and not \"1.5\"");
        assert_eq!(refusal("num_ctx", "2"), "num_ctx is a whole number of at least 4, and not \"2\"");
        assert_eq!(refusal("mirostat", "3"), "mirostat is a whole number from 0 to 2, and not \"3\"");
        assert_eq!(refusal("seed", "x"), "seed is a whole number, and not \"x\"");
    }

    #[test]
    fn no_name_is_there_twice() {
        for (index, known) in ALL.iter().enumerate() {
            assert!(ALL[..index].iter().all(|other| other.name != known.name), "{}", known.name);
        }
    }
}
