//! `tutu key add|list|rm`: who may use this machine's server from elsewhere.

use lexopt::{Arg, Parser, ValueExt};

use super::{Error, args};
use crate::http::{
    Scope,
    keys::{self, Record},
};

pub const FLAGS: &[(&str, &str)] = &[
    (
        "--scope SCOPE",
        "read: look at models; run: also let them compute (the default); manage: also bring and remove them",
    ),
    ("--requests-per-minute N", "how many requests the key may make (any number)"),
    ("--tokens-per-minute N", "how many tokens it may read and write (any number)"),
];

pub fn run(mut parser: Parser) -> Result<(), Error> {
    let (mut words, mut scope, mut limits) = (Vec::new(), Scope::Run, (None, None));
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("scope") => scope = parser.value()?.string()?.parse().map_err(Error::usage)?,
            Arg::Long("requests-per-minute") => limits.0 = Some(args::value(&mut parser)?),
            Arg::Long("tokens-per-minute") => limits.1 = Some(args::value(&mut parser)?),
            Arg::Value(word) => words.push(word.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    if [limits.0, limits.1].contains(&Some(0)) {
        return Err(Error::usage("a key that may do nothing is none: limits begin at 1"));
    }
    let home = args::home()?;
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["add", name] => {
            // Alone on standard output, so that a script can take it.
            println!("{}", keys::add(&home, name, scope, limits)?);
            eprintln!("This key is shown this once. Send it as `Authorization: Bearer KEY`.");
        }
        ["list" | "ls"] => keys::list(&home)?.iter().for_each(|key| println!("{}", line(key))),
        ["rm", name] => keys::remove(&home, name)?,
        _ => return Err(Error::usage("say key add NAME, key list, or key rm NAME")),
    }
    Ok(())
}

fn line(key: &Record) -> String {
    let mut line = format!("{:<24}{:<8}", key.name, key.scope.to_string());
    let limits = [(key.requests_per_minute, "requests"), (key.tokens_per_minute, "tokens")];
    for (limit, what) in limits.into_iter().filter_map(|(limit, what)| Some((limit?, what))) {
        line.push_str(&format!("  {limit} {what}/min"));
    }
    line.trim_end().to_owned()
}
