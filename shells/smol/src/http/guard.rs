//! Who is let in, and how far: by the name they ask for, the page they come from, and the key they show.

use std::sync::Arc;

use http::{HeaderValue, header};

use super::{
    Answer, Peer, Request, Scope, StatusCode,
    keys::{Keyring, Known},
    origins::{self, From, Origins},
    refusal::refuse,
};

/// What is asked of those who come in.
#[derive(Debug)]
pub struct Guard {
    /// Web pages that may ask, beside those of this machine.
    pub origins: Origins,
    /// Names under which others know this machine, in small letters.
    pub names: Vec<String>,
    /// Keys that open doors. Without any, only doors that need none are open.
    pub keys: Option<Keyring>,
}

impl Guard {
    /// Lets pages of this machine in, under its usual names.
    pub fn new() -> Self {
        Self { origins: Origins::default(), names: Vec::new(), keys: None }
    }

    /// Says what a request may do, or answers it. Of a request that is let in: the page that may read the answer.
    ///
    /// # Errors
    /// The answer to a request that is not let in, or that asks only whether it would be.
    pub fn admit(&self, request: &mut Request, needs_key: bool) -> Result<Option<HeaderValue>, Answer> {
        let known = self.known(request);
        self.check_host(request, known.as_ref())?;
        let from = self.origins.from(request);
        if from == From::Stranger {
            return Err(origins::refuse_stranger(request));
        }
        let reader = request.headers.get(header::ORIGIN).filter(|_| from == From::Friend).cloned();
        if let Some(mut answer) = self.origins.preflight(request) {
            if let Some(origin) = &reader {
                origins::let_read(&mut answer, origin);
            }
            return Err(answer);
        }
        match known {
            Some(known) => self.count(request, known)?,
            None if needs_key => request.scope = Scope::Open,
            None => request.scope = Scope::Manage,
        }
        Ok(reader)
    }

    /// The key that was shown, if we know it. Clients send words of their own where no key is needed.
    fn known(&self, request: &Request) -> Option<Known> {
        let keys = self.keys.as_ref()?;
        let bearer = request.header("authorization").and_then(|value| {
            let (scheme, key) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
        });
        bearer.or_else(|| request.header("x-api-key")).and_then(|secret| keys.find(secret))
    }

    fn check_host(&self, request: &Request, known: Option<&Known>) -> Result<(), Answer> {
        // A key is what no page of a stranger has, and the socket in the home is out of every page's reach.
        if known.is_some() || request.peer == Peer::Unix {
            return Ok(());
        }
        let host = request.headers.get(header::HOST).map_or(Some(""), |host| host.to_str().ok());
        if host.is_some_and(|host| origins::is_our_name(host, &self.names)) {
            return Ok(());
        }
        let text = "this machine is not known by that name; start tutu with `--name NAME` if it is one of its own";
        Err(refuse(&request.path, &request.id, StatusCode::FORBIDDEN, text))
    }

    fn count(&self, request: &mut Request, known: Known) -> Result<(), Answer> {
        if let Err(wait) = known.quota.request() {
            let seconds = wait.as_secs() + 1;
            let text =
                format!("the key {:?} has asked for all it may this minute; try again in {seconds} s", known.name);
            let answer = refuse(&request.path, &request.id, StatusCode::TOO_MANY_REQUESTS, &text);
            return Err(answer.with(header::RETRY_AFTER, seconds.to_string()));
        }
        request.scope = known.scope;
        request.key = Some(Arc::clone(&known.name));
        request.quota = Some(known.quota);
        Ok(())
    }
}

impl Default for Guard {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Method, keys};

    fn ask(method: Method, fields: &[(&'static str, &str)]) -> Request {
        let mut request = Request::new(method, "/api/tags");
        request.peer = Peer::Tcp("127.0.0.1:1".parse().unwrap());
        for (name, value) in fields {
            request.headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        request
    }

    fn status(guard: &Guard, request: &mut Request, needs_key: bool) -> u16 {
        guard.admit(request, needs_key).map_or_else(|answer| answer.status.as_u16(), |_| 200)
    }

    #[test]
    fn a_page_cannot_come_in_under_a_name_of_its_own() {
        let guard = Guard::new();
        assert_eq!(status(&guard, &mut ask(Method::GET, &[("host", "localhost:11434")]), false), 200);
        assert_eq!(status(&guard, &mut ask(Method::GET, &[("host", "evil.example")]), false), 403);
        assert_eq!(status(&guard, &mut ask(Method::GET, &[]), false), 200);
        let mut request = ask(Method::GET, &[("host", "evil.example")]);
        request.peer = Peer::Unix;
        assert_eq!(status(&guard, &mut request, false), 200);
    }

    #[test]
    fn the_simple_post_of_a_stranger_is_refused_and_a_friend_may_read() {
        let guard = Guard::new();
        let post =
            |origin| ask(Method::POST, &[("host", "localhost"), ("origin", origin), ("content-type", "text/plain")]);
        assert_eq!(status(&guard, &mut post("https://evil.example"), false), 403);
        let reader = guard.admit(&mut post("http://localhost:3000"), false).unwrap();
        assert_eq!(reader.unwrap(), "http://localhost:3000");
        assert_eq!(guard.admit(&mut post("http://localhost"), false).unwrap(), None);
    }

    #[test]
    fn a_preflight_is_answered_before_a_key_is_asked_for() {
        let guard = Guard::new();
        let fields =
            [("host", "localhost"), ("origin", "http://localhost:1"), ("access-control-request-method", "POST")];
        let answer = guard.admit(&mut ask(Method::OPTIONS, &fields), true).unwrap_err();
        assert_eq!(answer.status, 204);
        assert_eq!(answer.headers["access-control-allow-origin"], "http://localhost:1");
    }

    #[test]
    fn a_key_gives_its_scope_and_is_counted() {
        let home = tempfile::tempdir().unwrap();
        let secret = keys::add(home.path(), "a", Scope::Read, (Some(2), None)).unwrap();
        let guard = Guard { keys: Some(Keyring::new(home.path())), ..Guard::new() };
        let bearer = format!("Bearer {secret}");
        let mut request = ask(Method::GET, &[("host", "out.example"), ("authorization", &bearer)]);
        assert_eq!(status(&guard, &mut request, true), 200);
        assert_eq!((request.scope, request.key.as_deref()), (Scope::Read, Some("a")));
        let mut request = ask(Method::GET, &[("x-api-key", &secret)]);
        assert_eq!(status(&guard, &mut request, false), 200);
        assert_eq!(request.scope, Scope::Read);
        let answer = guard.admit(&mut ask(Method::GET, &[("x-api-key", &secret)]), true).unwrap_err();
        assert_eq!((answer.status.as_u16(), &answer.headers["retry-after"]), (429, &HeaderValue::from_static("30")));
    }

    #[test]
    fn without_a_key_only_what_is_open_can_be_asked_where_one_is_needed() {
        let home = tempfile::tempdir().unwrap();
        let guard = Guard { keys: Some(Keyring::new(home.path())), ..Guard::new() };
        let mut request = ask(Method::GET, &[("authorization", "Bearer ollama")]);
        guard.admit(&mut request, true).unwrap();
        assert_eq!(request.scope, Scope::Open);
        guard.admit(&mut request, false).unwrap();
        assert_eq!(request.scope, Scope::Manage);
    }
}
