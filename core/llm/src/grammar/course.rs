//! The stages of an answer: some free, some within a grammar, some given word for word.
//!
//! Thoughts are free until they are closed, or closed when they took too long; text is free until a call begins, and
//! the call is within the grammar of the tools.

use alloc::{sync::Arc, vec, vec::Vec};

use super::Grammar;

/// Stages, by number; an answer begins with the first.
#[derive(Clone, Debug)]
pub struct Course {
    stages: Vec<Stage>,
}

/// A part of an answer.
#[derive(Clone, Debug)]
pub enum Stage {
    /// Anything, until something that leads elsewhere was written.
    Free {
        /// What leads elsewhere.
        triggers: Vec<Trigger>,
        /// After so many tokens, this stage.
        most: Option<(usize, usize)>,
        /// Whether the answer may end in it.
        ends: bool,
    },
    /// These tokens.
    Tokens {
        /// Their ids.
        ids: Vec<u32>,
        /// The stage after them.
        then: usize,
    },
    /// What a grammar takes.
    Within {
        /// The grammar.
        grammar: Arc<Grammar>,
        /// The stage after it; the answer ends where there is none.
        then: Option<usize>,
    },
}

/// Bytes that lead to another stage as soon as they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// The bytes; of a control token, what [`super::control`] makes of its name.
    pub bytes: Vec<u8>,
    /// Whether they count only where nothing but white space came before.
    pub first: bool,
    /// Whether they belong to the next stage, too.
    pub kept: bool,
    /// The next stage.
    pub then: usize,
}

impl Course {
    /// These stages.
    ///
    /// # Panics
    /// Where a stage leads to one that is not there, or a trigger is empty.
    pub fn new(stages: Vec<Stage>) -> Self {
        let known = |stage: usize| assert!(stage < stages.len(), "stages lead to stages");
        assert!(!stages.is_empty(), "an answer begins somewhere");
        for stage in &stages {
            match stage {
                Stage::Free { triggers, most, .. } => {
                    triggers.iter().for_each(|trigger| {
                        assert!(!trigger.bytes.is_empty(), "nothing is always there");
                        known(trigger.then);
                    });
                    most.iter().for_each(|&(_, then)| known(then));
                }
                Stage::Tokens { then, .. } => known(*then),
                Stage::Within { then, .. } => then.iter().for_each(|&then| known(then)),
            }
        }
        Self { stages }
    }

    /// All of the answer within a grammar.
    pub fn within(grammar: Arc<Grammar>) -> Self {
        Self::new(vec![Stage::Within { grammar, then: None }])
    }

    /// A stage by its number.
    pub(super) fn stage(&self, stage: usize) -> &Stage {
        &self.stages[stage]
    }
}

/// What was written in a free stage, as far as triggers look at it.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// The last bytes: enough for a trigger that is not complete.
    tail: Vec<u8>,
    /// Whether only white space came.
    text: bool,
    /// What came, while it may yet begin with a trigger.
    head: Vec<u8>,
    /// How many tokens.
    pub(super) tokens: usize,
}

impl Seen {
    /// The first trigger that `piece` completes, and how many of its bytes come after it.
    pub(super) fn hit<'t>(&self, triggers: &'t [Trigger], piece: &[u8]) -> Option<(&'t Trigger, usize)> {
        let all = [&self.tail, piece].concat();
        let head = (!self.text).then(|| [&self.head, piece].concat());
        let mut best: Option<(&Trigger, usize)> = None;
        for trigger in triggers {
            let (text, at) = match (&head, trigger.first) {
                (None, true) => continue,
                (Some(head), true) => {
                    let spaces = head.len() - head.trim_ascii_start().len();
                    (head, head[spaces..].starts_with(&trigger.bytes).then_some(spaces))
                }
                (_, false) => (&all, all.windows(trigger.bytes.len()).position(|part| part == trigger.bytes)),
            };
            let Some(at) = at else { continue };
            let rest = text.len() - at - trigger.bytes.len();
            // What ended before this piece was seen before; what ends first wins.
            if rest < piece.len() && best.is_none_or(|(_, least)| rest > least) {
                best = Some((trigger, rest));
            }
        }
        best
    }

    /// Takes a token's bytes in.
    pub(super) fn push(&mut self, triggers: &[Trigger], piece: &[u8]) {
        self.tokens += 1;
        self.tail.extend_from_slice(piece);
        let longest = triggers.iter().map(|trigger| trigger.bytes.len()).max().unwrap_or(0);
        // Three bytes more than triggers need: a character that is not complete.
        let surplus = self.tail.len().saturating_sub(longest.max(4));
        self.tail.drain(..surplus);
        if !self.text {
            self.head.extend_from_slice(piece);
            let begun = self.head.trim_ascii_start();
            let open = |trigger: &Trigger| trigger.first && trigger.bytes.starts_with(begun);
            self.text = !begun.is_empty() && !triggers.iter().any(open);
        }
    }

    /// Whether the last character is complete.
    pub(super) fn is_whole(&self) -> bool {
        let continued = self.tail.iter().rev().take_while(|&&byte| byte & 0xc0 == 0x80).count();
        let lead = self.tail.len().checked_sub(continued + 1).map_or(0, |at| self.tail[at]);
        let wanted = match lead {
            0xc2..=0xdf => 1,
            0xe0..=0xef => 2,
            0xf0..=0xf4 => 3,
            _ => 0,
        };
        continued >= wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trigger(text: &str, first: bool, then: usize) -> Trigger {
        Trigger { bytes: text.into(), first, kept: false, then }
    }

    #[test]
    fn a_trigger_is_seen_across_tokens_and_only_once() {
        let triggers = [trigger("<call>", false, 1), trigger("{", true, 2)];
        let mut seen = Seen::default();
        let mut hits = Vec::new();
        for piece in [" ", "a{", "<ca", "ll", "x<call", ">{", "b"] {
            hits.push(seen.hit(&triggers, piece.as_bytes()).map(|(trigger, rest)| (trigger.then, rest)));
            seen.push(&triggers, piece.as_bytes());
        }
        assert_eq!(hits, [None, None, None, None, None, Some((1, 1)), None]);
        let seen = Seen::default();
        assert_eq!(seen.hit(&triggers, b" \n{\"a").map(|(trigger, rest)| (trigger.then, rest)), Some((2, 2)));
    }

    #[test]
    fn a_character_is_whole_or_not() {
        let mut seen = Seen::default();
        for (piece, whole) in [(&b"a"[..], true), (b"\xf0\x9f", false), (b"\x98", false), (b"\x80", true)] {
            seen.push(&[], piece);
            assert_eq!(seen.is_whole(), whole);
        }
    }
}
