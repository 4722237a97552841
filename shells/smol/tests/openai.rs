//! OpenAI's and Anthropic's routes of the server itself, with a real model.
//!
//! Needs real models: `TUTU_TEST_MODELS` names their folder (`ci/models`). The real clients ask more in `ci/clients`.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

/// `tutu serve` in a home of its own, with a model called `small`.
struct Server {
    child: Child,
    url: String,
    _home: tempfile::TempDir,
}

impl Server {
    fn start() -> Option<Self> {
        let Some(models) = std::env::var_os("TUTU_TEST_MODELS") else {
            println!("skipped: TUTU_TEST_MODELS is not set");
            return None;
        };
        let home = tempfile::tempdir().expect("a folder for a home");
        let file = home.path().join("TuTufile");
        let model = Path::new(&models).join("SmolLM2-135M-Instruct.Q4_1.gguf");
        std::fs::write(&file, format!("FROM {}", model.display())).expect("a file is written");
        let tutu = |args: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_tutu"));
            command
                .args(args)
                .env("TUTU_HOME", home.path())
                .env("OLLAMA_MODELS", home.path().join("none"))
                .env("HF_HUB_CACHE", home.path().join("none"));
            command.env_remove("OLLAMA_HOST");
            command
        };
        let made = tutu(&["create", "small", "-f", file.to_str().expect("a plain path")]).output();
        assert!(made.expect("the program starts").status.success());
        let mut child = tutu(&["serve", "--port", "0"]).stdout(Stdio::piped()).spawn().expect("the program starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("it says where it listens");
        let url = line.trim().strip_prefix("listening on ").expect("it says where it listens").to_owned();
        Some(Self { child, url, _home: home })
    }

    /// Status and body.
    fn post(&self, path: &str, body: &Value) -> (u16, String) {
        let config = ureq::config::Config::builder().http_status_as_error(false).build();
        let request = ureq::Agent::new_with_config(config).post(format!("{}{path}", self.url));
        let mut answer = request.send(body.to_string()).expect("it answers");
        (answer.status().as_u16(), answer.body_mut().read_to_string().expect("it answers in text"))
    }

    fn json(&self, path: &str, body: &Value) -> (u16, Value) {
        let (status, text) = self.post(path, body);
        (status, serde_json::from_str(&text).expect("it answers in JSON"))
    }

    /// The data of a stream of events, each with the name of the event, if it has one.
    fn events(&self, path: &str, body: &Value) -> Vec<(String, String)> {
        let (status, text) = self.post(path, body);
        assert_eq!(status, 200, "{text}");
        let of = |event: &str, field: &str| {
            event.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default().to_owned()
        };
        let events = text.split("\n\n").filter(|event| !event.is_empty() && !event.starts_with(':'));
        events.map(|event| (of(event, "event: "), of(event, "data: "))).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn parsed(events: &[(String, String)]) -> Vec<Value> {
    events.iter().map(|(_, data)| serde_json::from_str(data).expect("JSON")).collect()
}

#[test]
fn a_chat_is_streamed_with_its_role_first_and_done_last() {
    let Some(server) = Server::start() else { return };
    let ask = json!({"model": "small", "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 8,
        "temperature": 0});
    let (status, whole) = server.json("/v1/chat/completions", &ask);
    assert_eq!(status, 200, "{whole}");
    let text = whole["choices"][0]["message"]["content"].as_str().expect("a text");
    let mut streamed = ask.clone();
    streamed["stream"] = true.into();
    streamed["stream_options"] = json!({"include_usage": true});
    let mut events = server.events("/v1/chat/completions", &streamed);
    assert_eq!(events.pop().expect("a last one").1, "[DONE]");
    let chunks = parsed(&events);
    assert_eq!(chunks[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    let pieces = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str());
    assert_eq!(pieces.collect::<String>(), text);
    let [.., last, usage] = &chunks[..] else { panic!("too few: {chunks:?}") };
    assert!(last["choices"][0]["finish_reason"].is_string() && last["choices"][0]["delta"] == json!({}));
    assert_eq!((&usage["choices"], &usage["usage"]["total_tokens"]), (&json!([]), &whole["usage"]["total_tokens"]));
}

#[test]
fn what_cannot_be_is_refused_in_the_shape_of_the_route() {
    let Some(server) = Server::start() else { return };
    let hello = json!([{"role": "user", "content": "Say hello."}]);
    let (status, answer) = server.json("/v1/chat/completions", &json!({"model": "nobody", "messages": hello}));
    assert_eq!((status, &answer["error"]["code"]), (404, &json!("model_not_found")));
    let long = json!([{"role": "user", "content": "word ".repeat(1000)}]);
    let ask = json!({"model": "small", "messages": long, "num_ctx": 512});
    let (status, answer) = server.json("/v1/chat/completions", &ask);
    assert_eq!((status, &answer["error"]["code"]), (400, &json!("context_length_exceeded")));
    let (status, answer) = server.json("/v1/messages", &json!({"model": "small", "messages": hello}));
    assert_eq!((status, &answer["type"]), (400, &json!("error")));
    assert_eq!(answer["error"]["type"], "invalid_request_error");
    let kept = json!({"model": "small", "input": "x", "previous_response_id": "resp_1"});
    let (status, answer) = server.json("/v1/responses", &kept);
    assert_eq!((status, &answer["error"]["param"]), (400, &json!("previous_response_id")));
}

#[test]
fn events_of_the_newer_routes_are_named_and_numbered() {
    let Some(server) = Server::start() else { return };
    let ask =
        json!({"model": "small", "input": "Say hello.", "max_output_tokens": 4, "temperature": 0, "stream": true});
    let events = server.events("/v1/responses", &ask);
    for (number, ((name, _), value)) in events.iter().zip(parsed(&events)).enumerate() {
        assert_eq!((&value["type"], &value["sequence_number"]), (&json!(name), &json!(number)));
    }
    assert_eq!(events.last().expect("some").0, "response.incomplete");
    let ask = json!({"model": "small", "max_tokens": 4, "temperature": 0, "stream": true,
        "messages": [{"role": "user", "content": "Say hello."}]});
    let events = server.events("/v1/messages", &ask);
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names[..3], ["message_start", "ping", "content_block_start"]);
    assert_eq!(names[names.len() - 3..], ["content_block_stop", "message_delta", "message_stop"]);
}

#[test]
fn a_text_has_a_vector_whose_bytes_are_its_numbers() {
    let Some(server) = Server::start() else { return };
    let (status, floats) = server.json("/v1/embeddings", &json!({"model": "small", "input": "a cat"}));
    assert_eq!(status, 200, "{floats}");
    let vector: Vec<f64> = serde_json::from_value(floats["data"][0]["embedding"].clone()).expect("numbers");
    assert_eq!(vector.len(), 576);
    assert!((vector.iter().map(|x| x * x).sum::<f64>() - 1.0).abs() < 1e-4);
    let ask = json!({"model": "small", "input": ["a cat"], "encoding_format": "base64"});
    let (_, text) = server.json("/v1/embeddings", &ask);
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let bytes = STANDARD.decode(text["data"][0]["embedding"].as_str().expect("a text")).expect("base64");
    let numbers = bytes.as_chunks::<4>().0.iter().map(|four| f64::from(f32::from_le_bytes(*four)));
    assert!(numbers.zip(vector).all(|(a, b)| (a - b).abs() < 1e-6));
    let (_, old) = server.json("/api/embed", &json!({"model": "small", "input": "a cat"}));
    assert_eq!(old["embeddings"][0], floats["data"][0]["embedding"]);
}
