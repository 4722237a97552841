//! Which web pages may talk to us: those of this machine and of programs on it, and those that were named.
//!
//! A browser lets every page send requests to `localhost`. It tells us from which page one comes (`Origin`), and
//! withholds an answer that does not name that page; a request that changes something has done so by then.

use std::net::IpAddr;

use http::{HeaderValue, header};

use super::{Answer, Method, Request, StatusCode, refusal::refuse};

/// Schemes of pages that belong to a program on this machine, not to the web.
const PROGRAMS: [&str; 11] = [
    "app",
    "file",
    "tauri",
    "vscode-webview",
    "vscode-file",
    "chrome-extension",
    "moz-extension",
    "ms-browser-extension",
    "safari-extension",
    "safari-web-extension",
    "edge-extension",
];

/// Hosts of pages on this machine.
const HERE: [&str; 4] = ["localhost", "127.0.0.1", "0.0.0.0", "[::1]"];

/// Header fields that pages may send, beside those that begin with `x-stainless-`.
const FIELDS: [&str; 14] = [
    "authorization",
    "content-type",
    "user-agent",
    "accept",
    "x-requested-with",
    "openai-beta",
    "openai-organization",
    "openai-project",
    "x-api-key",
    "anthropic-version",
    "anthropic-beta",
    "anthropic-dangerous-direct-browser-access",
    "x-request-id",
    "traceparent",
];

/// Patterns at most, and bytes of each: they come from the environment.
const PATTERNS_MAX: usize = 64;

/// The pages that may talk to us beside those of this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    patterns: Vec<String>,
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// No page: a program.
    Program,
    /// The page that we serve.
    Ourselves,
    /// A page that may read what is answered.
    Friend,
    /// Any other page.
    Stranger,
}

impl Origins {
    /// Reads a list with commas, as OLLAMA_ORIGINS has it: `https://*.example.com,http://10.0.0.7:3000` or `*`.
    pub fn parse(list: &str) -> Self {
        let list = list.trim_matches(|c: char| c.is_whitespace() || c == '"' || c == '\'');
        let patterns = list.split(',').map(|one| one.trim().trim_end_matches('/').to_ascii_lowercase());
        Self { patterns: patterns.filter(|one| !one.is_empty()).take(PATTERNS_MAX).collect() }
    }

    /// From where a request comes.
    pub fn from(&self, request: &Request) -> From {
        let mut origins = request.headers.get_all(header::ORIGIN).iter();
        match (origins.next(), origins.next()) {
            (None, _) => {
                // Not all requests of pages carry an Origin; but those of strangers that change something do.
                let is_cross = request.header("sec-fetch-site") == Some("cross-site");
                let is_harmless = matches!(request.method, Method::GET | Method::HEAD);
                if is_cross && !is_harmless { From::Stranger } else { From::Program }
            }
            (Some(origin), None) => origin.to_str().map_or(From::Stranger, |origin| self.of(origin, request)),
            (Some(_), Some(_)) => From::Stranger,
        }
    }

    fn of(&self, origin: &str, request: &Request) -> From {
        let origin = origin.to_ascii_lowercase();
        let Some((scheme, place)) = origin.split_once("://") else { return From::Stranger };
        let is_web = scheme == "http" || scheme == "https";
        if is_web && request.header("host").is_some_and(|host| !host.is_empty() && host.eq_ignore_ascii_case(place)) {
            return From::Ourselves;
        }
        let is_here = is_web && HERE.contains(&split_port(place).0);
        let is_named = self.patterns.iter().any(|pattern| matches(pattern, &origin));
        if is_here || PROGRAMS.contains(&scheme) || is_named { From::Friend } else { From::Stranger }
    }

    /// Answers a browser that asks whether a page may send a request; nothing for other requests.
    pub fn preflight(&self, request: &Request) -> Option<Answer> {
        request.header("access-control-request-method").filter(|_| request.method == Method::OPTIONS)?;
        let asked = request.header("access-control-request-headers").unwrap_or_default();
        let known = |name: &&str| {
            let name = name.to_ascii_lowercase();
            FIELDS.contains(&name.as_str()) || name.starts_with("x-stainless-")
        };
        let fields: Vec<&str> = asked.split(',').map(str::trim).filter(known).collect();
        let mut answer = Answer::new(StatusCode::NO_CONTENT)
            .with(header::ACCESS_CONTROL_ALLOW_METHODS, "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS")
            .with(header::ACCESS_CONTROL_ALLOW_HEADERS, fields.join(","))
            .with(header::ACCESS_CONTROL_MAX_AGE, "43200");
        if request.header("access-control-request-private-network") == Some("true") {
            let name = header::HeaderName::from_static("access-control-allow-private-network");
            answer = answer.with(name, "true");
        }
        Some(answer)
    }
}

/// Says no to the page of a stranger.
pub fn refuse_stranger(request: &Request) -> Answer {
    let text = "this web page may not use tutu; start it with OLLAMA_ORIGINS=<the page's origin> to let it";
    refuse(&request.path, &request.id, StatusCode::FORBIDDEN, text)
}

/// Lets a page read an answer.
pub fn let_read(answer: &mut Answer, origin: &HeaderValue) {
    answer.headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    answer.headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("*"));
    answer.headers.append(header::VARY, HeaderValue::from_static("Origin"));
}

/// Whether a request names us by a name that no stranger can have given us.
///
/// A page at `evil.example` whose name suddenly means 127.0.0.1 is, to a browser, still that page, and may talk to
/// what is there now (DNS rebinding). The `Host` it sends gives it away.
pub fn is_our_name(host: &str, names: &[String]) -> bool {
    let host = host.to_ascii_lowercase();
    let name = split_port(&host).0.trim_end_matches('.');
    if let Ok(address) = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        // An address was asked for as such: no name was looked up that could have been turned.
        return is_near(address.to_canonical()) || names.iter().any(|known| known == name);
    }
    let is_private = [".localhost", ".local", ".internal"].iter().any(|end| name.ends_with(end));
    name.is_empty() || name == "localhost" || is_private || names.iter().any(|known| known == name)
}

fn is_near(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_unspecified() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unspecified() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// Host, an address in its brackets, and port.
fn split_port(place: &str) -> (&str, Option<&str>) {
    match place.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (place, None),
    }
}

/// Whether `text` is like `pattern`, in which `*` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(fields: &[(&'static str, &str)]) -> Request {
        let mut request = Request::new(Method::POST, "/api/delete");
        for (name, value) in fields {
            request.headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        request
    }

    #[test]
    fn pages_of_this_machine_are_friends_and_others_strangers() {
        let origins = Origins::parse(" https://*.example.com , http://10.0.0.7:3000/");
        let from = |origin: &str| origins.from(&ask(&[("origin", origin), ("host", "localhost:11434")]));
        for friend in [
            "http://localhost",
            "https://localhost:3000",
            "http://127.0.0.1:8080",
            "http://0.0.0.0",
            "http://[::1]:5173",
            "app://obsidian.md",
            "tauri://localhost",
            "vscode-webview://abc",
            "chrome-extension://abcdef",
            "https://a.example.com",
            "HTTPS://A.b.Example.com",
            "http://10.0.0.7:3000",
        ] {
            assert_eq!(from(friend), From::Friend, "{friend}");
        }
        assert_eq!(from("http://localhost:11434"), From::Ourselves);
        for stranger in [
            "http://evil.example",
            "https://example.com",
            "https://a.example.com.evil",
            "http://localhost.evil",
            "http://localhost@evil",
            "http://10.0.0.7:30000",
            "null",
            "",
            "localhost",
            "ftp://localhost",
        ] {
            assert_eq!(from(stranger), From::Stranger, "{stranger}");
        }
    }

    #[test]
    fn programs_send_no_origin_and_pages_cannot_hide_theirs() {
        let origins = Origins::default();
        assert_eq!(origins.from(&ask(&[])), From::Program);
        assert_eq!(origins.from(&ask(&[("sec-fetch-site", "cross-site")])), From::Stranger);
        assert_eq!(origins.from(&ask(&[("origin", "http://localhost"), ("origin", "http://evil")])), From::Stranger);
        assert_eq!(Origins::parse("*").from(&ask(&[("origin", "http://evil")])), From::Friend);
    }

    #[test]
    fn a_preflight_says_what_may_be_sent() {
        let mut request = ask(&[
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "content-type, x-evil,X-Stainless-OS"),
        ]);
        assert!(Origins::default().preflight(&request).is_none());
        request.method = Method::OPTIONS;
        let answer = Origins::default().preflight(&request).unwrap();
        assert_eq!(answer.status, 204);
        assert_eq!(answer.headers["access-control-allow-headers"], "content-type,X-Stainless-OS");
    }

    #[test]
    fn names_that_a_stranger_could_turn_are_not_ours() {
        let names = ["box.example".to_owned(), "myhost".to_owned()];
        for name in [
            "",
            "localhost",
            "LOCALHOST:11434",
            "localhost.",
            "127.0.0.1:1",
            "[::1]:2",
            "[::ffff:127.0.0.1]",
            "192.168.1.5",
            "a.local",
            "x.localhost:3",
            "host.docker.internal",
            "box.example:443",
            "myhost",
        ] {
            assert!(is_our_name(name, &names), "{name}");
        }
        for name in [
            "evil.example",
            "localhost.evil.example",
            "8.8.8.8",
            "[2001:db8::1]",
            "127.0.0.1.evil",
            "local",
            "internal",
        ] {
            assert!(!is_our_name(name, &names), "{name}");
        }
    }

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, text, is) in [
            ("*", "", true),
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*c", "abcd", false),
            ("a*b*c", "axbybc", true),
            ("a*b*c", "ac", false),
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches(pattern, text), is, "{pattern} {text}");
        }
    }
}
