//! A model that a server has in memory, as this program's conversations use it.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tutu_llm::chat::Message;

use super::{
    Error,
    answer::{Page, begin, interrupted, print_verbose},
    args,
    mind::{info, parameters, unknown},
    models,
    run::Settings,
};
use crate::{
    client::{self, Client},
    engine::{Counts, Durations, template},
    talk::{Delta, End, Form, Heard, Reason, Text, Think},
};

/// Whether a server can be asked for this: a grammar of one's own is kept to by this program alone.
pub fn can_ask(settings: &Settings) -> bool {
    !matches!(settings.form, Form::Gbnf(_))
}

/// See the module.
pub struct There {
    client: Client,
    name: String,
    /// What the server says of the model.
    shown: Value,
    /// A template in the place of the model's.
    template: Option<String>,
    /// What the server puts before a conversation, beside the system's text.
    stored: Vec<Message>,
}

impl There {
    /// The model of that name. With `pull`, it is fetched where it is not there.
    ///
    /// # Errors
    /// It is not there, or the server is not.
    pub fn open(client: Client, name: &str, pull: bool) -> Result<Self, Error> {
        let show = || client.call(Method::POST, "/api/show", Some(&json!({"model": name})));
        let shown = match show() {
            Err(client::Error::Refused(StatusCode::NOT_FOUND, _)) if pull => {
                bring(&client, name)?;
                show()
            }
            shown => shown,
        };
        let shown = shown.map_err(Error::failed)?;
        let stored = serde_json::from_value(shown["messages"].clone()).unwrap_or_default();
        Ok(Self { client, name: name.into(), shown, template: None, stored })
    }

    /// Another model of the same server.
    pub fn other(&self, name: &str) -> Result<Self, Error> {
        Self::open(self.client.clone(), name, false)
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What was said before, as it was stored.
    pub fn stored(&self) -> &[Message] {
        &self.stored
    }

    /// Takes over what was stored with it.
    pub fn teach(&self, settings: &mut Settings) {
        let system = self.text("system").filter(|text| !text.is_empty()).map(String::from);
        let stored = parameters(self.text("parameters").unwrap_or_default());
        settings.take(system, stored.iter().map(|(name, value)| (name, value)));
    }

    /// Whether it makes vectors and no text.
    pub fn embeds(&self) -> bool {
        let can =
            |what: &str| self.shown["capabilities"].as_array().is_some_and(|list| list.iter().any(|it| it == what));
        can("embedding") && !can("completion")
    }

    /// Prints the vector of a text.
    pub fn embed(&self, text: &str) -> Result<(), Error> {
        let body = json!({"model": self.name, "input": text});
        let answer = self.client.call(Method::POST, "/api/embed", Some(&body)).map_err(Error::failed)?;
        println!("{}", answer["embeddings"][0]);
        Ok(())
    }

    /// Answers the last message, prints the answer as it comes, and adds it to the messages.
    pub fn answer(&self, settings: &Settings, messages: &mut Vec<Message>) -> Result<(), Error> {
        if !can_ask(settings) {
            return Err(Error::failed("a server keeps to no grammar in GBNF: use JSON or a schema, or end the server"));
        }
        let mut page = Page::new(settings);
        let mut end = None;
        begin();
        let asked = self.client.lines("/api/chat", &self.body(settings, messages), &mut |record| {
            let text = |key: &str| Text {
                text: record["message"][key].as_str().unwrap_or_default().into(),
                scored: Vec::new(),
            };
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
        let (thinking, content) = page.finish();
        asked.map_err(Error::failed)?;
        messages.push(Message { thinking, ..Message::new("assistant", &content) });
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

    fn body(&self, settings: &Settings, messages: &[Message]) -> Value {
        let (messages, adds) = said(messages, &self.stored);
        let mut body = json!({"model": self.name, "messages": messages, "options": settings.given});
        if !adds {
            body["stored"] = false.into();
        }
        if let Some(template) = &self.template {
            body["template"] = template.as_str().into();
        }
        if let Some(time) = &settings.keep_alive {
            body["keep_alive"] = time.as_str().into();
        }
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

    /// Puts a template in the place of the model's.
    pub fn set_template(&mut self, text: &str) -> Result<(), Error> {
        template::check(text).map_err(Error::failed)?;
        self.template = Some(text.into());
        Ok(())
    }

    /// `/show`, but for what this program knows itself.
    pub fn show(&self, what: &str, settings: &Settings) -> Result<(), Error> {
        let text = |key: &str| self.text(key).unwrap_or_default();
        match what {
            "info" | "" => {
                let details = |key: &str| self.shown["details"][key].as_str().unwrap_or_default().to_owned();
                let architecture = self.shown["model_info"]["general.architecture"].as_str().unwrap_or_default();
                let trained = self.shown["model_info"][format!("{architecture}.context_length")].as_u64().unwrap_or(0);
                let context = match settings.options.context {
                    Some(context) => format!("{context} of {trained}"),
                    None => format!("as the server has it, of {trained}"),
                };
                info(&self.name, architecture, &details("parameter_size"), &details("quantization_level"), &context);
            }
            "template" => println!("{}", self.template.as_deref().unwrap_or(text("template"))),
            "license" if text("license").is_empty() => println!("No license was stored with this model."),
            "license" => println!("{}", text("license")),
            "modelfile" => print!("{}", text("modelfile")),
            _ => return Err(unknown(what)),
        }
        Ok(())
    }

    /// `/list`: of this home, or of a server elsewhere.
    pub fn list(&self) -> Result<(), Error> {
        if matches!(self.client, Client::Home(_)) {
            return models::print_list("");
        }
        let answer = self.client.call(Method::GET, "/api/tags", None).map_err(Error::failed)?;
        for model in answer["models"].as_array().into_iter().flatten() {
            println!("{}", model["name"].as_str().unwrap_or_default());
        }
        Ok(())
    }

    /// Makes a model of it, with what was set and said since.
    pub fn save(&self, to: &str, settings: &Settings, messages: &[Message]) -> Result<(), Error> {
        let said: Vec<&Message> = messages.iter().filter(|message| message.role != "system").collect();
        let mut body = json!({"model": to, "from": self.name, "stream": false});
        for (key, value) in [
            ("parameters", json!(settings.given)),
            ("messages", json!(said)),
            ("system", json!(settings.system)),
            ("template", json!(self.template)),
        ] {
            if !value.is_null() {
                body[key] = value;
            }
        }
        self.client.call(Method::POST, "/api/create", Some(&body)).map(drop).map_err(Error::failed)
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.shown[key].as_str()
    }
}

/// Has a server fetch a model.
fn bring(client: &Client, name: &str) -> Result<(), Error> {
    if matches!(client, Client::Home(_)) {
        // Its store is the home's, and here are bars that show how far it is.
        return args::model(name, true).map(drop);
    }
    let mut last = String::new();
    let pulled = client.lines("/api/pull", &json!({"model": name}), &mut |record| {
        let status = record["status"].as_str().unwrap_or_default();
        if status != last {
            eprintln!("{status}");
            last = status.into();
        }
        Ok(true)
    });
    pulled.map_err(Error::failed)
}

/// What a server must be told of a conversation that begins with what it has stored, and whether it shall put that
/// before it: a conversation that was cleared or read from a file begins without.
fn said(messages: &[Message], stored: &[Message]) -> (Vec<Message>, bool) {
    let system = usize::from(messages.first().is_some_and(|message| message.role == "system"));
    let (system, rest) = messages.split_at(system);
    match rest.strip_prefix(stored) {
        Some(rest) => ([system, rest].concat(), true),
        None => (messages.to_vec(), false),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_said_by_the_server_until_it_was_cleared() {
        let [system, old, new] =
            [("system", "s"), ("user", "a"), ("user", "b")].map(|(role, text)| Message::new(role, text));
        let all = [system.clone(), old.clone(), new.clone()];
        assert_eq!(said(&all, std::slice::from_ref(&old)), (vec![system.clone(), new.clone()], true));
        assert_eq!(said(&all[1..], std::slice::from_ref(&old)), (vec![new.clone()], true));
        assert_eq!(
            said(&[system.clone(), new.clone()], std::slice::from_ref(&old)),
            (vec![system, new.clone()], false)
        );
        assert_eq!(said(std::slice::from_ref(&new), &[]), (vec![new], true));
    }
}
