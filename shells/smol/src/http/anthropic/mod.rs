//! Anthropic's API: `/v1/messages`, and how many tokens a prompt of it has.
//!
//! `ask` reads what is asked, `block` makes the blocks and events of an answer.

mod ask;
mod block;

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    Answer, Method, Request, Router, Scope, StatusCode, ollama, openai,
    openai::{fields, find, tokens},
    refusal,
};
use crate::{
    daemon::{Conversation, Daemon},
    talk::Heard,
};
use ask::Question;
use block::{Blocks, Close};

/// Adds all routes.
pub fn routes(router: &mut Router<Daemon>) {
    router.add(Method::POST, "/v1/messages", Scope::Run, messages);
    router.add(Method::POST, "/v1/messages/count_tokens", Scope::Run, count);
}

/// A refusal, in Anthropic's shape.
struct Refused {
    inner: openai::Refused,
    /// Under which name the request is in the log.
    request: Arc<str>,
}

impl Refused {
    fn to_value(&self) -> Value {
        // There is no field of its own for the place.
        let text = match &self.inner.param {
            Some(param) if !self.inner.text.contains(param.as_str()) => format!("{param}: {}", self.inner.text),
            _ => self.inner.text.clone(),
        };
        let kind = refusal::anthropic_kind(self.inner.status);
        json!({"type": "error", "error": {"type": kind, "message": text}, "request_id": self.request.as_ref()})
    }
}

impl From<Refused> for Answer {
    fn from(refused: Refused) -> Self {
        refused.inner.advise(Answer::json(refused.inner.status, &refused.to_value()))
    }
}

/// `POST /v1/messages/count_tokens`.
async fn count(daemon: Arc<Daemon>, mut request: Request) -> Result<Answer, Refused> {
    let id = Arc::clone(&request.id);
    let counted = async {
        let mut fields = fields(&mut request).await?;
        // An answer is not asked for, and so has no length.
        fields.insert("max_tokens".into(), 1.into());
        let named = find(&daemon, fields.get("model").and_then(Value::as_str)).await?;
        let question = Question::read(fields, &named, ollama::client(&request))?;
        tokens::count(&daemon, &named, question.ask, "messages").await
    };
    let count = counted.await.map_err(|inner| Refused { inner, request: id })?;
    Ok(Answer::json(StatusCode::OK, &json!({"input_tokens": count})))
}

/// `POST /v1/messages`.
async fn messages(daemon: Arc<Daemon>, mut request: Request) -> Result<Answer, Refused> {
    let id = Arc::clone(&request.id);
    let answer = async {
        let fields = fields(&mut request).await?;
        let named = find(&daemon, fields.get("model").and_then(Value::as_str)).await?;
        let question = Question::read(fields, &named, ollama::client(&request))?;
        let Question { model, ask, hearing, stream: streamed, stops, cached, mut unused } = question;
        let conversation = daemon.converse(&named, &hearing, ask, 1).await;
        let conversation = conversation.map_err(|error| openai::Refused::of(error, "messages"))?;
        unused.extend(conversation.unused.iter().map(|name| (*name).to_owned()));
        let dropped = conversation.dropped;
        let close = Close { model, id: openai::name("msg_"), stops, cached };
        let answer = if streamed {
            stream(close, conversation, Arc::clone(&request.id)).await?
        } else {
            whole(&close, conversation).await?
        };
        Ok(ollama::tell(answer, dropped, &unused))
    };
    answer.await.map_err(|inner| Refused { inner, request: id })
}

async fn whole(close: &Close, mut conversation: Conversation) -> Result<Answer, openai::Refused> {
    let mut blocks = Blocks::default();
    while let Some(heard) = conversation.next().await {
        match heard {
            Heard::Delta(delta) => drop(blocks.take(delta)),
            Heard::End(end) => {
                blocks.finish();
                return Ok(Answer::json(
                    StatusCode::OK,
                    &close.message(blocks.into_content(), Some(&end), end.counts.prompt),
                ));
            }
            Heard::Failed(error) => return Err(openai::Refused::of_engine(&error, "messages")),
        }
    }
    Err(openai::Refused::gone())
}

async fn stream(close: Close, mut conversation: Conversation, request: Arc<str>) -> Result<Answer, openai::Refused> {
    let first = match conversation.next().await {
        Some(Heard::Failed(error)) => return Err(openai::Refused::of_engine(&error, "messages")),
        Some(first) => first,
        None => return Err(openai::Refused::gone()),
    };
    let prompt = conversation.prompts.first().map_or(0, Vec::len);
    Ok(Answer::events(move |feed| async move {
        let mut blocks = Blocks::default();
        let mut events = vec![close.start(prompt), json!({"type": "ping"})];
        let mut next = Some(first);
        loop {
            let mut done = true;
            match next {
                Some(Heard::Delta(delta)) => {
                    events.extend(blocks.take(delta));
                    done = false;
                }
                Some(Heard::End(end)) => {
                    events.extend(blocks.finish());
                    events.extend(close.end(&end));
                }
                Some(Heard::Failed(error)) => {
                    let inner = openai::Refused::of_engine(&error, "messages");
                    events.push(Refused { inner, request: Arc::clone(&request) }.to_value());
                }
                None => {
                    let inner = openai::Refused::gone();
                    events.push(Refused { inner, request: Arc::clone(&request) }.to_value());
                }
            }
            for event in events.drain(..) {
                if feed.event(event["type"].as_str(), &event).await.is_err() {
                    return;
                }
            }
            if done {
                return;
            }
            next = conversation.next().await;
        }
    }))
}
