//! `/v1/chat/completions`.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Refused, fields, find,
    message::{Spoken, conversation},
    record::{Records, Whole},
    sampling::Sampling,
    tokens, tool, typed,
};
use crate::{
    daemon::{Conversation, Daemon, Hearing, Named},
    engine::template::Capability,
    http::{Answer, Read, Request, StatusCode, ollama},
    talk::{Ask, End, Heard, Input, Think},
};

/// The body, but for what all routes have.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Body {
    model: Option<String>,
    messages: Option<Vec<Spoken>>,
    stream: bool,
    stream_options: StreamOptions,
    logprobs: bool,
    top_logprobs: Option<i64>,
    response_format: Option<Value>,
    tools: Vec<Value>,
    tool_choice: Option<Value>,
    parallel_tool_calls: Option<bool>,
    reasoning_effort: Option<String>,
    reasoning: Reasoning,
    think: Option<Value>,
    thinking_budget_tokens: Option<usize>,
    chat_template_kwargs: Kwargs,
}

/// What is said of a stream.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct StreamOptions {
    pub include_usage: bool,
    /// Padding against those who count bytes on the way; it changes nothing.
    #[allow(dead_code, reason = "read, so that it is not reported as unused")]
    pub include_obfuscation: bool,
}

/// How much the model shall think, as others say it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Reasoning {
    effort: Option<String>,
}

/// The one variable of templates that clients set.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Kwargs {
    enable_thinking: Option<bool>,
}

impl Body {
    fn ask(&self) -> Result<Ask, Refused> {
        Ok(Ask {
            tools: tool::tools(&self.tools)?,
            choice: tool::choice(self.tool_choice.as_ref())?,
            parallel: self.parallel_tool_calls.unwrap_or(true),
            form: tool::form(self.response_format.as_ref(), "response_format")?,
            think: self.think()?,
            thinking_max: self.thinking_budget_tokens,
            logprobs: self.scored()?,
            ..Ask::default()
        })
    }

    fn think(&self) -> Result<Think, Refused> {
        match (&self.reasoning_effort, &self.reasoning.effort, &self.think, self.chat_template_kwargs.enable_thinking) {
            (Some(word), ..) => tool::effort(word, "reasoning_effort"),
            (_, Some(word), ..) => tool::effort(word, "reasoning.effort"),
            (_, _, Some(value), _) => tool::think(value),
            (.., Some(wanted)) => Ok(if wanted { Think::On } else { Think::Off }),
            _ => Ok(Think::Unset),
        }
    }

    fn scored(&self) -> Result<Option<usize>, Refused> {
        match (self.logprobs, self.top_logprobs) {
            (_, Some(count)) if !(0..=20).contains(&count) => {
                Err(Refused::bad("top_logprobs", format!("top_logprobs is a number from 0 to 20, not {count}")))
            }
            (true, count) => Ok(Some(count.unwrap_or(0) as usize)),
            (false, Some(count)) if count > 0 => Err(Refused::bad("top_logprobs", "top_logprobs needs logprobs: true")),
            (false, _) => Ok(None),
        }
    }
}

/// What was asked.
struct Question {
    model: String,
    named: Arc<Named>,
    ask: Ask,
    hearing: Hearing,
    /// How many answers.
    count: usize,
    stream: bool,
    /// Whether a stream ends with what it took.
    usage: bool,
    unused: Vec<String>,
}

async fn question(daemon: &Daemon, mut request: Request) -> Result<Question, Refused> {
    let mut fields = fields(&mut request).await?;
    let sampling = Sampling::take(&mut fields)?;
    let Read { value: body, mut unused } = typed::<Body>(fields)?;
    let named = find(daemon, body.model.as_deref()).await?;
    let model = body.model.clone().unwrap_or_default();
    let spoken = body.messages.as_deref().ok_or_else(|| Refused::missing("messages"))?;
    if spoken.is_empty() {
        return Err(Refused::bad("messages", "messages is empty; there must be at least one"));
    }
    unused.extend(nameless(spoken));
    if !named.can(Capability::Completion) {
        return Err(Refused::bad("model", format!("\"{model}\" does not support chat: it makes embeddings")));
    }
    let mut ask = body.ask()?;
    ask.input = Input::Chat(conversation(&named, spoken)?);
    let hearing = sampling.apply(&mut ask, &named, ollama::client(&request))?;
    let (count, stream, usage) = (sampling.count, body.stream, body.stream_options.include_usage);
    Ok(Question { model, named, ask, hearing, count, stream, usage, unused })
}

/// `POST /v1/tokens/count` and `/v1/chat/completions/input_tokens`: how many tokens the prompt of a chat has.
pub(super) async fn count(daemon: Arc<Daemon>, request: Request) -> Result<Answer, Refused> {
    let question = question(&daemon, request).await?;
    let count = tokens::count(&daemon, &question.named, question.ask, "messages").await?;
    let answer = json!({"object": "input_tokens", "model": question.model, "input_tokens": count});
    Ok(Answer::json(StatusCode::OK, &answer))
}

/// `POST /v1/chat/completions`.
pub(super) async fn chat(daemon: Arc<Daemon>, request: Request) -> Result<Answer, Refused> {
    let Question { model, named, ask, hearing, count, stream: streamed, usage, mut unused } =
        question(&daemon, request).await?;
    let scored = ask.logprobs.is_some();
    let conversation = daemon.converse(&named, &hearing, ask, count).await;
    let conversation = conversation.map_err(|error| Refused::of(error, "messages"))?;
    unused.extend(conversation.unused.iter().map(|name| (*name).to_owned()));
    let dropped = conversation.dropped;
    let records = Records::new(&named, &model, &conversation, scored);
    let answer =
        if streamed { stream(records, conversation, usage).await? } else { whole(&records, conversation).await? };
    Ok(ollama::tell(answer, dropped, &unused))
}

/// Names of speakers, which no template knows.
fn nameless(spoken: &[Spoken]) -> impl Iterator<Item = String> {
    let is_tool = |role: Option<&str>| matches!(role, Some("tool" | "function"));
    let named = spoken.iter().enumerate().filter(move |(_, one)| one.name.is_some() && !is_tool(one.role.as_deref()));
    named.map(|(at, _)| format!("messages.{at}.name")).take(8)
}

/// One object with all answers.
async fn whole(records: &Records, mut conversation: Conversation) -> Result<Answer, Refused> {
    let gathered = conversation.gather(Whole::take).await;
    let (wholes, ends) = gathered.map_err(|cut| Refused::of_cut(&cut, "messages"))?;
    Ok(Answer::json(StatusCode::OK, &records.whole(&wholes, &ends)))
}

/// Server-sent events. What fails before the first is a refusal, what fails later an event.
async fn stream(records: Records, mut conversation: Conversation, wants_usage: bool) -> Result<Answer, Refused> {
    let count = conversation.answers.len();
    let first = match conversation.next_of_any().await {
        Some((_, Heard::Failed(error))) => return Err(Refused::of_engine(&error, "messages")),
        Some(first) => first,
        None => return Err(Refused::gone()),
    };
    Ok(Answer::events(move |feed| async move {
        for index in 0..count {
            if feed.event(None, &records.first(index)).await.is_err() {
                return;
            }
        }
        let mut ends: Vec<Option<End>> = vec![None; count];
        let mut next = Some(first);
        while let Some((index, heard)) = next {
            let record = match heard {
                Heard::Delta(delta) => records.piece(index, &delta),
                Heard::End(end) => {
                    let record = records.last(index, &end);
                    ends[index] = Some(end);
                    Some(record)
                }
                Heard::Failed(error) => {
                    let _ = feed.event(None, &Refused::of_engine(&error, "messages").to_value()).await;
                    return;
                }
            };
            if let Some(record) = record
                && feed.event(None, &record).await.is_err()
            {
                return;
            }
            next = conversation.next_of_any().await;
        }
        let Some(ends) = ends.into_iter().collect::<Option<Vec<End>>>() else {
            // The reader is told that this is no end of an answer.
            let _ = feed.event(None, &Refused::gone().to_value()).await;
            return;
        };
        if wants_usage && feed.event(None, &records.usage(&ends)).await.is_err() {
            return;
        }
        let _ = feed.data("[DONE]").await;
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(value: Value) -> Body {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_best_tokens_are_asked_for_with_their_probabilities() {
        assert_eq!(body(json!({})).scored(), Ok(None));
        assert_eq!(body(json!({"logprobs": true})).scored(), Ok(Some(0)));
        assert_eq!(body(json!({"logprobs": true, "top_logprobs": 20})).scored(), Ok(Some(20)));
        for wrong in [json!({"top_logprobs": 2}), json!({"logprobs": true, "top_logprobs": 21})] {
            assert_eq!(body(wrong).scored().unwrap_err().param.as_deref(), Some("top_logprobs"));
        }
    }

    #[test]
    fn thinking_is_asked_for_in_several_ways() {
        let think = |value| body(value).think();
        assert_eq!(think(json!({})), Ok(Think::Unset));
        assert_eq!(think(json!({"reasoning_effort": "none"})), Ok(Think::Off));
        assert_eq!(think(json!({"reasoning": {"effort": "high"}})), Ok(Think::Level("high".into())));
        assert_eq!(think(json!({"think": true})), Ok(Think::On));
        assert_eq!(think(json!({"chat_template_kwargs": {"enable_thinking": false}})), Ok(Think::Off));
        assert_eq!(think(json!({"reasoning_effort": "some"})).unwrap_err().param.as_deref(), Some("reasoning_effort"));
    }

    #[test]
    fn names_of_speakers_count_for_nothing() {
        let spoken = body(json!({"messages": [
            {"role": "user", "name": "bob"}, {"role": "tool", "name": "f"}, {"role": "user"}]}));
        assert_eq!(nameless(&spoken.messages.unwrap()).collect::<Vec<_>>(), ["messages.0.name"]);
    }
}
