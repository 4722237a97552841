//! `tutu pull`, `list`, `rm`, `cp`, `pin`.

use lexopt::Parser;
use tutu_node::{
    kit::Bytes,
    work::models::{Name, Reference},
};

use super::{Error, args, bars::Bars, human};
use crate::{
    perform::{self, Limit},
    store::{Record, Store, now},
};

/// Brings a model into the store, with bars; models that were not used for the longest time make room.
pub fn bring(store: &Store, name: &Name) -> Result<Record, Error> {
    let mut bars = Bars::new();
    let result =
        perform::model(store, &limit()?, name, &perform::Errand::default(), &mut |progress| bars.show(progress));
    bars.finish();
    result.map_err(|e| Error::failed(format!("{name} could not be pulled: {e}")))
}

/// What models may take together.
pub fn limit() -> Result<Limit, Error> {
    let most = args::settings()?.bytes("models.max_storage").filter(|most| most.0 > 0);
    let evicted = |name: &str| eprintln!("removed {name}, which was not used for the longest time, to make room");
    Ok(Limit { most, evicted })
}

/// `tutu pull MODEL`.
pub fn pull(mut parser: Parser) -> Result<(), Error> {
    let Some(model) = args::words(&mut parser)?.pop() else {
        return Err(Error::usage("pull needs a model"));
    };
    let record = match Reference::parse(&model).map_err(Error::usage)? {
        Reference::Name(name) => bring(&args::store()?, &name)?,
        Reference::Url(url) => bring_url(&args::store()?, &url)?,
        Reference::Path(path) => return Err(Error::usage(format!("{path} is here already: tutu run {path}"))),
    };
    eprintln!("pulled {} ({})", record.name, Bytes(record.size()));
    Ok(())
}

/// The same for a file somewhere, which is kept under a name that tells where it came from.
pub fn bring_url(store: &Store, url: &str) -> Result<Record, Error> {
    let name = perform::name_of(url).map_err(Error::usage)?;
    if let Ok(record) = store.find(&name) {
        return Ok(record);
    }
    let mut bars = Bars::new();
    let result = perform::url(store, &limit()?, &name, url, &mut |progress| bars.show(progress));
    bars.finish();
    result.map_err(|e| Error::failed(format!("{url} could not be pulled: {e}")))
}

/// `tutu pin MODEL...` and `tutu unpin MODEL...`.
pub fn pin(parser: Parser) -> Result<(), Error> {
    pins(parser, true)
}

/// See [`pin`].
pub fn unpin(parser: Parser) -> Result<(), Error> {
    pins(parser, false)
}

fn pins(mut parser: Parser, pinned: bool) -> Result<(), Error> {
    let names = args::words(&mut parser)?;
    if names.is_empty() {
        return Err(Error::usage("pin and unpin need a model"));
    }
    let store = args::store()?;
    for text in names {
        store.pin(&Name::parse(&text).map_err(Error::usage)?, pinned)?;
        println!("{text} {}", if pinned { "stays" } else { "may make room for others" });
    }
    Ok(())
}

/// `tutu list [PREFIX]`.
pub fn list(mut parser: Parser) -> Result<(), Error> {
    print_list(&args::words(&mut parser)?.pop().unwrap_or_default())
}

/// Prints the models whose names begin with `prefix`.
pub fn print_list(prefix: &str) -> Result<(), Error> {
    let prefix = prefix.to_lowercase();
    let mut rows = vec![["NAME", "ID", "SIZE", "MODIFIED"].map(String::from)];
    for record in args::store()?.list()?.iter().filter(|record| record.name.to_lowercase().starts_with(&prefix)) {
        let age = human::ago(now().saturating_sub(record.modified));
        rows.push([record.name.clone(), record.digest.short(), Bytes(record.size()).to_string(), age]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    for [name, id, size, age] in &rows {
        println!("{name:<0$}    {id:<1$}    {size:<2$}    {age}", widths[0], widths[1], widths[2]);
    }
    Ok(())
}

/// `tutu rm MODEL...`.
pub fn remove(mut parser: Parser) -> Result<(), Error> {
    let names = args::words(&mut parser)?;
    if names.is_empty() {
        return Err(Error::usage("rm needs a model"));
    }
    let store = args::store()?;
    for text in names {
        let name = Name::parse(&text).map_err(Error::usage)?;
        store.remove(&name)?;
        println!("deleted '{text}'");
    }
    Ok(())
}

/// `tutu cp FROM TO`.
pub fn copy(mut parser: Parser) -> Result<(), Error> {
    let words = args::words(&mut parser)?;
    let [from, to] = words.as_slice() else {
        return Err(Error::usage("cp needs a model and a new name"));
    };
    let name = |text: &str| Name::parse(text).map_err(Error::usage);
    args::store()?.copy(&name(from)?, &name(to)?)?;
    println!("copied '{from}' to '{to}'");
    Ok(())
}
