//! `/v1/embeddings`.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Refused, fields, find, ollama, typed};
use crate::{
    daemon::{Daemon, Hearing, Named, Text},
    http::{Answer, Read, Request, StatusCode},
    talk::{Options, Overflow},
};

/// Texts in one request at most, as OpenAI has it.
const TEXTS_MAX: usize = 2048;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Body {
    model: Option<String>,
    input: Option<Value>,
    encoding_format: Option<Value>,
    dimensions: Option<i64>,
    truncation: Option<String>,
    num_ctx: Option<Value>,
    keep_alive: Option<Value>,
}

/// `POST /v1/embeddings`.
pub(super) async fn embeddings(daemon: Arc<Daemon>, mut request: Request) -> Result<Answer, Refused> {
    let Read { value: body, unused } = typed::<Body>(fields(&mut request).await?)?;
    let as_text = encoding(body.encoding_format.as_ref())?;
    let named = find(&daemon, body.model.as_deref()).await?;
    let texts = texts("input", body.input.as_ref().ok_or_else(|| Refused::missing("input"))?, &named)?;
    let width = named.facts.embedding;
    let dimensions = match body.dimensions {
        Some(count) if count < 1 || count > width as i64 => {
            return Err(Refused::bad("dimensions", format!("this model makes vectors of 1 to {width} dimensions")));
        }
        dimensions => dimensions.map(|count| count as usize),
    };
    let hearing = hearing(&request, &named, body.num_ctx.as_ref(), body.keep_alive.as_ref())?;
    let overflow = if body.truncation.as_deref() == Some("auto") { Overflow::Fit } else { Overflow::Refuse };
    let made = daemon.embed(&named, &hearing, texts, overflow).await.map_err(|error| Refused::of(error, "input"))?;
    let tokens: usize = made.tokens.iter().sum();
    let data = made.vectors.into_iter().enumerate().map(|(index, vector)| {
        let vector = match dimensions {
            Some(dimensions) => tutu_llm::embed::shortened(vector, dimensions),
            None => vector,
        };
        let embedding = if as_text { text_of(&vector).into() } else { json!(vector) };
        json!({"object": "embedding", "index": index, "embedding": embedding})
    });
    let data: Vec<Value> = data.collect();
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    let answer = json!({"object": "list", "data": data, "model": body.model, "usage": usage});
    Ok(ollama::tell(Answer::json(StatusCode::OK, &answer), made.dropped, &unused))
}

/// Who hears, of a route that makes vectors.
pub(super) fn hearing(
    request: &Request,
    named: &Named,
    context: Option<&Value>,
    keep: Option<&Value>,
) -> Result<Hearing, Refused> {
    let mut options = Options::default();
    options.take_stored(named.model.parameters.iter().flatten());
    if let Some(context) = context {
        options.set("num_ctx", context).map_err(|why| Refused::bad("num_ctx", why))?;
    }
    let keep = ollama::keep(keep).map_err(|refused| Refused::bad("keep_alive", refused.text))?;
    Ok(Hearing { client: ollama::client(request), context: options.context, keep, ..Hearing::default() })
}

/// Whether vectors are sent as base64.
fn encoding(format: Option<&Value>) -> Result<bool, Refused> {
    match format.map(|format| format.as_str().unwrap_or_default()) {
        None | Some("float") => Ok(false),
        Some("base64") => Ok(true),
        Some(_) => {
            let text = format!(
                "Invalid value for 'encoding_format' = {}: it is \"float\" or \"base64\"",
                format.unwrap_or(&Value::Null)
            );
            Err(Refused::bad("encoding_format", text))
        }
    }
}

/// A vector as base64 of its numbers, each of four bytes, the lowest first.
fn text_of(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
    STANDARD.encode(bytes)
}

/// A text, texts, token ids, or lists of them.
///
/// # Errors
/// What is none of these, or empty, or no token.
pub(super) fn texts(param: &str, input: &Value, named: &Named) -> Result<Vec<Text>, Refused> {
    read(param, input, named.facts.vocabulary)
}

fn read(param: &str, input: &Value, words: usize) -> Result<Vec<Text>, Refused> {
    let one = |value: &Value, place: &str| match value {
        Value::String(text) if text.is_empty() => Err(Refused::bad(place, "an empty text has no tokens")),
        Value::String(text) => Ok(Text::Words(text.clone())),
        Value::Array(ids) => Ok(Text::Tokens(tokens(place, ids, words)?)),
        _ => Err(Refused::bad(place, format!("{param} is a text, a list of texts, token ids, or a list of those"))),
    };
    match input {
        Value::Array(list) if list.is_empty() => Err(Refused::bad(param, format!("{param} is empty"))),
        Value::Array(list) if list.len() > TEXTS_MAX && !list[0].is_number() => {
            Err(Refused::bad(param, format!("{param} has at most {TEXTS_MAX} texts")))
        }
        Value::Array(list) if !list[0].is_number() => {
            list.iter().enumerate().map(|(at, value)| one(value, &format!("{param}[{at}]"))).collect()
        }
        other => Ok(vec![one(other, param)?]),
    }
}

/// Token ids of a model with so many words.
pub(super) fn tokens(place: &str, ids: &[Value], words: usize) -> Result<Vec<u32>, Refused> {
    if ids.is_empty() {
        return Err(Refused::bad(place, "there are no tokens"));
    }
    let id = |value: &Value| {
        let id = value.as_u64().filter(|id| *id < words as u64);
        id.map(|id| id as u32)
            .ok_or_else(|| Refused::bad(place, format!("{value} is no token: this model has {words}")))
    };
    ids.iter().map(id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_has_four_forms() {
        let texts = |value: Value| read("input", &value, 100);
        let words = |text: &str| Text::Words(text.into());
        assert_eq!(texts(json!("a")), Ok(vec![words("a")]));
        assert_eq!(texts(json!(["a", "b"])), Ok(vec![words("a"), words("b")]));
        assert_eq!(texts(json!([1, 2])), Ok(vec![Text::Tokens(vec![1, 2])]));
        assert_eq!(texts(json!([[1], [2, 3]])), Ok(vec![Text::Tokens(vec![1]), Text::Tokens(vec![2, 3])]));
        for (wrong, place) in [
            (json!([]), "input"),
            (json!(""), "input"),
            (json!(5), "input"),
            (json!({}), "input"),
            (json!(["a", ""]), "input[1]"),
            (json!(["a", 5]), "input[1]"),
            (json!([[]]), "input[0]"),
            (json!([100]), "input"),
            (json!([-1]), "input"),
            (json!([1, "a"]), "input"),
        ] {
            assert_eq!(texts(wrong.clone()).unwrap_err().param.as_deref(), Some(place), "{wrong}");
        }
    }

    #[test]
    fn a_vector_is_sent_as_bytes() {
        assert_eq!(text_of(&[1.0, -2.0]), "AACAPwAAAMA=");
        assert_eq!((encoding(None), encoding(Some(&json!("base64")))), (Ok(false), Ok(true)));
        assert!(encoding(Some(&json!("hex"))).is_err() && encoding(Some(&json!(1))).is_err());
    }
}
