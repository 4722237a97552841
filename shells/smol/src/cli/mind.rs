//! The model that a conversation is with: opened by this program, or by a server that has it in memory.

use std::path::Path;

use serde_json::Value;
use tutu_llm::chat::Message;
use tutu_node::work::models::{
    Name,
    tutufile::{Command, TuTufile},
};

use super::{Error, answer::answer, args, create, modelfile, models, remote::There, run::Settings};
use crate::engine::{Engine, Options};

/// See the module.
pub enum Mind {
    /// Opened by this program.
    Here(Box<Here>),
    /// Opened by a server.
    There(Box<There>),
}

/// A model that this program opened.
pub struct Here {
    engine: Engine,
    model: args::Model,
}

impl Mind {
    /// A model that was opened here.
    pub fn here(engine: Engine, model: args::Model) -> Self {
        Self::Here(Box::new(Here { engine, model }))
    }

    /// What was said before the conversation begins, as it was stored.
    pub fn stored(&self) -> &[Message] {
        match self {
            Self::Here(here) => &here.model.messages,
            Self::There(there) => there.stored(),
        }
    }

    /// Answers the last message, prints the answer as it comes, and adds it to the messages.
    pub fn answer(&mut self, settings: &Settings, messages: &mut Vec<Message>) -> Result<(), Error> {
        match self {
            Self::Here(here) => answer(&mut here.engine, settings, messages),
            Self::There(there) => there.answer(settings, messages),
        }
    }

    /// Whether a parameter can be set while it runs.
    pub fn can_set(&self, key: &str) -> Result<(), Error> {
        match self {
            Self::Here(_) if key == "num_ctx" => {
                Err(Error::failed("the context is fixed while the model runs; start with --num-ctx"))
            }
            Self::Here(_) | Self::There(_) => Ok(()),
        }
    }

    /// Puts a template in the place of the model's.
    pub fn set_template(&mut self, text: &str) -> Result<(), Error> {
        match self {
            Self::Here(here) => {
                here.engine.set_template(text).map_err(Error::failed)?;
                here.model.sources.template = Some(text.into());
                Ok(())
            }
            Self::There(there) => there.set_template(text),
        }
    }

    /// `/show`, but for what this program knows itself.
    pub fn show(&self, what: &str, settings: &Settings) -> Result<(), Error> {
        match self {
            Self::Here(here) => here.show(what),
            Self::There(there) => there.show(what, settings),
        }
    }

    /// `/list`.
    pub fn list(&self) -> Result<(), Error> {
        match self {
            Self::Here(_) => models::print_list(""),
            Self::There(there) => there.list(),
        }
    }

    /// Makes a model of it, with what was set and said since.
    pub fn save(&self, to: &str, settings: &Settings, messages: &[Message]) -> Result<(), Error> {
        match self {
            Self::Here(here) => {
                let name = Name::parse(to).map_err(Error::failed)?;
                let commands = here.commands(settings, messages);
                create::make(&name, &TuTufile { commands }, Path::new(""), None)
            }
            Self::There(there) => there.save(to, settings, messages),
        }
    }

    /// Goes on with another model, and with what is stored with it.
    pub fn load(&mut self, name: &str, settings: &mut Settings) -> Result<(), Error> {
        let fresh = settings.fresh();
        match self {
            Self::Here(here) => {
                let model = args::model(name, false)?;
                let mut next = Settings { context: settings.context, ..fresh };
                next.take(model.system.clone(), model.parameters.iter().flatten());
                let options = Options { context: next.context(), ..args::options()? };
                **here = Here { engine: Engine::open(&model.sources, options)?, model };
                *settings = next;
            }
            Self::There(there) => {
                let other = there.other(name)?;
                let mut next = fresh;
                other.teach(&mut next);
                **there = other;
                *settings = next;
            }
        }
        Ok(())
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        match self {
            Self::Here(here) => &here.model.name,
            Self::There(there) => there.name(),
        }
    }
}

impl Here {
    fn show(&self, what: &str) -> Result<(), Error> {
        let facts = self.engine.facts();
        match what {
            "info" | "" => info(
                &self.model.name,
                &facts.architecture,
                &facts.size_label(),
                &facts.quantisation,
                &format!("{} of {}", self.engine.context(), facts.context),
            ),
            "template" => println!("{}", self.engine.template().source()),
            "license" => match self.model.licences.as_slice() {
                [] => println!("No license was stored with this model."),
                all => all.iter().for_each(|text| println!("{text}")),
            },
            "modelfile" => print!("{}", modelfile::text(&self.model)?),
            _ => return Err(unknown(what)),
        }
        Ok(())
    }

    /// The model as it was, with what was set and said since.
    fn commands(&self, settings: &Settings, messages: &[Message]) -> Vec<Command> {
        let mut all = vec![Command::From(self.model.name.clone())];
        all.extend(self.model.sources.template.clone().map(Command::Template));
        all.extend(settings.system.clone().map(Command::System));
        all.extend(modelfile::parameters(&settings.given));
        all.extend(messages.iter().filter(|message| message.role != "system").filter_map(|message| {
            Some(Command::Message { role: modelfile::role(&message.role)?, text: message.content.clone() })
        }));
        all
    }
}

/// Prints what a model is.
pub fn info(name: &str, architecture: &str, parameters: &str, quantisation: &str, context: &str) {
    println!("  model               {name}");
    println!("  architecture        {architecture}");
    println!("  parameters          {parameters}");
    println!("  quantization        {quantisation}");
    println!("  context length      {context}");
}

/// `/show` of what there is not.
pub fn unknown(what: &str) -> Error {
    Error::failed(format!("/show knows no {what:?}; type /? for help"))
}

/// Parameters as lines of names and values, as servers show them.
pub fn parameters(text: &str) -> Vec<(String, Value)> {
    let one = |line: &str| {
        let (name, value) = line.trim().split_once(char::is_whitespace)?;
        let value = value.trim();
        Some((name.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| value.into())))
    };
    text.lines().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parameters_are_read_from_their_lines() {
        let text = "stop                           \"a b\"\nstop                           \"c\"\ntop_k                          40\nx y z\nz";
        let read = parameters(text);
        let want = [("stop", json!("a b")), ("stop", json!("c")), ("top_k", json!(40)), ("x", json!("y z"))];
        assert_eq!(read, want.map(|(name, value)| (name.to_owned(), value)));
    }
}
