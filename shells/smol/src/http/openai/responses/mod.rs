//! `/v1/responses`: the same answers in the words of OpenAI's newer API. Nothing is kept between two requests.
//!
//! [`input`] reads what is asked, [`item`] makes the items and events of an answer.

mod input;
mod item;

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Refused, fields, find, record::Taken, tokens};
use crate::{
    daemon::{Conversation, Daemon, Named},
    http::{Answer, Request, StatusCode, ollama},
    talk::{End, Heard, Reason},
};
use input::Question;
use item::Items;

/// `POST /v1/responses`.
pub(super) async fn responses(daemon: Arc<Daemon>, request: Request) -> Result<Answer, Refused> {
    let (question, named) = question(&daemon, request).await?;
    let Question { shown, ask, hearing, stream: streamed, mut unused } = question;
    let conversation = daemon.converse(&named, &hearing, ask, 1).await;
    let conversation = conversation.map_err(|error| Refused::of(error, "input"))?;
    unused.extend(conversation.unused.iter().map(|name| (*name).to_owned()));
    let dropped = conversation.dropped;
    let response = Response { id: super::name("resp_"), created: super::now(), shown };
    let answer = if streamed { stream(response, conversation).await? } else { whole(&response, conversation).await? };
    Ok(ollama::tell(answer, dropped, &unused))
}

/// `POST /v1/responses/input_tokens`.
pub(super) async fn count(daemon: Arc<Daemon>, request: Request) -> Result<Answer, Refused> {
    let (question, named) = question(&daemon, request).await?;
    let count = tokens::count(&daemon, &named, question.ask, "input").await?;
    Ok(Answer::json(StatusCode::OK, &json!({"object": "response.input_tokens", "input_tokens": count})))
}

async fn question(daemon: &Daemon, mut request: Request) -> Result<(Question, Arc<Named>), Refused> {
    let fields = fields(&mut request).await?;
    let named = find(daemon, fields.get("model").and_then(Value::as_str)).await?;
    let question = Question::read(fields, &named, ollama::client(&request))?;
    Ok((question, named))
}

/// What stands around the items.
struct Response {
    id: String,
    created: u64,
    /// What was asked, as it is shown again.
    shown: Value,
}

impl Response {
    fn object(&self, status: &str, output: Value) -> Value {
        let mut object = self.shown.clone();
        object["id"] = self.id.as_str().into();
        object["object"] = "response".into();
        object["created_at"] = self.created.into();
        object["status"] = status.into();
        object["error"] = Value::Null;
        object["incomplete_details"] = Value::Null;
        object["output"] = output;
        object["usage"] = Value::Null;
        object
    }

    /// At its end.
    fn ended(&self, output: Value, end: &End) -> Value {
        let is_cut = end.reason == Reason::Length;
        let mut object = self.object(if is_cut { "incomplete" } else { "completed" }, output);
        if is_cut {
            object["incomplete_details"] = json!({"reason": "max_output_tokens"});
        } else {
            object["completed_at"] = super::now().into();
        }
        let taken = Taken::by(std::slice::from_ref(end));
        object["usage"] = json!({
            "input_tokens": taken.prompt,
            "input_tokens_details": {"cached_tokens": taken.cached},
            "output_tokens": taken.generated,
            "output_tokens_details": {"reasoning_tokens": taken.thinking},
            "total_tokens": taken.total(),
        });
        object
    }

    /// At an end that is none.
    fn failed(&self, refused: &Refused, output: Value) -> Value {
        let mut object = self.object("failed", output);
        object["error"] = json!({"code": refused.code.unwrap_or("server_error"), "message": refused.text});
        object
    }
}

async fn whole(response: &Response, mut conversation: Conversation) -> Result<Answer, Refused> {
    let mut items = Items::default();
    while let Some(heard) = conversation.next().await {
        match heard {
            Heard::Delta(delta) => drop(items.take(delta)),
            Heard::End(end) => {
                items.finish(end.reason == Reason::Length);
                return Ok(Answer::json(StatusCode::OK, &response.ended(items.output(), &end)));
            }
            Heard::Failed(error) => return Err(Refused::of_engine(&error, "input")),
        }
    }
    Err(Refused::gone())
}

async fn stream(response: Response, mut conversation: Conversation) -> Result<Answer, Refused> {
    let first = match conversation.next().await {
        Some(Heard::Failed(error)) => return Err(Refused::of_engine(&error, "input")),
        Some(first) => first,
        None => return Err(Refused::gone()),
    };
    Ok(Answer::events(move |feed| async move {
        let mut items = Items::default();
        let begun = response.object("in_progress", json!([]));
        let mut events = vec![
            json!({"type": "response.created", "response": begun}),
            json!({"type": "response.in_progress", "response": begun}),
        ];
        let (mut next, mut number) = (Some(first), 0u64);
        loop {
            let mut done = true;
            match next {
                Some(Heard::Delta(delta)) => {
                    events.extend(items.take(delta));
                    done = false;
                }
                Some(Heard::End(end)) => {
                    events.extend(items.finish(end.reason == Reason::Length));
                    let object = response.ended(items.output(), &end);
                    let kind = format!("response.{}", object["status"].as_str().unwrap_or_default());
                    events.push(json!({"type": kind, "response": object}));
                }
                other => {
                    let refused = match other {
                        Some(Heard::Failed(error)) => Refused::of_engine(&error, "input"),
                        _ => Refused::gone(),
                    };
                    let object = response.failed(&refused, items.output());
                    events.push(json!({"type": "response.failed", "response": object}));
                }
            }
            for mut event in events.drain(..) {
                event["sequence_number"] = number.into();
                number += 1;
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
