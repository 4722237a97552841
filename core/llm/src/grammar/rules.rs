//! A grammar as it is written down: named rules of expressions over characters.

use alloc::{
    borrow::ToOwned,
    boxed::Box,
    string::{String, ToString},
    vec,
    vec::Vec,
};

use super::{Chars, Error, Grammar};

/// What a rule stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expr {
    /// These bytes.
    Bytes(Vec<u8>),
    /// One character of a set.
    Chars(Chars),
    /// One after the other; none for the empty text.
    Seq(Vec<Expr>),
    /// One of them; none for what cannot be.
    Alt(Vec<Expr>),
    /// From so many times to so many, without end where the last is `None`.
    Repeat(Box<Expr>, u32, Option<u32>),
    /// What another rule stands for.
    Rule(usize),
    /// The same, one level deeper: how deep levels may lie in each other is limited.
    Level(Box<Expr>),
}

impl Expr {
    /// The empty text.
    pub fn empty() -> Self {
        Self::Seq(Vec::new())
    }

    /// These characters, in this order.
    pub fn text(text: &str) -> Self {
        Self::Bytes(text.as_bytes().to_vec())
    }

    /// One of the characters of `text`.
    pub fn one_of(text: &str) -> Self {
        Self::Chars(Chars::of(text))
    }

    /// One of the characters from `from` to `to`.
    pub fn range(from: char, to: char) -> Self {
        Self::Chars(Chars::ranges([(from as u32, to as u32)]))
    }

    /// Once or not at all.
    pub fn optional(self) -> Self {
        self.repeated(0, Some(1))
    }

    /// From `min` to `max` times.
    pub fn repeated(self, min: u32, max: Option<u32>) -> Self {
        Self::Repeat(Box::new(self), min, max)
    }

    /// The same, where all rules have moved so far.
    fn moved(self, by: usize) -> Self {
        let all = |list: Vec<Self>| list.into_iter().map(|expr| expr.moved(by)).collect();
        match self {
            Self::Bytes(_) | Self::Chars(_) => self,
            Self::Seq(list) => Self::Seq(all(list)),
            Self::Alt(list) => Self::Alt(all(list)),
            Self::Repeat(inner, min, max) => Self::Repeat(Box::new(inner.moved(by)), min, max),
            Self::Rule(rule) => Self::Rule(rule + by),
            Self::Level(inner) => Self::Level(Box::new(inner.moved(by))),
        }
    }

    /// How many parts it has.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Bytes(bytes) => 1 + bytes.len(),
            Self::Chars(set) => 1 + set.as_ranges().len(),
            Self::Seq(list) | Self::Alt(list) => 1 + list.iter().map(Self::size).sum::<usize>(),
            Self::Repeat(inner, ..) | Self::Level(inner) => 1 + inner.size(),
            Self::Rule(_) => 1,
        }
    }

    /// Calls `visit` with every rule that it names.
    pub(super) fn rules(&self, visit: &mut dyn FnMut(usize)) {
        match self {
            Self::Bytes(_) | Self::Chars(_) => {}
            Self::Seq(list) | Self::Alt(list) => list.iter().for_each(|expr| expr.rules(visit)),
            Self::Repeat(inner, ..) | Self::Level(inner) => inner.rules(visit),
            Self::Rule(rule) => visit(*rule),
        }
    }

    /// Whether it may be the empty text.
    pub(super) fn is_nullable(&self, rules: &[bool]) -> bool {
        match self {
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::Chars(_) => false,
            Self::Seq(list) => list.iter().all(|expr| expr.is_nullable(rules)),
            Self::Alt(list) => list.iter().any(|expr| expr.is_nullable(rules)),
            Self::Repeat(inner, min, _) => *min == 0 || inner.is_nullable(rules),
            Self::Level(inner) => inner.is_nullable(rules),
            Self::Rule(rule) => rules[*rule],
        }
    }
}

/// Bytes that `Alt` chooses among, folded where they begin alike: a long list of words costs no more to follow than
/// one word.
pub fn words(mut words: Vec<Vec<u8>>) -> Expr {
    words.sort_unstable();
    words.dedup();
    fold(&words, 0, 0)
}

/// Folds inside each other at most: whoever reads an expression goes down into it.
const FOLDS_MAX: usize = 100;

/// The rest of `words`, which are sorted and alike up to `at`, from there on.
fn fold(words: &[Vec<u8>], at: usize, depth: usize) -> Expr {
    let [first, .., last] = words else {
        return Expr::Bytes(words.first().map(|word| word[at..].to_vec()).unwrap_or_default());
    };
    if depth == FOLDS_MAX {
        return Expr::Alt(words.iter().map(|word| Expr::Bytes(word[at..].to_vec())).collect());
    }
    let common = first[at..].iter().zip(&last[at..]).take_while(|(a, b)| a == b).count();
    let split = at + common;
    let mut branches = Vec::new();
    // Sorted: whoever ends here is the first.
    let rest = if first.len() == split {
        branches.push(Expr::empty());
        &words[1..]
    } else {
        words
    };
    for group in rest.chunk_by(|a, b| a[split] == b[split]) {
        branches.push(fold(group, split, depth + 1));
    }
    let choice = if branches.len() == 1 { branches.remove(0) } else { Expr::Alt(branches) };
    if common == 0 { choice } else { Expr::Seq(vec![Expr::Bytes(first[at..split].to_vec()), choice]) }
}

/// Rules in the making.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    names: Vec<String>,
    bodies: Vec<Option<Expr>>,
}

impl Rules {
    /// No rule yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A rule whose body comes later, by [`Self::set`].
    pub fn declare(&mut self, name: &str) -> usize {
        self.names.push(name.to_owned());
        self.bodies.push(None);
        self.names.len() - 1
    }

    /// A rule with its body.
    pub fn add(&mut self, name: &str, body: Expr) -> usize {
        let rule = self.declare(name);
        self.bodies[rule] = Some(body);
        rule
    }

    /// Gives a declared rule its body.
    pub fn set(&mut self, rule: usize, body: Expr) {
        self.bodies[rule] = Some(body);
    }

    /// Takes in the rules of another grammar; what its rule `root` is called here.
    pub fn include(&mut self, other: Self, root: usize) -> usize {
        let by = self.names.len();
        self.names.extend(other.names);
        self.bodies.extend(other.bodies.into_iter().map(|body| body.map(|body| body.moved(by))));
        root + by
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Makes a grammar that begins with the rule `root`.
    ///
    /// # Errors
    /// A rule without a body, with a call of itself before any character, or that can never end; too many of them.
    pub fn compile(self, root: usize) -> Result<Grammar, Error> {
        let mut bodies = Vec::with_capacity(self.bodies.len());
        for (name, body) in self.names.iter().zip(self.bodies) {
            bodies.push(body.ok_or_else(|| Error::Undefined(name.to_string()))?);
        }
        Grammar::compile(&self.names, &bodies, root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_folded_where_they_begin_alike() {
        let list = ["b", "abc", "abd", "ab", "b"].map(|word| word.as_bytes().to_vec());
        let tail = Expr::Alt(vec![Expr::empty(), Expr::text("c"), Expr::text("d")]);
        let folded = Expr::Alt(vec![Expr::Seq(vec![Expr::text("ab"), tail]), Expr::text("b")]);
        assert_eq!(words(list.into()), folded);
        assert_eq!(words(vec![b"x".to_vec()]), Expr::text("x"));
    }
}
