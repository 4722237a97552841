//! A small model that guesses what a large one will say.
//!
//! It writes greedily; the large model computes all guesses in one step and keeps those that it would have written.

use std::path::PathBuf;

use tutu_llm::{
    backend::{Backend, Batch, PAGE, Token},
    batch::Id,
    sample::Candidate,
};

/// Tokens that are guessed at most.
const MOST: usize = 6;

/// How often others may ask in vain before the text that is followed counts as gone.
const PATIENCE: usize = 8;

/// The small model. It follows one text as long as that one asks: to go to and fro between texts would mean to read both
/// again each time.
pub struct Draft {
    /// Its files.
    pub files: Vec<PathBuf>,
    /// What it may take in memory.
    pub bytes: u64,
    /// Whether it guesses for all texts, not only for those that name it.
    pub(super) always: bool,
    backend: Box<dyn Backend + Send>,
    table: Vec<u32>,
    /// Whose text is in the cache, and what of it.
    text: Option<Id>,
    cached: Vec<u32>,
    /// How often others asked since it did.
    others: usize,
    best: Vec<Vec<Candidate>>,
}

impl Draft {
    /// Guesses with a backend whose plan has the same vocabulary as the large model's.
    pub fn new(backend: Box<dyn Backend + Send>) -> Self {
        let table = (0..backend.pages() as u32).collect();
        Self {
            files: Vec::new(),
            bytes: 0,
            always: false,
            backend,
            table,
            text: None,
            cached: Vec::new(),
            others: 0,
            best: Vec::new(),
        }
    }

    /// The same, from these files, taking so many bytes.
    pub(super) fn of(mut self, files: &[PathBuf], bytes: u64) -> Self {
        (self.files, self.bytes) = (files.to_vec(), bytes);
        self
    }

    /// The same, guessing for all texts.
    pub(super) fn for_all(mut self) -> Self {
        self.always = true;
        self
    }

    /// What may follow `tokens`; nothing where the text is too long for this model, or its device failed: guesses
    /// are never needed.
    pub fn guess(&mut self, id: Id, tokens: &[u32], most: usize) -> Vec<u32> {
        let most = most.min(MOST);
        let room = self.table.len() * PAGE;
        if most == 0 || tokens.is_empty() || tokens.len() + most > room {
            return Vec::new();
        }
        if self.text != Some(id) {
            self.others += 1;
            if self.text.is_some() && self.others <= PATIENCE {
                return Vec::new();
            }
            (self.text, self.cached) = (Some(id), Vec::new());
        }
        self.others = 0;
        let same = self.cached.iter().zip(tokens).take_while(|(a, b)| a == b).count();
        self.cached.truncate(same.min(tokens.len() - 1));
        let mut guess = Vec::new();
        let mut next: Vec<u32> = tokens[self.cached.len()..].to_vec();
        while guess.len() < most {
            for chunk in next.chunks(self.backend.tokens_max()) {
                if self.compute(chunk).is_none() {
                    self.cached.clear();
                    return Vec::new();
                }
            }
            let Some(id) = self.best.first().and_then(|row| row.first()).map(|best| best.id) else { break };
            guess.push(id);
            next = vec![id];
        }
        guess
    }

    /// Computes tokens after what is cached, with what the last guesses.
    fn compute(&mut self, ids: &[u32]) -> Option<()> {
        let first = self.cached.len();
        let token = |(i, &id): (usize, &u32)| Token {
            id,
            position: (first + i) as u32,
            sequence: 0,
            output: i + 1 == ids.len(),
        };
        let tokens: Vec<Token> = ids.iter().enumerate().map(token).collect();
        let pages = (first + ids.len()).div_ceil(PAGE);
        let tables = [&self.table[..pages]];
        let batch = Batch::new(&tokens, &tables);
        self.backend.step_best(&batch, 1, &mut self.best).ok()?;
        self.cached.extend_from_slice(ids);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use tutu_llm::backend::Fault;

    use super::*;

    /// Always says the next number, and counts what it computed.
    struct Counter(usize);

    impl Backend for Counter {
        fn tokens_max(&self) -> usize {
            16
        }
        fn pages(&self) -> usize {
            4
        }
        fn step(&mut self, batch: &Batch<'_>, out: &mut Vec<f32>) -> Result<(), Fault> {
            self.0 += batch.tokens.len();
            assert!(self.0 < 200, "it reads the same again and again");
            let wanted = batch.tokens.iter().filter(|token| token.output);
            *out = wanted.flat_map(|token| (0..100).map(|i| if i == token.id + 1 { 1.0 } else { 0.0 })).collect();
            Ok(())
        }
        fn states(&mut self, batch: &Batch<'_>, out: &mut Vec<f32>) -> Result<(), Fault> {
            self.step(batch, out)
        }
    }

    #[test]
    fn it_stays_with_a_text_until_that_one_is_gone() {
        let mut draft = Draft::new(Box::new(Counter(0)));
        let text: Vec<u32> = (0..40).collect();
        assert_eq!(draft.guess(Id(1), &text, 3), [40, 41, 42]);
        for _ in 0..20 {
            assert!(draft.guess(Id(2), &text, 3).is_empty());
            assert_eq!(draft.guess(Id(1), &text, 1), [40]);
        }
        let asked = (0..20).position(|_| !draft.guess(Id(2), &text, 3).is_empty());
        assert_eq!(asked, Some(PATIENCE));
    }
}
