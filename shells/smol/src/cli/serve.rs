//! `tutu serve`: listens until it is told to end.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use async_signal::{Signal, Signals};
use lexopt::{Arg, Parser, ValueExt};
use smol::stream::StreamExt;

use super::{Error, args};
use crate::{
    daemon::Daemon,
    http::{
        Guard, Listener, Router, Server, access::Log, address::Address, anthropic, basics, keys::Keyring, ollama,
        openai, origins::Origins,
    },
};

pub const FLAGS: &[(&str, &str)] = &[
    ("--host HOST", "where to listen: an address or a name, with a port or without (OLLAMA_HOST, or 127.0.0.1)"),
    ("--port N", "on which port (11434)"),
    (
        "--origins LIST",
        "web pages that may use it, beside those of this machine: https://*.example.com,... (OLLAMA_ORIGINS)",
    ),
    ("--name NAME", "a name under which others know this machine; as often as it has names"),
    ("--tls CHAIN KEY", "speak TLS, with a chain of certificates and a key in PEM files"),
    ("--need-keys", "ask for a key here too (`tutu key add`), as is done wherever others reach this machine"),
    ("--anyone-may-use-it", "ask nobody for a key: whoever reaches this machine may use and remove models"),
    ("--log-requests", "write a line for each request to standard error (OLLAMA_DEBUG_LOG_REQUESTS)"),
];

/// The socket in the home on which a server listens for commands.
#[cfg(unix)]
pub const SOCKET: &str = "tutu.sock";

/// What the command line and the environment say.
struct Asked {
    address: Address,
    guard: Guard,
    tls: Option<(PathBuf, PathBuf)>,
    needs_keys: Option<bool>,
    logs: bool,
}

pub fn run(mut parser: Parser) -> Result<(), Error> {
    let home = args::home()?;
    let asked = asked(&mut parser, &home)?;
    let mut listeners = listeners(&asked)?;
    listeners.extend(in_home(&home)?);
    let daemon = Daemon::new(&home, args::store()?, args::settings()?, args::options()?);
    let mut router = Router::new(Arc::new(daemon));
    basics::routes(&mut router, None);
    ollama::routes(&mut router);
    openai::routes(&mut router);
    anthropic::routes(&mut router);
    for listener in &listeners {
        if let Some(place) = listener.address() {
            println!("listening on {}://{place}", if asked.tls.is_some() { "https" } else { "http" });
        }
    }
    let mut server = Server::new(router);
    server.guard = asked.guard;
    server.log = asked.logs.then(|| -> Log { Arc::new(|access| eprintln!("{access}")) });
    let running = server.start(listeners)?;
    until_asked_to_end()?;
    eprintln!("finishing what is being answered");
    Ok(running.stop()?)
}

fn asked(parser: &mut Parser, home: &Path) -> Result<Asked, Error> {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let (mut origins, mut port) = (variable("OLLAMA_ORIGINS"), None);
    let mut asked = Asked {
        address: of_environment()?,
        guard: Guard { names: of_this_machine(), keys: Some(Keyring::new(home)), ..Guard::new() },
        tls: None,
        needs_keys: None,
        logs: !matches!(variable("OLLAMA_DEBUG_LOG_REQUESTS").trim(), "" | "0" | "false"),
    };
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("host") => {
                asked.address = Address::parse(&parser.value()?.string()?).map_err(Error::usage)?;
            }
            Arg::Long("port") => port = Some(args::value(parser)?),
            Arg::Long("origins") => origins = parser.value()?.string()?,
            Arg::Long("name") => asked.guard.names.push(parser.value()?.string()?.to_ascii_lowercase()),
            Arg::Long("tls") => asked.tls = Some((parser.value()?.into(), parser.value()?.into())),
            Arg::Long("need-keys") => asked.needs_keys = Some(true),
            Arg::Long("anyone-may-use-it") => asked.needs_keys = Some(false),
            Arg::Long("log-requests") => asked.logs = true,
            other => return Err(other.unexpected().into()),
        }
    }
    asked.address.port = port.unwrap_or(asked.address.port);
    asked.guard.origins = Origins::parse(&origins);
    if asked.address.parse_ip().is_none() {
        asked.guard.names.push(asked.address.host.to_ascii_lowercase());
    }
    Ok(asked)
}

/// The name of this machine, under which others on its network may ask for it.
fn of_this_machine() -> Vec<String> {
    let file = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = file.or_else(|| std::env::var("HOSTNAME").ok()).or_else(|| std::env::var("COMPUTERNAME").ok());
    name.map(|name| name.trim().to_ascii_lowercase()).filter(|name| !name.is_empty()).into_iter().collect()
}

fn of_environment() -> Result<Address, Error> {
    match std::env::var("OLLAMA_HOST") {
        Ok(text) => Address::parse(&text).map_err(|error| Error::usage(format!("OLLAMA_HOST: {error}"))),
        Err(_) => Ok(Address::default()),
    }
}

/// All places to listen on. Where others reach this machine, keys are needed, and there must be one.
fn listeners(asked: &Asked) -> Result<Vec<Listener>, Error> {
    let mut listeners = Vec::new();
    for listener in ports(&asked.address)? {
        let needs_key = asked.needs_keys.unwrap_or(listener.needs_key());
        let listener = listener.with_keys(needs_key);
        listeners.push(match &asked.tls {
            Some((chain, key)) => listener.with_tls(chain, key)?,
            None => listener,
        });
    }
    let keys = asked.guard.keys.as_ref().expect("every home has its keys");
    if keys.is_empty() && listeners.iter().any(Listener::needs_key) {
        let text = format!(
            "others reach {}, and there is no key for them: make one with `tutu key add NAME`, \
             or start with --anyone-may-use-it if anyone may use and remove models",
            asked.address
        );
        return Err(Error::failed(text));
    }
    Ok(listeners)
}

/// The socket by which commands of this home find the server, and only they.
fn in_home(home: &Path) -> Result<Option<Listener>, Error> {
    #[cfg(unix)]
    {
        let path = home.join(SOCKET);
        std::fs::create_dir_all(home)?;
        match Listener::unix(&path) {
            Ok(listener) => Ok(Some(listener)),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                Err(Error::failed(format!("a server of {} runs already; end it first", home.display())))
            }
            // A home on a file system without sockets, or with a long name: all others can still ask.
            Err(error) => {
                eprintln!("warning: cannot listen on {}: {error}", path.display());
                Ok(None)
            }
        }
    }
    #[cfg(not(unix))]
    {
        let _ = home;
        Ok(None)
    }
}

/// One listener for each address that a name has (`localhost` has two), at least one.
fn ports(address: &Address) -> Result<Vec<Listener>, Error> {
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
