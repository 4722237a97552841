//! The command line: a table of commands, and what becomes of an error.

mod args;
mod bench;
mod error;
mod perplexity;
mod tokenize;

use std::process::ExitCode;

pub use error::Error;

/// Runs the command line of this process. Exit codes: 0 done, 1 failed, 2 used wrongly.
pub fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.code())
        }
    }
}

fn run() -> Result<(), Error> {
    let mut parser = lexopt::Parser::from_env();
    let Some(lexopt::Arg::Value(command)) = parser.next()? else {
        return Err(Error::usage("no command was given"));
    };
    match command.to_string_lossy().as_ref() {
        "bench" => bench::run(parser),
        "perplexity" => perplexity::run(parser),
        "tokenize" => tokenize::run(parser),
        other => Err(Error::usage(format!("there is no command {other:?}"))),
    }
}
