//! `/api/embed` and, as it was before, `/api/embeddings`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Refused, client, find, keep, tell};
use crate::{
    daemon::{self, Client, Daemon, Embedded, Hearing, Named, Text},
    http::{Answer, Read, Request, StatusCode},
    talk::{self, Dropped, Overflow, options::Taken},
};

/// The body of both.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Body {
    model: Option<String>,
    input: Option<Value>,
    /// The text, in the older route.
    prompt: Option<String>,
    truncate: Option<bool>,
    dimensions: Option<i64>,
    options: Option<Map<String, Value>>,
    keep_alive: Option<Value>,
}

/// `POST /api/embed`.
pub(super) async fn embed(daemon: Arc<Daemon>, mut request: Request) -> Result<Answer, Refused> {
    let start = Instant::now();
    let Read { value: body, mut unused } = request.json_any_case::<Body>().await?;
    let texts = texts(body.input.as_ref())?;
    let asked = asked(&daemon, client(&request), &body, &mut unused).await?;
    let made = vectors(&daemon, &asked, texts, body.truncate).await?;
    if made.vectors.is_empty() {
        let answer = json!({"model": asked.name, "embeddings": []});
        return Ok(tell(Answer::json(StatusCode::OK, &answer), made.dropped, &unused));
    }
    let vectors: Vec<Vec<f32>> = made.vectors.into_iter().map(|vector| cut(vector, body.dimensions)).collect();
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let mut answer = json!({
        "model": asked.name,
        "embeddings": vectors,
        "total_duration": nanos(start.elapsed()),
        "prompt_eval_count": made.tokens.iter().sum::<usize>(),
    });
    // What is nothing is left out, as Ollama does.
    if made.load > Duration::ZERO {
        answer["load_duration"] = nanos(made.load).into();
    }
    Ok(tell(Answer::json(StatusCode::OK, &answer), made.dropped, &unused))
}

/// `POST /api/embeddings`.
pub(super) async fn embeddings(daemon: Arc<Daemon>, mut request: Request) -> Result<Answer, Refused> {
    let Read { value: body, mut unused } = request.json_any_case::<Body>().await?;
    let texts = body.prompt.iter().filter(|text| !text.is_empty()).cloned().map(Text::Words).collect();
    let asked = asked(&daemon, client(&request), &body, &mut unused).await?;
    let made = vectors(&daemon, &asked, texts, body.truncate).await?;
    let vector = made.vectors.into_iter().next().unwrap_or_default();
    Ok(tell(Answer::json(StatusCode::OK, &json!({"embedding": vector})), made.dropped, &unused))
}

struct Asked {
    name: String,
    named: Arc<Named>,
    hearing: Hearing,
}

async fn asked(daemon: &Daemon, client: Client, body: &Body, unused: &mut Vec<String>) -> Result<Asked, Refused> {
    let name = body.model.clone().unwrap_or_default();
    if name.is_empty() {
        return Err(Refused::bad("model is required"));
    }
    let named = find(daemon, &name).await?;
    let mut options = named.options.clone();
    for (key, value) in body.options.iter().flatten() {
        // How an answer is written changes no vector.
        if options.set(key, value).map_err(Refused::bad)? != Taken::Used || key != "num_ctx" {
            unused.push(format!("options.{key}"));
        }
    }
    let keep = keep(body.keep_alive.as_ref())?;
    let hearing = Hearing { client, context: options.context, keep, ..Hearing::default() };
    Ok(Asked { name, named, hearing })
}

async fn vectors(
    daemon: &Daemon,
    asked: &Asked,
    texts: Vec<Text>,
    truncate: Option<bool>,
) -> Result<Embedded, Refused> {
    let Asked { named, hearing, .. } = asked;
    if texts.is_empty() {
        // Nothing but the model is wanted.
        let lease = daemon.lease(named, hearing).await?;
        let load = lease.load();
        return Ok(Embedded { vectors: Vec::new(), tokens: Vec::new(), dropped: Dropped::default(), load });
    }
    let overflow = if truncate == Some(false) { Overflow::Refuse } else { Overflow::Fit };
    daemon.embed(named, hearing, texts, overflow).await.map_err(|error| match error {
        daemon::Error::Talk(talk::Error::TooLong { tokens, context }) => Refused::bad(format!(
            "the input length exceeds the context length: it has {tokens} tokens and the context holds {context}"
        )),
        other => other.into(),
    })
}

/// The texts; none where there is nothing to read.
fn texts(input: Option<&Value>) -> Result<Vec<Text>, Refused> {
    match input {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(text)) if text.is_empty() => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![Text::Words(text.clone())]),
        Some(Value::Array(list)) => list.iter().map(word).collect(),
        Some(_) => Err(Refused::bad("invalid input type: input is a text or a list of texts")),
    }
}

fn word(value: &Value) -> Result<Text, Refused> {
    let text = value.as_str().map(String::from).map(Text::Words);
    text.ok_or_else(|| Refused::bad("invalid input type: input is a text or a list of texts"))
}

/// The first numbers of a vector, made one long again.
fn cut(vector: Vec<f32>, dimensions: Option<i64>) -> Vec<f32> {
    match dimensions.and_then(|n| usize::try_from(n).ok()).filter(|n| (1..vector.len()).contains(n)) {
        Some(dimensions) => tutu_llm::embed::shortened(vector, dimensions),
        None => vector,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_alone_or_in_a_list() {
        let words = |text: &str| Text::Words(text.into());
        assert_eq!(texts(None), Ok(vec![]));
        assert_eq!(texts(Some(&json!(""))), Ok(vec![]));
        assert_eq!(texts(Some(&json!("a"))), Ok(vec![words("a")]));
        assert_eq!(texts(Some(&json!(["a", "b"]))), Ok(vec![words("a"), words("b")]));
        assert!(texts(Some(&json!(["a", 1]))).is_err() && texts(Some(&json!({}))).is_err());
    }

    #[test]
    fn a_vector_is_cut_where_it_is_longer() {
        assert_eq!(cut(vec![0.6, 0.8], Some(1)), [1.0]);
        assert_eq!(cut(vec![0.6, 0.8], Some(3)), [0.6, 0.8]);
        assert_eq!(cut(vec![0.6, 0.8], Some(0)), [0.6, 0.8]);
    }
}
