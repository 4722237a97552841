//! What is asked over HTTP and what is answered, in words of our own: handlers know neither the router nor the wire.

use std::{fmt, net::SocketAddr, str::FromStr, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
pub use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use super::{
    body::Body,
    feed::{Feed, Outgoing},
};
use crate::daemon::Quota;

/// Who is at the other end of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Somebody on the network, or on this machine through it.
    Tcp(SocketAddr),
    /// A process of this machine that may open the socket in the home.
    Unix,
}

impl Peer {
    /// Whether it is surely on this machine.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix => true,
        }
    }
}

/// What whoever asks may do; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// What anybody may ask: whether somebody is there, and which version.
    Open,
    /// Look at models and at what runs.
    Read,
    /// Let models compute.
    Run,
    /// Bring, make and remove models, and change settings.
    Manage,
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "read" => Ok(Self::Read),
            "run" => Ok(Self::Run),
            "manage" => Ok(Self::Manage),
            _ => Err(format!("{text:?} is no scope; scopes are read, run and manage")),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Read => "read",
            Self::Run => "run",
            Self::Manage => "manage",
        })
    }
}

/// One request.
#[derive(Debug)]
pub struct Request {
    /// GET, POST, ...
    pub method: Method,
    /// Path without query, normalised; begins with `/`. Percent signs are as they were sent.
    pub path: String,
    /// What stands after the question mark, as it was sent.
    pub query: Option<String>,
    /// Header fields.
    pub headers: HeaderMap,
    /// Who asks.
    pub peer: Peer,
    /// Under which name this request goes into the log, and back to whoever asked (`x-request-id`).
    pub id: Arc<str>,
    /// The W3C trace that it belongs to.
    pub trace: super::trace::Trace,
    /// What the asker may do.
    pub scope: Scope,
    /// The name of the key that came with it; nothing where none is needed.
    pub key: Option<Arc<str>>,
    /// How much that key may ask for.
    pub quota: Option<Arc<Quota>>,
    /// What came with it.
    pub body: Body,
    /// Parts of the path that the route names, decoded.
    pub(super) parameters: Vec<(String, String)>,
}

impl Request {
    /// A request from this machine, without headers or body, that may do everything.
    pub fn new(method: Method, path: &str) -> Self {
        let (path, query) = match path.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (path, None),
        };
        Self {
            method,
            path: path.to_owned(),
            query,
            headers: HeaderMap::new(),
            peer: Peer::Unix,
            id: "".into(),
            trace: super::trace::Trace::default(),
            scope: Scope::Manage,
            key: None,
            quota: None,
            body: Body::empty(),
            parameters: Vec::new(),
        }
    }

    /// A header field that is plain ASCII; the first, where there are several.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The part of the path that the route calls `name` (`:name`, or `*name` for all that is left), decoded.
    /// Empty where the route has none of that name.
    pub fn parameter(&self, name: &str) -> &str {
        self.parameters.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// The value of `name` in the query, decoded; empty for a name without a value.
    pub fn query(&self, name: &str) -> Option<String> {
        let pairs = self.query.as_deref()?.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.map(|(key, value)| (form(key), form(value))).find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// Whether `Accept` names this media type (`text/html`), wildcards aside.
    pub fn accepts(&self, media: &str) -> bool {
        let mut types = self.headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        types.any(|list| list.split(',').any(|one| one.split(';').next().is_some_and(|one| one.trim() == media)))
    }
}

/// A name or a value of a query: `+` is a space there.
fn form(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// One answer.
#[derive(Debug)]
pub struct Answer {
    /// 200, 404, ...
    pub status: StatusCode,
    /// Header fields. Length, date and connection are the wire's matter.
    pub headers: HeaderMap,
    /// What comes after them.
    pub body: Outgoing,
}

impl Answer {
    /// An answer without a body.
    pub fn new(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: Outgoing::empty() }
    }

    /// An answer of `bytes`, which are of this type.
    pub fn bytes(status: StatusCode, media: &'static str, bytes: impl Into<Bytes>) -> Self {
        let mut answer = Self::new(status);
        answer.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
        answer.body = Outgoing::bytes(bytes.into());
        answer
    }

    /// A line of plain text.
    pub fn text(status: StatusCode, text: impl Into<String>) -> Self {
        Self::bytes(status, "text/plain; charset=utf-8", text.into())
    }

    /// A JSON value.
    ///
    /// # Panics
    /// If `value` is none: a map whose keys are no strings.
    pub fn json(status: StatusCode, value: &impl Serialize) -> Self {
        let bytes = serde_json::to_vec(value).expect("what we answer is JSON");
        Self::bytes(status, "application/json; charset=utf-8", bytes)
    }

    /// A body that `produce` writes while it is sent.
    ///
    /// `produce` is dropped at the moment that the reader is gone, wherever it waits; it may also ask its [`Feed`].
    /// It never runs ahead of the reader by more than a few pieces.
    pub fn stream<P, F>(media: &'static str, produce: P) -> Self
    where
        P: FnOnce(Feed) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        let mut answer = Self::new(StatusCode::OK);
        answer.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
        answer.body = Outgoing::stream(produce);
        answer
    }

    /// A stream of JSON values, one a line ([`Feed::line`]).
    pub fn ndjson<P, F>(produce: P) -> Self
    where
        P: FnOnce(Feed) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        Self::stream("application/x-ndjson", produce)
    }

    /// A stream of server-sent events ([`Feed::event`], [`Feed::data`]). While `produce` is silent, comments keep
    /// the connection alive.
    pub fn events<P, F>(produce: P) -> Self
    where
        P: FnOnce(Feed) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        let mut answer = Self::stream("text/event-stream", produce).with(header::CACHE_CONTROL, "no-cache");
        answer.body.keep_alive();
        answer
    }

    /// The same with a header field more (instead of those of that name).
    ///
    /// Control characters cannot stand in a value and are replaced, others than ASCII are sent as UTF-8.
    pub fn with(mut self, name: header::HeaderName, value: impl AsRef<str>) -> Self {
        let clean: String = value.as_ref().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        if let Ok(value) = HeaderValue::from_bytes(clean.as_bytes()) {
            self.headers.insert(name, value);
        }
        self
    }
}

impl<T: Into<Answer>, E: Into<Answer>> From<Result<T, E>> for Answer {
    fn from(result: Result<T, E>) -> Self {
        match result {
            Ok(answer) => answer.into(),
            Err(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded_and_the_first_of_a_name_counts() {
        let request = Request::new(Method::GET, "/api/tags?a=1&b=x%20y+z&a=2&c");
        assert_eq!(request.path, "/api/tags");
        assert_eq!(request.query("a").as_deref(), Some("1"));
        assert_eq!(request.query("b").as_deref(), Some("x y z"));
        assert_eq!(request.query("c").as_deref(), Some(""));
        assert_eq!(request.query("d"), None);
    }

    #[test]
    fn a_page_is_accepted_only_where_it_is_named() {
        let mut request = Request::new(Method::GET, "/");
        assert!(!request.accepts("text/html"));
        request.headers.insert("accept", HeaderValue::from_static("*/*"));
        assert!(!request.accepts("text/html"));
        request.headers.insert("accept", HeaderValue::from_static("application/json, text/html;q=0.9"));
        assert!(request.accepts("text/html"));
    }

    #[test]
    fn a_header_field_cannot_be_split_by_its_value() {
        let answer = Answer::new(StatusCode::OK).with(header::WARNING, "a\r\nset-cookie: b");
        assert_eq!(answer.headers["warning"], "a  set-cookie: b");
    }

    #[test]
    fn a_header_that_is_not_ascii_reads_as_none() {
        let mut request = Request::new(Method::GET, "/");
        request.headers.insert("x", HeaderValue::from_bytes("ä".as_bytes()).unwrap());
        assert_eq!(request.header("x"), None);
    }

    #[test]
    fn loopback_is_local_in_each_of_its_spellings() {
        for (address, local) in
            [("127.0.0.1:1", true), ("[::1]:1", true), ("[::ffff:127.0.0.9]:1", true), ("10.0.0.1:1", false)]
        {
            assert_eq!(Peer::Tcp(address.parse().unwrap()).is_local(), local, "{address}");
        }
    }
}
