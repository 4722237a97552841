//! A machine that knows at every byte what may follow, so that an answer is well formed whatever the
//! model would rather say. This one knows JSON: one object (RFC 8259).

use alloc::vec::Vec;

/// White space in a row at most; a model that likes spaces would otherwise never end.
const SPACES_MAX: u8 = 20;

/// Bytes of a number at most: with powers of ten of two digits it stays within a double, which is what
/// readers can hold.
const NUMBER_MAX: u8 = 40;

/// Objects and lists inside each other at most.
const DEPTH_MAX: usize = 64;

/// How far a JSON object has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Json {
    state: State,
    /// What is open, the innermost last: `{` or `[`.
    open: Vec<u8>,
    /// Spaces in a row, or bytes of a number.
    run: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the object.
    Start,
    /// A value must come; in a list that has just begun it may end instead.
    Value { may_end: bool },
    /// A key must come; in an object that has just begun it may end instead.
    Key { may_end: bool },
    /// After a key.
    Colon,
    /// After a value inside something.
    After,
    /// In a string; a key or a value.
    Text { key: bool, step: Text },
    /// In a number.
    Number(Number),
    /// In `true`, `false`, `null`: what is left of it.
    Word(&'static [u8]),
    /// The object is closed.
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Text {
    Plain,
    Escape,
    /// So many hexadecimal digits are left.
    Hex(u8),
    /// So many bytes of a character are left; the next one lies from the first number to the second.
    Tail(u8, u8, u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    Minus,
    Zero,
    Digits,
    Point,
    Fraction,
    Exponent,
    Sign,
    /// After the first digit, and after the second.
    Power,
    FullPower,
}

impl Default for Json {
    fn default() -> Self {
        Self::new()
    }
}

impl Json {
    /// Before the object.
    pub fn new() -> Self {
        Self { state: State::Start, open: Vec::new(), run: 0 }
    }

    /// Whether the object is closed.
    pub fn is_complete(&self) -> bool {
        self.state == State::Done
    }

    /// Whether all of `bytes` may follow, and bring it further.
    pub fn allows(&self, bytes: &[u8]) -> bool {
        !bytes.is_empty() && self.clone().accept(bytes)
    }

    /// Takes `bytes` in; `false` as soon as one of them may not follow, and the rest is not looked at.
    pub fn accept(&mut self, bytes: &[u8]) -> bool {
        bytes.iter().all(|&byte| self.byte(byte))
    }

    fn byte(&mut self, byte: u8) -> bool {
        let in_text = matches!(self.state, State::Text { .. });
        if !in_text && matches!(byte, b' ' | b'\n' | b'\t' | b'\r') {
            return self.space();
        }
        match self.next(byte) {
            Some(state) => {
                let same = matches!((self.state, state), (State::Number(_), State::Number(_)));
                self.run = if same { self.run + 1 } else { 0 };
                self.state = state;
                true
            }
            None => false,
        }
    }

    fn space(&mut self) -> bool {
        if matches!(self.state, State::Number(_)) {
            self.run = 0;
        }
        self.state = match self.state {
            State::Number(Number::Zero | Number::Digits | Number::Fraction | Number::Power | Number::FullPower) => {
                State::After
            }
            State::Number(_) | State::Word(_) | State::Done => return false,
            state => state,
        };
        self.run += 1;
        self.run <= SPACES_MAX
    }

    fn next(&mut self, byte: u8) -> Option<State> {
        use State::*;
        Some(match (self.state, byte) {
            (Start, b'{') => self.enter(b'{')?,
            (Start | Done, _) => return None,
            (Key { .. }, b'"') => Text { key: true, step: self::Text::Plain },
            (Key { may_end: true }, b'}') => self.leave(b'{')?,
            (Key { .. }, _) => return None,
            (Colon, b':') => Value { may_end: false },
            (Colon, _) => return None,
            (Value { may_end: true }, b']') => self.leave(b'[')?,
            (Value { .. }, byte) => self.value(byte)?,
            (After, byte) => self.after(byte)?,
            (Text { key, step }, byte) => match text(step, byte)? {
                Some(step) => Text { key, step },
                None if key => Colon,
                None => After,
            },
            (Number(_), b'0'..=b'9' | b'.') if self.run == NUMBER_MAX => return None,
            (Number(number), byte) => match next_number(number, byte) {
                Some(next) => Number(next),
                None if ends_number(number) => self.after(byte)?,
                None => return None,
            },
            (Word(rest), byte) => match rest.split_first() {
                Some((&first, [])) if first == byte => After,
                Some((&first, rest)) if first == byte => Word(rest),
                _ => return None,
            },
        })
    }

    fn value(&mut self, byte: u8) -> Option<State> {
        Some(match byte {
            b'{' | b'[' => self.enter(byte)?,
            b'"' => State::Text { key: false, step: Text::Plain },
            b'-' => State::Number(Number::Minus),
            b'0' => State::Number(Number::Zero),
            b'1'..=b'9' => State::Number(Number::Digits),
            b't' => State::Word(b"rue"),
            b'f' => State::Word(b"alse"),
            b'n' => State::Word(b"ull"),
            _ => return None,
        })
    }

    fn after(&mut self, byte: u8) -> Option<State> {
        match (byte, *self.open.last()?) {
            (b',', b'{') => Some(State::Key { may_end: false }),
            (b',', _) => Some(State::Value { may_end: false }),
            (b'}', b'{') => self.leave(b'{'),
            (b']', b'[') => self.leave(b'['),
            _ => None,
        }
    }

    fn enter(&mut self, byte: u8) -> Option<State> {
        if self.open.len() == DEPTH_MAX {
            return None;
        }
        self.open.push(byte);
        Some(if byte == b'{' { State::Key { may_end: true } } else { State::Value { may_end: true } })
    }

    fn leave(&mut self, byte: u8) -> Option<State> {
        (self.open.pop()? == byte).then_some(if self.open.is_empty() { State::Done } else { State::After })
    }
}

/// The next step inside a string; `Some(None)` at its end.
fn text(step: Text, byte: u8) -> Option<Option<Text>> {
    Some(Some(match (step, byte) {
        (Text::Plain, b'"') => return Some(None),
        (Text::Plain, b'\\') => Text::Escape,
        (Text::Plain, 0x20..=0x7f) => Text::Plain,
        // Well-formed UTF-8 only (Unicode 16, table 3-7).
        (Text::Plain, 0xc2..=0xdf) => Text::Tail(1, 0x80, 0xbf),
        (Text::Plain, 0xe0) => Text::Tail(2, 0xa0, 0xbf),
        (Text::Plain, 0xed) => Text::Tail(2, 0x80, 0x9f),
        (Text::Plain, 0xe1..=0xef) => Text::Tail(2, 0x80, 0xbf),
        (Text::Plain, 0xf0) => Text::Tail(3, 0x90, 0xbf),
        (Text::Plain, 0xf1..=0xf3) => Text::Tail(3, 0x80, 0xbf),
        (Text::Plain, 0xf4) => Text::Tail(3, 0x80, 0x8f),
        (Text::Tail(left, from, to), byte) if (from..=to).contains(&byte) => match left {
            1 => Text::Plain,
            left => Text::Tail(left - 1, 0x80, 0xbf),
        },
        (Text::Escape, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Text::Plain,
        (Text::Escape, b'u') => Text::Hex(4),
        (Text::Hex(left), byte) if byte.is_ascii_hexdigit() => {
            // Surrogates would need a partner; a model can write the character itself.
            if left == 4 && byte.eq_ignore_ascii_case(&b'd') {
                return None;
            }
            if left == 1 { Text::Plain } else { Text::Hex(left - 1) }
        }
        _ => return None,
    }))
}

fn next_number(number: Number, byte: u8) -> Option<Number> {
    use Number::*;
    Some(match (number, byte) {
        (Minus, b'0') => Zero,
        (Minus, b'1'..=b'9') | (Digits, b'0'..=b'9') => Digits,
        (Zero | Digits, b'.') => Point,
        (Point | Fraction, b'0'..=b'9') => Fraction,
        (Zero | Digits | Fraction, b'e' | b'E') => Exponent,
        (Exponent, b'+' | b'-') => Sign,
        (Exponent | Sign, b'0'..=b'9') => Power,
        (Power, b'0'..=b'9') => FullPower,
        _ => return None,
    })
}

fn ends_number(number: Number) -> bool {
    matches!(number, Number::Zero | Number::Digits | Number::Fraction | Number::Power | Number::FullPower)
}

#[cfg(test)]
mod tests {
    use alloc::string::String;

    use super::*;

    fn whole(text: &str) -> bool {
        let mut json = Json::new();
        json.accept(text.as_bytes()) && json.is_complete()
    }

    #[test]
    fn what_is_json_is_taken() {
        for text in
            ["{}", " {\"a\": [1, -0.5e+3, true, null, {\"b\" : \"\\u00e9\\n\u{1f600}\"}], \"c\":[]}", "{\"a\":0}"]
        {
            assert!(whole(text), "{text}");
            assert!(serde_json::from_str::<serde_json::Value>(text).is_ok());
        }
    }

    #[test]
    fn what_is_not_json_is_refused_where_it_goes_wrong() {
        for text in [
            "[",
            "{a",
            "{\"a\":01",
            "{\"a\":1,}",
            "{\"a\" 1",
            "{\"a\":tru }",
            "{\"a\":\"\n",
            "{}}",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":[1}",
            "{\"a\":-}",
        ] {
            assert!(!Json::new().accept(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn spaces_and_depth_have_an_end() {
        assert!(!Json::new().accept(" ".repeat(21).as_bytes()));
        let deep: String = String::from("{\"a\":") + &"[".repeat(DEPTH_MAX);
        assert!(!Json::new().accept(deep.as_bytes()));
    }

    #[test]
    fn whatever_is_taken_byte_by_byte_parses() {
        // A walk that always takes the first allowed of some bytes, in an order that a seed gives.
        let bytes = b"{}[]\":,0123456789.eE+-truefalsn \\u/ab\xc3\xa9";
        for seed in 0..300u64 {
            let (mut json, mut text, mut state) = (Json::new(), alloc::vec::Vec::new(), seed);
            while !json.is_complete() && text.len() < 400 {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let byte = bytes[(state >> 33) as usize % bytes.len()];
                if json.allows(&[byte]) {
                    json.accept(&[byte]);
                    text.push(byte);
                }
            }
            if json.is_complete() {
                assert!(
                    serde_json::from_slice::<serde_json::Value>(&text).is_ok(),
                    "{}",
                    String::from_utf8_lossy(&text)
                );
            }
        }
    }
}
