//! What people call a model.
//!
//! ```text
//! [scheme://] [host[:port]/] [namespace/] model [:tag]      llama3.2   me/mine:v2   hf.co/user/repo:Q4_K_M
//! http[s]://.../file.gguf                                    a file somewhere
//! ./file.gguf  ../file  /file  ~/file  *.gguf                a file here
//! ```
//!
//! Host, namespace and tag default to `registry.ollama.ai`, `library` and `latest`. Names compare without regard to case.

use alloc::string::{String, ToString};
use core::fmt;

use crate::kit::Digest;

/// Where models come from unless their name says otherwise.
pub const HOST: &str = "registry.ollama.ai";
/// Whose they are.
pub const NAMESPACE: &str = "library";
/// Which variant.
pub const TAG: &str = "latest";

/// Bytes of a part at most; a host may have more.
const PART_MAX: usize = 80;
const HOST_MAX: usize = 350;

/// A model's full name. Parts are kept as they were written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// Whether plain HTTP was asked for.
    pub insecure: bool,
    /// With its port.
    pub host: String,
    /// Whose.
    pub namespace: String,
    /// Which.
    pub model: String,
    /// Which variant.
    pub tag: String,
}

/// Anything that can stand where a model is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A name, in the store or in a registry.
    Name(Name),
    /// A file to be fetched.
    Url(String),
    /// A file here.
    Path(String),
}

/// Why something is no name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Nothing there.
    Empty,
    /// A part is empty, too long, or has characters that it may not have.
    #[allow(missing_docs, reason = "explained by the variant")]
    Part { part: &'static str, text: String },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the name is empty"),
            Self::Part { part, text } => {
                write!(
                    f,
                    "{text:?} is no {part}: letters, digits, '_', '-' and '.', beginning with a letter, digit or '_'"
                )
            }
        }
    }
}

impl core::error::Error for Error {}

impl Reference {
    /// Reads what somebody wrote.
    ///
    /// # Errors
    /// [`Error`], for what is neither a URL nor a path and no name.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let lower = text.to_ascii_lowercase();
        let last = lower.split(['?', '#']).next().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
        // `hf.co/user/repo:file.gguf` names a file of a repository by its tag.
        let file = last.ends_with(".gguf") && !(last.contains(':') && lower.contains('/'));
        if (lower.starts_with("https://") || lower.starts_with("http://")) && file {
            return Ok(Self::Url(text.into()));
        }
        let marked = ["/", "./", "../", "~/", ".\\", "..\\"].iter().any(|start| text.starts_with(start));
        let drive = text
            .as_bytes()
            .first_chunk::<3>()
            .is_some_and(|c| c[0].is_ascii_alphabetic() && c[1] == b':' && c[2] == b'\\');
        if marked || drive || file || matches!(text, "." | "..") {
            return Ok(Self::Path(text.into()));
        }
        Name::parse(text).map(Self::Name)
    }
}

impl Name {
    /// Reads a name; what is left out gets its default.
    ///
    /// # Errors
    /// [`Error`], with the part that is wrong.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let (insecure, rest) = match text.split_once("://") {
            Some(("http", rest)) => (true, rest),
            Some(("https", rest)) => (false, rest),
            Some((scheme, _)) => return Err(Error::Part { part: "scheme", text: scheme.into() }),
            None => (false, text),
        };
        if rest.is_empty() {
            return Err(Error::Empty);
        }
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, tag),
            _ => (rest, TAG),
        };
        let (head, model) = path.rsplit_once('/').unwrap_or(("", path));
        let (host, namespace) = match head.rsplit_once('/') {
            Some(pair) => pair,
            None if head.is_empty() => (HOST, NAMESPACE),
            None => (HOST, head),
        };
        let name =
            Self { insecure, host: host.into(), namespace: namespace.into(), model: model.into(), tag: tag.into() };
        name.check()
    }

    /// The name under which a file somewhere is kept: its server, what tells its URL from others, its own name.
    ///
    /// `digest` is that of the URL's text.
    ///
    /// # Errors
    /// [`Error`], where the server's name is none.
    pub fn of_url(url: &str, digest: &Digest) -> Result<Self, Error> {
        let (scheme, rest) = url.split_once("://").ok_or(Error::Empty)?;
        let path = rest.split(['?', '#']).next().unwrap_or_default();
        let (host, path) = path.split_once('/').unwrap_or((path, ""));
        let file = path.rsplit('/').next().unwrap_or_default();
        let stem = file.len().checked_sub(5).and_then(|end| file.get(..end)).unwrap_or(file);
        let letter = |c: char| if c.is_ascii_alphanumeric() || "_-.".contains(c) { c } else { '-' };
        let model: String =
            stem.chars().skip_while(|c| !c.is_ascii_alphanumeric()).take(PART_MAX).map(letter).collect();
        let model = if model.is_empty() { "file".into() } else { model };
        let namespace = alloc::format!("url-{}", &digest.hex()[..16]);
        let insecure = scheme.eq_ignore_ascii_case("http");
        Self { insecure, host: host.into(), namespace, model, tag: TAG.into() }.check()
    }

    fn check(self) -> Result<Self, Error> {
        let part = |part: &'static str, text: &str, sound: bool| {
            if sound { Ok(()) } else { Err(Error::Part { part, text: text.into() }) }
        };
        part("host", &self.host, is_part(&self.host, HOST_MAX, ".:"))?;
        part("namespace", &self.namespace, is_part(&self.namespace, PART_MAX, ""))?;
        part("model name", &self.model, is_part(&self.model, PART_MAX, "."))?;
        part("tag", &self.tag, is_part(&self.tag, PART_MAX, "."))?;
        Ok(self)
    }

    /// The name under which it is kept: all parts, in lower case.
    pub fn key(&self) -> String {
        alloc::format!("{}/{}/{}:{}", self.host, self.namespace, self.model, self.tag).to_ascii_lowercase()
    }

    /// Whether it is on Hugging Face.
    pub fn is_hugging_face(&self) -> bool {
        matches!(self.host.to_ascii_lowercase().as_str(), "hf.co" | "huggingface.co")
    }

    /// Whether it names no registry and no owner.
    pub fn is_plain(&self) -> bool {
        self.host.eq_ignore_ascii_case(HOST) && self.namespace.eq_ignore_ascii_case(NAMESPACE)
    }
}

fn is_part(text: &str, most: usize, also: &str) -> bool {
    let first = text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    let rest = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-') || also.contains(c));
    first && rest && text.len() <= most
}

impl fmt::Display for Name {
    /// The shortest form, always with the tag.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = !self.host.eq_ignore_ascii_case(HOST);
        if host {
            write!(f, "{}/", self.host)?;
        }
        if host || !self.namespace.eq_ignore_ascii_case(NAMESPACE) {
            write!(f, "{}/", self.namespace)?;
        }
        write!(f, "{}:{}", self.model, self.tag)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(&name.to_string()),
            Self::Url(text) | Self::Path(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_gets_its_default() {
        let name = Name::parse("llama3.2").unwrap();
        assert_eq!(name.key(), "registry.ollama.ai/library/llama3.2:latest");
        assert_eq!(name.to_string(), "llama3.2:latest");
        let name = Name::parse("hf.co/Some/Repo-GGUF:Q4_K_M").unwrap();
        assert_eq!((name.namespace.as_str(), name.tag.as_str()), ("Some", "Q4_K_M"));
        assert_eq!(name.to_string(), "hf.co/Some/Repo-GGUF:Q4_K_M");
        let name = Name::parse("http://localhost:5000/me/mine").unwrap();
        assert!(name.insecure);
        assert_eq!((name.host.as_str(), name.tag.as_str()), ("localhost:5000", "latest"));
        assert_eq!(Name::parse("me/mine:v1").unwrap().to_string(), "me/mine:v1");
    }

    #[test]
    fn what_is_no_name_is_refused_with_the_part() {
        for text in ["", "a b", "-x", "a/b.c/d/e/f", "x:", "x:y z", "ftp://x/y/z", "../x/y", "a//b"] {
            assert!(Name::parse(text).is_err(), "{text}");
        }
        let text = Name::parse("x:ta g").unwrap_err().to_string();
        assert!(text.starts_with("\"ta g\" is no tag"), "{text}");
    }

    #[test]
    fn a_printed_name_is_read_as_the_same() {
        for text in ["a", "a:b", "n/a:b", "h.x/n/a:b", "h:1/n/a.c:b_d"] {
            let name = Name::parse(text).unwrap();
            assert_eq!(Name::parse(&name.to_string()).unwrap(), name);
        }
    }

    #[test]
    fn a_file_somewhere_has_a_name_that_is_read_again() {
        let of = |url| Name::of_url(url, &Digest([0xab; 32]));
        for (url, name) in [
            (
                "https://hf.co/u/r/resolve/main/A-b.Q4_0.gguf?download=true",
                "hf.co/url-abababababababab/A-b.Q4_0:latest",
            ),
            ("https://localhost:1/%20x y.GGUF", "localhost:1/url-abababababababab/20x-y:latest"),
            ("https://h.x/.gguf", "h.x/url-abababababababab/file:latest"),
            ("https://h.x/\u{e9}\u{e9}\u{e9}\u{e9}.gguf", "h.x/url-abababababababab/file:latest"),
        ] {
            let found = of(url).unwrap();
            assert_eq!(found.to_string(), name);
            assert_eq!(Name::parse(name), Ok(found));
        }
        assert!(of("https://user@h.x/a.gguf").is_err() && of("https:///a.gguf").is_err() && of("a.gguf").is_err());
    }

    #[test]
    fn nothing_that_is_written_makes_it_panic_and_what_is_a_name_is_printed_as_it_is_read() {
        const LETTERS: &[char] = &['a', 'B', '1', '_', '-', '.', ':', '/', ' ', '\u{e9}', '~', '\\', '?'];
        let mut rng = crate::kit::Rng::new(5);
        let starts = ["", "", "", "http://", "https://", "HTTPS://a/", "hf.co/"];
        let ends = ["", "", ".gguf", ":latest", "/", ":"];
        for _ in 0..200_000 {
            let letters = (0..rng.below(10)).map(|_| LETTERS[rng.below(LETTERS.len() as u32) as usize]);
            let middle: String = letters.collect();
            let text = [starts[rng.below(7) as usize], &middle, ends[rng.below(6) as usize]].concat();
            drop(Name::of_url(&text, &Digest([1; 32])));
            if let Ok(Reference::Name(name)) = Reference::parse(&text) {
                let again = Name::parse(&name.to_string()).unwrap();
                assert_eq!(again.key(), name.key(), "{text}");
            }
        }
    }

    #[test]
    fn urls_and_paths_are_told_from_names() {
        let parse = |text| Reference::parse(text).unwrap();
        assert!(matches!(parse("https://x.y/z.gguf?download=true"), Reference::Url(_)));
        assert!(matches!(parse("./x"), Reference::Path(_)));
        assert!(matches!(parse("x.gguf"), Reference::Path(_)));
        assert!(matches!(parse("a/b.GGUF"), Reference::Path(_)));
        assert!(matches!(parse("C:\\b.gguf"), Reference::Path(_)));
        assert!(matches!(parse("https://x.y/z.gguf?path=a/b"), Reference::Url(_)));
        assert!(matches!(parse("hf.co/user/repo:file.gguf"), Reference::Name(name) if name.tag == "file.gguf"));
        assert!(matches!(parse("https://hf.co/user/repo:file.gguf"), Reference::Name(_)));
        assert!(matches!(parse("https://h.x/n/m:t"), Reference::Name(_)));
    }
}
