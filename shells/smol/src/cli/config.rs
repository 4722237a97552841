//! `tutu config get|set|path`.

use lexopt::Parser;
use tutu_node::edge::config::{KEYS, Value};

use super::{Error, args};
use crate::config;

pub fn run(mut parser: Parser) -> Result<(), Error> {
    let words = args::words(&mut parser)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let home = args::home()?;
    match words.as_slice() {
        ["path"] => println!("{}", config::path(&home).display()),
        [] | ["get"] => {
            let settings = config::read(&home, &[])?;
            for key in KEYS {
                let value = settings.get(key.name).map_or(String::new(), |(value, _)| text(value));
                println!("{:<28}{value:<12}{}", key.name, key.about);
            }
        }
        ["get", name] => {
            let key = tutu_node::edge::config::find(name).map_err(Error::usage)?;
            let settings = config::read(&home, &[])?;
            println!("{}", settings.get(key.name).map_or(String::new(), |(value, _)| text(value)));
        }
        ["set", name, value] => config::write(&home, name, value)?,
        _ => return Err(Error::usage("say config get [KEY], config set KEY VALUE, or config path")),
    }
    Ok(())
}

fn text(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Bytes(bytes) => bytes.to_string(),
        Value::Count(count) => count.to_string(),
        Value::Flag(flag) => flag.to_string(),
        Value::Time(..) => value.to_string(),
    }
}
