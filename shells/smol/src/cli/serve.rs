//! `tutu serve`: listens until it is told to end.

use std::sync::Arc;

use async_signal::{Signal, Signals};
use lexopt::{Arg, Parser, ValueExt};
use smol::stream::StreamExt;

use super::{Error, args};
use crate::{
    daemon::Daemon,
    http::{Listener, Router, Server, address::Address, basics, ollama},
};

pub const FLAGS: &[(&str, &str)] = &[
    ("--host HOST", "where to listen: an address or a name, with a port or without (OLLAMA_HOST, or 127.0.0.1)"),
    ("--port N", "on which port (11434)"),
];

pub fn run(mut parser: Parser) -> Result<(), Error> {
    let mut address = of_environment()?;
    let mut port = None;
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("host") => address = Address::parse(&parser.value()?.string()?).map_err(Error::usage)?,
            Arg::Long("port") => port = Some(args::value(&mut parser)?),
            other => return Err(other.unexpected().into()),
        }
    }
    address.port = port.unwrap_or(address.port);
    let listeners = listeners(&address)?;
    let daemon = Daemon::new(&args::home()?, args::store()?, args::settings()?, args::options()?);
    let mut router = Router::new(Arc::new(daemon));
    basics::routes(&mut router, None);
    ollama::routes(&mut router);
    for listener in &listeners {
        if let Some(place) = listener.address() {
            println!("listening on http://{place}");
        }
    }
    let running = Server::new(router).start(listeners)?;
    until_asked_to_end()?;
    eprintln!("finishing what is being answered");
    Ok(running.stop()?)
}

fn of_environment() -> Result<Address, Error> {
    match std::env::var("OLLAMA_HOST") {
        Ok(text) => Address::parse(&text).map_err(|error| Error::usage(format!("OLLAMA_HOST: {error}"))),
        Err(_) => Ok(Address::default()),
    }
}

/// One listener for each address that a name has (`localhost` has two), at least one.
fn listeners(address: &Address) -> Result<Vec<Listener>, Error> {
    let refused = |error: std::io::Error| {
        let next = match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                "; another server runs there (Ollama, perhaps): end it, or choose another --port"
            }
            std::io::ErrorKind::PermissionDenied => "; ports below 1024 are for administrators: choose another --port",
            _ => "",
        };
        Error::failed(format!("cannot listen on {address}: {error}{next}"))
    };
    let (mut listeners, mut first) = (Vec::new(), None);
    for place in address.resolve().map_err(refused)? {
        match Listener::tcp(place) {
            Ok(listener) => listeners.push(listener),
            // Somebody else has one of the addresses: then clients may reach them instead of us.
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => return Err(refused(error)),
            Err(error) => first = first.or(Some(error)),
        }
    }
    match first {
        Some(error) if listeners.is_empty() => Err(refused(error)),
        _ => Ok(listeners),
    }
}

/// Waits for an interrupt, or a polite request to end. The second one ends at once.
fn until_asked_to_end() -> Result<(), Error> {
    // Windows has no other.
    let asking: &[Signal] = if cfg!(unix) { &[Signal::Int, Signal::Term] } else { &[Signal::Int] };
    let mut signals = Signals::new(asking)?;
    smol::block_on(signals.next());
    std::thread::spawn(move || {
        smol::block_on(signals.next());
        std::process::exit(130);
    });
    Ok(())
}
