//! `/v1/rerank`: which documents a question is about, by how near their vectors lie to its own.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Refused, embeddings::hearing, fields, find, ollama, typed};
use crate::{
    daemon::{Daemon, Text},
    http::{Answer, Read, Request, StatusCode},
    talk::Overflow,
};

/// Documents in one request at most.
const DOCUMENTS_MAX: usize = 1000;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Body {
    model: Option<String>,
    query: Option<String>,
    documents: Option<Vec<Value>>,
    /// Another server's name for them.
    texts: Option<Vec<Value>>,
    top_n: Option<usize>,
    return_documents: bool,
    truncation: Option<String>,
    num_ctx: Option<Value>,
    keep_alive: Option<Value>,
}

/// `POST /v1/rerank`.
pub(super) async fn rerank(daemon: Arc<Daemon>, mut request: Request) -> Result<Answer, Refused> {
    let Read { value: body, unused } = typed::<Body>(fields(&mut request).await?)?;
    let named = find(&daemon, body.model.as_deref()).await?;
    let query = body.query.clone().filter(|query| !query.is_empty()).ok_or_else(|| Refused::missing("query"))?;
    let documents = body.documents.as_ref().or(body.texts.as_ref());
    let documents = documents.ok_or_else(|| Refused::missing("documents"))?;
    if documents.is_empty() || documents.len() > DOCUMENTS_MAX {
        return Err(Refused::bad("documents", format!("there are 1 to {DOCUMENTS_MAX} documents")));
    }
    let mut texts = vec![Text::Words(query)];
    for (at, document) in documents.iter().enumerate() {
        texts.push(Text::Words(words(at, document)?));
    }
    let hearing = hearing(&request, &named, body.num_ctx.as_ref(), body.keep_alive.as_ref())?;
    let overflow = if body.truncation.as_deref() == Some("auto") { Overflow::Fit } else { Overflow::Refuse };
    let made = daemon.embed(&named, &hearing, texts, overflow).await;
    let made = made.map_err(|error| Refused::of(error, "documents"))?;
    let tokens: usize = made.tokens.iter().sum();
    let results = ranked(&made.vectors).into_iter().take(body.top_n.unwrap_or(usize::MAX)).map(|(index, score)| {
        let mut result = json!({"index": index, "relevance_score": score});
        if body.return_documents {
            result["document"] = documents[index].clone();
        }
        result
    });
    let results: Vec<Value> = results.collect();
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    let answer = json!({"object": "list", "model": body.model, "results": results, "usage": usage});
    Ok(ollama::tell(Answer::json(StatusCode::OK, &answer), made.dropped, &unused))
}

/// A document: a text, or an object that has one.
fn words(at: usize, document: &Value) -> Result<String, Refused> {
    let text = document.as_str().or_else(|| document.get("text")?.as_str()).filter(|text| !text.is_empty());
    text.map(String::from)
        .ok_or_else(|| Refused::bad(&format!("documents[{at}]"), "a document is a text that is not empty"))
}

/// The documents by their nearness to the first vector, best first: the cosine of the angle between them, from -1 to 1.
fn ranked(vectors: &[Vec<f32>]) -> Vec<(usize, f32)> {
    let Some((query, documents)) = vectors.split_first() else { return Vec::new() };
    let nearness = |document: &Vec<f32>| query.iter().zip(document).map(|(a, b)| a * b).sum();
    let mut ranked: Vec<(usize, f32)> = documents.iter().map(nearness).enumerate().collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    ranked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_comes_first() {
        let vectors = [vec![1.0, 0.0], vec![0.0, 1.0], vec![1.0, 0.0], vec![0.6, 0.8]];
        assert_eq!(ranked(&vectors), [(1, 1.0), (2, 0.6), (0, 0.0)]);
    }
}
