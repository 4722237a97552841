//! GBNF, the notation in which llama.cpp writes grammars.
//!
//! ```text
//! root ::= "yes" | "no" because?     # a comment
//! because ::= ", " [^\n]{1,80}
//! ```
//!
//! A rule goes on up to the next name with `::=`, or up to the end of its line where nothing is open. Between
//! brackets, after `|`, and after `::=` it may go on in the next line.
//!
//! Source: llama.cpp, `grammars/README.md`.

use alloc::{borrow::ToOwned, collections::BTreeMap, string::String, vec, vec::Vec};
use core::fmt;

use super::{BYTES_MAX, Chars, Expr, Grammar, Rules};

/// Bytes of a grammar's text at most.
const TEXT_MAX: usize = 1 << 20;

/// Groups inside each other at most.
const GROUPS_MAX: usize = 64;

/// Repeats behind one item at most, as in `x?*+`.
const REPEATS_MAX: usize = 16;

/// The largest number in a repeat.
const COUNT_MAX: u32 = 1 << 20;

/// Why a text is no grammar.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// Something else should stand here.
    Expected {
        /// What should.
        what: &'static str,
        /// The line, from 1.
        line: usize,
    },
    /// A rule that is defined a second time.
    Twice {
        /// Its name.
        name: String,
        /// The line, from 1.
        line: usize,
    },
    /// Something there is more of than is allowed.
    Many {
        /// What it is.
        what: &'static str,
        /// The line, from 1.
        line: usize,
    },
    /// No rule is called `root`.
    Rootless,
    /// The text, or the least text that it takes, is too long.
    Large,
    /// The rules are no grammar.
    Grammar(super::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expected { what, line } => write!(f, "line {line} of the grammar: {what} is missing"),
            Self::Twice { name, line } => {
                write!(f, "line {line} of the grammar: the rule {name:?} is defined a second time")
            }
            Self::Many { what, line } => write!(f, "line {line} of the grammar: {what}"),
            Self::Rootless => f.write_str("the grammar has no rule \"root\""),
            Self::Large => f.write_str("the grammar is too long, or asks for too long a text"),
            Self::Grammar(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for Error {}

impl From<super::Error> for Error {
    fn from(error: super::Error) -> Self {
        Self::Grammar(error)
    }
}

/// Reads a grammar, whose texts begin with the rule `root`.
///
/// # Errors
/// A text that is no grammar, by the line or the rule that is wrong.
pub fn parse(text: &str) -> Result<Grammar, Error> {
    let (rules, root) = rules(text)?;
    let grammar = rules.compile(root)?;
    if grammar.bytes_min() > BYTES_MAX { Err(Error::Large) } else { Ok(grammar) }
}

/// The rules of a grammar, and which of them is its root.
///
/// # Errors
/// As [`parse`], but for what is wrong with the rules as a whole.
pub fn rules(text: &str) -> Result<(Rules, usize), Error> {
    if text.len() > TEXT_MAX {
        return Err(Error::Large);
    }
    let mut reader = Reader { rest: text, line: 1, rules: Rules::new(), names: BTreeMap::new(), defined: Vec::new() };
    reader.skip(true);
    while !reader.rest.is_empty() {
        reader.rule()?;
        reader.skip(true);
    }
    let root = reader.names.get("root").copied().filter(|&rule| reader.defined[rule]).ok_or(Error::Rootless)?;
    Ok((reader.rules, root))
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
    rules: Rules,
    names: BTreeMap<String, usize>,
    /// Whether each rule has its body.
    defined: Vec<bool>,
}

impl<'a> Reader<'a> {
    fn expected(&self, what: &'static str) -> Error {
        Error::Expected { what, line: self.line }
    }

    fn many(&self, what: &'static str) -> Error {
        Error::Many { what, line: self.line }
    }

    /// Leaves out spaces and comments; ends of lines too, where `lines`.
    fn skip(&mut self, lines: bool) {
        loop {
            match self.rest.bytes().next() {
                Some(b' ' | b'\t') => self.advance(1),
                Some(b'\n' | b'\r') if lines => self.advance(1),
                Some(b'#') => self.advance(self.rest.find(['\n', '\r']).unwrap_or(self.rest.len())),
                _ => return,
            }
        }
    }

    fn advance(&mut self, bytes: usize) {
        let (passed, rest) = self.rest.split_at(bytes);
        self.line += passed.bytes().filter(|&byte| byte == b'\n').count();
        self.rest = rest;
    }

    fn take(&mut self, text: &str) -> bool {
        let is_there = self.rest.starts_with(text);
        if is_there {
            self.advance(text.len());
        }
        is_there
    }

    fn name(&mut self) -> Option<&'a str> {
        let end = self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_')));
        let (name, _) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.advance(name.len());
        (!name.is_empty()).then_some(name)
    }

    /// The number of a rule, which may come later.
    fn named(&mut self, name: &str) -> usize {
        if let Some(&rule) = self.names.get(name) {
            return rule;
        }
        let rule = self.rules.declare(name);
        self.names.insert(name.to_owned(), rule);
        self.defined.push(false);
        rule
    }

    fn rule(&mut self) -> Result<(), Error> {
        let name = self.name().ok_or_else(|| self.expected("a rule's name"))?;
        let line = self.line;
        let rule = self.named(name);
        if core::mem::replace(&mut self.defined[rule], true) {
            return Err(Error::Twice { name: name.to_owned(), line });
        }
        self.skip(false);
        if !self.take("::=") {
            return Err(self.expected("\"::=\""));
        }
        self.skip(true);
        let body = self.alternatives(0)?;
        self.rules.set(rule, body);
        self.skip(false);
        match self.rest.bytes().next() {
            None | Some(b'\n' | b'\r') => Ok(()),
            Some(_) => Err(self.expected("the rule's end")),
        }
    }

    /// What stands between bars; `groups` are open around it.
    fn alternatives(&mut self, groups: usize) -> Result<Expr, Error> {
        let mut choice = vec![self.sequence(groups)?];
        loop {
            // A bar may begin a line of its own.
            let (rest, line) = (self.rest, self.line);
            self.skip(true);
            if !self.take("|") {
                (self.rest, self.line) = (rest, line);
                break;
            }
            self.skip(true);
            choice.push(self.sequence(groups)?);
        }
        Ok(if choice.len() == 1 { choice.remove(0) } else { Expr::Alt(choice) })
    }

    fn sequence(&mut self, groups: usize) -> Result<Expr, Error> {
        let mut seq: Vec<Expr> = Vec::new();
        loop {
            self.skip(groups > 0);
            let Some(mut item) = self.item(groups)? else { break };
            self.skip(groups > 0);
            let mut repeats = 0;
            while let Some((min, max)) = self.repeat()? {
                repeats += 1;
                if repeats > REPEATS_MAX {
                    return Err(self.many("an item has more repeats than 16"));
                }
                item = item.repeated(min, max);
                self.skip(groups > 0);
            }
            seq.push(item);
        }
        Ok(if seq.len() == 1 { seq.remove(0) } else { Expr::Seq(seq) })
    }

    fn item(&mut self, groups: usize) -> Result<Option<Expr>, Error> {
        if self.take("\"") {
            return self.text().map(Some);
        }
        if self.take("[") {
            return self.class().map(Some);
        }
        if self.take(".") {
            return Ok(Some(Expr::Chars(Chars::any())));
        }
        if self.take("(") {
            if groups == GROUPS_MAX {
                return Err(self.many("more than 64 groups lie in each other"));
            }
            self.skip(true);
            let inner = self.alternatives(groups + 1)?;
            self.skip(true);
            return if self.take(")") { Ok(Some(inner)) } else { Err(self.expected("\")\"")) };
        }
        let (rest, line) = (self.rest, self.line);
        let Some(name) = self.name() else { return Ok(None) };
        // The next rule begins.
        let after = (self.rest, self.line);
        self.skip(false);
        if self.rest.starts_with("::=") {
            (self.rest, self.line) = (rest, line);
            return Ok(None);
        }
        (self.rest, self.line) = after;
        Ok(Some(Expr::Rule(self.named(name))))
    }

    /// Up to the closing quote.
    fn text(&mut self) -> Result<Expr, Error> {
        let mut text = String::new();
        while !self.take("\"") {
            text.push(self.character("a closing quote")?);
        }
        Ok(Expr::Bytes(text.into_bytes()))
    }

    /// Up to the closing bracket.
    fn class(&mut self) -> Result<Expr, Error> {
        const END: &str = "\"]\"";
        let is_negated = self.take("^");
        let mut ranges = Vec::new();
        while !self.take("]") {
            let from = self.character(END)?;
            // Just before the end it stands for itself.
            let to = if self.rest.starts_with('-') && !self.rest.starts_with("-]") {
                self.advance(1);
                self.character(END)?
            } else {
                from
            };
            if to < from {
                return Err(self.expected("a range whose end is not before its beginning"));
            }
            ranges.push((from as u32, to as u32));
        }
        let set = Chars::ranges(ranges);
        let set = if is_negated { set.negated() } else { set };
        Ok(Expr::Chars(set))
    }

    /// A character, or what is written for one with a backslash.
    fn character(&mut self, end: &'static str) -> Result<char, Error> {
        let first = self.rest.chars().next().ok_or_else(|| self.expected(end))?;
        self.advance(first.len_utf8());
        if first != '\\' {
            return Ok(first);
        }
        let kind = self.rest.chars().next().ok_or_else(|| self.expected(end))?;
        let digits = match kind {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        if digits > 0 {
            const HEX: &str = "the number of a character";
            let code = self.rest.get(1..1 + digits).filter(|code| code.bytes().all(|byte| byte.is_ascii_hexdigit()));
            let code = code.and_then(|code| u32::from_str_radix(code, 16).ok()).and_then(char::from_u32);
            let code = code.ok_or_else(|| self.expected(HEX))?;
            self.advance(1 + digits);
            return Ok(code);
        }
        let meant = match kind {
            't' => '\t',
            'r' => '\r',
            'n' => '\n',
            '\\' | '"' | '[' | ']' | '-' | '^' | '/' => kind,
            _ => return Err(self.expected("an escape that is known")),
        };
        self.advance(1);
        Ok(meant)
    }

    /// A repeat's least and greatest number.
    fn repeat(&mut self) -> Result<Option<(u32, Option<u32>)>, Error> {
        for (sign, counts) in [("*", (0, None)), ("+", (1, None)), ("?", (0, Some(1)))] {
            if self.take(sign) {
                return Ok(Some(counts));
            }
        }
        if !self.take("{") {
            return Ok(None);
        }
        self.skip(false);
        let min = self.count()?;
        self.skip(false);
        let (min, max) = if self.take(",") {
            self.skip(false);
            (min.unwrap_or(0), self.count()?)
        } else {
            (min.ok_or_else(|| self.expected("a number"))?, min)
        };
        self.skip(false);
        if !self.take("}") {
            return Err(self.expected("\"}\""));
        }
        if max.is_some_and(|max| max < min) {
            return Err(self.expected("a repeat whose end is not before its beginning"));
        }
        Ok(Some((min, max)))
    }

    fn count(&mut self) -> Result<Option<u32>, Error> {
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        if end == 0 {
            return Ok(None);
        }
        let count = self.rest[..end].parse().ok().filter(|&count| count <= COUNT_MAX);
        let count = count.ok_or_else(|| self.many("a repeat's number is larger than 1048576"))?;
        self.advance(end);
        Ok(Some(count))
    }
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::ToString, sync::Arc};

    use super::*;
    use crate::grammar::Machine;

    fn takes(grammar: &str, text: &str) -> bool {
        let mut machine = Machine::new(Arc::new(parse(grammar).unwrap()));
        (text.is_empty() || machine.accept(text.as_bytes())) && machine.may_end()
    }

    fn error(grammar: &str) -> String {
        parse(grammar).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn what_a_grammar_says_is_taken_and_nothing_else() {
        for (grammar, good, bad) in [
            ("root ::= \"yes\" | \"no\"", "no", "yesno"),
            ("root ::= a b # one\n# two\na ::= \"x\"\nb ::= [0-9]+", "x12", "x"),
            ("root ::= (\"a\" |\n \"b\")* \"c\"?", "abba", "ca"),
            ("root ::=\n  \"a\"\n  | \"b\"\nx ::= \"c\"", "b", "c"),
            ("root ::= [^a-c\\n\\]]{2,3}", "d\u{e9}", "d]"),
            ("root ::= [a-]{2} . \"\\x41\\u00e9\\U0001F600\\\"\\\\\"", "a-zA\u{e9}\u{1f600}\"\\", "a-zA\u{e9}"),
            ("root ::= \"a\"{2,} \"b\"{3}", "aaabbb", "abbb"),
            ("root ::= \"(\" root \")\" | \"\"", "(())", "(()"),
            ("root ::= x-1\nx-1 ::= \"a\"\r\n", "a", ""),
            ("root ::= \"\" | [a-z] root", "abc", "aBc"),
        ] {
            assert!(takes(grammar, good), "{grammar} {good}");
            assert!(!takes(grammar, bad), "{grammar} {bad}");
        }
    }

    #[test]
    fn sums_nest_as_their_notation_says() {
        let grammar = "root ::= sum (\"\\n\" sum)*\nsum ::= part (space [-+] space part)*\n\
            part ::= digit+ | \"(\" sum \")\"\ndigit ::= [0-9]\nspace ::= [ \\t]?\n";
        assert!(takes(grammar, "(12 + (3-4)) - 5\n6"));
        assert!(!takes(grammar, "(12 + (3-4) - 5\n6"));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line_or_its_rule() {
        for (grammar, said) in [
            ("", "no rule \"root\""),
            ("a ::= \"b\"", "no rule \"root\""),
            ("root ::= a", "the rule \"a\" is not defined"),
            ("root ::= root \"a\" | \"b\"", "the rule \"root\" calls itself before it has taken a character"),
            ("root ::= a\na ::= b \"x\" | \"y\"\nb ::= \"\" a", "calls itself before it has taken a character"),
            ("root ::= \"(\" root \")\"", "the rule \"root\" can never end"),
            ("root ::= \"a\"\nroot ::= \"b\"", "line 2 of the grammar: the rule \"root\" is defined a second time"),
            ("root ::= \"a", "line 1 of the grammar: a closing quote is missing"),
            ("\nroot = \"a\"", "line 2 of the grammar: \"::=\" is missing"),
            ("root ::= [a", "\"]\" is missing"),
            ("root ::= [z-a]", "a range whose end"),
            ("root ::= (\"a\"", "\")\" is missing"),
            ("root ::= \"a\"{3,1}", "a repeat whose end"),
            ("root ::= \"a\"{}", "a number is missing"),
            ("root ::= \"\\q\"", "an escape that is known"),
            ("root ::= \"\\ud800\"", "the number of a character"),
            ("root ::= \"\\x4\u{e9}\"", "the number of a character"),
            ("root ::= \"a\" )", "the rule's end is missing"),
            ("root ::= []", "a set of characters"),
            ("root ::= \"a\"{99999999999}", "a repeat's number is larger"),
        ] {
            let error = error(grammar);
            assert!(error.contains(said), "{error} for {grammar}");
        }
    }

    #[test]
    fn hostile_grammars_end() {
        assert!(error(&format!("root ::= {}", "(".repeat(100_000))).contains("64 groups"));
        assert!(error(&format!("root ::= \"a\"{}", "?".repeat(100_000))).contains("16"));
        assert_eq!(error(&"#".repeat(TEXT_MAX + 1)), Error::Large.to_string());
        assert_eq!(error("root ::= (((\"a\"{1000}){1000}){1000})"), Error::Large.to_string());
        // Each rule takes the one before it twice.
        let mut doubled = String::from("root ::= r40\nr0 ::= \"a\"\n");
        (1..=40).for_each(|at| doubled += &format!("r{at} ::= r{0} r{0}\n", at - 1));
        assert_eq!(error(&doubled), Error::Large.to_string());
        let mut many = String::from("root ::= r0\n");
        (0..20_000).for_each(|at| many += &format!("r{at} ::= \"a\" r{} | \"b\"\n", at + 1));
        many += "r20000 ::= \"c\"\n";
        assert!(takes(&many, "aab"));
    }
}
