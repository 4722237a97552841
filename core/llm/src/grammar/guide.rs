//! A grammar, or a course through several, at a sampler's side.

use alloc::{boxed::Box, sync::Arc};

use super::{
    Grammar, Machine, Mask, Vocabulary,
    course::{Course, Seen, Stage},
};
use crate::sample::Constraint;

/// Keeps the tokens of one answer to a course.
#[derive(Clone, Debug)]
pub struct Guide {
    course: Arc<Course>,
    vocabulary: Arc<Vocabulary>,
    place: Place,
    /// Tokens that may still come.
    left: u32,
    mask: Mask,
}

/// Where an answer is in its course.
#[derive(Clone, Debug)]
enum Place {
    Free {
        stage: usize,
        seen: Seen,
    },
    /// After so many of the stage's tokens.
    Tokens {
        stage: usize,
        done: usize,
    },
    Within {
        machine: Box<Machine>,
        then: Option<usize>,
    },
}

impl Guide {
    /// Before the first token of an answer that is all within a grammar.
    pub fn new(grammar: Arc<Grammar>, vocabulary: Arc<Vocabulary>) -> Self {
        Self::follow(Arc::new(Course::within(grammar)), vocabulary)
    }

    /// Before the first token.
    pub fn follow(course: Arc<Course>, vocabulary: Arc<Vocabulary>) -> Self {
        let place = Place::enter(&course, 0);
        Self { course, vocabulary, place, left: u32::MAX, mask: Mask::new() }
    }

    /// Says how many tokens may still come. What is within a grammar then ends within them, unless its end needs more
    /// bytes.
    pub fn limit(&mut self, tokens: usize) {
        self.left = u32::try_from(tokens).unwrap_or(u32::MAX);
        if let Place::Within { machine, .. } = &mut self.place {
            machine.limit(self.left);
        }
    }

    /// Takes a token in; `false` where it may not follow, and then nothing changes. The end of a generation
    /// changes nothing either.
    pub fn accept(&mut self, id: u32) -> bool {
        if self.vocabulary.is_end(id) {
            return self.may_end();
        }
        let piece = self.vocabulary.piece(id);
        let next = match &mut self.place {
            Place::Within { machine, then } => {
                if !machine.accept(piece) {
                    return false;
                }
                then.filter(|_| machine.is_done())
            }
            Place::Tokens { stage, done } => {
                let Stage::Tokens { ids, then } = self.course.stage(*stage) else { unreachable!("it was entered so") };
                if ids[*done] != id {
                    return false;
                }
                *done += 1;
                (*done == ids.len()).then_some(*then)
            }
            Place::Free { stage, seen } => {
                let Stage::Free { triggers, most, .. } = self.course.stage(*stage) else {
                    unreachable!("it was entered so")
                };
                if let Some((trigger, rest)) = seen.hit(triggers, piece) {
                    let rest = &piece[piece.len() - rest..];
                    let kept: &[u8] = if trigger.kept { &trigger.bytes } else { &[] };
                    let mut place = Place::enter(&self.course, trigger.then);
                    place.limit(self.left);
                    let Some(place) = place.begin(&self.course, kept, rest) else { return false };
                    self.place = place;
                    return true;
                }
                seen.push(triggers, piece);
                let over = |&(tokens, _): &(usize, usize)| seen.tokens >= tokens && seen.is_whole();
                most.filter(over).map(|(_, then)| then)
            }
        };
        if let Some(stage) = next {
            self.place = Place::enter(&self.course, stage);
            self.place.limit(self.left.saturating_sub(1));
        }
        true
    }

    /// Whether the answer may end here.
    fn may_end(&self) -> bool {
        match &self.place {
            Place::Within { machine, .. } => machine.may_end(),
            Place::Tokens { .. } => false,
            Place::Free { stage, .. } => matches!(self.course.stage(*stage), Stage::Free { ends: true, .. }),
        }
    }

    /// Whether nothing may follow.
    pub fn is_done(&self) -> bool {
        matches!(&self.place, Place::Within { machine, then: None } if machine.is_done())
    }
}

impl Place {
    fn enter(course: &Course, stage: usize) -> Self {
        match course.stage(stage) {
            Stage::Free { .. } => Self::Free { stage, seen: Seen::default() },
            Stage::Tokens { ids, then } if ids.is_empty() => Self::enter(course, *then),
            Stage::Tokens { .. } => Self::Tokens { stage, done: 0 },
            Stage::Within { grammar, then } => {
                Self::Within { machine: Box::new(Machine::new(grammar.clone())), then: *then }
            }
        }
    }

    fn limit(&mut self, left: u32) {
        if let Self::Within { machine, .. } = self {
            machine.limit(left);
        }
    }

    /// The place after bytes that belong to it; `None` where they may not stand there.
    fn begin(mut self, course: &Course, kept: &[u8], rest: &[u8]) -> Option<Self> {
        match &mut self {
            Self::Within { machine, then } => {
                // What was written already counts for nothing: it is the rest that must fit.
                for bytes in [kept, rest] {
                    if !bytes.is_empty() && !machine.accept(bytes) {
                        return None;
                    }
                }
                match then.filter(|_| machine.is_done()) {
                    Some(stage) => Some(Self::enter(course, stage)),
                    None => Some(self),
                }
            }
            // Words that are given come whole.
            Self::Tokens { .. } => rest.is_empty().then_some(self),
            Self::Free { stage, seen } => {
                let Stage::Free { triggers, .. } = course.stage(*stage) else { unreachable!("it was entered so") };
                if !rest.is_empty() {
                    seen.push(triggers, rest);
                }
                Some(self)
            }
        }
    }
}

impl Constraint for Guide {
    fn allows(&mut self, id: u32) -> bool {
        if self.vocabulary.is_end(id) {
            return self.may_end();
        }
        let piece = self.vocabulary.piece(id);
        match &mut self.place {
            Place::Within { machine, .. } => machine.allows(piece),
            Place::Tokens { stage, done } => {
                matches!(self.course.stage(*stage), Stage::Tokens { ids, .. } if ids[*done] == id)
            }
            Place::Free { stage, seen } => {
                let Stage::Free { triggers, .. } = self.course.stage(*stage) else { unreachable!("it was entered so") };
                let Some((trigger, rest)) = seen.hit(triggers, piece) else { return true };
                let kept: &[u8] = if trigger.kept { &trigger.bytes } else { &[] };
                let mut place = Place::enter(&self.course, trigger.then);
                place.limit(self.left);
                place.begin(&self.course, kept, &piece[piece.len() - rest..]).is_some()
            }
        }
    }

    fn restrict(&mut self, logits: &mut [f32]) {
        if let Place::Within { machine, .. } = &mut self.place {
            machine.mask(&self.vocabulary, &mut self.mask);
            self.mask.apply(logits);
            return;
        }
        for (id, logit) in logits.iter_mut().enumerate() {
            if !self.allows(id as u32) {
                *logit = f32::NEG_INFINITY;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::{vec, vec::Vec};

    use super::*;
    use crate::{
        grammar::{Expr, Rules, Trigger, control, json},
        sample::{Config, Sampler},
    };

    fn vocabulary(words: &[&str], controls: &[&str]) -> Arc<Vocabulary> {
        let pieces = words.iter().map(|word| word.as_bytes().to_vec());
        let pieces: Vec<Vec<u8>> = pieces.chain(controls.iter().map(|name| control(name))).collect();
        let end = pieces.len() as u32;
        Arc::new(Vocabulary::new(pieces.len() + 1, (0..end).zip(pieces), [end]))
    }

    fn grammar(expr: Expr) -> Arc<Grammar> {
        let mut rules = Rules::new();
        let root = rules.add("root", expr);
        Arc::new(rules.compile(root).unwrap())
    }

    fn allowed(guide: &mut Guide) -> Vec<u32> {
        (0..guide.vocabulary.len() as u32).filter(|&id| guide.allows(id)).collect()
    }

    #[test]
    fn text_is_free_until_a_call_begins_and_then_within_its_grammar() {
        let vocabulary = vocabulary(&["a", "<", "call>", "x", "y", "call>x", "call>y"], &["z"]);
        let calls = grammar(Expr::Seq(vec![Expr::text("<call>x"), Expr::Bytes(control("z"))]));
        let trigger = Trigger { bytes: b"<call>".to_vec(), first: false, kept: true, then: 1 };
        let course = Course::new(vec![
            Stage::Free { triggers: vec![trigger], most: None, ends: true },
            Stage::Within { grammar: calls, then: Some(0) },
        ]);
        let mut guide = Guide::follow(Arc::new(course), vocabulary);
        assert_eq!(allowed(&mut guide), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert!(guide.accept(1));
        // A token that runs into the call must go on as the call may.
        assert_eq!(allowed(&mut guide), [0, 1, 2, 3, 4, 5, 7, 8]);
        assert!(!guide.accept(6));
        let mut logits = [0.0; 9];
        guide.restrict(&mut logits);
        assert!(logits[6] == f32::NEG_INFINITY && logits[5] == 0.0);
        assert!(guide.accept(2));
        assert_eq!(allowed(&mut guide), [3]);
        assert!(guide.accept(3));
        assert_eq!(allowed(&mut guide), [7], "the token, and no text of its name");
        assert!(guide.accept(7));
        assert_eq!(allowed(&mut guide).len(), 9, "free again");
        assert!(guide.accept(8) && !guide.is_done());
    }

    #[test]
    fn thoughts_that_take_too_long_are_closed() {
        let vocabulary = vocabulary(&["a", "\u{e9}", "</think>", "\n", "1", "\u{20ac}"], &[]);
        let course = Course::new(vec![
            Stage::Free {
                triggers: vec![Trigger { bytes: b"</think>".to_vec(), first: false, kept: false, then: 2 }],
                most: Some((3, 1)),
                ends: false,
            },
            Stage::Tokens { ids: vec![2], then: 2 },
            Stage::Tokens { ids: vec![3], then: 3 },
            Stage::Within { grammar: grammar(Expr::text("1")), then: None },
        ]);
        let course = Arc::new(course);
        for thoughts in [&[0, 1, 0, 2][..], &[0, 2], &[2]] {
            let mut guide = Guide::follow(course.clone(), vocabulary.clone());
            for id in thoughts {
                assert!(!guide.allows(6), "thoughts are not the end");
                assert!(guide.accept(*id));
            }
            assert_eq!(allowed(&mut guide), [3], "{thoughts:?}");
            assert!(guide.accept(3));
            assert_eq!(allowed(&mut guide), [4]);
            assert!(guide.accept(4) && guide.is_done());
        }
        let mut guide = Guide::follow(course, vocabulary);
        assert!([0, 0, 0].iter().all(|&id| guide.accept(id)));
        assert_eq!(allowed(&mut guide), [2]);
        assert!(!guide.accept(0));
    }

    #[test]
    fn a_trigger_that_counts_at_the_beginning_counts_nowhere_else() {
        let vocabulary = vocabulary(&["a", " ", "{", "}"], &[]);
        let trigger = Trigger { bytes: b"{".to_vec(), first: true, kept: true, then: 1 };
        let course = Arc::new(Course::new(vec![
            Stage::Free { triggers: vec![trigger], most: None, ends: true },
            Stage::Within { grammar: grammar(Expr::text("{}")), then: None },
        ]));
        let mut guide = Guide::follow(course.clone(), vocabulary.clone());
        assert!([1, 2].iter().all(|&id| guide.accept(id)));
        assert_eq!(allowed(&mut guide), [3]);
        let mut guide = Guide::follow(course, vocabulary);
        assert!([1, 0, 2].iter().all(|&id| guide.accept(id)));
        assert_eq!(allowed(&mut guide).len(), 5);
    }

    #[test]
    fn whatever_a_model_wants_the_answer_is_json_within_its_tokens() {
        let words = ["{", "}", "\"", ":", "[", "]", ",", "1", "a", "the ", "\"a\":", "}}", "[[", " ", "<end>"];
        let pieces = words.iter().enumerate().take(words.len() - 1).map(|(id, word)| (id as u32, word));
        let vocabulary = Arc::new(Vocabulary::new(words.len(), pieces, [words.len() as u32 - 1]));
        let grammar = Arc::new(json::object());
        for seed in 0..200 {
            let mut guide = Guide::new(grammar.clone(), vocabulary.clone());
            let config = Config { temperature: 1.5, top_k: 0, top_p: 1.0, seed, ..Config::default() };
            let mut sampler = Sampler::new(config).unwrap();
            let mut text = alloc::vec::Vec::new();
            let mut left = 30;
            while !guide.is_done() {
                guide.limit(left);
                // It wants to say `the` before all else.
                let mut logits: [f32; 15] = core::array::from_fn(|id| if id == 9 { 3.0 } else { 0.0 });
                let id = sampler.sample_within(&mut logits, &mut guide);
                assert!(guide.accept(id));
                text.extend_from_slice(vocabulary.piece(id));
                left -= 1;
            }
            assert!(serde_json::from_slice::<serde_json::Value>(&text).is_ok());
        }
    }
}
