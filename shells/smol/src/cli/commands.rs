//! All commands, in one table: what they are called, what they take, what runs them. Help and completions
//! are made from it.

use lexopt::Parser;

use super::{
    Error, args, bench, config, create, doctor, help, key, models, perplexity, ps, run, serve, service, show, tokenize,
    uninstall,
};
use tutu_node::kit::near::nearest;

/// One command.
pub struct Command {
    /// Its name.
    pub name: &'static str,
    /// Another name for it.
    pub alias: Option<&'static str>,
    /// What stands after the name.
    pub takes: &'static str,
    /// What it does, in one line.
    pub about: &'static str,
    /// Its flags: name with what it takes, and meaning.
    pub flags: &'static [(&'static str, &'static str)],
    /// Runs it on what stands after its name.
    pub run: fn(Parser) -> Result<(), Error>,
}

/// All commands, in the order of help.
pub const ALL: &[Command] = &[
    Command {
        name: "run",
        alias: None,
        takes: "MODEL [PROMPT...]",
        about: "Answer a prompt, or chat; what comes through a pipe goes before the prompt",
        flags: run::FLAGS,
        run: run::run,
    },
    Command { name: "serve", alias: None, takes: "", about: "Answer over HTTP", flags: serve::FLAGS, run: serve::run },
    Command {
        name: "service",
        alias: None,
        takes: "install|uninstall|status|print [-- FLAGS]",
        about: "Have the system keep the server running",
        flags: service::FLAGS,
        run: service::run,
    },
    Command {
        name: "ps",
        alias: None,
        takes: "[PREFIX]",
        about: "List the models that are in memory",
        flags: ps::PS_FLAGS,
        run: ps::ps,
    },
    Command {
        name: "stop",
        alias: None,
        takes: "MODEL",
        about: "Let a model go from memory",
        flags: ps::STOP_FLAGS,
        run: ps::stop,
    },
    Command {
        name: "pull",
        alias: None,
        takes: "MODEL",
        about: "Bring a model into the store",
        flags: &[],
        run: models::pull,
    },
    Command {
        name: "list",
        alias: Some("ls"),
        takes: "[PREFIX]",
        about: "List the models that are here",
        flags: &[],
        run: models::list,
    },
    Command {
        name: "show",
        alias: None,
        takes: "MODEL",
        about: "Tell what a model is",
        flags: show::FLAGS,
        run: show::run,
    },
    Command { name: "rm", alias: None, takes: "MODEL...", about: "Remove models", flags: &[], run: models::remove },
    Command {
        name: "cp",
        alias: None,
        takes: "FROM TO",
        about: "Give a model a second name",
        flags: &[],
        run: models::copy,
    },
    Command {
        name: "create",
        alias: None,
        takes: "NAME",
        about: "Make a model of your own from a TuTufile",
        flags: create::FLAGS,
        run: create::run,
    },
    Command {
        name: "pin",
        alias: None,
        takes: "MODEL...",
        about: "Keep models when room is needed",
        flags: &[],
        run: models::pin,
    },
    Command {
        name: "unpin",
        alias: None,
        takes: "MODEL...",
        about: "Let models go when room is needed",
        flags: &[],
        run: models::unpin,
    },
    Command {
        name: "bench",
        alias: None,
        takes: "MODEL",
        about: "Measure how fast a model is here",
        flags: &[
            ("--threads N", "threads (as many as this process may use)"),
            ("--prompt N", "tokens of the prompt (512)"),
            ("--gen N", "tokens to generate (128)"),
            ("--streams N", "also write N texts at once, as a server does"),
            args::GPU,
            args::GPU_LAYERS,
            ("--json", "print one JSON object"),
        ],
        run: bench::run,
    },
    Command {
        name: "tokenize",
        alias: None,
        takes: "MODEL",
        about: "Print the token ids of standard input",
        flags: &[
            ("--special", "read control tokens in the text"),
            ("--add-special", "add the marks of beginning and end that the model asks for"),
            ("--json", "print a JSON list"),
        ],
        run: tokenize::run,
    },
    Command {
        name: "perplexity",
        alias: None,
        takes: "MODEL FILE",
        about: "Measure how surprised a model is by a text",
        flags: &[
            ("--exact", "compute in f32 with the reference interpreter (slow)"),
            ("--max-tokens N", "take the first N tokens only"),
            args::GPU,
            args::GPU_LAYERS,
            ("--threads N", "threads (as many as this process may use)"),
        ],
        run: perplexity::run,
    },
    Command {
        name: "config",
        alias: None,
        takes: "get [KEY] | set KEY VALUE | path",
        about: "Read and change the settings of this machine",
        flags: &[],
        run: config::run,
    },
    Command {
        name: "doctor",
        alias: None,
        takes: "",
        about: "Say whether everything is well, and what to do where it is not",
        flags: doctor::FLAGS,
        run: doctor::run,
    },
    Command {
        name: "key",
        alias: None,
        takes: "add NAME | list | rm NAME",
        about: "Keys for those who use this machine's server from elsewhere",
        flags: key::FLAGS,
        run: key::run,
    },
    Command {
        name: "uninstall",
        alias: None,
        takes: "",
        about: "Say what tutu keeps on this machine, and remove it",
        flags: uninstall::FLAGS,
        run: uninstall::run,
    },
    Command {
        name: "completions",
        alias: None,
        takes: "SHELL",
        about: "Print a completion script for bash, zsh, fish or powershell",
        flags: &[],
        run: help::completions,
    },
    Command { name: "help", alias: None, takes: "[COMMAND]", about: "Explain a command", flags: &[], run: help::run },
];

/// The command of that name.
///
/// # Errors
/// Names a near command.
pub fn find(name: &str) -> Result<&'static Command, Error> {
    let known = ALL.iter().find(|command| command.name == name || command.alias == Some(name));
    known.ok_or_else(|| match nearest(name, ALL.iter().map(|command| command.name)) {
        Some(near) => Error::usage(format!("there is no command {name:?}; did you mean {near:?}?")),
        None => Error::usage(format!("there is no command {name:?}")),
    })
}
