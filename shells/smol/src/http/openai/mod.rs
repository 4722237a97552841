//! OpenAI's API.
//!
//! | room | routes |
//! |---|---|
//! | `chat` | `/v1/chat/completions`; `record` makes its objects, `message` reads its messages, `tool` its tools |
//! | `completions` | `/v1/completions`; `legacy` makes its objects |
//! | `embeddings` | `/v1/embeddings` |
//! | `models` | `/v1/models` |
//! | `responses` | `/v1/responses` |
//! | `rerank` | `/v1/rerank` |
//! | `tokens` | `/tokenize`, `/detokenize` |
//! | `sampling` | what all routes that write have in common |
//!
//! What was asked for and counts for nothing is named in the header `x-tutu-unused`; what did not fit the context and
//! was left out, in `x-tutu-dropped`.

mod chat;
mod completions;
mod embeddings;
mod legacy;
pub(super) mod message;
mod models;
mod record;
mod rerank;
mod responses;
pub(super) mod sampling;
pub(super) mod tokens;
pub(super) mod tool;

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use http::header::{self, HeaderName};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::{Answer, Malformed, Method, Read, Request, Router, Scope, StatusCode, json as reading, ollama, refusal};
use crate::{
    daemon::{self, Cut, Daemon, Named, Refusal, named},
    engine, store, talk,
};

/// Adds all routes.
pub fn routes(router: &mut Router<Daemon>) {
    router.add(Method::POST, "/v1/chat/completions", Scope::Run, chat::chat);
    router.add(Method::POST, "/v1/completions", Scope::Run, completions::completions);
    router.add(Method::POST, "/v1/embeddings", Scope::Run, embeddings::embeddings);
    router.add(Method::POST, "/v1/chat/completions/input_tokens", Scope::Run, chat::count);
    router.add(Method::POST, "/v1/tokens/count", Scope::Run, chat::count);
    router.add(Method::POST, "/v1/responses", Scope::Run, responses::responses);
    router.add(Method::POST, "/v1/responses/input_tokens", Scope::Run, responses::count);
    router.add(Method::POST, "/v1/rerank", Scope::Run, rerank::rerank);
    router.add(Method::POST, "/rerank", Scope::Run, rerank::rerank);
    router.add(Method::POST, "/tokenize", Scope::Run, tokens::tokenize);
    router.add(Method::POST, "/detokenize", Scope::Run, tokens::detokenize);
    router.add(Method::GET, "/v1/models", Scope::Read, models::list);
    router.add(Method::GET, "/v1/models/*id", Scope::Read, models::one);
}

/// A refusal, in OpenAI's shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// 400, 404, ...
    pub status: StatusCode,
    /// What is wrong and what to do.
    pub text: String,
    /// Which field is at fault.
    pub param: Option<String>,
    /// A word for programs.
    pub code: Option<&'static str>,
}

impl Refused {
    /// This field of somebody's request is at fault.
    pub fn bad(param: &str, text: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, text: text.into(), param: Some(param.into()), code: None }
    }

    /// A field that must be there is not.
    pub fn missing(param: &str) -> Self {
        let code = Some("missing_required_parameter");
        Self { code, ..Self::bad(param, format!("the field '{param}' is missing")) }
    }

    /// What cannot be had of a model; `input` is the field with the prompt.
    pub fn of(error: daemon::Error, input: &str) -> Self {
        let (status, text) = (ollama::status(&error), error.to_string());
        let (param, code) = match &error {
            daemon::Error::Talk(error) => match error {
                talk::Error::TooLong { .. } => (Some(input), Some("context_length_exceeded")),
                talk::Error::Form(_) => (Some("response_format"), Some("invalid_json_schema")),
                talk::Error::Tool { .. } => (Some("tools"), Some("invalid_function_parameters")),
                talk::Error::Choice(_) => (Some("tool_choice"), None),
                _ => (Some(input), None),
            },
            daemon::Error::Refusal(_) => (None, None),
            daemon::Error::Missing(_) => (Some("adapters"), Some("model_not_found")),
            daemon::Error::Unfit(_) => (Some("adapters"), None),
            daemon::Error::Engine(error) => return Self::of_engine(error, input),
        };
        Self { status, text, param: param.map(String::from), code }
    }

    /// What an engine says instead of an answer.
    pub fn of_engine(error: &engine::Error, input: &str) -> Self {
        let too_long = matches!(error, engine::Error::TooLong { .. });
        let status = ollama::engine_status(error);
        Self {
            status,
            text: error.to_string(),
            param: status.is_client_error().then(|| input.into()),
            code: too_long.then_some("context_length_exceeded"),
        }
    }

    /// The answer ended before its end.
    pub fn gone() -> Self {
        let text = "the model's thread ended before the answer did; ask again".into();
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, text, param: None, code: None }
    }

    /// The object that clients look for.
    pub fn to_value(&self) -> Value {
        let kind = refusal::kind(self.status);
        json!({"error": {"message": self.text, "type": kind, "param": self.param, "code": self.code}})
    }

    /// Says whether it is worth to ask the same again: clients do so after every 5xx that does not say.
    pub fn advise(&self, answer: Answer) -> Answer {
        match self.status {
            StatusCode::SERVICE_UNAVAILABLE => answer.with(header::RETRY_AFTER, "1"),
            status if status.is_server_error() => answer.with(HeaderName::from_static("x-should-retry"), "false"),
            _ => answer,
        }
    }
}

impl From<Refused> for Answer {
    fn from(refused: Refused) -> Self {
        refused.advise(Answer::json(refused.status, &refused.to_value()))
    }
}

impl From<Malformed> for Refused {
    fn from(error: Malformed) -> Self {
        let param = match &error {
            Malformed::Json { field, .. } if !field.is_empty() => Some(field.clone()),
            _ => None,
        };
        Self { status: error.status(), text: error.to_string(), param, code: None }
    }
}

impl From<named::Error> for Refused {
    fn from(error: named::Error) -> Self {
        match &error {
            named::Error::Name(_) | named::Error::Adapter(_) => Self::bad("model", error.to_string()),
            named::Error::Store(store::Error::NotFound { name, .. }) => Self {
                status: StatusCode::NOT_FOUND,
                text: format!("model '{name}' not found; `tutu pull {name}` may bring it"),
                param: Some("model".into()),
                code: Some("model_not_found"),
            },
            named::Error::Store(_) | named::Error::File(..) => {
                Self { status: StatusCode::INTERNAL_SERVER_ERROR, text: error.to_string(), param: None, code: None }
            }
        }
    }
}

impl Refused {
    /// Answers that were cut; `input` is the field with the prompt.
    pub(super) fn of_cut(cut: &Cut, input: &str) -> Self {
        match cut {
            Cut::Failed(error) => Self::of_engine(error, input),
            Cut::Gone => Self::gone(),
        }
    }
}

impl From<Refusal> for Refused {
    fn from(error: Refusal) -> Self {
        Self::of(error.into(), "model")
    }
}

/// The fields of a request; those that are null count as not there.
pub(in crate::http) async fn fields(request: &mut Request) -> Result<Map<String, Value>, Refused> {
    match request.value().await? {
        Value::Object(mut fields) => {
            fields.retain(|_, value| !value.is_null());
            Ok(fields)
        }
        _ => Err(Refused { param: None, ..Refused::bad("", "the body must be a JSON object") }),
    }
}

/// Fields as a type, and which of them nobody looked at.
pub(in crate::http) fn typed<T: DeserializeOwned>(fields: Map<String, Value>) -> Result<Read<T>, Refused> {
    Ok(reading::of_value(Value::Object(fields))?)
}

/// The model that a request names.
pub(in crate::http) async fn find(daemon: &Daemon, name: Option<&str>) -> Result<Arc<Named>, Refused> {
    match name {
        Some(name) if !name.is_empty() => Ok(daemon.find(name).await?),
        _ => Err(Refused::missing("model")),
    }
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A name that nothing else has: `chatcmpl-` and 24 letters.
pub(in crate::http) fn name(prefix: &str) -> String {
    const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut name = String::from(prefix);
    for _ in 0..2 {
        let mut chance = talk::options::fresh_seed();
        for _ in 0..12 {
            name.push(char::from(LETTERS[(chance % 36) as usize]));
            chance /= 36;
        }
    }
    name
}

/// What stays the same as long as the same tokens give the same answer: the model's digest, shortened.
pub(super) fn fingerprint(named: &Named) -> String {
    let hex = named.record.digest.hex();
    format!("fp_{}", hex.get(..10).unwrap_or(&hex))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_field_and_tells_who_should_try_again() {
        let answer = Answer::from(Refused::bad("top_p", "no"));
        assert!(answer.headers.get("x-should-retry").is_none());
        let found: serde_json::Value = serde_json::from_slice(&smol::block_on(answer.body.whole())).unwrap();
        let error = json!({"message": "no", "type": "invalid_request_error", "param": "top_p", "code": null});
        assert_eq!(found, json!({ "error": error }));
        let answer = Answer::from(Refused::gone());
        assert_eq!(answer.headers["x-should-retry"], "false");
        let busy = Refused { status: StatusCode::SERVICE_UNAVAILABLE, ..Refused::gone() };
        assert_eq!(Answer::from(busy).headers["retry-after"], "1");
    }

    #[test]
    fn a_prompt_that_is_too_long_has_a_word_of_its_own() {
        let error = daemon::Error::Talk(talk::Error::TooLong { tokens: 9, context: 8 });
        let refused = Refused::of(error, "messages");
        assert_eq!((refused.status.as_u16(), refused.code), (400, Some("context_length_exceeded")));
        assert_eq!(refused.param.as_deref(), Some("messages"));
    }

    #[test]
    fn names_differ() {
        let (a, b) = (name("x-"), name("x-"));
        assert!(a != b && a.len() == 26, "{a} {b}");
    }
}
