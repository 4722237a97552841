//! What is asked of a model, whichever the API.

use serde_json::{Value, json};
use tutu_llm::{chat::Message, sample};

/// One question, with everything that an API can say about its answer.
#[derive(Clone, Debug)]
pub struct Ask {
    /// What the model goes on from.
    pub input: Input,
    /// Tools that it may call.
    pub tools: Vec<Tool>,
    /// Whether it shall call them.
    pub choice: Choice,
    /// Whether it may call several at once.
    pub parallel: bool,
    /// What the answer must look like.
    pub form: Form,
    /// Whether it shall think first.
    pub think: Think,
    /// Tokens that it may think for at most; then its thoughts are closed.
    pub thinking_max: Option<usize>,
    /// A template in place of the model's, in Go's language or in Jinja.
    pub template: Option<String>,
    /// How tokens are chosen, `logit_bias` among it.
    pub sampling: sample::Config,
    /// Most tokens of the answer, thoughts included; `None` until the model ends it.
    pub predict: Option<usize>,
    /// Texts that end the answer and are not part of it. They are looked for in the answer, not in thoughts or calls.
    pub stop: Vec<String>,
    /// Whether logarithms of probabilities are wanted, and for how many of the best tokens besides.
    pub logprobs: Option<usize>,
    /// What to do with a prompt that does not fit the context.
    pub overflow: Overflow,
    /// Whether the oldest tokens give way when the context is full while the model answers.
    pub shift: bool,
    /// Tokens at the start that stay when something must give way.
    pub keep: usize,
}

impl Default for Ask {
    fn default() -> Self {
        Self {
            input: Input::Chat(Vec::new()),
            tools: Vec::new(),
            choice: Choice::Auto,
            parallel: true,
            form: Form::Free,
            think: Think::Unset,
            thinking_max: None,
            template: None,
            sampling: sample::Config::default(),
            predict: None,
            stop: Vec::new(),
            logprobs: None,
            overflow: Overflow::Fit,
            shift: true,
            keep: 4,
        }
    }
}

/// What the model goes on from.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A conversation, put into the model's template.
    Chat(Vec<Message>),
    /// One question, put into the model's template.
    Prompt {
        /// For the system role.
        system: Option<String>,
        /// The question.
        prompt: String,
        /// Token ids of an earlier answer and its prompt, which go before it.
        context: Vec<u32>,
    },
    /// What belongs between two texts.
    Gap {
        /// What stands before.
        prompt: String,
        /// What stands after.
        suffix: String,
    },
    /// A text as it is, without a template. Names of control tokens in it are control tokens: whoever writes a prompt
    /// by hand needs them.
    Raw(String),
    /// Tokens as they are.
    Tokens(Vec<u32>),
}

/// A tool that a model may call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: String,
    /// The JSON schema of its arguments, an object; null for no arguments.
    pub parameters: Value,
    /// Whether a schema that cannot be held to is an error. A schema that can be is held to either way.
    pub strict: bool,
}

impl Tool {
    /// As templates know it.
    pub(super) fn to_value(&self) -> Value {
        let parameters = match &self.parameters {
            Value::Null => json!({ "type": "object", "properties": {} }),
            given => given.clone(),
        };
        json!({ "type": "function", "function": {
            "name": self.name, "description": self.description, "parameters": parameters,
        }})
    }
}

/// Whether tools are called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// As the model likes.
    #[default]
    Auto,
    /// No; the model does not even hear of them.
    None,
    /// At least one.
    Required,
    /// This one.
    Named(String),
    /// Only these, as the model likes or, where `required`, at least one.
    Allowed {
        /// Their names.
        names: Vec<String>,
        /// At least one.
        required: bool,
    },
}

/// What an answer must look like.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Form {
    /// As the model likes.
    #[default]
    Free,
    /// Any JSON object.
    Json,
    /// What satisfies a JSON schema.
    Schema(Value),
    /// What a grammar in GBNF says.
    Gbnf(String),
}

/// Whether a model shall think before it answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Think {
    /// Nobody said: a model that can, does.
    #[default]
    Unset,
    /// No.
    Off,
    /// Yes.
    On,
    /// Yes, so much: `low`, `medium`, `high`, or what else the model's template knows.
    Level(String),
}

/// What to do with a prompt that does not fit the context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// The oldest messages go, but for those of the system and the last one; where that is not enough, tokens out of
    /// the middle. What went is counted.
    #[default]
    Fit,
    /// It is an error.
    Refuse,
}
