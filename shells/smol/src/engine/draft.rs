//! A small model that guesses what a large one will say.
//!
//! It writes greedily; the large model computes all guesses in one step and keeps those that it would have written.

use tutu_llm::{
    backend::{Backend, Batch, PAGE, Token},
    batch::Id,
    sample,
};

/// Tokens that are guessed at most.
const MOST: usize = 6;

/// The small model. It follows one text; when another asks, it begins anew.
pub struct Draft {
    backend: Box<dyn Backend + Send>,
    table: Vec<u32>,
    /// Whose text is in the cache, and what of it.
    text: Option<Id>,
    cached: Vec<u32>,
    logits: Vec<f32>,
}

impl Draft {
    /// Guesses with a backend whose plan has the same vocabulary as the large model's.
    pub fn new(backend: Box<dyn Backend + Send>) -> Self {
        let table = (0..backend.pages() as u32).collect();
        Self { backend, table, text: None, cached: Vec::new(), logits: Vec::new() }
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
            (self.text, self.cached) = (Some(id), Vec::new());
        }
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
            let id = sample::best(&self.logits);
            guess.push(id);
            next = vec![id];
        }
        guess
    }

    /// Computes tokens after what is cached, with the logits of the last.
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
        let batch = Batch { tokens: &tokens, tables: &[&self.table[..pages]] };
        self.backend.step(&batch, &mut self.logits).ok()?;
        self.cached.extend_from_slice(ids);
        Some(())
    }
}
