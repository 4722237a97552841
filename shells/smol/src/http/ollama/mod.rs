//! Ollama's API.
//!
//! | room | routes |
//! |---|---|
//! | `answer` | `/api/generate`, `/api/chat` |
//! | `embed` | `/api/embed`, `/api/embeddings` |
//! | `models` | `/api/tags`, `/api/ps`, `/api/show`, `/api/copy`, `/api/delete` |
//! | `create` | `/api/create` |
//! | `transfer` | `/api/pull`, `/api/push`, `/api/blobs` |

mod answer;
mod ask;
mod create;
mod embed;
mod models;
mod transfer;

pub(super) use answer::tell;

use std::sync::Arc;

use serde_json::{Value, json};
use tutu_node::work::pool::{Keep, Why};

use super::{Answer, Malformed, Method, Peer, Request, Router, Scope, StatusCode};
use crate::{
    daemon::{self, Client, Daemon, Named, Refusal, named},
    engine, store,
};

/// Adds all routes.
pub fn routes(router: &mut Router<Daemon>) {
    router.add(Method::POST, "/api/generate", Scope::Run, answer::generate);
    router.add(Method::POST, "/api/chat", Scope::Run, answer::chat);
    router.add(Method::POST, "/api/embed", Scope::Run, embed::embed);
    router.add(Method::POST, "/api/embeddings", Scope::Run, embed::embeddings);
    router.add(Method::GET, "/api/ps", Scope::Read, models::ps);
    router.add(Method::POST, "/api/ps", Scope::Read, models::ps);
    router.add(Method::POST, "/api/shutdown", Scope::Manage, shutdown);
    router.add(Method::GET, "/api/tags", Scope::Read, models::tags);
    router.add(Method::POST, "/api/show", Scope::Read, models::show);
    router.add(Method::POST, "/api/copy", Scope::Manage, models::copy);
    router.add(Method::DELETE, "/api/delete", Scope::Manage, models::delete);
    router.add(Method::POST, "/api/delete", Scope::Manage, models::delete);
    router.add(Method::POST, "/api/create", Scope::Manage, create::create);
    router.add(Method::POST, "/api/pull", Scope::Manage, transfer::pull);
    router.add(Method::POST, "/api/push", Scope::Manage, transfer::push);
    router.add(Method::HEAD, "/api/blobs/:digest", Scope::Manage, transfer::has_blob);
    router.add(Method::POST, "/api/blobs/:digest", Scope::Manage, transfer::put_blob);
}

/// `POST /api/shutdown`, for the command line of this home alone: what is being answered is finished.
async fn shutdown(daemon: Arc<Daemon>, request: Request) -> Result<Answer, Refused> {
    if request.peer != Peer::Unix {
        let text = "only `tutu stop --server` in the home of this server may end it".into();
        return Err(Refused { status: StatusCode::FORBIDDEN, text });
    }
    let _ = daemon.end.try_send(());
    Ok(Answer::json(StatusCode::OK, &json!({"status": "success"})))
}

/// A refusal: status and text, in Ollama's shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// 400, 404, ...
    pub status: StatusCode,
    /// What is wrong and what to do.
    pub text: String,
}

impl Refused {
    /// Somebody's request is at fault.
    pub fn bad(text: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, text: text.into() }
    }
}

impl From<Refused> for Answer {
    fn from(refused: Refused) -> Self {
        Answer::json(refused.status, &json!({"error": refused.text}))
    }
}

impl From<Malformed> for Refused {
    fn from(error: Malformed) -> Self {
        Self { status: error.status(), text: error.to_string() }
    }
}

impl From<named::Error> for Refused {
    fn from(error: named::Error) -> Self {
        let status = match &error {
            named::Error::Name(error) => return Self::bad(format!("invalid model name: {error}")),
            named::Error::Adapter(_) => StatusCode::BAD_REQUEST,
            named::Error::Store(store::Error::NotFound { name, .. }) => {
                let text = format!("model '{name}' not found");
                return Self { status: StatusCode::NOT_FOUND, text };
            }
            named::Error::Store(store::Error::Foreign { .. }) => StatusCode::FORBIDDEN,
            named::Error::Store(_) | named::Error::File(..) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, text: error.to_string() }
    }
}

impl From<daemon::Error> for Refused {
    fn from(error: daemon::Error) -> Self {
        Self { status: status(&error), text: error.to_string() }
    }
}

impl From<Refusal> for Refused {
    fn from(error: Refusal) -> Self {
        daemon::Error::from(error).into()
    }
}

impl From<engine::Error> for Refused {
    fn from(error: engine::Error) -> Self {
        Self { status: engine_status(&error), text: error.to_string() }
    }
}

/// The status of an answer that cannot be had.
pub fn status(error: &daemon::Error) -> StatusCode {
    match error {
        daemon::Error::Talk(_) => StatusCode::BAD_REQUEST,
        daemon::Error::Refusal(Refusal::Pool(Why::Busy { .. } | Why::Shut)) => StatusCode::SERVICE_UNAVAILABLE,
        daemon::Error::Refusal(Refusal::Pool(_)) => StatusCode::INTERNAL_SERVER_ERROR,
        daemon::Error::Refusal(Refusal::Open(error)) => engine_status(error),
        daemon::Error::Engine(error) => engine_status(error),
        daemon::Error::Missing(_) => StatusCode::NOT_FOUND,
        daemon::Error::Unfit(_) => StatusCode::BAD_REQUEST,
    }
}

/// The status of what an engine refuses.
pub fn engine_status(error: &engine::Error) -> StatusCode {
    match error {
        engine::Error::Template(_) | engine::Error::Sampling(_) | engine::Error::TooLong { .. } => {
            StatusCode::BAD_REQUEST
        }
        engine::Error::Use(_) | engine::Error::Adapter { .. } | engine::Error::Draft(_) => StatusCode::BAD_REQUEST,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Who asks: a key, or else an address.
pub fn client(request: &Request) -> Client {
    let name = match (&request.key, request.peer) {
        (Some(key), _) => key.to_string(),
        (None, Peer::Tcp(address)) => address.ip().to_canonical().to_string(),
        (None, Peer::Unix) => String::new(),
    };
    Client { name, quota: request.quota.clone() }
}

/// Reads `keep_alive`: a number of seconds, or a text that says how long.
///
/// # Errors
/// What is wrong with it.
pub fn keep(value: Option<&Value>) -> Result<Option<Keep>, Refused> {
    let text = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.as_f64().map_or_else(String::new, |seconds| format!("{seconds}")),
        Some(_) => String::new(),
    };
    let wrong = || Refused::bad("keep_alive is a number of seconds or a text such as \"5m\", \"1.5h\" or \"-1\"");
    Keep::parse(&text).map(Some).ok_or_else(wrong)
}

/// The name that a request must give, under its new or its old field.
fn required(model: Option<String>, name: Option<String>) -> Result<String, Refused> {
    let given = model.filter(|text| !text.is_empty()).or(name).filter(|text| !text.is_empty());
    given.ok_or_else(|| Refused::bad("model is required"))
}

/// The model that a request names. `:local` at its end says that it shall not be computed elsewhere, as it never is.
async fn find(daemon: &Daemon, name: &str) -> Result<Arc<Named>, Refused> {
    let mut found = daemon.find(name).await;
    if let (Err(named::Error::Store(store::Error::NotFound { .. })), Some(plain)) =
        (&found, name.strip_suffix(":local"))
    {
        found = daemon.find(plain).await;
    }
    found.map_err(|error| match error {
        // Clients look for the name as they wrote it.
        named::Error::Store(store::Error::NotFound { .. }) => {
            Refused { status: StatusCode::NOT_FOUND, text: format!("model '{name}' not found") }
        }
        error => error.into(),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_model_is_kept_as_long_as_was_asked() {
        assert_eq!(keep(None), Ok(None));
        assert_eq!(keep(Some(&json!(0))), Ok(Some(Keep::For(Duration::ZERO))));
        assert_eq!(keep(Some(&json!(1.5))), Ok(Some(Keep::For(Duration::from_millis(1500)))));
        assert_eq!(keep(Some(&json!(-1))), Ok(Some(Keep::Forever)));
        assert_eq!(keep(Some(&json!("2m"))), Ok(Some(Keep::For(Duration::from_secs(120)))));
        assert!(keep(Some(&json!("soon"))).is_err() && keep(Some(&json!([1]))).is_err());
    }
}
