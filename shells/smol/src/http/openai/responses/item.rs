//! Items of a response, whole or as events.

use serde_json::{Value, json};

use crate::{
    engine::Scored,
    http::openai::{name, record::logprob},
    talk::{Delta, Text},
};

/// The items of one answer, as far as they came.
#[derive(Default)]
pub(super) struct Items {
    done: Vec<Value>,
    open: Option<Item>,
}

struct Item {
    id: String,
    kind: Kind,
    text: String,
    scored: Vec<Scored>,
}

#[derive(Clone, PartialEq)]
enum Kind {
    Reasoning,
    Message,
    /// Id and name of the call; the text is that of its arguments.
    Call(String, String),
}

impl Item {
    fn new(kind: Kind) -> Self {
        let prefix = match kind {
            Kind::Reasoning => "rs_",
            Kind::Message => "msg_",
            Kind::Call(..) => "fc_",
        };
        Self { id: name(prefix), kind, text: String::new(), scored: Vec::new() }
    }

    fn part(&self) -> Value {
        match self.kind {
            Kind::Reasoning => json!({"type": "summary_text", "text": self.text}),
            _ => json!({"type": "output_text", "text": self.text, "annotations": [], "logprobs": scores(&self.scored)}),
        }
    }

    /// The item; before its first word, its parts are not there yet.
    fn to_value(&self, status: &str, begun: bool) -> Value {
        let parts = if begun { vec![self.part()] } else { Vec::new() };
        match &self.kind {
            Kind::Reasoning => json!({"id": self.id, "type": "reasoning", "summary": parts, "status": status}),
            Kind::Message => {
                json!({"id": self.id, "type": "message", "status": status, "role": "assistant", "content": parts})
            }
            Kind::Call(call, name) => json!({"id": self.id, "type": "function_call", "call_id": call, "name": name,
                "arguments": self.text, "status": status}),
        }
    }
}

fn scores(scored: &[Scored]) -> Value {
    scored.iter().map(logprob).collect()
}

impl Items {
    /// Takes more of the answer in, and says so in events.
    pub(super) fn take(&mut self, delta: Delta) -> Vec<Value> {
        let mut events = Vec::new();
        match delta {
            Delta::Thinking(text) => {
                self.need(Kind::Reasoning, &mut events);
                self.more(text, "response.reasoning_summary_text.delta", &mut events);
            }
            Delta::Content(text) => {
                self.need(Kind::Message, &mut events);
                self.more(text, "response.output_text.delta", &mut events);
            }
            Delta::Call { id, name, .. } => self.need(Kind::Call(id, name), &mut events),
            Delta::Arguments { text, .. } => {
                self.more(text, "response.function_call_arguments.delta", &mut events);
            }
            Delta::CallEnd { .. } => self.close("completed", &mut events),
        }
        events
    }

    /// The end of the last item; one that was cut off is not complete.
    pub(super) fn finish(&mut self, is_cut: bool) -> Vec<Value> {
        let mut events = Vec::new();
        self.close(if is_cut { "incomplete" } else { "completed" }, &mut events);
        events
    }

    /// All items that are complete.
    pub(super) fn output(&self) -> Value {
        Value::Array(self.done.clone())
    }

    /// An event of the open item.
    fn event(&self, kind: &str, item: &Item, more: Value) -> Value {
        let mut event = json!({"type": kind, "item_id": item.id, "output_index": self.done.len()});
        match item.kind {
            Kind::Reasoning => event["summary_index"] = 0.into(),
            Kind::Message => event["content_index"] = 0.into(),
            Kind::Call(..) => {}
        }
        if let (Some(event), Value::Object(more)) = (event.as_object_mut(), more) {
            event.extend(more);
        }
        event
    }

    /// Sees to it that an item of this kind is open.
    fn need(&mut self, kind: Kind, events: &mut Vec<Value>) {
        if self.open.as_ref().is_some_and(|open| open.kind == kind) {
            return;
        }
        self.close("completed", events);
        let item = Item::new(kind);
        events.push(json!({"type": "response.output_item.added", "output_index": self.done.len(),
            "item": item.to_value("in_progress", false)}));
        let added = match item.kind {
            Kind::Reasoning => Some("response.reasoning_summary_part.added"),
            Kind::Message => Some("response.content_part.added"),
            Kind::Call(..) => None,
        };
        events.extend(added.map(|kind| self.event(kind, &item, json!({"part": item.part()}))));
        self.open = Some(item);
    }

    fn more(&mut self, text: Text, kind: &str, events: &mut Vec<Value>) {
        let Some(mut item) = self.open.take() else { return };
        let mut more = json!({"delta": text.text});
        if item.kind == Kind::Message {
            more["logprobs"] = scores(&text.scored);
            item.scored.extend(text.scored);
        }
        item.text.push_str(&text.text);
        events.push(self.event(kind, &item, more));
        self.open = Some(item);
    }

    fn close(&mut self, status: &str, events: &mut Vec<Value>) {
        let Some(item) = self.open.take() else { return };
        let part = json!({"part": item.part()});
        match &item.kind {
            Kind::Reasoning => {
                let text = json!({"text": item.text});
                events.push(self.event("response.reasoning_summary_text.done", &item, text));
                events.push(self.event("response.reasoning_summary_part.done", &item, part));
            }
            Kind::Message => {
                let text = json!({"text": item.text, "logprobs": scores(&item.scored)});
                events.push(self.event("response.output_text.done", &item, text));
                events.push(self.event("response.content_part.done", &item, part));
            }
            Kind::Call(_, name) => {
                let arguments = json!({"name": name, "arguments": item.text});
                events.push(self.event("response.function_call_arguments.done", &item, arguments));
            }
        }
        let item = item.to_value(status, true);
        events.push(json!({"type": "response.output_item.done", "output_index": self.done.len(), "item": item}));
        self.done.push(item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_in_the_order_of_events_that_clients_expect() {
        let text = |text: &str| Text { text: text.into(), scored: Vec::new() };
        let mut items = Items::default();
        let mut events = Vec::new();
        for delta in [
            Delta::Thinking(text("hm")),
            Delta::Content(text("a")),
            Delta::Content(text("b")),
            Delta::Call { index: 0, id: "call_1".into(), name: "f".into() },
            Delta::Arguments { index: 0, text: text("{}") },
            Delta::CallEnd { index: 0 },
        ] {
            events.extend(items.take(delta));
        }
        events.extend(items.finish(false));
        let lines: Vec<String> = events
            .iter()
            .map(|event| format!("{} {}", &event["type"].as_str().unwrap()["response.".len()..], event["output_index"]))
            .collect();
        assert_eq!(
            lines,
            [
                "output_item.added 0",
                "reasoning_summary_part.added 0",
                "reasoning_summary_text.delta 0",
                "reasoning_summary_text.done 0",
                "reasoning_summary_part.done 0",
                "output_item.done 0",
                "output_item.added 1",
                "content_part.added 1",
                "output_text.delta 1",
                "output_text.delta 1",
                "output_text.done 1",
                "content_part.done 1",
                "output_item.done 1",
                "output_item.added 2",
                "function_call_arguments.delta 2",
                "function_call_arguments.done 2",
                "output_item.done 2",
            ]
        );
        let output = items.output();
        assert_eq!((&output[1]["content"][0]["text"], &output[2]["arguments"]), (&json!("ab"), &json!("{}")));
    }

    #[test]
    fn what_was_cut_off_is_not_complete() {
        let mut items = Items::default();
        items.take(Delta::Content(Text { text: "a".into(), scored: Vec::new() }));
        items.finish(true);
        assert_eq!(items.output()[0]["status"], "incomplete");
    }
}
