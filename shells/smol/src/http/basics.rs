//! Routes that answer without an engine: whether somebody is there, and which version.

use std::sync::Arc;

use serde_json::json;

use super::{Answer, Method, Request, Router, Scope, StatusCode};

/// What answers `/` to those who accept text/html.
pub type Page = fn(&Request) -> Answer;

/// Adds `/` and `/api/version`. Clients of Ollama know by the text of `/` that it runs.
pub fn routes<S: Send + Sync + 'static>(router: &mut Router<S>, page: Option<Page>) {
    router.add(Method::GET, "/", Scope::Open, move |_: Arc<S>, request: Request| async move {
        match page {
            Some(page) if request.accepts("text/html") => page(&request),
            _ => Answer::text(StatusCode::OK, "Ollama is running"),
        }
    });
    router.add(Method::GET, "/api/version", Scope::Open, |_: Arc<S>, _: Request| async {
        Answer::json(StatusCode::OK, &json!({"version": env!("CARGO_PKG_VERSION")}))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_for_those_who_accept_one() {
        let mut router = Router::new(Arc::new(()));
        routes(&mut router, Some(|_| Answer::text(StatusCode::OK, "page")));
        let text = |accept: &'static str| {
            let mut request = Request::new(Method::GET, "/");
            request.headers.insert("accept", http::HeaderValue::from_static(accept));
            let (answer, _) = smol::block_on(router.answer(request));
            String::from_utf8(smol::block_on(answer.body.whole())).unwrap()
        };
        assert_eq!(text("*/*"), "Ollama is running");
        assert_eq!(text("text/html,*/*;q=0.8"), "page");
    }
}
