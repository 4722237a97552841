//! `/api/generate` and `/api/chat`.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use http::header::HeaderName;
use serde_json::{Map, Value, json};
use tutu_node::kit::Keep;

use super::{
    Refused,
    ask::{Asked, Body},
    client, find, keep,
};
use crate::{
    daemon::{Conversation, Daemon, Hearing, Named, Wish},
    engine::{Scored, clock::rfc3339, template::Capability},
    http::{Answer, Read, Request, StatusCode},
    talk::{self, Delta, Dropped, End, Heard, Input, Reason, Text},
};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    Generate,
    Chat,
}

/// `POST /api/generate`.
pub(super) async fn generate(daemon: Arc<Daemon>, request: Request) -> Result<Answer, Refused> {
    answer(daemon, request, Route::Generate).await
}

/// `POST /api/chat`.
pub(super) async fn chat(daemon: Arc<Daemon>, request: Request) -> Result<Answer, Refused> {
    answer(daemon, request, Route::Chat).await
}

async fn answer(daemon: Arc<Daemon>, mut request: Request, route: Route) -> Result<Answer, Refused> {
    let start = Instant::now();
    let Read { value: body, mut unused } = request.json_any_case::<Body>().await?;
    body.check_range()?;
    let name = body.model.clone().unwrap_or_default();
    if name.is_empty() {
        return Err(match route {
            Route::Chat => Refused::bad("model is required"),
            Route::Generate => Refused { status: StatusCode::NOT_FOUND, text: "model '' not found".into() },
        });
    }
    let named = find(&daemon, &name).await?;
    let keep = keep(body.keep_alive.as_ref())?;
    let is_empty = match route {
        Route::Generate => body.prompt.as_ref().is_none_or(String::is_empty) && body.suffix.is_none(),
        Route::Chat => body.messages.as_ref().is_none_or(Vec::is_empty),
    };
    let mut records = Records { model: name.clone(), route, start, whole: Whole::default() };
    if is_empty && keep == Some(Keep::For(Duration::ZERO)) {
        daemon.pool.unload(&named.model.sources).await;
        return Ok(Answer::json(StatusCode::OK, &records.idle("unload")));
    }
    if !named.can(Capability::Completion) {
        let what = if route == Route::Chat { "chat" } else { "generate" };
        return Err(Refused::bad(format!("\"{name}\" does not support {what}")));
    }
    let Asked { mut ask, options, unused: more } = body.asked(&named, &name)?;
    unused.extend(more);
    let adapters = Wish::read(body.adapters.as_ref().unwrap_or(&Value::Null)).map_err(Refused::bad)?;
    let hearing = Hearing { client: client(&request), context: options.context, keep, adapters, draft: options.draft };
    if is_empty {
        daemon.lease(&named, &hearing).await?;
        return Ok(Answer::json(StatusCode::OK, &records.idle("load")));
    }
    ask.input = match route {
        Route::Generate => body.input(&named, &name)?,
        Route::Chat => body.conversation(&named)?,
    };
    if route == Route::Chat {
        ask.tools = body.callable(&named, &name)?;
    }
    if body.debug_render_only == Some(true) {
        return render(&daemon, &named, &hearing, ask, &name).await;
    }
    records.whole.context = !matches!(ask.input, Input::Raw(_)) && route == Route::Generate;
    let conversation = daemon.converse(&named, &hearing, ask, 1).await?;
    unused.extend(conversation.unused.iter().map(|name| (*name).to_owned()));
    let dropped = conversation.dropped;
    records.whole.dropped = dropped;
    let answer = match body.stream {
        Some(false) => whole(records, conversation).await?,
        _ => stream(records, conversation).await?,
    };
    Ok(tell(answer, dropped, &unused))
}

/// Says in header fields what was left out of the prompt, and which fields count for nothing.
pub(in crate::http) fn tell(mut answer: Answer, dropped: Dropped, unused: &[String]) -> Answer {
    if !dropped.is_nothing() {
        let text = format!("messages={}, tokens={}", dropped.messages, dropped.tokens);
        answer = answer.with(HeaderName::from_static("x-tutu-dropped"), text);
    }
    if !unused.is_empty() {
        answer = answer.with(HeaderName::from_static("x-tutu-unused"), unused.join(", "));
    }
    answer
}

async fn render(
    daemon: &Daemon,
    named: &Arc<Named>,
    hearing: &Hearing,
    ask: talk::Ask,
    name: &str,
) -> Result<Answer, Refused> {
    let lease = daemon.lease(named, hearing).await?;
    let card = named.card(lease.card()).map_err(|error| Refused::bad(error.to_string()))?;
    let rendered = talk::render(&card, &ask).map_err(|error| Refused::bad(error.to_string()))?;
    let info = json!({"rendered_template": rendered.text, "image_count": 0});
    let now = rfc3339(SystemTime::now());
    Ok(Answer::json(StatusCode::OK, &json!({"model": name, "created_at": now, "_debug_info": info})))
}

/// One object with everything.
async fn whole(mut records: Records, mut conversation: Conversation) -> Result<Answer, Refused> {
    while let Some(heard) = conversation.next().await {
        match heard {
            Heard::Delta(delta) => records.whole.take(delta),
            Heard::End(end) => return Ok(Answer::json(StatusCode::OK, &records.all(&end))),
            Heard::Failed(error) => return Err(error.into()),
        }
    }
    Err(gone())
}

fn gone() -> Refused {
    let text = "the model's thread ended before the answer did; ask again".into();
    Refused { status: StatusCode::INTERNAL_SERVER_ERROR, text }
}

/// One object a line. What fails before the first is a refusal, what fails later a line.
async fn stream(mut records: Records, mut conversation: Conversation) -> Result<Answer, Refused> {
    let first = match conversation.next().await {
        Some(Heard::Failed(error)) => return Err(error.into()),
        Some(heard) => heard,
        None => return Err(gone()),
    };
    Ok(Answer::ndjson(move |feed| async move {
        let mut next = Some(first);
        while let Some(heard) = next {
            let (record, is_last) = match heard {
                Heard::Delta(delta) => (records.piece(delta), false),
                Heard::End(end) => (Some(records.last(&end)), true),
                Heard::Failed(error) => (Some(json!({"error": error.to_string()})), true),
            };
            if let Some(record) = record
                && feed.line(&record).await.is_err()
            {
                return;
            }
            if is_last {
                return;
            }
            next = conversation.next().await;
        }
        // The reader is told that this is no end of an answer.
        let _ = feed.line(&json!({"error": gone().text})).await;
    }))
}

/// Makes the records of one answer.
struct Records {
    model: String,
    route: Route,
    start: Instant,
    whole: Whole,
}

/// What came so far, for those who want it at once.
#[derive(Default)]
struct Whole {
    content: String,
    thinking: String,
    calls: Vec<Value>,
    scored: Vec<Value>,
    /// The call under way: id and name, and its arguments so far.
    call: Option<(String, String)>,
    arguments: String,
    dropped: Dropped,
    /// Whether the last record has the tokens of prompt and answer.
    context: bool,
}

impl Whole {
    fn take(&mut self, delta: Delta) {
        match delta {
            Delta::Thinking(Text { text, scored }) => {
                self.thinking.push_str(&text);
                self.scored.extend(scored.iter().map(logprob));
            }
            Delta::Content(Text { text, scored }) => {
                self.content.push_str(&text);
                self.scored.extend(scored.iter().map(logprob));
            }
            Delta::Call { id, name, .. } => self.begin(id, name),
            Delta::Arguments { text, .. } => {
                self.arguments.push_str(&text.text);
                self.scored.extend(text.scored.iter().map(logprob));
            }
            Delta::CallEnd { index } => {
                let call = self.call(index);
                self.calls.extend(call);
            }
        }
    }

    fn begin(&mut self, id: String, name: String) {
        self.call = Some((id, name));
        self.arguments.clear();
    }

    /// The call that is complete now.
    fn call(&mut self, index: usize) -> Option<Value> {
        let (id, name) = self.call.take()?;
        let arguments = serde_json::from_str(&self.arguments).unwrap_or_else(|_| Value::Object(Map::new()));
        Some(json!({"id": id, "function": {"index": index, "name": name, "arguments": arguments}}))
    }
}

impl Records {
    fn head(&self) -> Map<String, Value> {
        let mut record = Map::new();
        record.insert("model".into(), self.model.clone().into());
        record.insert("created_at".into(), rfc3339(SystemTime::now()).into());
        record
    }

    /// A record with text, thoughts, calls.
    fn text(&self, content: &str, thinking: &str, calls: Vec<Value>) -> Map<String, Value> {
        let mut record = self.head();
        let mut place = Map::new();
        if self.route == Route::Chat {
            place.insert("role".into(), "assistant".into());
            place.insert("content".into(), content.into());
        } else {
            place.insert("response".into(), content.into());
        }
        if !thinking.is_empty() {
            place.insert("thinking".into(), thinking.into());
        }
        if !calls.is_empty() {
            place.insert("tool_calls".into(), calls.into());
        }
        match self.route {
            Route::Chat => drop(record.insert("message".into(), place.into())),
            Route::Generate => record.extend(place),
        }
        record.insert("done".into(), false.into());
        record
    }

    /// The answer to who only wanted a model to come or go.
    fn idle(&self, reason: &str) -> Value {
        let mut record = self.text("", "", Vec::new());
        record.insert("done".into(), true.into());
        record.insert("done_reason".into(), reason.into());
        record.into()
    }

    /// The record of what came; nothing while a call is under way.
    fn piece(&mut self, delta: Delta) -> Option<Value> {
        let (mut record, scored) = match delta {
            Delta::Thinking(Text { text, scored }) => (self.text("", &text, Vec::new()), scored),
            Delta::Content(Text { text, scored }) => (self.text(&text, "", Vec::new()), scored),
            Delta::Call { id, name, .. } => {
                self.whole.begin(id, name);
                return None;
            }
            Delta::Arguments { text: Text { text, scored }, .. } => {
                self.whole.arguments.push_str(&text);
                if scored.is_empty() {
                    return None;
                }
                (self.text("", "", Vec::new()), scored)
            }
            Delta::CallEnd { index } => {
                let call = self.whole.call(index)?;
                (self.text("", "", vec![call]), Vec::new())
            }
        };
        if !scored.is_empty() {
            record.insert("logprobs".into(), scored.iter().map(logprob).collect());
        }
        Some(record.into())
    }

    /// The last record of a stream.
    fn last(&self, end: &End) -> Value {
        let mut record = self.text("", "", Vec::new());
        self.close(&mut record, end);
        record.into()
    }

    /// The only record of who wants everything at once.
    fn all(&mut self, end: &End) -> Value {
        let whole = std::mem::take(&mut self.whole);
        let mut record = self.text(&whole.content, &whole.thinking, whole.calls);
        if !whole.scored.is_empty() {
            record.insert("logprobs".into(), whole.scored.into());
        }
        (self.whole.dropped, self.whole.context) = (whole.dropped, whole.context);
        self.close(&mut record, end);
        record.into()
    }

    fn close(&self, record: &mut Map<String, Value>, end: &End) {
        record.insert("done".into(), true.into());
        let reason = if end.reason == Reason::Length { "length" } else { "stop" };
        record.insert("done_reason".into(), reason.into());
        if self.whole.context {
            record.insert("context".into(), end.tokens.iter().copied().collect());
        }
        let dropped = self.whole.dropped;
        if !dropped.is_nothing() {
            record.insert("truncated".into(), true.into());
            record.insert("dropped_messages".into(), dropped.messages.into());
            record.insert("dropped_tokens".into(), dropped.tokens.into());
        }
        let (counts, times) = (end.counts, end.durations);
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        // What is nothing is left out, as Ollama does.
        for (key, number) in [
            ("total_duration", nanos(self.start.elapsed())),
            ("load_duration", nanos(times.load)),
            ("prompt_eval_count", counts.prompt as u64),
            ("prompt_eval_duration", nanos(times.prompt)),
            ("eval_count", counts.generated as u64),
            ("eval_duration", nanos(times.generate)),
        ] {
            if number > 0 {
                record.insert(key.into(), number.into());
            }
        }
    }
}

/// A token with its probability, and the best ones where they were asked for.
fn logprob(scored: &Scored) -> Value {
    let one = |bytes: &[u8], logprob: f32| {
        let text = String::from_utf8_lossy(bytes);
        json!({"token": text, "logprob": logprob, "bytes": bytes})
    };
    let mut value = one(&scored.bytes, scored.logprob);
    if !scored.top.is_empty() {
        value["top_logprobs"] = scored.top.iter().map(|(bytes, logprob)| one(bytes, *logprob)).collect();
    }
    value
}
