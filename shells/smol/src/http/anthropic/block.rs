//! Blocks of an answer, whole or as events.

use serde_json::{Map, Value, json};

use crate::talk::{Delta, End, Reason};

/// The blocks of one answer, as far as they came.
#[derive(Default)]
pub(super) struct Blocks {
    all: Vec<Block>,
    /// Whether the last one goes on.
    open: bool,
}

enum Block {
    Thinking(String),
    Text(String),
    /// Id, name, and the JSON text of the arguments.
    Tool(String, String, String),
}

impl Block {
    fn to_value(&self) -> Value {
        match self {
            // Nothing is signed here: thoughts that come back are taken as they are.
            Self::Thinking(text) => json!({"type": "thinking", "thinking": text, "signature": ""}),
            Self::Text(text) => json!({"type": "text", "text": text}),
            Self::Tool(id, name, arguments) => {
                // Arguments that were cut off are none.
                let input = serde_json::from_str(arguments).unwrap_or_else(|_| Value::Object(Map::new()));
                json!({"type": "tool_use", "id": id, "name": name, "input": input})
            }
        }
    }
}

impl Blocks {
    /// Takes more of the answer in, and says so in events.
    pub(super) fn take(&mut self, delta: Delta) -> Vec<Value> {
        let mut events = Vec::new();
        match delta {
            Delta::Thinking(text) => {
                if !matches!(self.all.last(), Some(Block::Thinking(_)) if self.open) {
                    self.begin(Block::Thinking(String::new()), &mut events);
                }
                if let Some(Block::Thinking(all)) = self.all.last_mut() {
                    all.push_str(&text.text);
                }
                events.push(self.delta(json!({"type": "thinking_delta", "thinking": text.text})));
            }
            Delta::Content(text) => {
                if !matches!(self.all.last(), Some(Block::Text(_)) if self.open) {
                    self.begin(Block::Text(String::new()), &mut events);
                }
                if let Some(Block::Text(all)) = self.all.last_mut() {
                    all.push_str(&text.text);
                }
                events.push(self.delta(json!({"type": "text_delta", "text": text.text})));
            }
            Delta::Call { id, name, .. } => {
                let id = id.strip_prefix("call_").map_or_else(|| id.clone(), |rest| format!("toolu_{rest}"));
                self.begin(Block::Tool(id, name, String::new()), &mut events);
            }
            Delta::Arguments { text, .. } => {
                if let Some(Block::Tool(.., all)) = self.all.last_mut() {
                    all.push_str(&text.text);
                }
                events.push(self.delta(json!({"type": "input_json_delta", "partial_json": text.text})));
            }
            Delta::CallEnd { .. } => self.end(&mut events),
        }
        events
    }

    /// The end of the last block. An answer has at least one, if only an empty text.
    pub(super) fn finish(&mut self) -> Vec<Value> {
        let mut events = Vec::new();
        if self.all.is_empty() {
            self.begin(Block::Text(String::new()), &mut events);
        }
        self.end(&mut events);
        events
    }

    /// All blocks.
    pub(super) fn into_content(self) -> Value {
        self.all.iter().map(Block::to_value).collect()
    }

    fn begin(&mut self, block: Block, events: &mut Vec<Value>) {
        self.end(events);
        events.push(json!({
            "type": "content_block_start",
            "index": self.all.len(),
            "content_block": block.to_value(),
        }));
        self.all.push(block);
        self.open = true;
    }

    fn end(&mut self, events: &mut Vec<Value>) {
        if std::mem::take(&mut self.open) {
            events.push(json!({"type": "content_block_stop", "index": self.all.len() - 1}));
        }
    }

    fn delta(&self, delta: Value) -> Value {
        json!({"type": "content_block_delta", "index": self.all.len().saturating_sub(1), "delta": delta})
    }
}

/// What stands around the blocks.
pub(super) struct Close {
    pub model: String,
    pub id: String,
    /// The texts that the asker said end the answer.
    pub stops: Vec<String>,
    /// Whether the asker marked what shall be cached, and so hears what was.
    pub cached: bool,
}

impl Close {
    /// The message, whole or before its first block.
    pub(super) fn message(&self, content: Value, end: Option<&End>, prompt: usize) -> Value {
        let (reason, stop) = end.map_or((None, None), |end| self.reason(end));
        json!({
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": reason,
            "stop_sequence": stop,
            "usage": self.usage(end, prompt),
        })
    }

    /// The first event.
    pub(super) fn start(&self, prompt: usize) -> Value {
        json!({"type": "message_start", "message": self.message(json!([]), None, prompt)})
    }

    /// The last events.
    pub(super) fn end(&self, end: &End) -> [Value; 2] {
        let (reason, stop) = self.reason(end);
        let delta = json!({"stop_reason": reason, "stop_sequence": stop});
        let usage = self.usage(Some(end), end.counts.prompt);
        [json!({"type": "message_delta", "delta": delta, "usage": usage}), json!({"type": "message_stop"})]
    }

    fn usage(&self, end: Option<&End>, prompt: usize) -> Value {
        let cached = end.filter(|_| self.cached).map_or(0, |end| end.counts.cached);
        json!({
            "input_tokens": prompt - cached,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": cached,
            "output_tokens": end.map_or(0, |end| end.counts.generated),
        })
    }

    /// Why it ended, and which text did it. A text that was stored with the model is the model's own way to end.
    fn reason<'e>(&self, end: &'e End) -> (Option<&'static str>, Option<&'e str>) {
        match &end.reason {
            Reason::StopText(text) if self.stops.contains(text) => (Some("stop_sequence"), Some(text)),
            Reason::Stop | Reason::StopText(_) | Reason::Cancelled => (Some("end_turn"), None),
            Reason::Length => (Some("max_tokens"), None),
            Reason::Calls => (Some("tool_use"), None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::{Counts, Durations},
        talk::Text,
    };

    fn text(text: &str) -> Text {
        Text { text: text.into(), scored: Vec::new() }
    }

    #[test]
    fn blocks_begin_and_end_around_their_pieces() {
        let mut blocks = Blocks::default();
        let mut events = Vec::new();
        for delta in [
            Delta::Thinking(text("hm")),
            Delta::Content(text("a")),
            Delta::Content(text("b")),
            Delta::Call { index: 0, id: "call_1".into(), name: "f".into() },
            Delta::Arguments { index: 0, text: text("{\"x\":1}") },
            Delta::CallEnd { index: 0 },
        ] {
            events.extend(blocks.take(delta));
        }
        events.extend(blocks.finish());
        let lines: Vec<String> =
            events.iter().map(|event| format!("{} {}", event["type"].as_str().unwrap(), event["index"])).collect();
        assert_eq!(
            lines,
            [
                "content_block_start 0",
                "content_block_delta 0",
                "content_block_stop 0",
                "content_block_start 1",
                "content_block_delta 1",
                "content_block_delta 1",
                "content_block_stop 1",
                "content_block_start 2",
                "content_block_delta 2",
                "content_block_stop 2",
            ]
        );
        assert_eq!(
            blocks.into_content(),
            json!([{"type": "thinking", "thinking": "hm", "signature": ""}, {"type": "text", "text": "ab"},
                {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"x": 1}}])
        );
    }

    #[test]
    fn an_answer_without_a_word_has_an_empty_text() {
        let mut blocks = Blocks::default();
        assert_eq!(blocks.finish().len(), 2);
        assert_eq!(blocks.into_content(), json!([{"type": "text", "text": ""}]));
    }

    #[test]
    fn the_text_that_ended_an_answer_is_told_if_it_was_asked_for() {
        let close = Close { model: "m".into(), id: "msg_1".into(), stops: vec!["END".into()], cached: false };
        let end = |reason| End {
            reason,
            tokens: Vec::new(),
            counts: Counts { prompt: 5, cached: 3, generated: 2 },
            thinking: 0,
            durations: Durations::default(),
        };
        let told = |reason| close.message(json!([]), Some(&end(reason)), 5);
        let stopped = told(Reason::StopText("END".into()));
        assert_eq!((&stopped["stop_reason"], &stopped["stop_sequence"]), (&json!("stop_sequence"), &json!("END")));
        assert_eq!(told(Reason::StopText("<end>".into()))["stop_reason"], "end_turn");
        assert_eq!(told(Reason::Length)["stop_reason"], "max_tokens");
        assert_eq!(stopped["usage"]["input_tokens"], 5);
        assert_eq!(Close { cached: true, ..close }.usage(Some(&end(Reason::Stop)), 5)["cache_read_input_tokens"], 3);
    }
}
