//! How probable a text is that is there already.

use tutu_llm::{
    backend::{Batch, PAGE, Token},
    sample,
};

use super::{Adapter, Engine, Error, Scored};

/// Tokens of a step: each has the logits of a whole vocabulary.
const EACH: usize = 32;

impl Engine {
    /// Each token of a text with its probability after those before it, and the `top` best ones in its place. The first
    /// has nothing before it: its logarithm is 0, and there are no best ones.
    ///
    /// # Errors
    /// [`Error::TooLong`], a device that failed.
    pub fn score(&mut self, ids: &[u32], top: usize, adapters: &[Adapter]) -> Result<Vec<Scored>, Error> {
        if !self.cached {
            return Err(Error::Use("it makes embeddings and no text"));
        }
        let too_long = Error::TooLong { tokens: ids.len(), context: self.context() };
        if ids.len() > self.context() {
            return Err(too_long);
        }
        let mix = self.attach(adapters)?;
        let table = self.batcher.lend(ids.len().div_ceil(PAGE)).ok_or(too_long)?;
        let scored = self.again_where_moved(|engine| engine.score_on(ids, top, &mix.shares, &table));
        self.batcher.take_back(table);
        scored
    }

    fn score_on(&mut self, ids: &[u32], top: usize, shares: &[f32], table: &[u32]) -> Result<Vec<Scored>, Error> {
        let each = self.backend.tokens_max().min(EACH);
        let width = self.facts().vocabulary;
        let first = ids.first().map(|id| Scored { bytes: self.tokenizer().piece(*id).to_vec(), ..Scored::default() });
        let (mut scored, mut logits) = (Vec::from_iter(first), Vec::new());
        for (part, chunk) in ids.chunks(each).enumerate() {
            let token = |(i, &id): (usize, &u32)| {
                let position = (part * each + i) as u32;
                Token { id, position, sequence: 0, output: true }
            };
            let tokens: Vec<Token> = chunk.iter().enumerate().map(token).collect();
            let batch = Batch { tokens: &tokens, tables: &[table], shares: &[shares] };
            self.backend.step(&batch, &mut logits).map_err(Error::Fault)?;
            let after = ids[part * each..].iter().skip(1);
            for (row, &id) in logits.chunks_exact(width).zip(after) {
                let (logprob, best) = sample::logprobs(row, id, top);
                let bytes = |id| self.tokenizer().piece(id).to_vec();
                let top = best.into_iter().map(|(id, logprob)| (bytes(id), logprob)).collect();
                scored.push(Scored { bytes: bytes(id), logprob, top });
            }
        }
        Ok(scored)
    }
}
