//! `tutu serve`: listens until it is told to end.

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_signal::{Signal, Signals};
use lexopt::{Arg, Parser, ValueExt};
use smol::stream::StreamExt;
use tutu_node::edge::config::Settings;
use tutu_os::service::Notify;

use super::{Error, args};
use crate::{
    client::Client,
    config,
    daemon::{
        Daemon,
        health::Place,
        seat::{self, Seat},
    },
    engine::Options,
    http::{
        Counters, Guard, Listener, Router, Server, Tls, access::Log, address::Address, anthropic, basics,
        keys::Keyring, observe, ollama, openai, origins::Origins,
    },
    log::{self, Level},
    web,
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
    ("--folders LIST", "folders of GGUF files that are used where they lie, beside the store; written as in PATH"),
    ("--need-keys", "ask for a key here too (`tutu key add`), as is done wherever others reach this machine"),
    ("--anyone-may-use-it", "ask nobody for a key: whoever reaches this machine may use and remove models"),
    args::GPU,
    args::GPU_LAYERS,
    ("--background", "go on in the background; what it says is written to serve.log in the home"),
    ("--replace", "take the place of the server of this home, once that has finished what it answers"),
    ("--log-requests", "write a line for each request to standard error (OLLAMA_DEBUG_LOG_REQUESTS)"),
];

/// What the command line and the environment say.
struct Asked {
    address: Address,
    guard: Guard,
    tls: Option<(PathBuf, PathBuf)>,
    needs_keys: Option<bool>,
    logs: bool,
    background: bool,
    replaces: bool,
    folders: Option<String>,
    options: Options,
}

pub fn run(mut parser: Parser) -> Result<(), Error> {
    let home = args::home()?;
    let asked = asked(&mut parser, &home)?;
    if asked.background {
        return background(&home);
    }
    let _seat = seat(&home, asked.replaces)?;
    let tls = asked.tls.as_ref().map(|(chain, key)| Tls::open(chain, key)).transpose()?;
    let mut listeners = listeners(&asked, tls.as_ref())?;
    listeners.extend(of_home(&home)?);
    let (end, ended) = smol::channel::bounded(1);
    let flags = asked.folders.iter().map(|folders| ("models.folders", folders.as_str()));
    let settings = config::read(&home, &flags.collect::<Vec<_>>())?;
    start_log(&home, &settings);
    let store = args::store_of(&settings)?;
    let mut daemon = Daemon::new(&home, store, settings, asked.options, end);
    let is_tls = tls.is_some();
    daemon.health.places =
        listeners.iter().filter_map(Listener::address).map(|address| Place { address, tls: is_tls }).collect();
    tidy(&daemon);
    let daemon = Arc::new(daemon);
    let mut router = Router::new(Arc::clone(&daemon));
    basics::routes(&mut router, Some(web::page));
    web::routes(&mut router);
    ollama::routes(&mut router);
    openai::routes(&mut router);
    anthropic::routes(&mut router);
    for listener in &listeners {
        if let Some(place) = listener.address() {
            println!("listening on {}://{place}", if is_tls { "https" } else { "http" });
        }
    }
    let counters = Arc::<Counters>::default();
    observe::routes(&mut router, Arc::clone(&counters));
    let mut server = Server::new(router);
    server.counters = counters;
    server.guard = asked.guard;
    server.log = Some(requests(asked.logs || log::wants(Level::Debug)));
    let running = server.start(listeners)?;
    let notify = Notify::of_environment();
    notify.ready();
    if let Some(tls) = &tls {
        watch(Arc::clone(tls));
    }
    until_asked_to_end(&ended, || {
        notify.reloading();
        tls.iter().for_each(|tls| renew(tls));
        notify.ready();
    })?;
    notify.stopping();
    eprintln!("finishing what is being answered");
    let stopped = running.stop();
    // What models remember may have to be written down.
    smol::block_on(daemon.pool.close(CLOSING));
    Ok(stopped?)
}

/// How long models may take to go at the end.
const CLOSING: Duration = Duration::from_secs(20);

/// Whether these flags can be those of a service, and whether it listens on a port for which it needs a right.
///
/// # Errors
/// Flags that mean nothing to `tutu serve`, or to a server without a terminal.
pub fn check(flags: &[String], home: &Path) -> Result<bool, Error> {
    let asked = asked(&mut Parser::from_args(flags), home)?;
    if asked.background || asked.replaces {
        return Err(Error::usage("a service is in the background anyway, and takes nobody's place"));
    }
    if asked.tls.iter().any(|(chain, key)| chain.is_relative() || key.is_relative()) {
        return Err(Error::usage("a service runs in no folder of yours: name the files of --tls from the root on"));
    }
    Ok(asked.address.port < 1024)
}

/// Reads certificates again, and says how that went.
fn renew(tls: &Tls) {
    match tls.reload() {
        Ok(()) => log::say(Level::Info, "the certificates were read again", &[]),
        Err(error) => {
            let what = "the certificates could not be read again; those from before stay";
            log::say(Level::Warn, what, &[("error", error.to_string().into())]);
        }
    }
}

/// Reads certificates again whenever their files change.
fn watch(tls: Arc<Tls>) {
    /// They are renewed weeks before they end.
    const EVERY: Duration = Duration::from_secs(5);
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(EVERY);
            if tls.has_changed() {
                renew(&tls);
            }
        }
    });
}

/// The seat of the home's server.
fn seat(home: &Path, replaces: bool) -> Result<Seat, Error> {
    /// As long as a server may take to finish what it answers, and a little.
    const PATIENCE: Duration = Duration::from_secs(40);
    let taken = || {
        Error::failed(
            "a server of this home runs already: use it, end it with `tutu stop --server`, or take its place with --replace",
        )
    };
    if let Some(seat) = Seat::take(home)? {
        return Ok(seat);
    }
    if !replaces {
        return Err(taken());
    }
    let client = Client::Home(seat::socket(home));
    client.call(http::Method::POST, "/api/shutdown", None).map_err(Error::failed)?;
    Seat::take_within(home, PATIENCE)?.ok_or_else(taken)
}

/// The socket in the home, for the command line.
#[cfg(unix)]
fn of_home(home: &Path) -> Result<Option<Listener>, Error> {
    let path = seat::socket(home);
    match Listener::unix(&path) {
        Ok(listener) => Ok(Some(listener)),
        Err(error) => {
            eprintln!("the command line cannot reach this server: {} cannot be made: {error}", path.display());
            Ok(None)
        }
    }
}

#[cfg(not(unix))]
fn of_home(_: &Path) -> Result<Option<Listener>, Error> {
    Ok(None)
}

/// Lets what happens be written down in the home.
fn start_log(home: &Path, settings: &Settings) {
    let debug = std::env::var("OLLAMA_DEBUG").is_ok_and(|text| !matches!(text.trim(), "" | "0" | "false"));
    let set = settings.text("log.level").and_then(Level::parse).unwrap_or(Level::Info);
    let level = if debug { Level::Debug } else { set };
    let most = settings.bytes("log.max_size").map_or(u64::MAX, |bytes| bytes.0);
    let files = settings.count("log.max_files").unwrap_or(1);
    if let Err(error) = log::start(&home.join("logs"), level, most, files) {
        log::say(Level::Warn, "the log cannot be written", &[("error", error.to_string().into())]);
    }
    if level < Level::Debug {
        log::tell_of_panics();
    }
}

/// Writes requests into the log, and on standard error if that was asked for.
fn requests(loud: bool) -> Log {
    Arc::new(move |access| {
        let level = match access.method {
            _ if access.status >= 500 => Level::Warn,
            // Those who watch ask often.
            http::Method::GET | http::Method::HEAD => Level::Debug,
            _ => Level::Info,
        };
        if loud {
            eprintln!("{access}");
        }
        if log::wants(level) {
            log::note(level, "request", &access.fields());
        }
    })
}

/// Removes what interrupted work left in the store, beside everything else.
fn tidy(daemon: &Daemon) {
    /// As Ollama: an upload is used within the hour, or not at all.
    const OLD: Duration = Duration::from_secs(3600);
    let store = Arc::clone(&daemon.store);
    std::thread::spawn(move || {
        if let Err(error) = store.tidy(OLD) {
            log::say(Level::Error, "the store could not be tidied", &[("error", error.to_string().into())]);
        }
    });
}

/// Starts the same command again, without a terminal, and waits until it answers.
fn background(home: &Path) -> Result<(), Error> {
    use std::process::{Command, Stdio};
    std::fs::create_dir_all(home)?;
    let path = home.join("serve.log");
    let log = std::fs::File::options().create(true).append(true).open(&path)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1).filter(|arg| arg != "--background"));
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn()?;
    let client = Client::Home(seat::socket(home));
    loop {
        if let Some(status) = child.try_wait()? {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let last = text.lines().last().unwrap_or_default().to_owned();
            return Err(Error::failed(format!("the server ended at once ({status}): {last}")));
        }
        if client.call(http::Method::GET, "/api/version", None).is_ok() {
            eprintln!("serving in the background; `tutu stop --server` ends it, {} has what it says", path.display());
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn asked(parser: &mut Parser, home: &Path) -> Result<Asked, Error> {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let (mut origins, mut port) = (variable("OLLAMA_ORIGINS"), None);
    let mut asked = Asked {
        address: of_environment()?,
        guard: Guard { names: of_this_machine(), keys: Some(Keyring::new(home)), ..Guard::new() },
        tls: None,
        needs_keys: None,
        background: false,
        replaces: false,
        folders: None,
        options: args::options()?,
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
            Arg::Long("folders") => asked.folders = Some(parser.value()?.string()?),
            Arg::Long("need-keys") => asked.needs_keys = Some(true),
            Arg::Long("anyone-may-use-it") => asked.needs_keys = Some(false),
            Arg::Long("gpu") => args::gpu(parser)?,
            Arg::Long("gpu-layers") => asked.options.gpu_layers = args::gpu_layers(parser)?,
            Arg::Long("background") => asked.background = true,
            Arg::Long("replace") => asked.replaces = true,
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
fn listeners(asked: &Asked, tls: Option<&Arc<Tls>>) -> Result<Vec<Listener>, Error> {
    let mut listeners = Vec::new();
    for listener in ports(&asked.address)? {
        let needs_key = asked.needs_keys.unwrap_or(listener.needs_key());
        let listener = listener.with_keys(needs_key);
        listeners.push(match tls {
            Some(tls) => listener.with_tls(tls),
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

/// Waits for an interrupt, or a polite request to end. The second one ends at once. A hang-up means to read files
/// again, unless there is a terminal: then it means that nobody is there any more.
fn until_asked_to_end(ended: &smol::channel::Receiver<()>, on_hang_up: impl Fn()) -> Result<(), Error> {
    // Windows has no other.
    let mut asking = vec![Signal::Int];
    if cfg!(unix) {
        asking.push(Signal::Term);
        let is_seen = std::io::stdin().is_terminal() || std::io::stderr().is_terminal();
        asking.extend((!is_seen).then_some(Signal::Hup));
    }
    let mut signals = Signals::new(asking)?;
    let signal = async {
        while let Some(Ok(Signal::Hup)) = signals.next().await {
            on_hang_up();
        }
        true
    };
    smol::future::block_on(smol::future::or(signal, async { ended.recv().await.is_ok() }));
    std::thread::spawn(move || {
        smol::future::block_on(signals.next());
        std::process::exit(130);
    });
    Ok(())
}
