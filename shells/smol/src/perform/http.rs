//! Bytes over HTTP(S).
//!
//! `ureq` honours `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, and trusts what the system trusts.

use std::{
    io::{self, Read},
    ops::Range,
    time::Duration,
};

use ureq::{Agent, Body, http::Response};

/// Redirects from a registry to where it keeps its blobs.
const REDIRECTS_MAX: u32 = 8;

/// Registries give old forms of a manifest to who does not ask for the new one.
const ACCEPT: &str = "application/vnd.docker.distribution.manifest.v2+json, */*";

/// Who asks.
const USER_AGENT: &str = concat!("tutu/", env!("CARGO_PKG_VERSION"));

/// A client; connections are used again.
#[derive(Clone, Debug)]
pub struct Http {
    agent: Agent,
}

/// Why a server did not answer as hoped.
#[derive(Debug)]
pub struct Refusal {
    /// What happened, with the next step where there is one.
    pub text: String,
    /// Whether asking again is of no use.
    pub finally: bool,
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self { text: error.to_string(), finally: false }
    }
}

impl Http {
    /// A client that waits `connect` for a connection.
    pub fn new(connect: Duration) -> Self {
        let config = Agent::config_builder()
            .timeout_connect(Some(connect))
            .timeout_recv_response(Some(Duration::from_secs(30)))
            .max_redirects(REDIRECTS_MAX)
            .http_status_as_error(false)
            .user_agent(USER_AGENT)
            .build();
        Self { agent: config.into() }
    }

    /// Asks how large a file is and whether parts of it can be had.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn size(&self, url: &str, token: Option<&str>) -> Result<(u64, bool), Refusal> {
        let answer = self.ask(url, token, Some(0..1))?;
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let unknown = || Refusal { text: format!("{url} does not tell how large it is"), finally: true };
        if answer.status().as_u16() == 206 {
            let total = header("content-range").and_then(|range| range.rsplit('/').next()?.parse().ok());
            return total.map(|size| (size, true)).ok_or_else(unknown);
        }
        let size = header("content-length").and_then(|text| text.parse().ok());
        size.map(|size| (size, false)).ok_or_else(unknown)
    }

    /// The bytes of a file, or of a range of it.
    ///
    /// # Errors
    /// [`Refusal`]; also where a range was asked for and the whole is sent.
    pub fn get(&self, url: &str, token: Option<&str>, range: Option<Range<u64>>) -> Result<impl Read + use<>, Refusal> {
        let ranged = range.is_some();
        let answer = self.ask(url, token, range)?;
        if ranged && answer.status().as_u16() != 206 {
            return Err(Refusal { text: format!("{url} sent the whole where a part was asked for"), finally: true });
        }
        Ok(answer.into_body().into_with_config().limit(u64::MAX).reader())
    }

    /// A small document: a manifest.
    ///
    /// # Errors
    /// [`Refusal`]; also where it is longer than `most` bytes.
    pub fn manifest(&self, url: &str, token: Option<&str>, most: u64) -> Result<Vec<u8>, Refusal> {
        let answer = self.ask(url, token, None)?;
        let text = |error: ureq::Error| Refusal { text: format!("{url}: {error}"), finally: true };
        answer.into_body().into_with_config().limit(most).read_to_vec().map_err(text)
    }

    fn ask(&self, url: &str, token: Option<&str>, range: Option<Range<u64>>) -> Result<Response<Body>, Refusal> {
        let mut request = self.agent.get(url).header("Accept", ACCEPT);
        if let Some(token) = token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        if let Some(range) = range {
            request = request.header("Range", format!("bytes={}-{}", range.start, range.end - 1));
        }
        let answer = request.call().map_err(|error| Refusal {
            // What cannot be resolved or connected to will not be in a second either: there are other sources.
            finally: !matches!(error, ureq::Error::Timeout(_) | ureq::Error::Io(_)),
            text: format!("{url}: {error}"),
        })?;
        match answer.status().as_u16() {
            200 | 206 => Ok(answer),
            401 | 403 => Err(Refusal {
                text: format!(
                    "{url} needs permission ({}); accept the model's terms on its page and set HF_TOKEN",
                    answer.status()
                ),
                finally: true,
            }),
            404 => Err(Refusal { text: format!("{url} does not exist (404)"), finally: true }),
            status => Err(Refusal { text: format!("{url} answered {status}"), finally: status < 500 && status != 429 }),
        }
    }
}
