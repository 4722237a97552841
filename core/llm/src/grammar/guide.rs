//! A grammar at a sampler's side.

use alloc::sync::Arc;

use super::{Grammar, Machine, Mask, Vocabulary};
use crate::sample::Constraint;

/// Keeps the tokens of one answer within a grammar.
#[derive(Clone, Debug)]
pub struct Guide {
    machine: Machine,
    vocabulary: Arc<Vocabulary>,
    mask: Mask,
}

impl Guide {
    /// Before the first token.
    pub fn new(grammar: Arc<Grammar>, vocabulary: Arc<Vocabulary>) -> Self {
        Self { machine: Machine::new(grammar), vocabulary, mask: Mask::new() }
    }

    /// The machine that follows the grammar.
    pub fn machine(&mut self) -> &mut Machine {
        &mut self.machine
    }

    /// Says how many tokens may still come; the answer then ends within them, unless its end needs more bytes.
    pub fn limit(&mut self, tokens: usize) {
        self.machine.limit(u32::try_from(tokens).unwrap_or(u32::MAX));
    }

    /// Takes a token in; `false` where it may not follow, and then nothing changes. The end of a generation
    /// changes nothing either.
    pub fn accept(&mut self, id: u32) -> bool {
        if self.vocabulary.is_end(id) { self.machine.may_end() } else { self.machine.accept(self.vocabulary.piece(id)) }
    }

    /// Whether nothing may follow.
    pub fn is_done(&self) -> bool {
        self.machine.is_done()
    }
}

impl Constraint for Guide {
    fn allows(&mut self, id: u32) -> bool {
        if self.vocabulary.is_end(id) { self.machine.may_end() } else { self.machine.allows(self.vocabulary.piece(id)) }
    }

    fn restrict(&mut self, logits: &mut [f32]) {
        self.machine.mask(&self.vocabulary, &mut self.mask);
        self.mask.apply(logits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        grammar::json,
        sample::{Config, Sampler},
    };

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
