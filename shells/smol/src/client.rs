//! Asks a server: the one of this home through its socket, or one that `--host` or `OLLAMA_HOST` names.

use std::{
    fmt, io,
    net::TcpStream,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use hyper::{
    body::{Body, Incoming},
    client::conn::http1,
};
use serde_json::Value;
use smol::{Async, future::poll_fn};
use smol_hyper::rt::FuturesIo;

use crate::{daemon::seat, http::address::Address};

/// Bytes of an answer that is no stream.
const WHOLE_MAX: usize = 64 << 20;

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Client {
    /// The one of a home, by the socket in it.
    Home(PathBuf),
    /// One by its address, with a key for those that want one.
    Far(Address, Option<String>),
}

/// Why there is no answer.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// Nobody is there.
    Away(Client, io::Error),
    /// The connection broke.
    Broken(String),
    /// The server refused.
    Refused(StatusCode, String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away(client, error) => {
                write!(f, "no server answers at {client}: {error}; start one with `tutu serve`")
            }
            Self::Broken(why) => write!(f, "the connection to the server broke: {why}"),
            Self::Refused(_, text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Home(path) => write!(f, "{}", path.display()),
            Self::Far(address, _) => write!(f, "{address}"),
        }
    }
}

impl Client {
    /// The server that a command of `home` shall use: the named one, or the home's own where one runs.
    ///
    /// # Errors
    /// A name that is no address.
    pub fn find(home: &Path, named: Option<&str>) -> Result<Option<Self>, crate::http::address::Error> {
        let key = std::env::var("OLLAMA_API_KEY").ok().filter(|key| !key.is_empty());
        let variable = std::env::var("OLLAMA_HOST").ok().filter(|host| !host.trim().is_empty());
        match named.map(String::from).or(variable) {
            Some(text) => Ok(Some(Self::Far(Address::parse(&text)?, key))),
            None => Ok(seat::is_taken(home).then(|| Self::Home(seat::socket(home)))),
        }
    }

    /// Asks, and takes the whole answer, a JSON value or nothing.
    ///
    /// # Errors
    /// [`Error`].
    pub fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Error> {
        let mut whole = Vec::new();
        self.ask(method, path, body, &mut |piece| {
            whole.extend_from_slice(piece);
            if whole.len() > WHOLE_MAX { Err(Error::Broken("the answer is too long".into())) } else { Ok(true) }
        })?;
        Ok(serde_json::from_slice(&whole).unwrap_or(Value::Null))
    }

    /// Asks, and takes the answer line by line, each a JSON value, until `on` says that it is enough.
    ///
    /// # Errors
    /// [`Error`]; a line with `error` in it is one.
    pub fn lines(
        &self,
        path: &str,
        body: &Value,
        on: &mut dyn FnMut(Value) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let mut rest: Vec<u8> = Vec::new();
        self.ask(Method::POST, path, Some(body), &mut |piece| {
            rest.extend_from_slice(piece);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                let value: Value = serde_json::from_slice(&line).map_err(|error| Error::Broken(error.to_string()))?;
                if let Some(text) = value.get("error").and_then(Value::as_str) {
                    return Err(Error::Refused(StatusCode::OK, text.into()));
                }
                if !on(value)? {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        on: &mut dyn FnMut(&[u8]) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let away = |error| Error::Away(self.clone(), error);
        match self {
            #[cfg(unix)]
            Self::Home(path_of_socket) => {
                let stream = smol::block_on(smol::net::unix::UnixStream::connect(path_of_socket)).map_err(away)?;
                smol::block_on(self.talk(stream, method, path, body, on))
            }
            #[cfg(not(unix))]
            Self::Home(_) => Err(away(io::ErrorKind::Unsupported.into())),
            Self::Far(address, _) => {
                let places = address.resolve().map_err(away)?;
                let stream = smol::block_on(async {
                    let mut last = io::Error::from(io::ErrorKind::NotFound);
                    for place in places {
                        match Async::<TcpStream>::connect(place).await {
                            Ok(stream) => return Ok(stream),
                            Err(error) => last = error,
                        }
                    }
                    Err(last)
                });
                smol::block_on(self.talk(stream.map_err(away)?, method, path, body, on))
            }
        }
    }

    async fn talk<S>(
        &self,
        stream: S,
        method: Method,
        path: &str,
        body: Option<&Value>,
        on: &mut dyn FnMut(&[u8]) -> Result<bool, Error>,
    ) -> Result<(), Error>
    where
        S: smol::io::AsyncRead + smol::io::AsyncWrite + Unpin + Send + 'static,
    {
        let broken = |error: hyper::Error| Error::Broken(error.to_string());
        let (mut sender, connection) = http1::handshake(FuturesIo::new(stream)).await.map_err(broken)?;
        let connection = smol::spawn(connection);
        let host = match self {
            Self::Home(_) => "localhost".to_owned(),
            Self::Far(address, _) => address.to_string(),
        };
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, host);
        if let Self::Far(_, Some(key)) = self {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        let bytes = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        let request = request.body(Once(Some(bytes.into()))).map_err(|error| Error::Broken(error.to_string()))?;
        let answer = sender.send_request(request).await.map_err(broken)?;
        let status = answer.status();
        let mut body = answer.into_body();
        if !status.is_success() {
            let mut whole = Vec::new();
            while let Some(piece) = next(&mut body).await? {
                whole.extend_from_slice(&piece);
            }
            return Err(Error::Refused(status, refusal(status, &whole)));
        }
        while let Some(piece) = next(&mut body).await? {
            if !on(&piece)? {
                break;
            }
        }
        drop((body, sender));
        drop(connection);
        Ok(())
    }
}

async fn next(body: &mut Incoming) -> Result<Option<Bytes>, Error> {
    loop {
        match poll_fn(|cx| std::pin::Pin::new(&mut *body).poll_frame(cx)).await {
            None => return Ok(None),
            Some(Err(error)) => return Err(Error::Broken(error.to_string())),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// What a server says in its refusal.
fn refusal(status: StatusCode, bytes: &[u8]) -> String {
    let value: Value = serde_json::from_slice(bytes).unwrap_or(Value::Null);
    let text = value["error"].as_str().or(value["error"]["message"].as_str());
    text.map_or_else(|| format!("the server answered {status}"), String::from)
}

/// A body of one piece.
struct Once(Option<Bytes>);

impl Body for Once {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Ready(self.0.take().map(|bytes| Ok(hyper::body::Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Bytes::is_empty)
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        hyper::body::SizeHint::with_exact(self.0.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}
