//! `tutu perplexity`: how surprised a model is by a text.

use lexopt::{Arg, Parser, ValueExt};
use tutu_llm::{
    perplexity::{WINDOW, perplexity},
    token::Special,
};

use super::{Error, args};
use crate::engine::{Device, Engine, Options};

pub fn run(mut parser: Parser) -> Result<(), Error> {
    let mut options = Options { context: WINDOW, batch: WINDOW, ..Options::default() };
    let (mut names, mut most) = (Vec::new(), usize::MAX);
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("exact") => options.device = Device::Reference,
            Arg::Long("max-tokens") => most = args::value(&mut parser)?,
            Arg::Long("threads") | Arg::Short('t') => options.threads = args::value(&mut parser)?,
            Arg::Long("gpu") => args::gpu(&mut parser)?,
            Arg::Long("gpu-layers") => options.gpu_layers = args::gpu_layers(&mut parser)?,
            Arg::Value(name) if names.len() < 2 => names.push(name.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let [model, file] = names.as_slice() else {
        return Err(Error::usage("perplexity needs a model and a text file"));
    };
    let text = std::fs::read(file).map_err(|e| Error::failed(format!("{file} cannot be read: {e}")))?;
    let text = String::from_utf8_lossy(&text);
    let mut engine = Engine::open(&args::model(model, true)?.sources, options)?;
    let mut ids = Vec::new();
    engine.tokenizer().encode(&text, Special::Text, &mut ids);
    ids.truncate(most);
    let (first, vocabulary) = (engine.tokenizer().leading(), engine.facts().vocabulary);
    let value = perplexity(engine.backend(), &ids, first, vocabulary)
        .map_err(|e| Error::failed(format!("the perplexity of {file} cannot be measured: {e}")))?;
    println!("{value:.4}");
    Ok(())
}
