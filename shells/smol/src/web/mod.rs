//! The page of this machine: one HTML, one style sheet, one script, compiled in. Nothing comes from elsewhere.

use std::sync::Arc;

use http::header::{self, HeaderName};

use crate::http::{Answer, Method, Request, Router, Scope, StatusCode};

/// Nothing but our own files is loaded or run, nothing but this server is asked, and no page may show this one
/// inside itself.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What `/` answers to browsers.
pub fn page(_: &Request) -> Answer {
    // Clients of the API get another answer at the same place.
    file("text/html; charset=utf-8", include_str!("page.html")).with(header::VARY, "accept")
}

/// Adds what the page is made of.
pub fn routes<S: Send + Sync + 'static>(router: &mut Router<S>) {
    router.add(Method::GET, "/web/page.css", Scope::Open, |_: Arc<S>, _: Request| async {
        file("text/css; charset=utf-8", include_str!("page.css"))
    });
    router.add(Method::GET, "/web/page.js", Scope::Open, |_: Arc<S>, _: Request| async {
        file("text/javascript; charset=utf-8", include_str!("page.js"))
    });
    router.add(Method::GET, "/favicon.ico", Scope::Open, |_: Arc<S>, _: Request| async {
        file("image/svg+xml", include_str!("icon.svg"))
    });
}

fn file(media: &'static str, text: &'static str) -> Answer {
    Answer::bytes(StatusCode::OK, media, text)
        .with(HeaderName::from_static("content-security-policy"), POLICY)
        .with(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
        .with(header::REFERRER_POLICY, "no-referrer")
        // Files change with the program, under the same names.
        .with(header::CACHE_CONTROL, "no-cache")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_asks_for_nothing_that_its_policy_forbids_or_that_is_not_there() {
        let mut router = Router::new(Arc::new(()));
        routes(&mut router);
        let html = include_str!("page.html");
        for part in html.split(['"', '\'']).filter(|part| part.starts_with('/') && part.len() > 1) {
            let (answer, _) = smol::block_on(router.answer(Request::new(Method::GET, part)));
            assert_eq!(answer.status, 200, "{part}");
            assert!(answer.headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
        }
        for text in [html, include_str!("page.css"), include_str!("page.js")] {
            assert!(!text.contains("https://") && !text.contains("innerHTML") && !text.contains("style="));
        }
        assert!(!html.contains("<script>") && !html.contains("onclick"));
    }
}
