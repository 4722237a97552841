//! Numbers between bounds, as digits.
//!
//! A decimal of `k` digits after its point is a whole number of steps of 10^-k: bounds on its value are bounds on a
//! whole number, and those are followed digit by digit.

use alloc::{format, string::ToString, vec, vec::Vec};

use crate::grammar::Expr;

/// Digits that a bounded number has at most: a double tells apart all decimals of so many.
const DIGITS_MAX: u32 = 15;

/// Digits after those that bounds need.
const MORE_DIGITS: u32 = 6;

/// The largest whole number that comes up where there is no bound.
const WHOLE_MAX: i64 = 9_999_999_999_999_999;

/// The largest bound of a whole number.
const BOUND_MAX: i64 = 999_999_999_999_999_999;

/// A bound, and whether it is itself left out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bound {
    pub(super) value: Value,
    pub(super) open: bool,
}

/// A bound's number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    Whole(i64),
    Real(f64),
}

/// Why bounds make no digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// They have more digits than can be followed.
    Fine,
    /// Nothing lies between them.
    Empty,
}

/// Whole numbers between bounds.
pub(super) fn integer(low: Option<Bound>, high: Option<Bound>) -> Result<Expr, Refusal> {
    let low = low.map(|bound| step(bound, 1)).transpose()?;
    let high = high.map(|bound| step(bound, -1)).transpose()?;
    // Beyond what comes up without bounds, a bound opens one more digit.
    let to = high.unwrap_or_else(|| low.unwrap_or(0).max(0).saturating_mul(10).clamp(WHOLE_MAX, BOUND_MAX));
    let from = low.unwrap_or_else(|| high.unwrap_or(0).min(0).saturating_mul(10).clamp(-BOUND_MAX, -WHOLE_MAX));
    let mut choice = Vec::new();
    grid(from, to, 0, &Expr::empty(), &mut choice);
    one_of(choice)
}

/// The whole number at a bound or next to it on the side `to`, which is 1 or -1.
fn step(bound: Bound, to: i64) -> Result<i64, Refusal> {
    let whole = match bound.value {
        Value::Whole(whole) => whole.saturating_add(if bound.open { to } else { 0 }),
        Value::Real(real) if real.abs() < BOUND_MAX as f64 => {
            let near = if to > 0 { libm::ceil(real) } else { libm::floor(real) };
            near as i64 + if bound.open && near == real { to } else { 0 }
        }
        Value::Real(_) => return Err(Refusal::Fine),
    };
    if whole.unsigned_abs() <= BOUND_MAX as u64 { Ok(whole) } else { Err(Refusal::Fine) }
}

/// Decimals between bounds, of which there is one at least. What they are read as lies between them too: reading
/// rounds, and never turns two numbers around.
pub(super) fn number(low: Option<Bound>, high: Option<Bound>) -> Result<Expr, Refusal> {
    let bounds = [low, high].map(|bound| bound.map(Decimal::of).transpose());
    let [low, high] = [bounds[0]?, bounds[1]?];
    let both = || [low, high].into_iter().flatten();
    let needed = both().map(|bound| bound.places).max().unwrap_or(0);
    let whole = both().map(|bound| bound.whole_digits()).max().unwrap_or(1);
    // Where a bound is left out, and where the bounds lie close, there must be places to be in between.
    let close = match (low, high) {
        (Some(low), Some(high)) => at(high, needed)?.saturating_sub(at(low, needed)?) < 10,
        _ => false,
    };
    let places = needed + if both().any(|bound| bound.open) || close { 2 } else { 0 };
    if places + whole > DIGITS_MAX {
        return Err(Refusal::Fine);
    }
    let far = 10i64.pow(DIGITS_MAX - places) - 1;
    let end = |whole: i64| Decimal { digits: whole, places: 0, open: false };
    let (low, high) = (low.unwrap_or(end(-far)), high.unwrap_or(end(far)));
    let mut choice = Vec::new();
    for places in 0..=places {
        let (from, to) = (low.up(places), high.down(places));
        grid(from, to, places, &Expr::empty(), &mut choice);
    }
    let (from, to) = (low.up(places), high.down(places));
    if from < to {
        // Between two steps of the grid, away from zero.
        let digits = Expr::range('0', '9').repeated(1, Some(MORE_DIGITS));
        let more = if places == 0 { Expr::Seq(vec![Expr::text("."), digits]) } else { digits };
        positive(from.max(0), to - 1, places, &more, &mut choice);
        negative((-to).max(0), -from - 1, places, &more, &mut choice);
    }
    one_of(choice)
}

/// How many steps of 10^-`places` a bound that has no more places is.
fn at(bound: Decimal, places: u32) -> Result<i64, Refusal> {
    let scale = 10i64.checked_pow(places - bound.places).ok_or(Refusal::Fine)?;
    bound.digits.checked_mul(scale).ok_or(Refusal::Fine)
}

/// `digits` steps of 10^-`places`.
#[derive(Clone, Copy, Debug)]
struct Decimal {
    digits: i64,
    places: u32,
    open: bool,
}

impl Decimal {
    /// The shortest decimal that is read as the bound.
    fn of(bound: Bound) -> Result<Self, Refusal> {
        let text = match bound.value {
            Value::Whole(whole) => whole.to_string(),
            Value::Real(real) => format!("{real}"),
        };
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let fraction = fraction.trim_end_matches('0');
        if whole.len() + fraction.len() > DIGITS_MAX as usize + 2 {
            return Err(Refusal::Fine);
        }
        let digits = format!("{whole}{fraction}").parse().map_err(|_| Refusal::Fine)?;
        Ok(Self { digits, places: fraction.len() as u32, open: bound.open })
    }

    fn whole_digits(&self) -> u32 {
        (self.digits.unsigned_abs() / 10u64.pow(self.places.min(18))).max(1).ilog10() + 1
    }

    /// The least number of steps of 10^-`places` that lies above, or on it where it is not left out.
    fn up(&self, places: u32) -> i64 {
        -Self { digits: -self.digits, ..*self }.down(places)
    }

    /// The same below.
    fn down(&self, places: u32) -> i64 {
        let (floor, exact) = if places >= self.places {
            (self.digits * 10i64.pow(places - self.places), true)
        } else {
            let scale = 10i64.pow(self.places - places);
            (self.digits.div_euclid(scale), self.digits.rem_euclid(scale) == 0)
        };
        floor - i64::from(exact && self.open)
    }
}

fn one_of(mut choice: Vec<Expr>) -> Result<Expr, Refusal> {
    match choice.len() {
        0 => Err(Refusal::Empty),
        1 => Ok(choice.remove(0)),
        _ => Ok(Expr::Alt(choice)),
    }
}

/// All steps of 10^-`places` in a range, each followed by `more`.
fn grid(from: i64, to: i64, places: u32, more: &Expr, choice: &mut Vec<Expr>) {
    positive(from.max(0), to, places, more, choice);
    negative((-to).max(1), -from, places, more, choice);
}

fn negative(from: i64, to: i64, places: u32, more: &Expr, choice: &mut Vec<Expr>) {
    let mut sizes = Vec::new();
    positive(from, to, places, more, &mut sizes);
    if !sizes.is_empty() {
        choice.push(Expr::Seq(vec![Expr::text("-"), Expr::Alt(sizes)]));
    }
}

/// Those that are not negative, one alternative for each count of digits.
fn positive(from: i64, to: i64, places: u32, more: &Expr, choice: &mut Vec<Expr>) {
    for len in places + 1..=18 {
        // Zeros stand in front only where the point would have nothing before it.
        let least = if len == places + 1 { 0 } else { 10i64.pow(len - 1) };
        let (first, last) = (from.max(least), to.min(10i64.pow(len) - 1));
        if first <= last {
            let width = len as usize;
            let text = |size: i64| format!("{size:0width$}").into_bytes();
            let mut seq = Vec::new();
            digits(&text(first), &text(last), places as usize, &mut seq);
            seq.push(more.clone());
            choice.push(Expr::Seq(seq));
        }
    }
}

/// From one row of digits to another that is as long, with a point before the last `places`.
fn digits(from: &[u8], to: &[u8], places: usize, seq: &mut Vec<Expr>) {
    let (Some(&first), Some(&last)) = (from.first(), to.first()) else { return };
    let len = from.len();
    if from.iter().all(|&digit| digit == b'0') && to.iter().all(|&digit| digit == b'9') {
        return free(len, places, seq);
    }
    if len == places {
        seq.push(Expr::text("."));
    }
    let places = if len == places { usize::MAX } else { places };
    if first == last {
        seq.push(Expr::Bytes(vec![first]));
        return digits(&from[1..], &to[1..], places, seq);
    }
    let (nines, zeros) = (vec![b'9'; len - 1], vec![b'0'; len - 1]);
    let (mut low, mut high) = (first, last);
    let mut choice = Vec::new();
    let mut branch = |first: u8, last: u8, from: &[u8], to: &[u8]| {
        let mut seq = vec![Expr::range(char::from(first), char::from(last))];
        digits(from, to, places, &mut seq);
        choice.push(Expr::Seq(seq));
    };
    if from[1..] != zeros[..] {
        branch(first, first, &from[1..], &nines);
        low += 1;
    }
    if to[1..] != nines[..] {
        branch(last, last, &zeros, &to[1..]);
        high -= 1;
    }
    if low <= high {
        branch(low, high, &zeros, &nines);
    }
    seq.push(Expr::Alt(choice));
}

/// So many digits of any kind, with a point before the last `places`.
fn free(len: usize, places: usize, seq: &mut Vec<Expr>) {
    let any = |count: usize| Expr::range('0', '9').repeated(count as u32, Some(count as u32));
    if places == 0 || places > len {
        seq.push(any(len));
        return;
    }
    if len > places {
        seq.push(any(len - places));
    }
    seq.extend([Expr::text("."), any(places)]);
}

#[cfg(test)]
mod tests {
    use alloc::sync::Arc;

    use super::*;
    use crate::grammar::{Machine, Rules};

    /// Whether a text is all of what may be written.
    fn taker(expr: Expr) -> impl FnMut(&str) -> bool {
        let mut rules = Rules::new();
        let root = rules.add("root", expr);
        let mut machine = Machine::new(Arc::new(rules.compile(root).unwrap()));
        let start = machine.mark();
        move |text| {
            let taken = machine.accept(text.as_bytes()) && machine.may_end();
            machine.rewind(&start);
            taken
        }
    }

    fn whole(value: i64) -> Option<Bound> {
        Some(Bound { value: Value::Whole(value), open: false })
    }

    fn real(value: f64, open: bool) -> Option<Bound> {
        Some(Bound { value: Value::Real(value), open })
    }

    #[test]
    fn whole_numbers_are_exactly_those_between_the_bounds() {
        for (low, high) in [(-120, 37), (0, 0), (8, 1234), (-5, -5), (99, 101), (-1000, -7), (-3, 1005)] {
            let mut takes = taker(integer(whole(low), whole(high)).unwrap());
            for value in -1300..1300 {
                assert_eq!(takes(&value.to_string()), (low..=high).contains(&value), "{low} {value} {high}");
            }
            assert!(!takes("-0") && !takes("00") && !takes("010"));
        }
        let mut takes = taker(integer(real(0.5, false), real(4.0, true)).unwrap());
        assert!((0..6).all(|value| takes(&value.to_string()) == (1..4).contains(&value)));
        assert_eq!(integer(whole(3), whole(2)), Err(Refusal::Empty));
        assert!(taker(integer(None, whole(5)).unwrap())("-9999999999999999"));
    }

    #[test]
    fn decimals_are_never_outside_the_bounds() {
        let cases = [
            (0.0, 1.0, false),
            (0.0, 1.0, true),
            (-0.5, 0.25, false),
            (-2.0, -1.5, true),
            (0.1, 0.2, false),
            (-1.0, 1.0, true),
            (2.5, 2.5, false),
            (9.75, 103.5, false),
        ];
        for (low, high, open) in cases {
            let mut takes = taker(number(real(low, open), real(high, open)).unwrap());
            let mut count = 0;
            for steps in -21_000..=210_000i64 {
                let text = format!("{}", steps as f64 / 2000.0);
                let value = text.parse::<f64>().unwrap();
                let inside = if open { low < value && value < high } else { low <= value && value <= high };
                if takes(&text) {
                    assert!(inside, "{low} {text} {high}");
                    count += 1;
                }
                if steps % 20 == 0 && !open && text != "-0" {
                    assert_eq!(takes(&text), inside, "{low} {text} {high}");
                }
                if steps > 2000 && value > high {
                    break;
                }
            }
            assert!(count > 0, "{low} {high}");
        }
    }

    #[test]
    fn bounds_that_are_too_fine_are_refused() {
        assert_eq!(number(real(1e300, false), None), Err(Refusal::Fine));
        assert_eq!(number(real(1e-20, false), None), Err(Refusal::Fine));
        assert_eq!(number(real(2.0, false), real(1.0, false)), Err(Refusal::Empty));
        assert_eq!(integer(whole(i64::MAX), None), Err(Refusal::Fine));
        assert_eq!(integer(None, whole(i64::MIN)), Err(Refusal::Fine));
        assert_eq!(number(whole(i64::MIN), None), Err(Refusal::Fine));
    }
}
