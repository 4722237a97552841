//! What `--format` and `/set format` take: `json`, a JSON schema, or a file with a schema or a GBNF grammar.

use std::{fs::File, io::Read, path::Path};

use tutu_llm::grammar::{gbnf, schema};

use super::Error;
use crate::talk::Form;

/// Bytes of a file at most.
const FILE_MAX: u64 = 1 << 20;

/// What a format says of an answer.
///
/// # Errors
/// A format that we do not know, a file that cannot be read, or a schema or grammar that cannot be followed.
pub fn form(format: &str) -> Result<Form, Error> {
    if format == "json" {
        return Ok(Form::Json);
    }
    if format.trim_start().starts_with('{') {
        return of_schema(format);
    }
    match Path::new(format).extension().and_then(|ending| ending.to_str()) {
        Some("json") => of_schema(&read(format)?),
        Some("gbnf") => {
            let text = read(format)?;
            gbnf::parse(&text).map_err(Error::usage)?;
            Ok(Form::Gbnf(text))
        }
        _ => {
            let known = "json, a JSON schema, or a file whose name ends in .json or .gbnf";
            Err(Error::usage(format!("the format is {format:?}, and may be {known}")))
        }
    }
}

fn of_schema(text: &str) -> Result<Form, Error> {
    let schema = serde_json::from_str(text).map_err(|error| Error::usage(format!("the schema is no JSON: {error}")))?;
    schema::compile(&schema).map_err(Error::usage)?;
    Ok(Form::Schema(schema))
}

fn read(path: &str) -> Result<String, Error> {
    let refused = |error: &dyn std::fmt::Display| Error::usage(format!("{path}: {error}"));
    let mut text = String::new();
    let file = File::open(path).map_err(|error| refused(&error))?;
    file.take(FILE_MAX + 1).read_to_string(&mut text).map_err(|error| refused(&error))?;
    if text.len() as u64 > FILE_MAX {
        return Err(refused(&"the file is larger than 1 MiB"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_json_a_schema_or_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        for format in [
            "json".to_owned(),
            "{\"type\": \"integer\"}".to_owned(),
            file("a.json", "{\"enum\": [1, 2]}"),
            file("a.gbnf", "root ::= \"a\" | \"b\"\n"),
        ] {
            assert!(form(&format).is_ok(), "{format}");
        }
        for format in [
            "xml".to_owned(),
            "{\"type\": ".to_owned(),
            "{\"not\": {}}".to_owned(),
            folder.path().join("absent.json").to_str().unwrap().to_owned(),
            file("b.gbnf", "root ::= a"),
            file("large.gbnf", &"#".repeat(FILE_MAX as usize + 1)),
        ] {
            assert!(form(&format).is_err(), "{format}");
        }
    }
}
