//! The command line: a table of commands, and what becomes of an error.

mod answer;
mod args;
mod bars;
mod bench;
mod chat;
mod commands;
mod config;
mod create;
mod doctor;
mod error;
mod format;
mod help;
mod human;
mod key;
mod mind;
pub mod modelfile;
mod models;
mod perplexity;
mod ps;
mod remote;
mod run;
mod serve;
mod service;
mod show;
mod tokenize;
mod uninstall;

use std::process::ExitCode;

use lexopt::{Arg, Parser};

pub use error::Error;

/// Runs the command line of this process. Exit codes: 0 done, 1 failed, 2 used wrongly.
pub fn main() -> ExitCode {
    match dispatch(Parser::from_env()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.code())
        }
    }
}

fn dispatch(mut parser: Parser) -> Result<(), Error> {
    let name = match parser.next()? {
        None => {
            print!("{}", help::overview());
            return Ok(());
        }
        Some(Arg::Long("help") | Arg::Short('h')) => "help".into(),
        Some(Arg::Long("version") | Arg::Short('v' | 'V')) => {
            println!("tutu {}", env!("CARGO_PKG_VERSION"));
            return Ok(());
        }
        Some(Arg::Value(name)) => name.to_string_lossy().into_owned(),
        Some(other) => return Err(other.unexpected().into()),
    };
    let command = commands::find(&name)?;
    if let Ok(home) = args::home() {
        crate::engine::gpu::keep_in(home.join("pipelines"));
    }
    (command.run)(parser)
}
