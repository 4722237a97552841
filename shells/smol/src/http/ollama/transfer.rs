//! `/api/pull`, `/api/push`, `/api/blobs`: what comes to this machine, and what leaves it.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Deserialize;
use serde_json::{Value, json};
use smol::channel;
use tutu_node::{
    kit::Digest,
    work::{models::Name, pull::What},
};

use super::{Refused, required};
use crate::{
    daemon::Daemon,
    http::{Answer, Read, Request, StatusCode},
    log::{self, Level},
    perform::{self, Errand, Progress, Stage},
    store::Incoming,
};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Transfer {
    model: Option<String>,
    name: Option<String>,
    insecure: Option<bool>,
    stream: Option<bool>,
}

/// How often progress is told.
const EVERY: Duration = Duration::from_millis(60);

/// `POST /api/pull`.
pub(super) async fn pull(daemon: Arc<Daemon>, request: Request) -> Result<Answer, Refused> {
    transfer(request, move |name, errand, tell| {
        tell.say(json!({"status": "pulling manifest"}));
        let (mut seen, start) = (Seen::default(), Instant::now());
        let pulled = perform::model(&daemon.store, &daemon.limit(), name, errand, &mut |progress| {
            if let Some(record) = seen.record(&progress, "pulling") {
                tell.say(record);
            }
        });
        note("a model was pulled", name, errand, start, &pulled);
        pulled.map_err(|error| format!("pull model manifest: {error}"))?;
        tell.say(json!({"status": "writing manifest"}));
        Ok(())
    })
    .await
}

/// `POST /api/push`.
pub(super) async fn push(daemon: Arc<Daemon>, request: Request) -> Result<Answer, Refused> {
    transfer(request, move |name, errand, tell| {
        tell.say(json!({"status": "retrieving manifest"}));
        let (mut seen, start) = (Seen::default(), Instant::now());
        let pushed = perform::push(&daemon.store, name, errand, &mut |progress| {
            if let Some(record) = seen.record(&progress, "pushing") {
                tell.say(record);
            }
        });
        note("a model was pushed", name, errand, start, &pushed);
        pushed.map_err(|error| error.to_string())?;
        tell.say(json!({"status": "pushing manifest"}));
        Ok(())
    })
    .await
}

/// Writes into the log how it went.
fn note<T>(what: &str, name: &Name, errand: &Errand, start: Instant, outcome: &Result<T, perform::Error>) {
    let mut fields = vec![("model", name.to_string().into()), ("ms", (start.elapsed().as_millis() as u64).into())];
    fields.extend(errand.trace().map(|trace| ("trace", format!("{:032x}", trace.id).into())));
    match outcome {
        Ok(_) => log::say(Level::Info, what, &fields),
        Err(perform::Error::GivenUp) => log::say(Level::Info, "a transfer stopped: nobody waited for it", &fields),
        Err(error) => {
            fields.push(("error", error.to_string().into()));
            log::say(Level::Error, "a transfer failed", &fields);
        }
    }
}

/// Where records go.
pub(super) struct Tell(channel::Sender<Value>);

impl Tell {
    /// Tells it to whoever listens; nobody has to.
    pub(super) fn say(&self, record: Value) {
        let _ = self.0.send_blocking(record);
    }
}

async fn transfer<W>(mut request: Request, work: W) -> Result<Answer, Refused>
where
    W: FnOnce(&Name, &Errand, &Tell) -> Result<(), String> + Send + 'static,
{
    let errand = Errand::of(request.trace.clone());
    let Read { value: body, unused } = request.json_any_case::<Transfer>().await?;
    let text = required(body.model, body.name)?;
    let mut name = Name::parse(&text).map_err(|error| Refused::bad(error.to_string()))?;
    name.insecure |= body.insecure.unwrap_or(false) && !name.is_plain();
    let doing = errand.clone();
    let answer = report(body.stream, &errand, move |tell| work(&name, &doing, tell)).await?;
    Ok(super::answer::tell(answer, crate::talk::Dropped::default(), &unused))
}

/// Runs `work` on a thread of its own and tells what it says: a record a line as it comes, or only the last.
///
/// When whoever asked leaves, the errand is given up.
pub(super) async fn report<W>(stream: Option<bool>, errand: &Errand, work: W) -> Result<Answer, Refused>
where
    W: FnOnce(&Tell) -> Result<(), String> + Send + 'static,
{
    let (sender, records) = channel::bounded(64);
    let (done, outcome) = channel::bounded(1);
    std::thread::spawn(move || {
        let tell = Tell(sender);
        let result = work(&tell);
        drop(tell);
        let _ = done.send_blocking(result);
    });
    let result = async move |outcome: channel::Receiver<Result<(), String>>| {
        outcome.recv().await.unwrap_or_else(|_| Err("a mistake of this program ended it; its log has more".into()))
    };
    let waiting = Waiting(errand.clone());
    if stream == Some(false) {
        while records.recv().await.is_ok() {}
        return match result(outcome).await {
            Ok(()) => Ok(Answer::json(StatusCode::OK, &json!({"status": "success"}))),
            Err(text) => Err(Refused { status: StatusCode::INTERNAL_SERVER_ERROR, text }),
        };
    }
    Ok(Answer::ndjson(move |feed| async move {
        let _waiting = waiting;
        while let Ok(record) = records.recv().await {
            if feed.line(&record).await.is_err() {
                // The channel closes with this receiver, and whoever works stops telling.
                return;
            }
        }
        let last = match result(outcome).await {
            Ok(()) => json!({"status": "success"}),
            Err(error) => json!({"error": error}),
        };
        let _ = feed.line(&last).await;
    }))
}

/// Whoever waits for an errand. Dropped, they have left, or have heard its end.
struct Waiting(Errand);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.give_up();
    }
}

/// What was told of each blob, so that not every chunk is.
#[derive(Default)]
struct Seen {
    told: BTreeMap<String, (Instant, bool)>,
}

impl Seen {
    fn record(&mut self, progress: &Progress, verb: &str) -> Option<Value> {
        if progress.stage == Stage::Verifying {
            let first = self.told.insert("verifying".into(), (Instant::now(), true)).is_none();
            return first.then(|| json!({"status": "verifying sha256 digest"}));
        }
        let digest = match &progress.what {
            What::Blob(digest) => digest.to_string(),
            What::Url(url) => url.clone(),
        };
        let whole = progress.total > 0 && progress.done >= progress.total;
        let known = self.told.get(&digest);
        if known.is_some_and(|(at, was_whole)| *was_whole || (!whole && at.elapsed() < EVERY)) {
            return None;
        }
        self.told.insert(digest.clone(), (Instant::now(), whole));
        let short = match &progress.what {
            What::Blob(digest) => digest.short(),
            What::Url(url) => url.clone(),
        };
        let mut record = json!({"status": format!("{verb} {short}"), "digest": digest, "total": progress.total});
        if progress.done > 0 {
            record["completed"] = progress.done.into();
        }
        Some(record)
    }
}

fn digest(request: &Request) -> Result<Digest, Refused> {
    let text = request.parameter("digest");
    let wrong = || Refused::bad(format!("invalid digest {text:?}: it is sha256: and 64 hexadecimal digits"));
    let hex = text.strip_prefix("sha256:").or(text.strip_prefix("sha256-")).ok_or_else(wrong)?;
    Digest::parse(hex).ok_or_else(wrong)
}

/// `HEAD /api/blobs/:digest`: whether it is here.
pub(super) async fn has_blob(daemon: Arc<Daemon>, request: Request) -> Result<Answer, Refused> {
    let path = daemon.store.blob(&digest(&request)?);
    let is_here = smol::unblock(move || path.is_file()).await;
    Ok(Answer::new(if is_here { StatusCode::OK } else { StatusCode::NOT_FOUND }))
}

/// `POST /api/blobs/:digest`: bytes of a model that is to be made. They become visible once they are whole.
pub(super) async fn put_blob(daemon: Arc<Daemon>, mut request: Request) -> Result<Answer, Refused> {
    let wanted = digest(&request)?;
    let failed = |error: std::io::Error| Refused {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        text: format!("the blob cannot be written: {error}"),
    };
    let path = daemon.store.blob(&wanted);
    if smol::unblock(move || path.is_file()).await {
        return Ok(Answer::new(StatusCode::OK));
    }
    let store = Arc::clone(&daemon.store);
    let mut incoming: Incoming = smol::unblock(move || store.incoming()).await.map_err(failed)?;
    while let Some(chunk) = request.body.chunk().await {
        let chunk = chunk.map_err(crate::http::Malformed::from)?;
        incoming = smol::unblock(move || incoming.write(&chunk).map(|()| incoming)).await.map_err(failed)?;
    }
    let found = smol::unblock(move || incoming.publish(&wanted)).await.map_err(failed)?;
    if found == wanted {
        Ok(Answer::new(StatusCode::CREATED))
    } else {
        Err(Refused::bad(format!("digest mismatch, expected \"{wanted}\", got \"{found}\"")))
    }
}
