//! The parts that JSON is made of (RFC 8259).

use alloc::{vec, vec::Vec};

use super::{Chars, Expr, Grammar, Rules};

/// White space in a row at most; a model that likes spaces would otherwise never end.
pub(super) const SPACES_MAX: u32 = 20;

/// Digits of a number before its point, and after it: whatever reads 16 digits and an exponent of two keeps the
/// number within a double.
const DIGITS_MAX: u32 = 16;

/// One JSON object with anything in it.
///
/// # Panics
/// Never; a test compiles it.
pub fn object() -> Grammar {
    let (rules, root) = object_rules();
    rules.compile(root).expect("a test compiles it")
}

/// The rules of [`object`], and which of them it begins with.
pub fn object_rules() -> (Rules, usize) {
    let mut rules = Rules::new();
    let space = Expr::one_of(" \t\n\r").repeated(0, Some(SPACES_MAX));
    let space = rules.add("space", space);
    let json = Json::new(&mut rules, space);
    let root = rules.add("root", Expr::Seq(vec![Expr::Rule(space), Expr::Rule(json.object)]));
    (rules, root)
}

/// The rules of JSON that others are made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Json {
    /// What may stand between the parts.
    pub(super) space: usize,
    pub(super) object: usize,
    pub(super) array: usize,
    pub(super) value: usize,
    pub(super) string: usize,
    pub(super) number: usize,
    /// One character of a string.
    pub(super) letter: usize,
}

impl Json {
    /// Adds the rules; `space` is the one that stands between parts.
    pub(super) fn new(rules: &mut Rules, space: usize) -> Self {
        let letter = rules.add("letter", letter());
        let string = rules.add("string", quoted(Expr::Rule(letter).repeated(0, None)));
        let number = rules.add("number", number());
        let [object, array, value] = ["object", "array", "value"].map(|name| rules.declare(name));
        let json = Self { space, object, array, value, string, number, letter };
        let pair = rules.add("pair", Expr::Seq(json.pair(Expr::Rule(string), Expr::Rule(value))));
        rules.set(object, json.braced(b"{}", json.list(Expr::Rule(pair)).optional()));
        let item = rules.add("item", Expr::Seq(vec![Expr::Rule(value), Expr::Rule(space)]));
        rules.set(array, json.braced(b"[]", json.list(Expr::Rule(item)).optional()));
        let words = ["true", "false", "null"].map(Expr::text);
        let mut choice: Vec<Expr> = [object, array, string, number].map(Expr::Rule).into();
        choice.extend(words);
        rules.set(value, Expr::Alt(choice));
        json
    }

    /// A key, its colon and a value, and the space after it.
    pub(super) fn pair(&self, key: Expr, value: Expr) -> Vec<Expr> {
        let space = || Expr::Rule(self.space);
        vec![key, space(), Expr::text(":"), space(), value, space()]
    }

    /// At least one `item`, which ends with its space, and commas between them.
    pub(super) fn list(&self, item: Expr) -> Expr {
        let more = vec![Expr::text(","), Expr::Rule(self.space), item.clone()];
        Expr::Seq(vec![item, Expr::Seq(more).repeated(0, None)])
    }

    /// `inner`, which ends with its space, between braces, one level deeper.
    pub(super) fn braced(&self, braces: &[u8; 2], inner: Expr) -> Expr {
        let [open, close] = braces.map(|brace| Expr::Bytes(vec![brace]));
        let inner = Expr::Level(alloc::boxed::Box::new(Expr::Seq(vec![Expr::Rule(self.space), inner])));
        Expr::Seq(vec![open, inner, close])
    }
}

/// `inner` between quotes.
pub(super) fn quoted(inner: Expr) -> Expr {
    Expr::Seq(vec![Expr::text("\""), inner, Expr::text("\"")])
}

/// The characters that may stand for themselves in a string.
pub(super) fn plain() -> Chars {
    Chars::ranges([(0x20, 0x10_ffff)]).without(&Chars::of("\"\\"))
}

/// One character of a string. Surrogates would need a partner; a model can write the character itself.
fn letter() -> Expr {
    let hex = || Expr::Chars(Chars::ranges([(0x30, 0x39), (0x41, 0x46), (0x61, 0x66)]));
    let low = Chars::ranges([(0x30, 0x39), (0x41, 0x46), (0x61, 0x66)]).without(&Chars::of("dD"));
    let low = Expr::Seq(vec![Expr::Chars(low), hex()]);
    let high = Expr::Seq(vec![Expr::one_of("dD"), Expr::range('0', '7')]);
    let unicode = Expr::Seq(vec![Expr::text("u"), Expr::Alt(vec![low, high]), hex(), hex()]);
    let escape = Expr::Seq(vec![Expr::text("\\"), Expr::Alt(vec![Expr::one_of("\"\\/bfnrt"), unicode])]);
    Expr::Alt(vec![Expr::Chars(plain()), escape])
}

fn number() -> Expr {
    let digit = || Expr::range('0', '9');
    let whole = Expr::Alt(vec![
        Expr::text("0"),
        Expr::Seq(vec![Expr::range('1', '9'), digit().repeated(0, Some(DIGITS_MAX - 1))]),
    ]);
    let fraction = Expr::Seq(vec![Expr::text("."), digit().repeated(1, Some(DIGITS_MAX))]);
    let power = Expr::Seq(vec![Expr::one_of("eE"), Expr::one_of("+-").optional(), digit().repeated(1, Some(2))]);
    Expr::Seq(vec![Expr::text("-").optional(), whole, fraction.optional(), power.optional()])
}

#[cfg(test)]
mod tests {
    use alloc::{string::String, sync::Arc};

    use super::*;
    use crate::grammar::Machine;

    fn whole(text: &str) -> bool {
        let mut machine = Machine::new(Arc::new(object()));
        machine.accept(text.as_bytes()) && machine.is_done()
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
            assert!(!Machine::new(Arc::new(object())).accept(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn spaces_and_depth_have_an_end() {
        let mut machine = Machine::new(Arc::new(object()));
        assert!(!machine.accept(" ".repeat(21).as_bytes()));
        assert!(machine.accept(" ".repeat(20).as_bytes()));
        let nested = |levels: usize| {
            let levels = levels - 1;
            String::from("{\"a\":") + &"[".repeat(levels) + &"]".repeat(levels) + "}"
        };
        assert!(whole(&nested(64)));
        assert!(!Machine::new(Arc::new(object())).accept((String::from("{\"a\":") + &"[".repeat(64)).as_bytes()));
    }

    #[test]
    fn with_few_bytes_left_it_closes_what_is_open() {
        let mut machine = Machine::new(Arc::new(object()));
        assert!(machine.accept(b"{\"a\":[[{\"b\":"));
        machine.limit(8);
        // A value, and four ends: `0}]]}`.
        assert_eq!(machine.bytes_min(), 5);
        assert!(!machine.allows(b"\"long\""));
        assert!(machine.accept(b"[["));
        assert!(!machine.allows(b"["));
        assert!(machine.accept(b"]]}]]}"));
        assert!(machine.is_done());
    }

    #[test]
    fn a_refused_piece_changes_nothing_and_a_mark_is_come_back_to() {
        let mut machine = Machine::new(Arc::new(object()));
        assert!(machine.accept(b"{\"a\":[1,"));
        let mark = machine.mark();
        assert!(!machine.accept(b"2]}x"));
        assert_eq!(machine.mark(), mark);
        assert!(machine.accept(b"2]}") && machine.is_done());
        machine.rewind(&mark);
        assert!(machine.accept(b"[]]}") && machine.is_done());
    }

    #[test]
    fn whatever_is_taken_byte_by_byte_parses() {
        let bytes = b"{}[]\":,0123456789.eE+-truefalsn \\u/ab\xc3\xa9";
        let grammar = Arc::new(object());
        let mut whole = 0;
        for seed in 0..300u64 {
            let (mut machine, mut text, mut state) = (Machine::new(grammar.clone()), Vec::new(), seed);
            machine.limit(400);
            while !machine.is_done() {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let byte = bytes[(state >> 33) as usize % bytes.len()];
                if machine.accept(&[byte]) {
                    text.push(byte);
                }
            }
            let read = serde_json::from_slice::<serde_json::Value>(&text);
            assert!(read.is_ok(), "{}", String::from_utf8_lossy(&text));
            whole += 1;
        }
        assert_eq!(whole, 300);
    }
}
