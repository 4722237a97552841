//! Texts as vectors, whichever the API.

use std::{sync::Arc, time::Duration};

use tutu_llm::token::Special;

use super::{Daemon, Error, Hearing, Named};
use crate::{
    engine::{self, Card},
    talk::{self, Dropped, Overflow},
};

/// Tokens that are computed before others have their turn.
const TURN: usize = 512;

/// A text that is to become a vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    /// As words. Names of control tokens in it are text.
    Words(String),
    /// As tokens, which must be below the size of the vocabulary.
    Tokens(Vec<u32>),
}

/// Vectors, each one long.
#[derive(Clone, Debug)]
pub struct Embedded {
    /// One for each text, in order.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens of each text, marks among them.
    pub tokens: Vec<usize>,
    /// What did not fit.
    pub dropped: Dropped,
    /// How long the model took to open, where it was opened for this.
    pub load: Duration,
}

impl Daemon {
    /// Makes vectors of texts. Any model can: what is no embedding model gives the mean of its last hidden states.
    ///
    /// # Errors
    /// [`Error`]; a text that is too long, unless what does not fit may be left out.
    pub async fn embed(
        &self,
        named: &Arc<Named>,
        hearing: &Hearing,
        texts: Vec<Text>,
        overflow: Overflow,
    ) -> Result<Embedded, Error> {
        let extras = self.extras(named, hearing).await?;
        let lease = self.lease_with(named, hearing, &extras).await?;
        let card = lease.card().within(self.context(named, hearing.context));
        let read = smol::unblock(move || read(&card, texts, overflow)).await;
        let (texts, dropped) = read.map_err(Error::Talk)?;
        let tokens: Vec<usize> = texts.iter().map(Vec::len).collect();
        if let Some(quota) = &hearing.client.quota {
            quota.tokens(tokens.iter().sum::<usize>() as u64);
        }
        let mut vectors = Vec::new();
        for turn in turns(texts) {
            let adapters = extras.adapters.clone();
            let made = lease.handle().call(move |engine| engine.vectors(&turn, &adapters)).await;
            vectors
                .extend(made.unwrap_or(Err(engine::Error::Use("its thread ended; ask again"))).map_err(Error::Engine)?);
        }
        Ok(Embedded { vectors, tokens, dropped, load: lease.load() })
    }
}

/// Texts as tokens that fit, and what did not.
fn read(card: &Card, texts: Vec<Text>, overflow: Overflow) -> Result<(Vec<Vec<u32>>, Dropped), talk::Error> {
    let (mut all, mut dropped, context) = (Vec::new(), Dropped::default(), card.context());
    for text in texts {
        let (mut ids, marks) = match text {
            Text::Tokens(ids) => (ids, 0),
            Text::Words(text) => {
                let mut ids = Vec::new();
                card.tokenizer().encode(&text, Special::Text, &mut ids);
                let mut marked = Vec::new();
                card.tokenizer().add_special(&mut marked);
                (ids, marked.len())
            }
        };
        let tokens = ids.len() + marks;
        if tokens > context {
            if overflow == Overflow::Refuse {
                return Err(talk::Error::TooLong { tokens, context });
            }
            ids.truncate(context.saturating_sub(marks));
            dropped.tokens += tokens - context;
        }
        if marks > 0 {
            card.tokenizer().add_special(&mut ids);
        }
        all.push(ids);
    }
    Ok((all, dropped))
}

/// Texts in the groups in which they are computed.
fn turns(texts: Vec<Vec<u32>>) -> Vec<Vec<Vec<u32>>> {
    let (mut turns, mut size) = (Vec::<Vec<Vec<u32>>>::new(), usize::MAX);
    for text in texts {
        size = size.saturating_add(text.len());
        match turns.last_mut().filter(|_| size <= TURN) {
            Some(turn) => turn.push(text),
            None => {
                size = text.len();
                turns.push(vec![text]);
            }
        }
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_take_turns_in_their_order_and_long_ones_alone() {
        let sizes = |lens: &[usize]| -> Vec<Vec<usize>> {
            let turns = turns(lens.iter().map(|len| vec![0; *len]).collect());
            turns.iter().map(|turn| turn.iter().map(Vec::len).collect()).collect()
        };
        assert_eq!(sizes(&[]), Vec::<Vec<usize>>::new());
        assert_eq!(sizes(&[1, 2, 600, 500, 12, 1]), [vec![1, 2], vec![600], vec![500, 12], vec![1]]);
    }
}
