//! The objects that `/v1/chat/completions` answers with.

use serde_json::{Map, Value, json};

use super::fingerprint;
use crate::{
    daemon::{Conversation, Named},
    engine::{Counts, Scored},
    talk::{Delta, Dropped, End, Reason, Text},
};

/// Makes the objects of one request.
#[derive(Clone)]
pub(super) struct Records {
    id: String,
    created: u64,
    model: String,
    fingerprint: String,
    dropped: Dropped,
    /// Whether logarithms of probabilities were asked for.
    scored: bool,
}

impl Records {
    pub(super) fn new(named: &Named, model: &str, conversation: &Conversation, scored: bool) -> Self {
        Self {
            id: super::name("chatcmpl-"),
            created: super::now(),
            model: model.into(),
            fingerprint: fingerprint(named),
            dropped: conversation.dropped,
            scored,
        }
    }

    fn object(&self, kind: &str, choices: Value) -> Value {
        json!({
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "choices": choices,
        })
    }

    /// One piece of the stream.
    fn chunk(&self, index: usize, delta: Value, scored: &[Scored], reason: Option<&str>) -> Value {
        let logprobs = if scored.is_empty() { Value::Null } else { logprobs(scored) };
        let choice = json!({"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason});
        self.object("chat.completion.chunk", json!([choice]))
    }

    /// The first piece of an answer.
    pub(super) fn first(&self, index: usize) -> Value {
        self.chunk(index, json!({"role": "assistant", "content": ""}), &[], None)
    }

    /// More of an answer; nothing for what clients do not hear of.
    pub(super) fn piece(&self, index: usize, delta: &Delta) -> Option<Value> {
        Some(match delta {
            // One name is Ollama's, the other that of everybody else.
            Delta::Thinking(Text { text, .. }) => {
                self.chunk(index, json!({"reasoning": text, "reasoning_content": text}), &[], None)
            }
            Delta::Content(Text { text, scored }) => self.chunk(index, json!({"content": text}), scored, None),
            Delta::Call { index: call, id, name } => {
                let function = json!({"name": name, "arguments": ""});
                let call = json!({"index": call, "id": id, "type": "function", "function": function});
                self.chunk(index, json!({"tool_calls": [call]}), &[], None)
            }
            Delta::Arguments { index: call, text } => {
                let call = json!({"index": call, "function": {"arguments": text.text}});
                self.chunk(index, json!({"tool_calls": [call]}), &[], None)
            }
            Delta::CallEnd { .. } => return None,
        })
    }

    /// The last piece of an answer.
    pub(super) fn last(&self, index: usize, end: &End) -> Value {
        let mut chunk = self.chunk(index, json!({}), &[], Some(reason(&end.reason)));
        tell_dropped(&mut chunk, self.dropped);
        chunk
    }

    /// What it took, after the last piece of the last answer.
    pub(super) fn usage(&self, ends: &[End]) -> Value {
        let mut chunk = self.object("chat.completion.chunk", json!([]));
        chunk["usage"] = usage(ends);
        chunk
    }

    /// Everything at once.
    pub(super) fn whole(&self, wholes: &[Whole], ends: &[End]) -> Value {
        let choices = wholes.iter().zip(ends).enumerate().map(|(index, (whole, end))| {
            let logprobs = if self.scored { logprobs(&whole.scored) } else { Value::Null };
            let reason = reason(&end.reason);
            json!({"index": index, "message": whole.message(), "logprobs": logprobs, "finish_reason": reason})
        });
        let mut object = self.object("chat.completion", choices.collect());
        object["usage"] = usage(ends);
        tell_dropped(&mut object, self.dropped);
        object
    }
}

/// Says what of the prompt was left out, in the words of the Ollama API here.
pub(super) fn tell_dropped(object: &mut Value, dropped: Dropped) {
    if !dropped.is_nothing() {
        object["truncated"] = true.into();
        object["dropped_messages"] = dropped.messages.into();
        object["dropped_tokens"] = dropped.tokens.into();
    }
}

/// Why an answer ended, in OpenAI's words.
pub(super) fn reason(reason: &Reason) -> &'static str {
    match reason {
        Reason::Stop | Reason::StopText(_) | Reason::Cancelled => "stop",
        Reason::Length => "length",
        Reason::Calls => "tool_calls",
    }
}

/// What several answers to one prompt took together.
pub(in crate::http) struct Taken {
    pub prompt: usize,
    pub cached: usize,
    pub generated: usize,
    pub thinking: usize,
}

impl Taken {
    /// The prompt counts once.
    pub(in crate::http) fn by(ends: &[End]) -> Self {
        let first = ends.first().map_or_else(Counts::default, |end| end.counts);
        Self {
            prompt: first.prompt,
            cached: first.cached,
            generated: ends.iter().map(|end| end.counts.generated).sum(),
            thinking: ends.iter().map(|end| end.thinking).sum(),
        }
    }

    /// All tokens.
    pub(in crate::http) fn total(&self) -> usize {
        self.prompt + self.generated
    }
}

/// What answers took, in OpenAI's words.
pub(super) fn usage(ends: &[End]) -> Value {
    let taken = Taken::by(ends);
    json!({
        "prompt_tokens": taken.prompt,
        "completion_tokens": taken.generated,
        "total_tokens": taken.total(),
        "prompt_tokens_details": {"cached_tokens": taken.cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": taken.thinking,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    })
}

/// Tokens of an answer with their probabilities.
pub(super) fn logprobs(scored: &[Scored]) -> Value {
    let content: Vec<Value> = scored.iter().map(logprob).collect();
    json!({"content": content, "refusal": null})
}

/// A token with its probability, and the best ones.
pub(super) fn logprob(scored: &Scored) -> Value {
    let one = |bytes: &[u8], logprob: f32| {
        let text = String::from_utf8_lossy(bytes);
        json!({"token": text, "logprob": logprob, "bytes": bytes})
    };
    let mut value = one(&scored.bytes, scored.logprob);
    value["top_logprobs"] = scored.top.iter().map(|(bytes, logprob)| one(bytes, *logprob)).collect();
    value
}

/// A call, whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::http) struct Called {
    pub id: String,
    pub name: String,
    /// A JSON text; cut off where the answer was.
    pub arguments: String,
}

/// One answer, whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::http) struct Whole {
    pub content: String,
    pub thinking: String,
    pub calls: Vec<Called>,
    /// The tokens of `content`.
    pub scored: Vec<Scored>,
}

impl Whole {
    /// Takes more of it in.
    pub(in crate::http) fn take(&mut self, delta: Delta) {
        match delta {
            Delta::Thinking(text) => self.thinking.push_str(&text.text),
            Delta::Content(text) => {
                self.content.push_str(&text.text);
                self.scored.extend(text.scored);
            }
            Delta::Call { id, name, .. } => self.calls.push(Called { id, name, arguments: String::new() }),
            Delta::Arguments { text, .. } => {
                if let Some(call) = self.calls.last_mut() {
                    call.arguments.push_str(&text.text);
                }
            }
            Delta::CallEnd { .. } => {}
        }
    }

    fn message(&self) -> Value {
        let mut message = Map::new();
        message.insert("role".into(), "assistant".into());
        let is_text = !self.content.is_empty() || self.calls.is_empty();
        message.insert("content".into(), if is_text { self.content.as_str().into() } else { Value::Null });
        message.insert("refusal".into(), Value::Null);
        if !self.thinking.is_empty() {
            message.insert("reasoning".into(), self.thinking.as_str().into());
            message.insert("reasoning_content".into(), self.thinking.as_str().into());
        }
        if !self.calls.is_empty() {
            let calls = self.calls.iter().map(|call| {
                let function = json!({"name": call.name, "arguments": call.arguments});
                json!({"id": call.id, "type": "function", "function": function})
            });
            message.insert("tool_calls".into(), calls.collect());
        }
        message.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_a_text_unless_only_tools_are_called() {
        assert_eq!(Whole::default().message()["content"], "");
        let mut whole = Whole::default();
        whole.take(Delta::Call { index: 0, id: "c".into(), name: "f".into() });
        whole.take(Delta::Arguments { index: 0, text: Text { text: "{\"a\"".into(), scored: Vec::new() } });
        whole.take(Delta::Arguments { index: 0, text: Text { text: ":1}".into(), scored: Vec::new() } });
        let message = whole.message();
        assert!(message["content"].is_null());
        assert_eq!(message["tool_calls"][0]["function"], json!({"name": "f", "arguments": "{\"a\":1}"}));
    }

    #[test]
    fn a_token_has_its_bytes_and_the_best_ones() {
        let scored = Scored { bytes: vec![0xc3], logprob: -0.5, top: vec![(b"a".to_vec(), -0.25)] };
        assert_eq!(
            logprob(&scored),
            json!({"token": "\u{fffd}", "logprob": -0.5, "bytes": [195], "top_logprobs":
                [{"token": "a", "logprob": -0.25, "bytes": [97]}]})
        );
    }
}
