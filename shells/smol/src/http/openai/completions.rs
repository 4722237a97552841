//! `/v1/completions`: texts that go on, without a template.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::{
    Refused,
    chat::StreamOptions,
    embeddings::tokens,
    fields, find,
    legacy::{Echo, Records, Written},
    sampling::Sampling,
    typed,
};
use crate::{
    daemon::{Conversation, Daemon, Named},
    engine::template::Capability,
    http::{Answer, Read, Request, StatusCode, ollama},
    talk::{Ask, Delta, End, Heard, Input, Text},
};

/// Tokens of an answer where nobody says.
const PREDICT: usize = 16;
/// Answers to all prompts of a request together.
const ANSWERS_MAX: usize = 512;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Body {
    model: Option<String>,
    prompt: Option<Value>,
    suffix: Option<String>,
    echo: bool,
    logprobs: Option<i64>,
    best_of: Option<i64>,
    stream: bool,
    stream_options: StreamOptions,
}

/// What is answered to one prompt of the request.
struct Prompt {
    input: Input,
    /// The prompt as text, where it came as one.
    text: Option<String>,
}

impl Body {
    fn prompts(&self, named: &Named) -> Result<Vec<Prompt>, Refused> {
        match &self.prompt {
            // Nothing to go on from is the beginning of a text.
            None => Ok(vec![self.words("")?]),
            Some(Value::String(text)) => Ok(vec![self.words(text)?]),
            Some(Value::Array(list)) if list.is_empty() => Err(Refused::bad("prompt", "prompt is empty")),
            Some(Value::Array(list)) if list[0].is_number() => Ok(vec![ids("prompt", list, named)?]),
            Some(Value::Array(list)) => {
                let one = |(at, value): (usize, &Value)| match value {
                    Value::String(text) => self.words(text),
                    Value::Array(list) => ids(&format!("prompt[{at}]"), list, named),
                    _ => Err(wrong()),
                };
                list.iter().enumerate().map(one).collect()
            }
            Some(_) => Err(wrong()),
        }
    }

    fn words(&self, text: &str) -> Result<Prompt, Refused> {
        let input = match self.suffix.as_deref().filter(|suffix| !suffix.is_empty()) {
            Some(suffix) => Input::Gap { prompt: text.into(), suffix: suffix.into() },
            None => Input::Raw(text.into()),
        };
        Ok(Prompt { input, text: Some(text.into()) })
    }

    /// For how many of the best tokens probabilities are wanted.
    fn scored(&self) -> Result<Option<usize>, Refused> {
        let wrong = || Refused::bad("logprobs", "logprobs is a number from 0 to 5");
        // Twenty, as elsewhere: nobody is harmed by more than OpenAI gives.
        self.logprobs.map(|n| usize::try_from(n).ok().filter(|n| *n <= 20).ok_or_else(wrong)).transpose()
    }

    /// Of how many answers the best are given.
    fn best_of(&self, count: usize) -> Result<usize, Refused> {
        match self.best_of {
            None => Ok(count),
            Some(best) if best < count as i64 || best > 20 => {
                Err(Refused::bad("best_of", "best_of is at least n, and at most 20"))
            }
            Some(best) if self.stream && best > count as i64 => {
                Err(Refused::bad("best_of", "which answers are the best is known at their end: do not stream"))
            }
            Some(best) => Ok(best as usize),
        }
    }
}

fn wrong() -> Refused {
    Refused::bad("prompt", "prompt is a text, a list of texts, token ids, or a list of those")
}

fn ids(place: &str, list: &[Value], named: &Named) -> Result<Prompt, Refused> {
    Ok(Prompt { input: Input::Tokens(tokens(place, list, named.facts.vocabulary)?), text: None })
}

/// `POST /v1/completions`.
pub(super) async fn completions(daemon: Arc<Daemon>, mut request: Request) -> Result<Answer, Refused> {
    let mut fields = fields(&mut request).await?;
    let sampling = Sampling::take_with(&mut fields, 0)?;
    let Read { value: body, mut unused } = typed::<Body>(fields)?;
    let named = find(&daemon, body.model.as_deref()).await?;
    let model = body.model.clone().unwrap_or_default();
    if !named.can(Capability::Completion) {
        return Err(Refused::bad("model", format!("\"{model}\" writes no text: it makes embeddings")));
    }
    if body.suffix.as_deref().is_some_and(|text| !text.is_empty()) && !named.can(Capability::Insert) {
        return Err(Refused::bad("suffix", format!("\"{model}\" cannot fill the gap before a suffix")));
    }
    let (scored, best_of) = (body.scored()?, body.best_of(sampling.count)?);
    let prompts = body.prompts(&named)?;
    if prompts.len().saturating_mul(best_of) > ANSWERS_MAX {
        return Err(Refused::bad("prompt", format!("at most {ANSWERS_MAX} answers can be asked for at once")));
    }
    // The best answer is the one whose tokens are the most probable.
    let logprobs = if best_of > sampling.count { Some(scored.unwrap_or(0)) } else { scored };
    let mut asks = Vec::new();
    let mut hearing = None;
    for prompt in &prompts {
        let mut ask = Ask { input: prompt.input.clone(), logprobs, ..Ask::default() };
        let heard = sampling.apply(&mut ask, &named, ollama::client(&request))?;
        ask.predict = Some(sampling.most.unwrap_or(PREDICT));
        hearing.get_or_insert(heard);
        asks.push(ask);
    }
    let hearing = hearing.unwrap_or_default();
    let conversation = daemon.converse_all(&named, &hearing, asks, best_of).await;
    let mut conversation = conversation.map_err(|error| Refused::of(error, "prompt"))?;
    unused.extend(conversation.unused.iter().map(|name| (*name).to_owned()));
    let echoes = if body.echo { echoes(&conversation, prompts, scored).await? } else { Vec::new() };
    let records = Records::new(&named, &model, best_of, scored.is_some(), echoes);
    let answer = if body.stream {
        stream(records, conversation, body.stream_options.include_usage).await?
    } else {
        whole(&records, &mut conversation, sampling.count).await?
    };
    Ok(ollama::tell(answer, crate::talk::Dropped::default(), &unused))
}

/// The prompts once more, with their probabilities where they are wanted.
async fn echoes(
    conversation: &Conversation,
    prompts: Vec<Prompt>,
    scored: Option<usize>,
) -> Result<Vec<Echo>, Refused> {
    let mut echoes = Vec::new();
    let tokenizer = conversation.lease().card().tokenizer();
    for (prompt, ids) in prompts.into_iter().zip(&conversation.prompts) {
        let text = prompt.text.unwrap_or_else(|| String::from_utf8_lossy(&tokenizer.decode(ids, true)).into_owned());
        let mut tokens = Vec::new();
        if let Some(top) = scored {
            let (all, adapters) = (ids.clone(), conversation.adapters().to_vec());
            let made = conversation.lease().handle().call(move |engine| engine.score(&all, top, &adapters)).await;
            let made = made.ok_or_else(Refused::gone)?;
            tokens = made.map_err(|error| Refused::of_engine(&error, "prompt"))?;
            // The mark of the beginning is no part of what was sent.
            if tokenizer.leading().is_some_and(|mark| ids.first() == Some(&mark)) {
                tokens.remove(0);
            }
        }
        echoes.push(Echo { text, tokens });
    }
    Ok(echoes)
}

async fn whole(records: &Records, conversation: &mut Conversation, count: usize) -> Result<Answer, Refused> {
    let gathered = conversation.gather(Written::take).await;
    let (written, ends) = gathered.map_err(|cut| Refused::of_cut(&cut, "prompt"))?;
    Ok(Answer::json(StatusCode::OK, &records.whole(&written, &ends, count)))
}

async fn stream(records: Records, mut conversation: Conversation, wants_usage: bool) -> Result<Answer, Refused> {
    let first = match conversation.next_of_any().await {
        Some((_, Heard::Failed(error))) => return Err(Refused::of_engine(&error, "prompt")),
        Some(first) => first,
        None => return Err(Refused::gone()),
    };
    Ok(Answer::events(move |feed| async move {
        let mut offsets = Vec::new();
        for index in 0..conversation.answers.len() {
            let (echo, offset) = records.echo(index);
            offsets.push(offset);
            if let Some(echo) = echo
                && feed.event(None, &echo).await.is_err()
            {
                return;
            }
        }
        let mut ends: Vec<Option<End>> = vec![None; offsets.len()];
        let mut next = Some(first);
        while let Some((index, heard)) = next {
            let record = match heard {
                Heard::Delta(Delta::Thinking(text) | Delta::Content(text)) => {
                    records.piece(index, &text, &mut offsets[index])
                }
                Heard::Delta(_) => records.piece(index, &Text::default(), &mut offsets[index]),
                Heard::End(end) => {
                    let record = records.last(index, &end);
                    ends[index] = Some(end);
                    record
                }
                Heard::Failed(error) => {
                    let _ = feed.event(None, &Refused::of_engine(&error, "prompt").to_value()).await;
                    return;
                }
            };
            if feed.event(None, &record).await.is_err() {
                return;
            }
            next = conversation.next_of_any().await;
        }
        let Some(ends) = ends.into_iter().collect::<Option<Vec<End>>>() else {
            let _ = feed.event(None, &Refused::gone().to_value()).await;
            return;
        };
        if wants_usage && feed.event(None, &records.usage_chunk(&ends)).await.is_err() {
            return;
        }
        let _ = feed.data("[DONE]").await;
    }))
}
