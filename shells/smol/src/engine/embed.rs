//! Texts as vectors: what a model makes of them before it would say anything.

use tutu_llm::{
    arch::Pooling,
    backend::{Batch, PAGE, Token},
    embed::pool,
    token::Special,
};

use super::{Adapter, Engine, Error};

impl Engine {
    /// The vector of a text, of unit length: the mean of its hidden states, or what the file asks for.
    ///
    /// # Errors
    /// As [`Self::vectors`].
    pub fn embed(&mut self, text: &str) -> Result<Vec<f32>, Error> {
        let mut ids = Vec::new();
        self.tokenizer().encode(text, Special::Text, &mut ids);
        self.tokenizer().add_special(&mut ids);
        Ok(self.vectors(&[ids], &[])?.remove(0))
    }

    /// The vectors of texts that are token ids already, marks among them. It computes all of them at once: whoever
    /// shares the model gives it few at a time. All take the same adapters.
    ///
    /// # Errors
    /// [`Error::TooLong`] and [`Error::Use`] for a text without tokens; then nothing was computed.
    pub fn vectors(&mut self, texts: &[Vec<u32>], adapters: &[Adapter]) -> Result<Vec<Vec<f32>>, Error> {
        let context = self.context();
        for ids in texts {
            if ids.len() > context {
                return Err(Error::TooLong { tokens: ids.len(), context });
            }
            if ids.is_empty() {
                return Err(Error::Use("a text without tokens has no vector; give it a text"));
            }
        }
        let mix = self.attach(adapters)?;
        let vectors = self.again_where_moved(|engine| {
            if engine.cached {
                texts.iter().map(|ids| engine.vector(ids, &mix.shares)).collect()
            } else {
                engine.vectors_whole(texts, &mix.shares)
            }
        });
        // As with answers: a file that was cut while it was read gives zeros.
        if self.files.iter().all(|file| file.is_intact()) { vectors } else { Err(Error::Changed) }
    }

    fn pooling(&self) -> Pooling {
        self.facts().pooling.unwrap_or(Pooling::Mean)
    }

    /// One text, piece by piece, on pages that are lent for it.
    fn vector(&mut self, ids: &[u32], shares: &[f32]) -> Result<Vec<f32>, Error> {
        let count = ids.len().div_ceil(PAGE);
        let all = self.batcher.pages().1 * PAGE;
        let table = self.batcher.lend(count).ok_or(Error::TooLong { tokens: ids.len(), context: all })?;
        let vector = self.vector_on(ids, shares, &table);
        self.batcher.take_back(table);
        vector
    }

    fn vector_on(&mut self, ids: &[u32], shares: &[f32], table: &[u32]) -> Result<Vec<f32>, Error> {
        let (pooling, width) = (self.pooling(), self.facts().embedding);
        let wanted = |at: usize| match pooling {
            Pooling::First => at == 0,
            Pooling::Last => at + 1 == ids.len(),
            Pooling::Mean => true,
        };
        let each = self.backend.tokens_max();
        let (mut sum, mut states) = (vec![0.0; width], Vec::new());
        for (part, chunk) in ids.chunks(each).enumerate() {
            let token = |(i, &id): (usize, &u32)| {
                let at = part * each + i;
                Token { id, position: at as u32, sequence: 0, output: wanted(at) }
            };
            let tokens: Vec<Token> = chunk.iter().enumerate().map(token).collect();
            let batch = Batch { tokens: &tokens, tables: &[table], shares: &[shares] };
            self.backend.states(&batch, &mut states).map_err(Error::Fault)?;
            for row in states.chunks_exact(width) {
                sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
            }
        }
        // Of one row, or of the sum of all, only the direction is left.
        Ok(pool(Pooling::Mean, &sum, width))
    }

    /// Texts of a model that sees each as a whole: as many in a step as it takes.
    fn vectors_whole(&mut self, texts: &[Vec<u32>], shares: &[f32]) -> Result<Vec<Vec<f32>>, Error> {
        let (pooling, width, most) = (self.pooling(), self.facts().embedding, self.backend.tokens_max());
        let (mut vectors, mut states) = (Vec::new(), Vec::new());
        let mut rest = texts;
        while !rest.is_empty() {
            let mut room = most;
            let fits = |ids: &&Vec<u32>| {
                let fits = ids.len() <= room;
                room = room.saturating_sub(ids.len());
                fits
            };
            let (group, after) = rest.split_at(rest.iter().take_while(fits).count().max(1));
            let mut tokens = Vec::new();
            for (sequence, ids) in group.iter().enumerate() {
                tokens.extend(ids.iter().enumerate().map(|(i, &id)| Token {
                    id,
                    position: i as u32,
                    sequence: sequence as u32,
                    output: true,
                }));
            }
            let tables: Vec<&[u32]> = vec![&[]; group.len()];
            let shares = vec![shares; group.len()];
            let batch = Batch { tokens: &tokens, tables: &tables, shares: &shares };
            self.backend.states(&batch, &mut states).map_err(Error::Fault)?;
            let mut states = states.as_slice();
            for ids in group {
                let (own, others) = states.split_at(ids.len() * width);
                vectors.push(pool(pooling, own, width));
                states = others;
            }
            rest = after;
        }
        Ok(vectors)
    }
}
