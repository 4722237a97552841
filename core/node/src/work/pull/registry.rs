//! The protocol of model registries: what to ask for, and where a token is had.
//!
//! Source: OCI distribution specification 1.1, §"Pull"; token challenges as Docker's registry has them
//! ("Token authentication"). Ollama's registry and Hugging Face (`hf.co`) speak it.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;

use crate::{kit::Digest, work::models::Name};

/// What to accept when a manifest is asked for.
pub const ACCEPT: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// Where the manifest of a name is.
pub fn manifest_url(name: &Name) -> String {
    format!("{}/manifests/{}", base(name), name.tag)
}

/// Where a blob of a name is.
pub fn blob_url(name: &Name, digest: &Digest) -> String {
    format!("{}/blobs/{digest}", base(name))
}

/// Where a registry lists the tags of a name: the OCI specification's list, or Hugging Face's list of files.
pub fn tags_url(name: &Name) -> String {
    match hugging(name) {
        true => format!("https://{}/api/models/{}/{}", name.host, name.namespace, name.model),
        false => format!("{}/tags/list", base(name)),
    }
}

/// Reads what [`tags_url`] gave: at most [`TAGS_MAX`] tags, sorted, none twice. At Hugging Face a tag is what the
/// name of a GGUF file ends with, `Q4_K_M` in `x-Q4_K_M.gguf`.
pub fn tags(name: &Name, bytes: &[u8]) -> Vec<String> {
    let fields: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    let list = if hugging(name) { &fields["siblings"] } else { &fields["tags"] };
    let text = |entry: &serde_json::Value| {
        let text = entry.as_str().or(entry["rfilename"].as_str())?;
        if !hugging(name) {
            return Some(String::from(text));
        }
        let stem = text.strip_suffix(".gguf")?.rsplit('/').next()?;
        let stem = stem.split_once("-00001-of-").map_or(stem, |(stem, _)| stem);
        Some(stem.rsplit(['-', '.']).next()?.to_ascii_uppercase())
    };
    let all: alloc::collections::BTreeSet<String> = list.as_array().into_iter().flatten().filter_map(text).collect();
    all.into_iter().filter(|tag| tag.len() <= 128).take(TAGS_MAX).collect()
}

/// Tags that are listed at most.
pub const TAGS_MAX: usize = 60;

fn hugging(name: &Name) -> bool {
    matches!(name.host.as_str(), "hf.co" | "huggingface.co")
}

fn base(name: &Name) -> String {
    let scheme = if name.insecure { "http" } else { "https" };
    format!("{scheme}://{}/v2/{}/{}", name.host, name.namespace, name.model)
}

/// What a registry says with status 401: who gives tokens, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    realm: String,
    service: String,
    scope: String,
}

/// Why a challenge is not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// It is not one of a kind that we know. The registry's fault.
    Unknown,
    /// Its token server is on another host than the registry, so whoever wrote it could collect secrets.
    Elsewhere {
        /// The token server's.
        host: String,
    },
}

impl Challenge {
    /// Reads a `WWW-Authenticate` header: `Bearer realm="…",service="…",scope="…"`.
    ///
    /// # Errors
    /// [`Error::Unknown`], for another scheme or without a realm.
    pub fn parse(header: &str) -> Result<Self, Error> {
        let (scheme, mut rest) = header.trim().split_once(' ').ok_or(Error::Unknown)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Error::Unknown);
        }
        let mut challenge = Self { realm: String::new(), service: String::new(), scope: String::new() };
        while let Some((key, value)) = rest.split_once('=') {
            let value = value.trim_start();
            let (text, after) = match value.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').ok_or(Error::Unknown)?,
                None => value.split_at(value.find(',').unwrap_or(value.len())),
            };
            match key.trim_matches([' ', ',']) {
                "realm" => challenge.realm = text.into(),
                "service" => challenge.service = text.into(),
                "scope" => challenge.scope = text.into(),
                _ => {}
            }
            rest = after;
        }
        if challenge.realm.is_empty() { Err(Error::Unknown) } else { Ok(challenge) }
    }

    /// Where the token is to be asked for, of a registry at `url`; one `scope` for each word, as Ollama sends them.
    ///
    /// # Errors
    /// [`Error::Elsewhere`], if that is not the registry's own host; [`Error::Unknown`], if it is no URL.
    pub fn token_url(&self, url: &str) -> Result<String, Error> {
        let (there, here) = (origin(&self.realm).ok_or(Error::Unknown)?, origin(url).ok_or(Error::Unknown)?);
        // A secure registry may not send us to an insecure door, nor to another house.
        if there.1 != here.1 || (here.0 == "https" && there.0 != "https") {
            return Err(Error::Elsewhere { host: there.1 });
        }
        let mut asked = format!("{}?service={}", self.realm, escaped(&self.service));
        for word in self.scope.split_whitespace() {
            asked.push_str("&scope=");
            asked.push_str(&escaped(word));
        }
        Ok(asked)
    }
}

/// Scheme and host of a URL, in lower case; user names in it are refused.
fn origin(url: &str) -> Option<(String, String)> {
    let (scheme, rest) = url.split_once("://")?;
    let host = rest.split(['/', '?', '#']).next()?;
    let host = host.split(':').next()?;
    let sound = !host.is_empty() && !host.contains('@') && matches!(scheme, "http" | "https");
    sound.then(|| (scheme.to_string(), host.to_ascii_lowercase()))
}

/// For a query. RFC 3986 §2.3: what needs no escape.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("the registry asks for a kind of login that is not known"),
            Self::Elsewhere { host } => write!(f, "the registry sends us for a token to another host, {host}"),
        }
    }
}

impl core::error::Error for Error {}

#[cfg(test)]
mod tests {
    #[test]
    fn tags_are_listed_as_the_registry_has_them() {
        let name = |text| Name::parse(text).unwrap();
        assert_eq!(tags_url(&name("http://h:1/a/b")), "http://h:1/v2/a/b/tags/list");
        assert_eq!(tags(&name("h.x/a/b"), br#"{"name":"a/b","tags":["q8","latest","q8"]}"#), ["latest", "q8"]);
        assert!(tags(&name("h.x/a/b"), b"<html>").is_empty());
        let files = br#"{"siblings":[{"rfilename":"README.md"},{"rfilename":"m-Q4_K_M.gguf"},{"rfilename":"d/m.q8_0-00001-of-00002.gguf"}]}"#;
        assert_eq!(tags(&name("hf.co/a/b"), files), ["Q4_K_M", "Q8_0"]);
    }

    use super::*;

    #[test]
    fn names_become_addresses() {
        let name = Name::parse("llama3.2").unwrap();
        assert_eq!(manifest_url(&name), "https://registry.ollama.ai/v2/library/llama3.2/manifests/latest");
        let name = Name::parse("http://localhost:5000/me/mine:v1").unwrap();
        let url = blob_url(&name, &Digest([0xab; 32]));
        assert_eq!(url, format!("http://localhost:5000/v2/me/mine/blobs/sha256:{}", "ab".repeat(32)));
    }

    #[test]
    fn a_token_is_asked_for_at_home_only() {
        let header = r#"Bearer realm="https://r.example/token", service="r", scope="repository:a/b:pull,push x""#;
        let challenge = Challenge::parse(header).unwrap();
        assert_eq!(
            challenge.token_url("https://r.example:443/v2/").unwrap(),
            "https://r.example/token?service=r&scope=repository%3Aa%2Fb%3Apull%2Cpush&scope=x"
        );
        assert_eq!(
            challenge.token_url("https://other.example/v2/"),
            Err(Error::Elsewhere { host: "r.example".into() })
        );
        let plain = Challenge::parse(r#"bearer realm="http://r.example/token""#).unwrap();
        assert!(plain.token_url("https://r.example/").is_err(), "from https to http");
        assert!(
            Challenge::parse(r#"Bearer realm="https://r.example@evil/t""#).unwrap().token_url("https://evil/").is_err()
        );
    }

    #[test]
    fn other_challenges_are_refused() {
        for header in ["", "Bearer", "Basic realm=\"x\"", "Bearer service=\"x\"", "Bearer realm=\"x"] {
            assert_eq!(Challenge::parse(header), Err(Error::Unknown), "{header}");
        }
    }
}
