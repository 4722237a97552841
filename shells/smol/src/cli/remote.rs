//! One answer of a server at the terminal.

use std::time::Duration;

use serde_json::{Value, json};
use tutu_llm::chat::Message;

use super::{
    Error,
    answer::{Page, interrupted, print_verbose},
    run::Settings,
};
use crate::{
    client::{self, Client},
    engine::{Counts, Durations},
    talk::{Delta, End, Form, Heard, Reason, Text, Think},
};

/// Whether a server can be asked for this: a grammar of one's own is kept to by this program alone.
pub fn can_ask(settings: &Settings) -> bool {
    !matches!(settings.form, Form::Gbnf(_))
}

/// Asks the server's model and prints the answer as it comes. What was stored with the model the server knows.
pub fn answer(client: &Client, model: &str, settings: &Settings, messages: &[Message]) -> Result<(), Error> {
    let mut page = Page::new(settings);
    let mut end = None;
    let asked = client.lines("/api/chat", &body(model, settings, messages), &mut |record| {
        let text =
            |key: &str| Text { text: record["message"][key].as_str().unwrap_or_default().into(), scored: Vec::new() };
        let broken = |error: std::io::Error| client::Error::Broken(error.to_string());
        for delta in [Delta::Thinking(text("thinking")), Delta::Content(text("content"))] {
            let is_empty = matches!(&delta, Delta::Thinking(text) | Delta::Content(text) if text.text.is_empty());
            if !is_empty {
                page.show(Heard::Delta(delta)).map_err(broken)?;
            }
        }
        if record["done"] == true {
            end = Some(ended(&record));
        }
        Ok(!interrupted())
    });
    page.finish();
    asked.map_err(Error::failed)?;
    if let Some((end, dropped)) = end {
        if dropped > 0 {
            eprintln!("note: the prompt does not fit the context; {dropped} tokens of it were left out");
        }
        if settings.verbose {
            print_verbose(&end);
        }
    }
    Ok(())
}

fn body(model: &str, settings: &Settings, messages: &[Message]) -> Value {
    let mut body = json!({"model": model, "messages": messages, "options": settings.given});
    match &settings.form {
        Form::Free | Form::Gbnf(_) => {}
        Form::Json => body["format"] = "json".into(),
        Form::Schema(schema) => body["format"] = schema.clone(),
    }
    match &settings.think {
        Think::Unset => {}
        Think::Off => body["think"] = false.into(),
        Think::On => body["think"] = true.into(),
        Think::Level(level) => body["think"] = level.clone().into(),
    }
    body
}

/// How an answer ended, and how many tokens of the prompt were left out.
fn ended(record: &Value) -> (End, u64) {
    let count = |key: &str| record[key].as_u64().unwrap_or(0);
    let time = |key: &str| Duration::from_nanos(count(key));
    let load = time("load_duration");
    let durations = Durations {
        total: time("total_duration").saturating_sub(load),
        load,
        prompt: time("prompt_eval_duration"),
        generate: time("eval_duration"),
    };
    let counts =
        Counts { prompt: count("prompt_eval_count") as usize, cached: 0, generated: count("eval_count") as usize };
    (End { reason: Reason::Stop, tokens: Vec::new(), counts, thinking: 0, durations }, count("dropped_tokens"))
}
