//! Models as far as their tokenizers and templates, which need no weights.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::{Daemon, Named};
use crate::engine::{self, Card};

/// Cards that are kept: a vocabulary takes some 20 MB.
const KEPT: usize = 4;

/// Cards that were read, by the digests of their models.
#[derive(Default)]
pub(super) struct Cards(Mutex<BTreeMap<String, Card>>);

impl Cards {
    fn known(&self, key: &str) -> Option<Card> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    fn keep(&self, key: String, card: &Card) {
        let mut cards = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cards.len() >= KEPT {
            cards.clear();
        }
        cards.insert(key, card.clone());
    }
}

impl Daemon {
    /// A model as far as it is needed to make prompts and count tokens, for `context` positions if that is said.
    ///
    /// # Errors
    /// Its file cannot be read.
    pub async fn card(&self, named: &Arc<Named>, context: Option<usize>) -> Result<Card, engine::Error> {
        let key = named.record.digest.hex().to_string();
        let context = self.context(named, context);
        if let Some(card) = self.cards.known(&key) {
            return Ok(card.within(context));
        }
        let sources = named.model.sources.clone();
        let card = smol::unblock(move || engine::card(&sources)).await?;
        self.cards.keep(key, &card);
        Ok(card.within(context))
    }
}
