//! What is known of a model apart from its weights: enough to make prompts of it, in any thread.

use std::sync::{Arc, OnceLock};

use tutu_llm::{
    arch::Facts,
    chat::{Message, Segment},
    grammar::Vocabulary,
    token::{Special, Tokenizer},
};

use super::{
    Error,
    template::{self, Ask, Template},
};

/// Facts, tokenizer and template of a model. A copy shares them.
#[derive(Clone)]
pub struct Card {
    facts: Arc<Facts>,
    tokenizer: Arc<Tokenizer>,
    template: Arc<Template>,
    context: usize,
    vocabulary: Arc<OnceLock<Arc<Vocabulary>>>,
}

impl Card {
    /// Of a model whose conversations may use `context` positions.
    pub fn new(facts: Facts, tokenizer: Tokenizer, template: Template, context: usize) -> Self {
        Self {
            facts: facts.into(),
            tokenizer: tokenizer.into(),
            template: template.into(),
            context,
            vocabulary: Arc::default(),
        }
    }

    /// What the file says of the model.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Its tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Its template.
    pub fn template(&self) -> &Template {
        &self.template
    }

    /// Positions that one conversation may use.
    pub fn context(&self) -> usize {
        self.context
    }

    /// The same model for conversations that use at most `context` positions.
    #[must_use]
    pub fn within(&self, context: usize) -> Self {
        Self { context: self.context.min(context), ..self.clone() }
    }

    /// The tokens as a grammar needs them, made when they are first needed.
    pub fn vocabulary(&self) -> Arc<Vocabulary> {
        self.vocabulary.get_or_init(|| Arc::new(Vocabulary::of(&self.tokenizer))).clone()
    }

    /// The same model with another template, in Go's language or in Jinja.
    ///
    /// # Errors
    /// [`template::Error::Broken`].
    pub fn with_template(&self, source: &str) -> Result<Self, template::Error> {
        Ok(Self { template: Arc::new(self.template.with(source)?), ..self.clone() })
    }

    /// The same model with a template that was parsed before, for this model.
    #[must_use]
    pub fn with_parsed(&self, template: Arc<Template>) -> Self {
        Self { template, ..self.clone() }
    }

    /// Its template, to be kept.
    pub fn parsed(&self) -> Arc<Template> {
        Arc::clone(&self.template)
    }

    /// The token ids of a prompt for `messages`, up to where the model answers.
    ///
    /// # Errors
    /// [`Error::Template`].
    pub fn prompt(&self, messages: &[Message]) -> Result<Vec<u32>, Error> {
        let ask = Ask { messages, answer: true, ..Ask::default() };
        let segments = self.template.render(&ask).map_err(Error::Template)?;
        Ok(self.ids(&segments))
    }

    /// The token ids of a rendered prompt.
    pub fn ids(&self, segments: &[Segment]) -> Vec<u32> {
        let mut ids = Vec::new();
        for segment in segments {
            match segment {
                Segment::Control(name) => ids.extend(self.tokenizer.id_of(name)),
                Segment::Text(text) => self.tokenizer.encode(text, Special::Text, &mut ids),
            }
        }
        // Templates of some families write the mark of the beginning, others leave it to the tokenizer.
        if let Some(mark) = self.tokenizer.leading().filter(|mark| ids.first() != Some(mark)) {
            ids.insert(0, mark);
        }
        ids
    }
}
