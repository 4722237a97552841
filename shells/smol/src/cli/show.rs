//! `tutu show`: what a model is.

use std::sync::Arc;

use lexopt::{Arg, Parser, ValueExt};
use tutu_llm::{arch::Facts, gguf::Gguf, weights};
use tutu_node::work::models::{Name, Reference};
use tutu_os::Mapped;

use super::{Error, args, modelfile};
use crate::engine::template::capabilities;

/// What `show` can print.
pub const FLAGS: &[(&str, &str)] = &[
    ("--license", "print the licence"),
    ("--parameters", "print the parameters"),
    ("--modelfile", "print the TuTufile that makes it again"),
    ("--template", "print the template"),
    ("--system", "print the system text"),
    ("--verify", "compute all digests again"),
    ("-v, --verbose", "print all metadata and tensors too"),
];

pub fn run(mut parser: Parser) -> Result<(), Error> {
    let (mut part, mut verbose, mut verify, mut model) = (None, false, false, None);
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long(name @ ("license" | "modelfile" | "parameters" | "template" | "system")) if part.is_none() => {
                part = Some(name.to_string());
            }
            Arg::Long("verify") => verify = true,
            Arg::Long("verbose") | Arg::Short('v') => verbose = true,
            Arg::Value(name) if model.is_none() => model = Some(name.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let text = model.ok_or_else(|| Error::usage("show needs a model"))?;
    if verify {
        return check(&text);
    }
    let model = args::model(&text, false)?;
    let path = model.sources.files.first().ok_or_else(|| Error::failed(format!("{text} has no weights")))?;
    let file: weights::Bytes =
        Arc::new(Mapped::open(path).map_err(|e| Error::failed(format!("{} cannot be read: {e}", path.display())))?);
    let bad = |e: &dyn std::fmt::Display| Error::failed(format!("{} is no model that can be run: {e}", path.display()));
    let head = Gguf::parse((*file).as_ref()).map_err(|e| bad(&e))?;
    match part.as_deref() {
        Some("license") if !model.licences.is_empty() => model.licences.iter().for_each(|text| print_text(Some(text))),
        Some("license") => print_text(head.str("general.license")),
        Some("modelfile") => print!("{}", modelfile::text(&model)?),
        Some("template") => print_text(model.sources.template.as_deref().or(head.str("tokenizer.chat_template"))),
        Some("system") => print_text(model.system.as_deref()),
        Some(_) => {
            for (key, value) in model.parameters.iter().flatten() {
                println!("{key:<30} {value}");
            }
        }
        None => {
            let tensors = tutu_llm::gguf::weights(std::slice::from_ref(&file)).map_err(|e| bad(&e))?;
            let facts = Facts::read(&head, &tensors).map_err(|e| bad(&e))?;
            overview(&facts, &head, &model);
            if verbose {
                everything(&head);
            }
        }
    }
    Ok(())
}

fn check(text: &str) -> Result<(), Error> {
    let Reference::Name(name) = Reference::parse(text).map_err(Error::usage)? else {
        return Err(Error::usage("only a model of the store has digests to verify"));
    };
    verify(&name)
}

fn verify(name: &Name) -> Result<(), Error> {
    let store = args::store()?;
    let record = store.find(name)?;
    store.verify(&record)?;
    println!("{} is whole: {} blobs, {} bytes", record.name, record.layers.len(), record.size());
    Ok(())
}

fn print_text(text: Option<&str>) {
    if let Some(text) = text {
        println!("{text}");
    }
}

fn overview(facts: &Facts, head: &Gguf<'_>, model: &args::Model) {
    let row = |name: &str, value: &str| println!("    {name:<20}{value}");
    println!("  Model");
    row("architecture", &facts.architecture);
    row("parameters", &facts.size_label());
    row("context length", &facts.context.to_string());
    row("embedding length", &facts.embedding.to_string());
    row("quantization", &facts.quantisation);
    println!("\n  Capabilities");
    let (given, own) = (model.sources.template.as_deref(), head.str("tokenizer.chat_template"));
    for capability in capabilities(facts.pooling.is_some(), given, own) {
        println!("    {}", capability.name());
    }
    if let Some(parameters) = model.parameters.as_ref().filter(|map| !map.is_empty()) {
        println!("\n  Parameters");
        for (key, value) in parameters {
            row(key, &value.to_string());
        }
    }
    if let Some(system) = &model.system {
        println!("\n  System");
        system.lines().take(2).for_each(|line| println!("    {line}"));
    }
    if let Some(license) = head.str("general.license") {
        println!("\n  License");
        license.lines().take(2).for_each(|line| println!("    {line}"));
    }
}

fn everything(head: &Gguf<'_>) {
    use tutu_llm::gguf::Value;
    println!("\n  Metadata");
    for (key, value) in head.pairs() {
        let text = match value {
            Value::Str(text) => format!("{:?}", text.chars().take(60).collect::<String>()),
            Value::Array(list) => format!("[{} values]", list.len()),
            Value::Bool(flag) => flag.to_string(),
            Value::Unsigned(number) => number.to_string(),
            Value::Signed(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
        };
        println!("    {key:<44}{text}");
    }
    println!("\n  Tensors");
    for tensor in head.tensors() {
        println!("    {:<44}{:<8}{:?}", tensor.name, tensor.kind.name(), tensor.dims);
    }
}
