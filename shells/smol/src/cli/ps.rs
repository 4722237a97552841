//! `tutu ps` and `tutu stop`: what is in memory, and letting it go.

use http::Method;
use lexopt::{Arg, Parser, ValueExt};
use serde_json::{Value, json};
use tutu_node::kit::Bytes;

use super::{Error, args, human};
use crate::client::Client;

/// The flag of commands that ask a server.
pub const HOST: (&str, &str) = ("--host HOST", "which server to ask; the one of this home otherwise (OLLAMA_HOST)");

/// What `ps` takes.
pub const PS_FLAGS: &[(&str, &str)] = &[HOST, ("--json", "print what the server says")];
/// What `stop` takes.
pub const STOP_FLAGS: &[(&str, &str)] = &[HOST, ("--server", "end the server of this home, once it has answered")];

/// `tutu ps [PREFIX]`.
pub fn ps(mut parser: Parser) -> Result<(), Error> {
    let (mut host, mut prefix, mut prints_json) = (None, String::new(), false);
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("host") => host = Some(parser.value()?.string()?),
            Arg::Long("json") => prints_json = true,
            Arg::Value(word) => prefix = word.string()?.to_lowercase(),
            other => return Err(other.unexpected().into()),
        }
    }
    let client = Client::find(&args::home()?, host.as_deref()).map_err(Error::usage)?;
    let answer = match &client {
        Some(client) => client.call(Method::GET, "/api/ps", None).map_err(Error::failed)?,
        None => json!({"models": []}),
    };
    if prints_json {
        println!("{answer}");
        return Ok(());
    }
    if client.is_none() {
        eprintln!("no server runs in this home; `tutu serve` starts one");
    }
    let mut rows = vec![["NAME", "ID", "SIZE", "PROCESSOR", "CONTEXT", "UNTIL"].map(String::from)];
    let models = answer["models"].as_array().cloned().unwrap_or_default();
    rows.extend(models.iter().map(row).filter(|row| row[0].to_lowercase().starts_with(&prefix)));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..5).map(width).collect();
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        println!("{}    {}", cells.join("    "), row[5]);
    }
    Ok(())
}

fn row(model: &Value) -> [String; 6] {
    let text = |key: &str| model[key].as_str().unwrap_or_default().to_owned();
    let number = |key: &str| model[key].as_u64().unwrap_or(0);
    let (layers, all) = (number("gpu_layers"), number("layers"));
    let processor = match layers {
        0 => "100% CPU".into(),
        _ if layers >= all => format!("100% GPU: {}", text("gpu")),
        _ => format!("{layers} of {all} layers on GPU: {}", text("gpu")),
    };
    let until = model["expires_in_seconds"].as_u64().map_or_else(|| "Forever".into(), human::from_now);
    let until = if number("running") > 0 { "In use".into() } else { until };
    let id = text("digest").chars().take(12).collect();
    [text("name"), id, Bytes(number("size")).to_string(), processor, number("context_length").to_string(), until]
}

/// `tutu stop MODEL`, `tutu stop --server`.
pub fn stop(mut parser: Parser) -> Result<(), Error> {
    let (mut host, mut model, mut server) = (None, None, false);
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("host") => host = Some(parser.value()?.string()?),
            Arg::Long("server") => server = true,
            Arg::Value(word) if model.is_none() => model = Some(word.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let client = Client::find(&args::home()?, host.as_deref()).map_err(Error::usage)?;
    let client = client.ok_or_else(|| Error::failed("no server runs in this home, so nothing is in memory"))?;
    if server {
        client.call(Method::POST, "/api/shutdown", None).map_err(Error::failed)?;
        eprintln!("the server ends when it has answered");
        return Ok(());
    }
    let model = model.ok_or_else(|| Error::usage("stop needs a model, or --server"))?;
    let body = json!({"model": model, "keep_alive": 0});
    client.call(Method::POST, "/api/generate", Some(&body)).map_err(Error::failed)?;
    Ok(())
}
