//! A model that is here, as the TuTufile that would make it again.

use serde_json::{Map, Value};
use tutu_node::work::models::{
    option,
    tutufile::{Command, Role, TuTufile},
};

use super::{Error, args};

/// The TuTufile of a model. Its files are named by their paths, so that it stands alone on this machine.
///
/// # Errors
/// A parameter or text that no TuTufile can hold.
pub fn text(model: &args::Model) -> Result<String, Error> {
    let printed = TuTufile { commands: commands(model) }.print().map_err(Error::failed)?;
    let name = &model.name;
    Ok(format!(
        "# Made by `tutu show --modelfile`. To build on it, put this in place of FROM:\n# FROM {name}\n\n{printed}"
    ))
}

fn commands(model: &args::Model) -> Vec<Command> {
    let paths = |list: &[std::path::PathBuf]| list.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
    let mut all: Vec<Command> = paths(&model.sources.files).into_iter().map(Command::From).collect();
    all.extend(paths(&model.sources.adapters).into_iter().map(Command::Adapter));
    all.extend(model.sources.template.clone().map(Command::Template));
    all.extend(model.system.clone().map(Command::System));
    all.extend(model.parameters.iter().flat_map(parameters));
    all.extend(model.licences.iter().cloned().map(Command::License));
    all.extend(
        model
            .messages
            .iter()
            .filter_map(|message| Some(Command::Message { role: role(&message.role)?, text: message.content.clone() })),
    );
    all
}

/// Parameters as commands; those of other programs that we do not know are left out.
pub fn parameters(map: &Map<String, Value>) -> Vec<Command> {
    let one = |name: &str, value: &Value| {
        let known = option::find(name).ok()?;
        let text = value.as_str().map_or_else(|| value.to_string(), String::from);
        Some(Command::Parameter { name: known.name, value: known.read(&text).ok()? })
    };
    map.iter()
        .flat_map(|(name, value)| match value {
            Value::Array(list) => list.iter().filter_map(|value| one(name, value)).collect(),
            value => one(name, value).into_iter().collect::<Vec<_>>(),
        })
        .collect()
}

/// The role of that name, where a TuTufile has one for it.
pub fn role(name: &str) -> Option<Role> {
    [Role::System, Role::User, Role::Assistant].into_iter().find(|role| role.name() == name)
}
