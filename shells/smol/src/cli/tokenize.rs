//! `tutu tokenize`: the ids of standard input.

use std::io::Read;

use lexopt::{Arg, Parser, ValueExt};
use tutu_llm::token::Special;

use super::{Error, args};
use crate::engine;

pub fn run(mut parser: Parser) -> Result<(), Error> {
    let (mut special, mut marks, mut json, mut model) = (Special::Text, false, false, None);
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("special") => special = Special::Parse,
            Arg::Long("add-special") => marks = true,
            Arg::Long("json") => json = true,
            Arg::Value(name) if model.is_none() => model = Some(name.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let model = model.ok_or_else(|| Error::usage("tokenize needs a model"))?;
    let tokenizer = engine::tokenizer(&args::model(&model, true)?.sources)?;
    let mut text = Vec::new();
    std::io::stdin().read_to_end(&mut text)?;
    let text = String::from_utf8(text).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        Error::failed(format!(
            "standard input is not UTF-8 from byte {at} on; convert it first, for example with iconv"
        ))
    })?;
    let mut ids = Vec::new();
    tokenizer.encode(&text, special, &mut ids);
    if marks {
        tokenizer.add_special(&mut ids);
    }
    let list: Vec<String> = ids.iter().map(u32::to_string).collect();
    if json {
        println!("[{}]", list.join(","));
    } else {
        println!("{}", list.join(" "));
    }
    Ok(())
}
