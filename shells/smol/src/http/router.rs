//! Which handler answers which path. The one place that knows tide.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use http::{StatusCode, header};
use percent_encoding::percent_decode_str;
use smol::future::FutureExt;
use tide::http::Url;

use super::{
    exchange::{Answer, Method, Request, Scope},
    refusal::refuse,
};

/// Methods of HTTP that a route may have, in the order of an `Allow` field.
const METHODS: [Method; 6] = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// What is said of a path that is not there.
const NOT_FOUND: &str = "404 page not found";

/// All routes over one state.
///
/// A pattern has fixed parts, parts with a name (`/api/blobs/:digest`) and at its end perhaps a name for all that is
/// left (`/v1/models/*model`). GET answers HEAD too, where HEAD has no route of its own.
pub struct Router<S> {
    tide: tide::Server<()>,
    state: Arc<S>,
    routes: usize,
}

/// What travels through tide: the request on its way in, the answer on its way out.
///
/// Tide's own types cannot hold what we hand over: header values that are not ASCII make them panic, and their bodies
/// must be shared between threads.
#[derive(Clone)]
struct Carrier(Arc<Mutex<Load>>);

#[allow(clippy::large_enum_variant, reason = "there is one a request, and it stands behind a pointer")]
enum Load {
    Request(Request),
    /// With the pattern of the route that gave it.
    Answer(Answer, &'static str),
    /// Nobody asks; it is only tried whether there is a route.
    Probe,
}

impl Carrier {
    fn swap(&self, load: Load) -> Load {
        std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), load)
    }
}

impl<S: Send + Sync + 'static> Router<S> {
    /// No routes yet.
    pub fn new(state: Arc<S>) -> Self {
        Self { tide: tide::with_state(()), state, routes: 0 }
    }

    /// The state that handlers are given.
    pub fn state(&self) -> &Arc<S> {
        &self.state
    }

    /// How many routes there are.
    pub fn len(&self) -> usize {
        self.routes
    }

    /// Whether there is no route.
    pub fn is_empty(&self) -> bool {
        self.routes == 0
    }

    /// Lets `handler` answer `method` on paths of this pattern, for those whose scope is `need` or more.
    ///
    /// A handler that panics answers 500.
    ///
    /// # Panics
    /// If `method` is none of the six of this table.
    pub fn add<H, F>(&mut self, method: Method, pattern: &'static str, need: Scope, handler: H)
    where
        H: Fn(Arc<S>, Request) -> F + Send + Sync + 'static,
        F: Future<Output: Into<Answer>> + Send + 'static,
    {
        assert!(METHODS.contains(&method), "no route may have the method {method}");
        let names = names(pattern);
        let state = Arc::clone(&self.state);
        let handler = Arc::new(handler);
        let method: tide::http::Method = method.as_str().parse().expect("tide knows these methods");
        self.tide.at(pattern).method(method, move |request: tide::Request<()>| {
            let carrier = request.ext::<Carrier>().cloned().expect("put there by `answer`");
            let mut load = carrier.swap(Load::Probe);
            if let Load::Request(inner) = &mut load {
                let decoded = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
                let values = names.iter().map(|name| decoded(request.param(name).unwrap_or_default()));
                inner.parameters = names.iter().map(|name| (*name).to_owned()).zip(values).collect();
            }
            let (state, handler) = (Arc::clone(&state), Arc::clone(&handler));
            async move {
                if let Load::Request(inner) = load {
                    let answer = guarded(state, handler, need, inner).await;
                    carrier.swap(Load::Answer(answer, pattern));
                }
                Ok(tide::Response::new(tide::StatusCode::Ok))
            }
        });
        self.routes += 1;
    }

    /// Answers a request: by its route, or 404, or 405 with the methods that the path has. Also says by which route.
    pub async fn answer(&self, mut request: Request) -> (Answer, Option<&'static str>) {
        let url = url(&request.path);
        url.path().clone_into(&mut request.path);
        let id = Arc::clone(&request.id);
        // Tide knows methods in any case; to HTTP, `get` is not GET.
        let method = request.method.as_str().parse::<tide::http::Method>().ok();
        let Some(method) = method.filter(|method| method.to_string() == request.method.as_str()) else {
            let status = StatusCode::NOT_IMPLEMENTED;
            return (plain(url.path(), &id, status, "501 method not implemented"), None);
        };
        if method == tide::http::Method::Options {
            return (self.options(&id, &url).await, None);
        }
        let carrier = Carrier(Arc::new(Mutex::new(Load::Request(request))));
        let status = self.respond(method, url.clone(), &carrier).await;
        match carrier.swap(Load::Probe) {
            Load::Answer(answer, route) => (answer, Some(route)),
            _ if status == tide::StatusCode::MethodNotAllowed => {
                let answer = plain(url.path(), &id, StatusCode::METHOD_NOT_ALLOWED, "405 method not allowed");
                (answer.with(header::ALLOW, self.allowed(&url).await.unwrap_or_default()), None)
            }
            _ => (plain(url.path(), &id, StatusCode::NOT_FOUND, NOT_FOUND), None),
        }
    }

    async fn respond(&self, method: tide::http::Method, url: Url, carrier: &Carrier) -> tide::StatusCode {
        let mut request = tide::http::Request::new(method, url);
        request.ext_mut().insert(carrier.clone());
        let response: tide::http::Result<tide::http::Response> = self.tide.respond(request).await;
        response.map_or(tide::StatusCode::InternalServerError, |response| response.status())
    }

    /// Tells which methods a path has (RFC 9110 §9.3.7). Whether a page may use them is another question.
    async fn options(&self, id: &str, url: &Url) -> Answer {
        match self.allowed(url).await {
            Some(allowed) => Answer::new(StatusCode::NO_CONTENT).with(header::ALLOW, allowed),
            None => plain(url.path(), id, StatusCode::NOT_FOUND, NOT_FOUND),
        }
    }

    /// The methods that a path has; nothing where there is no such path.
    async fn allowed(&self, url: &Url) -> Option<String> {
        let mut allowed = Vec::new();
        for method in METHODS {
            let probe = Carrier(Arc::new(Mutex::new(Load::Probe)));
            let tide = method.as_str().parse().expect("tide knows these methods");
            if self.respond(tide, url.clone(), &probe).await == tide::StatusCode::Ok {
                allowed.push(method.to_string());
            }
        }
        allowed.extend((!allowed.is_empty()).then(|| Method::OPTIONS.to_string()));
        (!allowed.is_empty()).then(|| allowed.join(", "))
    }
}

/// Runs a handler for those who may ask it, and outlives its panic.
async fn guarded<S, H, F>(state: Arc<S>, handler: Arc<H>, need: Scope, request: Request) -> Answer
where
    H: Fn(Arc<S>, Request) -> F,
    F: Future<Output: Into<Answer>>,
{
    let (path, id) = (request.path.clone(), Arc::clone(&request.id));
    if request.scope < need {
        return forbidden(&request, need);
    }
    let running = async move { handler(state, request).await.into() };
    AssertUnwindSafe(running).catch_unwind().await.unwrap_or_else(|_| {
        let text = "this is a mistake of the program; the log says more";
        refuse(&path, &id, StatusCode::INTERNAL_SERVER_ERROR, text)
    })
}

fn forbidden(request: &Request, need: Scope) -> Answer {
    let (path, id, scope) = (&request.path, &request.id, request.scope);
    if scope == Scope::Open {
        let text = "a key is needed here: make one with `tutu key add NAME`, send it as `Authorization: Bearer KEY`";
        return refuse(path, id, StatusCode::UNAUTHORIZED, text).with(header::WWW_AUTHENTICATE, "Bearer");
    }
    let text = format!("a key with the scope `{need}` is needed here; this one has `{scope}`");
    refuse(path, id, StatusCode::FORBIDDEN, &text)
}

/// What Ollama answers in plain text wherever it is, and the other APIs in their own shape.
fn plain(path: &str, id: &str, status: StatusCode, text: &'static str) -> Answer {
    if path.starts_with("/v1/") { refuse(path, id, status, text) } else { Answer::text(status, text) }
}

/// The path on a host of our own, so that what a client writes there never becomes a part of it.
fn url(path: &str) -> Url {
    static BASE: OnceLock<Url> = OnceLock::new();
    let mut url = BASE.get_or_init(|| Url::parse("http://tutu/").expect("written here")).clone();
    url.set_path(path);
    url
}

/// The names in a pattern.
fn names(pattern: &'static str) -> Vec<&'static str> {
    pattern.split('/').filter_map(|part| part.strip_prefix([':', '*'])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn echo(state: Arc<String>, request: Request) -> Answer {
        Answer::text(StatusCode::OK, format!("{state} {} {}", request.path, request.parameter("name")))
    }

    async fn broken(_: Arc<String>, _: Request) -> Answer {
        panic!("a handler's mistake")
    }

    fn router() -> Router<String> {
        let mut router = Router::new(Arc::new("state".to_owned()));
        router.add(Method::GET, "/api/tags", Scope::Read, echo);
        router.add(Method::POST, "/api/blobs/:name", Scope::Manage, echo);
        router.add(Method::GET, "/v1/models/*name", Scope::Read, echo);
        router.add(Method::GET, "/broken", Scope::Open, broken);
        router
    }

    fn ask(request: Request) -> (u16, String, Option<&'static str>) {
        let (answer, route) = smol::block_on(router().answer(request));
        let text = smol::block_on(answer.body.whole());
        (answer.status.as_u16(), String::from_utf8(text).unwrap(), route)
    }

    fn get(path: &str) -> (u16, String, Option<&'static str>) {
        ask(Request::new(Method::GET, path))
    }

    #[test]
    fn a_handler_gets_state_path_and_decoded_parameters() {
        assert_eq!(get("/api/tags?x"), (200, "state /api/tags ".into(), Some("/api/tags")));
        let path = "/v1/models/hf.co/user/a%3Ab";
        assert_eq!(get(path), (200, format!("state {path} hf.co/user/a:b"), Some("/v1/models/*name")));
        let post = Request::new(Method::POST, "/api/blobs/sha256:ab");
        assert_eq!(ask(post).1, "state /api/blobs/sha256:ab sha256:ab");
    }

    #[test]
    fn get_answers_head() {
        assert_eq!(ask(Request::new(Method::HEAD, "/api/tags")).0, 200);
    }

    #[test]
    fn what_is_not_there_is_404_and_the_wrong_method_405() {
        assert_eq!(get("/nothing"), (404, "404 page not found".into(), None));
        assert_eq!(get("/api/nothing").1, "404 page not found");
        assert!(get("/v1/nothing").1.contains("not_found_error"));
        let (answer, _) = smol::block_on(router().answer(Request::new(Method::DELETE, "/api/tags")));
        assert_eq!(answer.status, 405);
        assert_eq!(answer.headers["allow"], "GET, HEAD, OPTIONS");
        let (answer, _) = smol::block_on(router().answer(Request::new(Method::OPTIONS, "/api/blobs/x")));
        assert_eq!((answer.status.as_u16(), &answer.headers["allow"]), (204, &"POST, OPTIONS".parse().unwrap()));
        assert_eq!(ask(Request::new(Method::OPTIONS, "/nothing")).0, 404);
        for method in [&b"BREW"[..], b"get"] {
            assert_eq!(ask(Request::new(Method::from_bytes(method).unwrap(), "/api/tags")).0, 501);
        }
    }

    #[test]
    fn dots_in_a_path_are_taken_out_before_anybody_looks_at_it() {
        assert_eq!(get("/v1/models/../../api/%2e/tags").1, "state /api/tags ");
        assert_eq!(get("//evil/api/tags").0, 404);
        assert_eq!(get("").0, 404);
        assert_eq!(get("*").0, 404);
    }

    #[test]
    fn a_panic_is_500_and_the_next_request_is_answered() {
        let router = router();
        for _ in 0..2 {
            let (answer, route) = smol::block_on(router.answer(Request::new(Method::GET, "/broken")));
            assert_eq!((answer.status.as_u16(), route), (500, Some("/broken")));
        }
    }

    #[test]
    fn who_may_not_is_told_what_is_missing() {
        let with = |scope| {
            let mut request = Request::new(Method::POST, "/api/blobs/x");
            request.scope = scope;
            ask(request)
        };
        assert_eq!(with(Scope::Open).0, 401);
        assert_eq!(with(Scope::Run).0, 403);
        assert!(with(Scope::Run).1.contains("`manage`"));
        assert_eq!(with(Scope::Manage).0, 200);
    }
}
