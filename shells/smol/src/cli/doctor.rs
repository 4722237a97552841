//! `tutu doctor`: whether everything is as it must be, and what to do where it is not.

use http::Method;
use lexopt::Parser;

use super::{Error, args};
use crate::{
    client::Client,
    daemon::health::{self, Report},
};

pub const FLAGS: &[(&str, &str)] = &[("--host HOST", "ask the server there (OLLAMA_HOST)")];

pub fn run(mut parser: Parser) -> Result<(), Error> {
    let mut host = None;
    while let Some(arg) = parser.next()? {
        match arg {
            lexopt::Arg::Long("host") => host = Some(args::value::<String>(&mut parser)?),
            other => return Err(other.unexpected().into()),
        }
    }
    let home = args::home()?;
    let report = match Client::find(&home, host.as_deref()).map_err(Error::usage)? {
        Some(client) => of_server(&client)?,
        None => of_home()?,
    };
    for check in &report.checks {
        println!("{check}");
    }
    if report.ok { Ok(()) } else { Err(Error::failed("not everything is well; what to do is said above")) }
}

/// What a server finds.
fn of_server(client: &Client) -> Result<Report, Error> {
    let mut status = client.call(Method::GET, "/api/status?health=fresh", None).map_err(Error::failed)?;
    println!("the server at {client}");
    serde_json::from_value(status["health"].take()).map_err(|_| {
        let next = "is it another program, or another version of this one?";
        Error::failed(format!("the server at {client} does not tell how it is; {next}"))
    })
}

/// What can be found without one.
fn of_home() -> Result<Report, Error> {
    println!("no server of this home runs");
    let mut checks = health::on_disk(&args::store()?);
    checks.extend([health::gpu(), health::network()]);
    Ok(Report::new(checks))
}
