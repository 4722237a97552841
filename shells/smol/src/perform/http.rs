//! Bytes over HTTP(S).
//!
//! `ureq` honours `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, and trusts what the system trusts.

use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read},
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tutu_node::{
    kit::Digest,
    work::pull::{Failure, registry::Challenge},
};
use ureq::{
    Agent, Body, Timeout,
    http::{HeaderMap, Response},
};

use super::{errand::Errand, pull::token};

/// Redirects from a registry to where it keeps its blobs.
const REDIRECTS_MAX: u32 = 8;

/// Registries give old forms of a manifest to who does not ask for the new one.
const ACCEPT: &str = "application/vnd.docker.distribution.manifest.v2+json, */*";

/// Who asks.
const USER_AGENT: &str = concat!("tutu/", env!("CARGO_PKG_VERSION"));

/// Bytes of a token server's answer at most.
const TOKEN_MAX: u64 = 1 << 20;

/// A client; connections are used again, and so are tokens.
#[derive(Clone, Debug)]
pub struct Http {
    agent: Agent,
    /// By the folder of the registry that they are for.
    tokens: Arc<Mutex<BTreeMap<String, String>>>,
    errand: Errand,
}

/// What a server says of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes, if it tells.
    pub size: Option<u64>,
    /// Whether it sends ranges.
    pub ranges: bool,
    /// What it calls this state of the file.
    pub version: Option<String>,
    /// If it tells.
    pub digest: Option<Digest>,
}

impl Http {
    /// A client that waits `connect` for a connection, on an errand.
    pub fn new(connect: Duration, errand: &Errand) -> Self {
        let config = Agent::config_builder()
            .timeout_resolve(Some(connect))
            .timeout_connect(Some(connect))
            .timeout_recv_response(Some(Duration::from_secs(30)))
            .max_redirects(REDIRECTS_MAX)
            .http_status_as_error(false)
            .user_agent(USER_AGENT)
            .build();
        Self { agent: config.into(), tokens: Arc::default(), errand: errand.clone() }
    }

    /// On whose behalf it asks.
    pub fn errand(&self) -> &Errand {
        &self.errand
    }

    /// What every request says: the token, if there is one, and the trace.
    fn with<B>(&self, mut request: ureq::RequestBuilder<B>, token: Option<&str>) -> ureq::RequestBuilder<B> {
        if let Some(token) = token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let mut fields = Vec::new();
        if let Some(trace) = self.errand.trace() {
            trace.write(|name, value| fields.push((name, value.to_owned())));
        }
        fields.into_iter().fold(request, |request, (name, value)| request.header(name, value))
    }

    /// Asks how large a file is and whether parts of it can be had.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn head(&self, url: &str) -> Result<Head, Failure> {
        let answer = self.ask(url, Some(0..1), None)?;
        let (headers, ranges) = (answer.headers(), answer.status().as_u16() == 206);
        let size = if ranges {
            text(headers, "content-range").and_then(|range| range.rsplit('/').next()?.parse().ok())
        } else {
            text(headers, "content-length").and_then(|size| size.parse().ok())
        };
        // A weak mark may stay while bytes change: RFC 9110 §8.8.1.
        let etag = text(headers, "etag").filter(|etag| !etag.starts_with("W/"));
        let version = etag.or(text(headers, "last-modified")).map(String::from);
        let digest = text(headers, "x-linked-etag").and_then(|etag| Digest::parse(etag.trim_matches('"')));
        Ok(Head { size, ranges, version, digest })
    }

    /// The bytes of a file, or of a range of it if it is still the `version` that it was.
    ///
    /// # Errors
    /// [`Failure`]; [`Failure::NoRanges`] where a range was asked for and the whole is sent.
    pub fn get(
        &self,
        url: &str,
        range: Option<Range<u64>>,
        version: Option<&str>,
    ) -> Result<impl Read + use<>, Failure> {
        let ranged = range.is_some();
        let answer = self.ask(url, range, version)?;
        if ranged && answer.status().as_u16() != 206 {
            return Err(Failure::NoRanges);
        }
        Ok(answer.into_body().into_with_config().limit(u64::MAX).reader())
    }

    /// A small document: a manifest.
    ///
    /// # Errors
    /// [`Failure`]; also where it is longer than `most` bytes.
    pub fn manifest(&self, url: &str, most: u64) -> Result<Vec<u8>, Failure> {
        let answer = self.ask(url, None, None)?;
        answer.into_body().into_with_config().limit(most).read_to_vec().map_err(failure)
    }

    /// Whether a registry has a blob.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn has(&self, url: &str) -> Result<bool, Failure> {
        match self.tell(url, |agent, token| self.with(agent.head(url), token).call()) {
            Ok(_) => Ok(true),
            Err(Failure::Refused { status: 404 }) => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// Opens a place for a blob; answers where it is.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn open_upload(&self, url: &str) -> Result<String, Failure> {
        let answer = self.tell(url, |agent, token| self.with(agent.post(url), token).send_empty())?;
        located(url, answer.headers()).ok_or_else(|| Failure::Broken("no place for the blob was given".into()))
    }

    /// Brings the bytes of a blob; answers where it is to be closed.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn upload(&self, url: &str, reader: &mut dyn std::io::Read, size: u64) -> Result<String, Failure> {
        let token = self.known(url);
        let request = self
            .agent
            .patch(url)
            .header("Content-Type", "application/octet-stream")
            .header("Content-Length", size.to_string())
            .header("Content-Range", format!("0-{}", size.saturating_sub(1)));
        let answer =
            sound(self.with(request, token.as_deref()).send(ureq::SendBody::from_reader(reader)).map_err(failure)?)?;
        Ok(located(url, answer.headers()).unwrap_or_else(|| url.into()))
    }

    /// Puts a small document, or closes an upload.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn put(&self, url: &str, media: &str, bytes: &[u8]) -> Result<(), Failure> {
        let put = |agent: &Agent, token: Option<&str>| {
            self.with(agent.put(url).header("Content-Type", media), token).send(bytes)
        };
        self.tell(url, put).map(drop)
    }

    /// Sends something; where the registry wants a token, gets one and sends it again.
    fn tell(
        &self,
        url: &str,
        send: impl Fn(&Agent, Option<&str>) -> Result<Response<Body>, ureq::Error>,
    ) -> Result<Response<Body>, Failure> {
        let answer = send(&self.agent, self.known(url).as_deref()).map_err(failure)?;
        let given = self.challenged(url, &answer)?;
        match given {
            Some(given) => sound(send(&self.agent, Some(&given)).map_err(failure)?),
            None => sound(answer),
        }
    }

    fn known(&self, url: &str) -> Option<String> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).get(folder(url)).cloned().or_else(|| token(url))
    }

    /// A token, where an answer wants one.
    fn challenged(&self, url: &str, answer: &Response<Body>) -> Result<Option<String>, Failure> {
        let wants = if answer.status().as_u16() == 401 { text(answer.headers(), "www-authenticate") } else { None };
        let Some(challenge) = wants.and_then(|header| Challenge::parse(header).ok()) else { return Ok(None) };
        let place = challenge.token_url(url).map_err(|error| Failure::Program(error.to_string()))?;
        let body = sound(self.send(&place, token(&place), &None, None)?)?.into_body();
        let body = body.into_with_config().limit(TOKEN_MAX).read_to_vec().map_err(failure)?;
        let fields: serde_json::Value =
            serde_json::from_slice(&body).map_err(|error| Failure::Broken(format!("no token: {error}")))?;
        // Docker's name for it, and OAuth's.
        let given = ["token", "access_token"].iter().find_map(|name| fields[name].as_str());
        let Some(given) = given else { return Ok(None) };
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).insert(folder(url).into(), given.into());
        Ok(Some(given.into()))
    }

    /// Asks; where the registry wants a token, gets one and asks again.
    fn ask(&self, url: &str, range: Option<Range<u64>>, version: Option<&str>) -> Result<Response<Body>, Failure> {
        let answer = self.send(url, self.known(url), &range, version)?;
        match self.challenged(url, &answer)? {
            Some(given) => sound(self.send(url, Some(given), &range, version)?),
            None => sound(answer),
        }
    }

    fn send(
        &self,
        url: &str,
        token: Option<String>,
        range: &Option<Range<u64>>,
        version: Option<&str>,
    ) -> Result<Response<Body>, Failure> {
        let mut request = self.with(self.agent.get(url).header("Accept", ACCEPT), token.as_deref());
        if let Some(range) = range {
            request = request.header("Range", format!("bytes={}-{}", range.start, range.end - 1));
            if let Some(version) = version {
                request = request.header("If-Range", version);
            }
        }
        request.call().map_err(failure)
    }
}

/// What tokens are for: a name at a registry.
fn folder(url: &str) -> &str {
    url.rsplit_once("/blobs/").or(url.rsplit_once("/manifests/")).map_or(url, |(folder, _)| folder)
}

/// Where an answer says that one has to go on: an address, or a path on the same host.
fn located(url: &str, headers: &HeaderMap) -> Option<String> {
    let place = text(headers, "location")?;
    if !place.starts_with('/') {
        return Some(place.into());
    }
    let (scheme, rest) = url.split_once("://")?;
    Some(format!("{scheme}://{}{place}", rest.split('/').next()?))
}

/// The answer, unless its status says that it is none.
fn sound(answer: Response<Body>) -> Result<Response<Body>, Failure> {
    match answer.status().as_u16() {
        200..=299 => Ok(answer),
        status => {
            let wait = text(answer.headers(), "retry-after").and_then(|text| text.trim().parse().ok());
            Err(Failure::of_status(status, wait.map(Duration::from_secs)))
        }
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// Whether there was no connection, or one that broke.
fn failure(error: ureq::Error) -> Failure {
    use ureq::Error::{ConnectionFailed, HostNotFound, Io, Rustls, Timeout as Late, Tls};
    let none = match &error {
        HostNotFound | ConnectionFailed | Tls(_) | Rustls(_) => true,
        Late(timeout) => matches!(timeout, Timeout::Resolve | Timeout::Connect),
        Io(error) => matches!(
            error.kind(),
            ErrorKind::ConnectionRefused
                | ErrorKind::HostUnreachable
                | ErrorKind::NetworkUnreachable
                | ErrorKind::AddrNotAvailable
        ),
        _ => false,
    };
    if none { Failure::Unreachable(error.to_string()) } else { Failure::Broken(error.to_string()) }
}
