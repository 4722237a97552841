//! What is said when something is refused before any route has it: in the shape that clients of that path know.

use http::StatusCode;
use serde_json::json;

use super::exchange::Answer;

/// Refuses the request `id` for `path`: as OpenAI does under `/v1`, as Anthropic does under `/v1/messages`, as Ollama does
/// under `/api`, else as a line of text.
pub fn refuse(path: &str, id: &str, status: StatusCode, text: &str) -> Answer {
    if is_under(path, "/v1/messages") {
        let error = json!({"type": anthropic_kind(status), "message": text});
        Answer::json(status, &json!({"type": "error", "error": error, "request_id": id}))
    } else if is_under(path, "/v1") {
        let code = code(status);
        Answer::json(status, &json!({"error": {"message": text, "type": kind(status), "param": null, "code": code}}))
    } else if is_under(path, "/api") {
        Answer::json(status, &json!({"error": text}))
    } else {
        Answer::text(status, text)
    }
}

fn is_under(path: &str, room: &str) -> bool {
    path.strip_prefix(room).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The type that OpenAI gives to an error of this status.
pub fn kind(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        400..500 => "invalid_request_error",
        _ => "api_error",
    }
}

/// The type that Anthropic gives to an error of this status.
pub fn anthropic_kind(status: StatusCode) -> &'static str {
    match status.as_u16() {
        413 => "request_too_large",
        503 => "overloaded_error",
        _ => kind(status),
    }
}

fn code(status: StatusCode) -> Option<&'static str> {
    match status.as_u16() {
        401 => Some("invalid_api_key"),
        429 => Some("rate_limit_exceeded"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_api_is_refused_in_its_own_shape() {
        let text = |path: &str| {
            let answer = refuse(path, "req_1", StatusCode::UNAUTHORIZED, "no");
            String::from_utf8(smol::block_on(answer.body.whole())).unwrap()
        };
        assert_eq!(
            text("/v1/models"),
            r#"{"error":{"message":"no","type":"authentication_error","param":null,"code":"invalid_api_key"}}"#
        );
        assert_eq!(
            text("/v1/messages"),
            r#"{"type":"error","error":{"type":"authentication_error","message":"no"},"request_id":"req_1"}"#
        );
        assert_eq!(text("/v1/messages/count_tokens"), text("/v1/messages"));
        assert_eq!(text("/api/tags"), r#"{"error":"no"}"#);
        assert_eq!(text("/"), "no");
        assert_eq!(text("/v10"), "no");
    }

    #[test]
    fn whoever_is_busy_says_so_as_each_api_does() {
        let kinds = |status: StatusCode| (kind(status), anthropic_kind(status));
        assert_eq!(kinds(StatusCode::SERVICE_UNAVAILABLE), ("api_error", "overloaded_error"));
        assert_eq!(kinds(StatusCode::PAYLOAD_TOO_LARGE), ("invalid_request_error", "request_too_large"));
        assert_eq!(kinds(StatusCode::NOT_FOUND), ("not_found_error", "not_found_error"));
    }
}
