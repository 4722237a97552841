//! `/tokenize`, `/detokenize`, and how many tokens a prompt has. Weights are not needed for it.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use tutu_llm::token::Special;

use super::{Refused, embeddings, fields, find, ollama, typed};
use crate::{
    daemon::{self, Daemon, Named},
    engine::Card,
    http::{Answer, Read, Request, StatusCode},
    talk::{self, Ask, Dropped, Overflow},
};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Body {
    model: Option<String>,
    /// The text; the other names are those that other servers give it.
    content: Option<String>,
    prompt: Option<String>,
    text: Option<String>,
    /// Whether the marks of a beginning and an end are added.
    add_special: bool,
    /// Whether names of control tokens in the text are control tokens.
    parse_special: bool,
    /// Whether the text of each token is wanted too.
    with_pieces: bool,
    tokens: Option<Vec<Value>>,
}

/// `POST /tokenize`.
pub(super) async fn tokenize(daemon: Arc<Daemon>, mut request: Request) -> Result<Answer, Refused> {
    let Read { value: body, unused } = typed::<Body>(fields(&mut request).await?)?;
    let named = find(&daemon, body.model.as_deref()).await?;
    let text = [&body.content, &body.prompt, &body.text].into_iter().find_map(|text| text.clone());
    let text = text.ok_or_else(|| Refused::missing("content"))?;
    let card = card(&daemon, &named).await?;
    let (special, marks, pieces) = (body.parse_special, body.add_special, body.with_pieces);
    let answer = smol::unblock(move || {
        let special = if special { Special::Parse } else { Special::Text };
        let mut ids = Vec::new();
        card.tokenizer().encode(&text, special, &mut ids);
        if marks {
            card.tokenizer().add_special(&mut ids);
        }
        let list: Vec<Value> = ids.iter().map(|id| if pieces { piece(&card, *id) } else { json!(id) }).collect();
        json!({"tokens": list, "count": ids.len()})
    });
    Ok(ollama::tell(Answer::json(StatusCode::OK, &answer.await), Dropped::default(), &unused))
}

/// A token with its text, or with its bytes where they are no text.
fn piece(card: &Card, id: u32) -> Value {
    let bytes = card.tokenizer().piece(id);
    match std::str::from_utf8(&bytes) {
        Ok(text) => json!({"id": id, "piece": text}),
        Err(_) => json!({"id": id, "piece": bytes.as_ref()}),
    }
}

/// `POST /detokenize`.
pub(super) async fn detokenize(daemon: Arc<Daemon>, mut request: Request) -> Result<Answer, Refused> {
    let Read { value: body, unused } = typed::<Body>(fields(&mut request).await?)?;
    let named = find(&daemon, body.model.as_deref()).await?;
    let list = body.tokens.ok_or_else(|| Refused::missing("tokens"))?;
    let ids = if list.is_empty() { Vec::new() } else { embeddings::tokens("tokens", &list, named.facts.vocabulary)? };
    let card = card(&daemon, &named).await?;
    let text = String::from_utf8_lossy(&card.tokenizer().decode(&ids, true)).into_owned();
    // Each server has a name of its own for it.
    let answer = json!({"content": text, "prompt": text, "text": text});
    Ok(ollama::tell(Answer::json(StatusCode::OK, &answer), Dropped::default(), &unused))
}

async fn card(daemon: &Daemon, named: &Arc<Named>) -> Result<Card, Refused> {
    daemon.card(named, Some(0)).await.map_err(|error| Refused::of_engine(&error, "model"))
}

/// How many tokens the prompt of an ask has, even if they are too many.
///
/// # Errors
/// An ask that cannot be made into a prompt; `input` is the field that it came from.
pub(in crate::http) async fn count(
    daemon: &Daemon,
    named: &Arc<Named>,
    mut ask: Ask,
    input: &'static str,
) -> Result<usize, Refused> {
    let card = card(daemon, named).await?;
    ask.overflow = Overflow::Refuse;
    match smol::unblock(move || talk::render(&card, &ask)).await {
        Ok(rendered) => Ok(rendered.tokens.len()),
        Err(talk::Error::TooLong { tokens, .. }) => Ok(tokens),
        Err(error) => Err(Refused::of(daemon::Error::Talk(error), input)),
    }
}
