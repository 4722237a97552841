//! Template text to tokens.
//!
//! Source: Go's `text/template` documentation, "Actions" and "Text and spaces"; the Go specification for literals.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use super::error::{Fault, Raised};

/// Characters of the source that an error shows.
const SHOWN_MAX: usize = 24;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token<'s> {
    /// Bytes of the source outside actions, trimmed.
    Text(usize, usize),
    Open,
    Close,
    Dot,
    /// `.Name`
    Field(&'s str),
    /// `$name`; empty for `$`.
    Variable(&'s str),
    /// A function or a keyword.
    Word(&'s str),
    Int(i64),
    Float(f64),
    Str(String),
    Declare,
    Assign,
    Pipe,
    Comma,
    LeftParen,
    RightParen,
    End,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Lexeme<'s> {
    pub token: Token<'s>,
    pub at: usize,
    /// Whether white space stands before it.
    pub spaced: bool,
}

pub(super) struct Lexer<'s> {
    source: &'s str,
    at: usize,
    inside: bool,
    /// Whether the last action ended with `-}}`.
    trim: bool,
    /// Where the action begins that is being read.
    opened: usize,
}

/// What Go counts as space.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_name(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

impl<'s> Lexer<'s> {
    pub(super) fn new(source: &'s str) -> Self {
        Self { source, at: 0, inside: false, trim: false, opened: 0 }
    }

    fn rest(&self) -> &'s str {
        &self.source[self.at..]
    }

    /// A few characters of the source, for an error.
    pub(super) fn shown(&self, at: usize) -> String {
        match self.source[at.min(self.source.len())..].lines().next().unwrap_or_default() {
            "" => "the end".into(),
            line => format!("{:?}", line.chars().take(SHOWN_MAX).collect::<String>()),
        }
    }

    pub(super) fn next(&mut self) -> Result<Lexeme<'s>, Raised> {
        if self.inside { self.inside() } else { self.outside() }
    }

    fn outside(&mut self) -> Result<Lexeme<'s>, Raised> {
        loop {
            let from = self.at;
            let Some(found) = self.rest().find("{{") else {
                self.at = self.source.len();
                return Ok(self.text(from, self.at).unwrap_or(Lexeme {
                    token: Token::End,
                    at: self.at,
                    spaced: false,
                }));
            };
            let open = from + found;
            let mut inner = open + 2;
            let mut to = open;
            // `{{- ` trims; `{{-3` is a number.
            let mut after = self.source[inner..].chars();
            if after.next() == Some('-') && after.next().is_some_and(is_space) {
                inner += 1;
                to = from + self.source[from..open].trim_end_matches(is_space).len();
            }
            if let Some(text) = self.text(from, to) {
                // The action is found again, after its text.
                self.at = open;
                return Ok(text);
            }
            self.trim = false;
            let comment = self.source[inner..].trim_start_matches(is_space);
            if !comment.starts_with("/*") {
                (self.at, self.inside, self.opened) = (inner, true, open);
                return Ok(Lexeme { token: Token::Open, at: open, spaced: false });
            }
            self.comment(open, self.source.len() - comment.len() + 2)?;
        }
    }

    /// The text between two bytes, unless nothing is left of it. Trims on the left where the last action wants it.
    fn text(&mut self, from: usize, to: usize) -> Option<Lexeme<'s>> {
        let to = to.max(from);
        let text = &self.source[from..to];
        let kept = if self.trim { text.trim_start_matches(is_space) } else { text };
        if kept.is_empty() {
            return None;
        }
        self.trim = false;
        Some(Lexeme { token: Token::Text(to - kept.len(), to), at: from, spaced: false })
    }

    fn comment(&mut self, open: usize, from: usize) -> Result<(), Raised> {
        let unclosed = || Raised::new(open, Fault::Open("a comment"));
        let end = from + self.source[from..].find("*/").ok_or_else(unclosed)? + 2;
        let rest = &self.source[end..];
        let close = rest.trim_start_matches(is_space);
        let spaces = rest.len() - close.len();
        if close.starts_with("}}") {
            self.at = end + spaces + 2;
        } else if spaces > 0 && close.starts_with("-}}") {
            self.at = end + spaces + 3;
            self.trim = true;
        } else {
            return Err(unclosed());
        }
        Ok(())
    }

    fn inside(&mut self) -> Result<Lexeme<'s>, Raised> {
        let rest = self.rest().trim_start_matches(is_space);
        let at = self.source.len() - rest.len();
        let spaced = at > self.at;
        self.at = at;
        let mut chars = rest.chars();
        let first = chars.next().ok_or_else(|| Raised::new(self.opened, Fault::Open("an action")))?;
        let second = chars.next();
        let (token, len) = if rest.starts_with("}}") {
            self.inside = false;
            (Token::Close, 2)
        } else if spaced && rest.starts_with("-}}") {
            (self.inside, self.trim) = (false, true);
            (Token::Close, 3)
        } else {
            match first {
                '.' if second.is_some_and(|c| c.is_ascii_digit()) => self.number(rest)?,
                '.' => match name(&rest[1..]) {
                    "" => (Token::Dot, 1),
                    name => (Token::Field(name), 1 + name.len()),
                },
                '$' => {
                    let name = name(&rest[1..]);
                    (Token::Variable(name), 1 + name.len())
                }
                ':' if second == Some('=') => (Token::Declare, 2),
                '=' => (Token::Assign, 1),
                '|' => (Token::Pipe, 1),
                ',' => (Token::Comma, 1),
                '(' => (Token::LeftParen, 1),
                ')' => (Token::RightParen, 1),
                '"' => self.quoted(rest)?,
                '`' => {
                    let end = rest[1..].find('`').ok_or_else(|| Raised::new(at, Fault::Open("a text")))?;
                    // Carriage returns are left out of raw texts (Go specification, "String literals").
                    (Token::Str(rest[1..=end].replace('\r', "")), end + 2)
                }
                '\'' => self.character(rest)?,
                '+' | '-' | '0'..='9' => self.number(rest)?,
                c if is_name(c) => {
                    let name = name(rest);
                    (Token::Word(name), name.len())
                }
                _ => {
                    let found = self.shown(at);
                    return Err(Raised::new(at, Fault::Expected { expected: "a value", found }));
                }
            }
        };
        self.at += len;
        Ok(Lexeme { token, at, spaced })
    }

    fn number(&self, rest: &'s str) -> Result<(Token<'s>, usize), Raised> {
        let mut before = ' ';
        let unsigned = rest.trim_start_matches(['+', '-']);
        let hex = unsigned.starts_with("0x") || unsigned.starts_with("0X");
        let len = rest
            .find(|c| {
                let sign = matches!(c, '+' | '-') && (before == ' ' || !hex && matches!(before, 'e' | 'E'));
                before = c;
                !(sign || is_name(c) || c == '.')
            })
            .unwrap_or(rest.len());
        let text = &rest[..len];
        let token = number(text).ok_or_else(|| Raised::new(self.at, Fault::Literal(self.shown(self.at))))?;
        Ok((token, len))
    }

    fn quoted(&self, rest: &str) -> Result<(Token<'s>, usize), Raised> {
        let mut bytes = Vec::new();
        let mut left = &rest[1..];
        loop {
            match left.chars().next() {
                None | Some('\n') => return Err(Raised::new(self.at, Fault::Open("a text"))),
                Some('"') => break,
                Some(_) => left = self.unit(left, &mut bytes)?,
            }
        }
        let text = String::from_utf8(bytes).map_err(|_| Raised::new(self.at, Fault::Literal("a text".into())))?;
        Ok((Token::Str(text), rest.len() - left.len() + 1))
    }

    /// A character is a number.
    fn character(&self, rest: &str) -> Result<(Token<'s>, usize), Raised> {
        let wrong = || Raised::new(self.at, Fault::Literal(self.shown(self.at)));
        let mut bytes = Vec::new();
        let left = self.unit(&rest[1..], &mut bytes)?;
        let mut chars = core::str::from_utf8(&bytes).map_err(|_| wrong())?.chars();
        match (chars.next(), chars.next(), left.starts_with('\'')) {
            (Some(c), None, true) => Ok((Token::Int(i64::from(u32::from(c))), rest.len() - left.len() + 1)),
            _ => Err(wrong()),
        }
    }

    /// One character or escape of a quoted text; what is left after it.
    fn unit<'t>(&self, text: &'t str, out: &mut Vec<u8>) -> Result<&'t str, Raised> {
        let wrong = || Raised::new(self.at, Fault::Literal(self.shown(self.at)));
        let mut chars = text.chars();
        let first = chars.next().ok_or_else(wrong)?;
        if first != '\\' {
            out.extend(first.encode_utf8(&mut [0; 4]).as_bytes());
            return Ok(chars.as_str());
        }
        let escape = chars.next().ok_or_else(wrong)?;
        let after = chars.as_str();
        let digits = |text: &'t str, count: usize, radix: u32| -> Result<(u32, &'t str), Raised> {
            let digits = text.get(..count).filter(|d| d.chars().all(|c| c.is_digit(radix))).ok_or_else(wrong)?;
            Ok((u32::from_str_radix(digits, radix).map_err(|_| wrong())?, &text[count..]))
        };
        let (code, left) = match escape {
            'a' => (7, after),
            'b' => (8, after),
            'f' => (12, after),
            'n' => (10, after),
            'r' => (13, after),
            't' => (9, after),
            'v' => (11, after),
            '\\' | '\'' | '"' => (u32::from(escape), after),
            'u' => digits(after, 4, 16)?,
            'U' => digits(after, 8, 16)?,
            'x' | '0'..='7' => {
                // A byte, not a character.
                let (byte, left) = if escape == 'x' { digits(after, 2, 16)? } else { digits(&text[1..], 3, 8)? };
                out.push(u8::try_from(byte).map_err(|_| wrong())?);
                return Ok(left);
            }
            _ => return Err(wrong()),
        };
        let c = char::from_u32(code).ok_or_else(wrong)?;
        out.extend(c.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(left)
    }
}

/// The name that `text` begins with.
fn name(text: &str) -> &str {
    &text[..text.find(|c| !is_name(c)).unwrap_or(text.len())]
}

fn number<'s>(text: &str) -> Option<Token<'s>> {
    let plain: String = text.chars().filter(|&c| c != '_').collect();
    let (sign, digits) = match plain.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", plain.strip_prefix('+').unwrap_or(&plain)),
    };
    let lower = digits.to_ascii_lowercase();
    let whole = |radix: u32, digits: &str| {
        // A second sign would be read as one.
        let sound = digits.starts_with(|c: char| c.is_digit(radix));
        sound.then(|| i64::from_str_radix(&(sign.to_string() + digits), radix).ok()).flatten().map(Token::Int)
    };
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if let Some(rest) = lower.strip_prefix(prefix) {
            return whole(radix, rest);
        }
    }
    if lower.len() > 1 && lower.starts_with('0') && lower.bytes().all(|b| b.is_ascii_digit()) {
        return whole(8, &lower);
    }
    if let Some(token) = whole(10, &lower) {
        return Some(token);
    }
    let real = lower.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    real.then(|| plain.parse().ok()).flatten().filter(|number: &f64| number.is_finite()).map(Token::Float)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(source: &str) -> Result<Vec<Token<'_>>, Raised> {
        let mut lexer = Lexer::new(source);
        let mut out = Vec::new();
        loop {
            match lexer.next()?.token {
                Token::End => return Ok(out),
                token => out.push(token),
            }
        }
    }

    fn texts(source: &str) -> Vec<&str> {
        let text = |token| if let Token::Text(from, to) = token { Some(&source[from..to]) } else { None };
        tokens(source).unwrap().into_iter().filter_map(text).collect()
    }

    #[test]
    fn marks_trim_the_space_on_their_side() {
        assert_eq!(texts("a {{- . -}} \n b"), ["a", "b"]);
        assert_eq!(texts("a {{ . }} b"), ["a ", " b"]);
        assert_eq!(texts("a {{- . -}}\n{{- . -}} b "), ["a", "b "]);
        assert_eq!(texts("a {{-3}} b"), ["a ", " b"], "a minus is no mark");
    }

    #[test]
    fn comments_vanish_and_trim_too() {
        assert_eq!(texts("a {{/* x }} */}} b"), ["a ", " b"]);
        assert_eq!(texts("a {{- /* x */ -}} b"), ["a", "b"]);
        assert_eq!(tokens("{{/* x").unwrap_err().fault, Fault::Open("a comment"));
        assert_eq!(tokens("{{/* x */ y}}").unwrap_err().fault, Fault::Open("a comment"));
    }

    #[test]
    fn literals_are_those_of_go() {
        fn of(text: &str) -> Result<Token<'static>, Raised> {
            let source = format!("{{{{{text}}}}}");
            match tokens(&source)?.swap_remove(1) {
                Token::Int(number) => Ok(Token::Int(number)),
                Token::Float(number) => Ok(Token::Float(number)),
                Token::Str(text) => Ok(Token::Str(text)),
                other => panic!("{other:?} is no literal"),
            }
        }
        assert_eq!(of("\"a\\n\\u00e9\\x41\\101\\\"\""), Ok(Token::Str("a\n\u{e9}AA\"".into())));
        assert_eq!(of("`a\\n`"), Ok(Token::Str("a\\n".into())));
        assert_eq!(of("0x1F"), Ok(Token::Int(31)));
        assert_eq!(of("-1_000"), Ok(Token::Int(-1000)));
        assert_eq!(of("017"), Ok(Token::Int(15)));
        assert_eq!(of("1e3"), Ok(Token::Float(1000.0)));
        assert_eq!(of(".5"), Ok(Token::Float(0.5)));
        assert_eq!(of("'a'"), Ok(Token::Int(97)));
        for wrong in ["1x", "--1", "1e999", "\"\\q\"", "\"\\ud800\"", "\"\\xff\"", "'ab'", "-", "99999999999999999999x"]
        {
            assert!(matches!(of(wrong).unwrap_err().fault, Fault::Literal(_)), "{wrong}");
        }
    }

    #[test]
    fn what_is_not_closed_is_named() {
        assert_eq!(tokens("{{ .A").unwrap_err(), Raised::new(0, Fault::Open("an action")));
        assert_eq!(tokens("{{ \"a }}").unwrap_err(), Raised::new(3, Fault::Open("a text")));
        assert_eq!(tokens("{{ `a }}").unwrap_err(), Raised::new(3, Fault::Open("a text")));
    }
}
