//! Ollama's API of the running server, with a real model: what clients ask and what they get.
//!
//! Needs `TUTU_TEST_MODELS` (`ci/models`); without it, each test says that it is skipped.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::{Value, json};

const SMOLLM2: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";

/// `tutu serve` in a home that has one model, `smol`.
struct Server {
    child: Child,
    address: SocketAddr,
    home: Arc<tempfile::TempDir>,
}

impl Server {
    fn start() -> Option<Self> {
        Self::start_with(SMOLLM2, &[], |_| {})
    }

    /// With this file as its model, these flags, and a home that was made ready.
    fn start_with(model: &str, flags: &[&str], ready: impl FnOnce(&Path)) -> Option<Self> {
        let Some(folder) = std::env::var_os("TUTU_TEST_MODELS").map(PathBuf::from) else {
            println!("skipped: TUTU_TEST_MODELS is not set");
            return None;
        };
        let home = Arc::new(tempfile::tempdir().expect("a folder for a home"));
        let file = home.path().join("TuTufile");
        std::fs::write(&file, format!("FROM {}\n", folder.join(model).display())).expect("it is written");
        let made = command(home.path()).args(["create", "smol", "-f"]).arg(&file).output().expect("it starts");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        ready(home.path());
        Some(Self::again_with(&home, flags))
    }

    /// Another server of the same home.
    fn again(home: &Arc<tempfile::TempDir>) -> Self {
        Self::again_with(home, &[])
    }

    fn again_with(home: &Arc<tempfile::TempDir>, flags: &[&str]) -> Self {
        let mut child = command(home.path())
            .args(["serve", "--port", "0"])
            .args(flags)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("it says where it listens");
        let address = line.trim().strip_prefix("listening on http://").expect("it says where it listens");
        Self { address: address.parse().expect("an address"), child, home: Arc::clone(home) }
    }

    fn open(&self, method: &str, path: &str, body: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).expect("it reads");
        stream
    }

    /// Status, head and body of an answer.
    fn ask(&self, method: &str, path: &str, body: &[u8]) -> (u16, String, String) {
        let mut text = String::new();
        self.open(method, path, body).read_to_string(&mut text).expect("it answers");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let body = if head.contains("transfer-encoding: chunked") { unchunked(body) } else { body.to_owned() };
        (status, head.to_owned(), body)
    }

    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let (status, _, text) = self.ask("POST", path, body.to_string().as_bytes());
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// The records of a stream.
    fn stream(&self, path: &str, body: &Value) -> Vec<Value> {
        let (status, _, text) = self.ask("POST", path, body.to_string().as_bytes());
        assert_eq!(status, 200, "{text}");
        text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
    }

    fn running(&self) -> Vec<Value> {
        let (_, _, text) = self.ask("GET", "/api/ps", b"");
        serde_json::from_str::<Value>(&text).expect("JSON")["models"].as_array().cloned().expect("a list")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tutu"));
    command
        .env("TUTU_HOME", home)
        .env("OLLAMA_MODELS", home.join("none"))
        .env("HF_HUB_CACHE", home.join("none"))
        .env_remove("OLLAMA_HOST");
    command
}

fn unchunked(mut text: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = text.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("the size of a chunk");
        if size == 0 {
            break;
        }
        whole.push_str(&rest[..size]);
        text = &rest[size + 2..];
    }
    whole
}

fn chat(text: &str, more: &Value) -> Value {
    let mut body = json!({"model": "smol", "messages": [{"role": "user", "content": text}],
        "options": {"num_predict": 16, "seed": 7, "temperature": 0.9}});
    for (key, value) in more.as_object().into_iter().flatten() {
        body[key] = value.clone();
    }
    body
}

#[test]
fn a_stream_and_one_object_say_the_same() {
    let Some(server) = Server::start() else { return };
    let records = server.stream("/api/chat", &chat("Why is the sky blue?", &json!({})));
    let (last, pieces) = records.split_last().expect("records");
    assert!(pieces.len() > 4 && pieces.iter().all(|record| record["done"] == false));
    let text: String = pieces.iter().filter_map(|record| record["message"]["content"].as_str()).collect();
    assert_eq!(
        (&last["done"], &last["done_reason"], &last["eval_count"]),
        (&json!(true), &json!("length"), &json!(16))
    );
    assert!(last["total_duration"].as_u64() > Some(0) && last["prompt_eval_count"].as_u64() > Some(10));
    let (status, whole) = server.post("/api/chat", &chat("Why is the sky blue?", &json!({"stream": false})));
    assert_eq!((status, whole["message"]["content"].as_str()), (200, Some(text.as_str())));

    let body = json!({"model": "smol", "prompt": "Hello", "stream": false, "options": {"num_predict": 4, "seed": 1}});
    let (_, first) = server.post("/api/generate", &body);
    assert!(first["context"].as_array().is_some_and(|tokens| tokens.len() > 8) && first["response"].is_string());
}

#[test]
fn the_same_seed_gives_the_same_text_whatever_else_is_asked() {
    let Some(server) = Server::start() else { return };
    let body = chat("Tell me a story", &json!({"stream": false}));
    let alone = server.post("/api/chat", &body).1["message"]["content"].clone();
    assert!(alone.as_str().is_some_and(|text| !text.is_empty()));
    thread::scope(|scope| {
        let others: Vec<_> = (0..8)
            .map(|i| {
                let (server, body) = (&server, &body);
                scope.spawn(move || {
                    let other = chat(&format!("Count to {i}"), &json!({"stream": false}));
                    if i % 2 == 0 { server.post("/api/chat", &other).1 } else { server.post("/api/chat", body).1 }
                })
            })
            .collect();
        for (i, other) in others.into_iter().enumerate() {
            let answer = other.join().expect("it was answered");
            assert!(i % 2 == 0 || answer["message"]["content"] == alone, "{answer}");
        }
    });
}

#[test]
fn models_come_stay_and_go_from_memory() {
    let Some(server) = Server::start() else { return };
    let (_, loaded) = server.post("/api/generate", &json!({"model": "smol", "keep_alive": -1}));
    assert_eq!((&loaded["done"], &loaded["done_reason"]), (&json!(true), &json!("load")));
    let running = server.running();
    assert_eq!((running.len(), &running[0]["name"]), (1, &json!("smol:latest")));
    let (_, gone) = server.post("/api/chat", &json!({"model": "smol", "messages": [], "keep_alive": 0}));
    assert_eq!(gone["done_reason"], "unload");
    let went = (0..1000).any(|_| server.running().is_empty());
    assert!(went, "it is still there");
}

#[test]
fn who_leaves_ends_the_answer() {
    let Some(server) = Server::start() else { return };
    let endless = chat("Go on and on", &json!({"options": {"num_predict": -1, "num_ctx": 8192}}));
    let mut stream = BufReader::new(server.open("POST", "/api/chat", endless.to_string().as_bytes()));
    let mut line = String::new();
    while !line.contains("\"done\":false") {
        line.clear();
        assert!(stream.read_line(&mut line).expect("it answers") > 0);
    }
    assert_eq!(server.running()[0]["running"], 1);
    drop(stream);
    let ended = (0..2000).any(|_| server.running()[0]["running"] == 0);
    assert!(ended, "it goes on for nobody");
}

#[test]
fn what_does_not_fit_is_said() {
    let Some(server) = Server::start() else { return };
    let long = "one two three four five ".repeat(100);
    let body = chat(&long, &json!({"stream": false, "options": {"num_ctx": 128, "num_predict": 2}}));
    let (status, head, text) = server.ask("POST", "/api/chat", body.to_string().as_bytes());
    let answer: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((status, &answer["truncated"]), (200, &json!(true)), "{text}");
    assert!(head.contains("x-tutu-dropped: messages=0, tokens=") && answer["dropped_tokens"].as_u64() > Some(100));
    let mut strict = body;
    strict["truncate"] = false.into();
    let (status, refusal) = server.post("/api/chat", &strict);
    assert!(status == 400 && refusal["error"].as_str().is_some_and(|text| text.contains("context")), "{refusal}");
}

#[test]
fn mistakes_get_their_status_and_say_what_is_wrong() {
    let Some(server) = Server::start() else { return };
    let say = json!([{"role": "user", "content": "x"}]);
    for (path, body, status, says) in [
        ("/api/chat", json!({"messages": say}), 400, "model is required"),
        ("/api/generate", json!({}), 404, "not found"),
        ("/api/chat", json!({"model": "nobody", "messages": say}), 404, "'nobody' not found"),
        ("/api/chat", json!({"model": "smol", "messages": say, "options": {"num_ctx": "x"}}), 400, "num_ctx"),
        ("/api/chat", json!({"model": "smol", "messages": say, "think": true}), 400, "does not support thinking"),
        ("/api/chat", json!({"model": "smol", "messages": say, "think": "loud"}), 400, "think"),
        ("/api/chat", json!({"model": "smol", "messages": say, "format": "xml"}), 400, "format"),
        ("/api/chat", json!({"model": "smol", "messages": say, "keep_alive": "soon"}), 400, "keep_alive"),
        ("/api/chat", json!({"model": "smol", "messages": say, "top_logprobs": 21}), 400, "top_logprobs"),
        (
            "/api/chat",
            json!({"model": "smol", "messages": [{"role": "user", "content": "x", "images": ["aGk="]}]}),
            400,
            "images",
        ),
        ("/api/chat", json!({"model": "smol", "messages": [{"role": "king", "content": "x"}]}), 400, "role"),
        ("/api/generate", json!({"model": "smol", "prompt": "x", "suffix": "y"}), 400, "insert"),
        ("/api/generate", json!({"model": "smol", "prompt": "x", "raw": true, "system": "y"}), 400, "raw"),
        ("/api/show", json!({}), 400, "model is required"),
        ("/api/show", json!({"model": "nobody"}), 404, "not found"),
        ("/api/chat", json!([]), 400, "object"),
        ("/api/chat", json!({"model": "smol", "messages": [["user", "x"]]}), 400, "messages[0]"),
        ("/api/generate", json!({"model": "a b", "prompt": "x"}), 400, "invalid model name"),
        ("/api/copy", json!({"source": "nobody", "destination": "x"}), 404, "not found"),
        ("/api/create", json!({"model": "x"}), 400, "neither 'from' or 'files'"),
        ("/api/create", json!({"model": "x", "files": {"../a.gguf": "sha256:0"}}), 400, "relative"),
    ] {
        let (found, answer) = server.post(path, &body);
        let text = answer["error"].as_str().unwrap_or_default();
        assert!(found == status && text.contains(says), "{path} {body}: {found} {answer}");
    }
    let (status, head, _) = server.ask(
        "POST",
        "/api/chat",
        chat("x", &json!({"colour": 1, "options": {"num_predict": 1, "shade": 2}})).to_string().as_bytes(),
    );
    assert!(status == 200 && head.contains("x-tutu-unused: colour, options.shade"), "{head}");
}

#[test]
fn models_are_made_shown_copied_and_removed() {
    let Some(server) = Server::start() else { return };
    let body = json!({"model": "mine", "from": "smol", "system": "Be brief.", "parameters": {"temperature": 0.1}});
    let records = server.stream("/api/create", &body);
    assert_eq!(records.last(), Some(&json!({"status": "success"})));
    let (_, shown) = server.post("/api/show", &json!({"model": "mine"}));
    assert_eq!((&shown["system"], &shown["details"]["family"]), (&json!("Be brief."), &json!("llama")));
    assert!(shown["model_info"]["general.architecture"] == "llama" && shown["capabilities"] == json!(["completion"]));
    assert_eq!(server.post("/api/copy", &json!({"source": "mine", "destination": "yours"})).0, 200);
    assert_eq!(server.ask("DELETE", "/api/delete", br#"{"model":"mine"}"#).0, 200);
    assert_eq!(server.ask("DELETE", "/api/delete", br#"{"model":"mine"}"#).0, 404);
    let (_, _, text) = server.ask("GET", "/api/tags", b"");
    let names: Vec<Value> = serde_json::from_str::<Value>(&text).expect("JSON")["models"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|model| model["name"].clone())
        .collect();
    assert!(names.contains(&json!("yours:latest")) && !names.contains(&json!("mine:latest")), "{names:?}");
}

#[test]
fn a_blob_is_there_once_it_is_whole() {
    let Some(server) = Server::start() else { return };
    // SHA-256 of "abc", FIPS 180-4's own example.
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let path = format!("/api/blobs/sha256:{digest}");
    assert_eq!(server.ask("HEAD", &path, b"").0, 404);
    let (status, _, text) = server.ask("POST", &path, b"abd");
    assert!(status == 400 && text.contains("digest mismatch"), "{text}");
    assert_eq!(server.ask("HEAD", &path, b"").0, 404);
    assert_eq!(server.ask("POST", &path, b"abc").0, 201);
    assert_eq!((server.ask("HEAD", &path, b"").0, server.ask("POST", &path, b"abc").0), (200, 200));
    assert_eq!(server.ask("HEAD", "/api/blobs/abc", b"").0, 400);
}

#[test]
fn a_server_killed_at_work_leaves_a_store_that_is_whole() {
    let Some(mut server) = Server::start() else { return };
    for round in 0..4 {
        let body = match round % 2 {
            0 => json!({"model": "half", "from": "smol", "quantize": "Q8_0", "system": format!("round {round}")}),
            _ => json!({"model": "half", "from": "smol", "system": format!("round {round}")}),
        };
        let stream = server.open("POST", "/api/create", body.to_string().as_bytes());
        let mut line = String::new();
        // Killed when it has said that it began.
        let _ = BufReader::new(stream).read_line(&mut line);
        let erase = server.open("DELETE", "/api/delete", br#"{"model":"half"}"#);
        server.child.kill().expect("it is killed");
        server.child.wait().expect("it is gone");
        drop(erase);
        let home = Arc::clone(&server.home);
        server = Server::again(&home);
        let (status, _, text) = server.ask("GET", "/api/tags", b"");
        assert_eq!(status, 200);
        for model in serde_json::from_str::<Value>(&text).expect("JSON")["models"].as_array().expect("a list") {
            let name = model["name"].as_str().expect("a name");
            let out = command(home.path()).args(["show", "--verify", name]).output().expect("it starts");
            assert!(out.status.success(), "{name}: {}", String::from_utf8_lossy(&out.stderr));
        }
        let (status, answer) = server.post("/api/chat", &chat("Hi", &json!({"stream": false})));
        assert_eq!(status, 200, "{answer}");
    }
}

/// What a registry was sent: method and path of each request, and the bytes.
type Sent = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// A registry that has nothing yet, on loopback.
fn registry() -> (SocketAddr, Sent) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let (address, sent) = (listener.local_addr().expect("an address"), Sent::default());
    let log = Arc::clone(&sent);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let log = Arc::clone(&log);
            thread::spawn(move || {
                let mut reader = BufReader::new(stream);
                while let Some((line, bytes)) = request(&mut reader) {
                    let answer = match line.split(' ').next() {
                        Some("HEAD") => "404 Not Found\r\n",
                        Some("POST") => "202 Accepted\r\nLocation: /upload/1?x=y\r\n",
                        Some("PATCH") => "202 Accepted\r\nLocation: /upload/2\r\n",
                        _ => "201 Created\r\n",
                    };
                    log.lock().expect("nobody panics").push((line, bytes));
                    let text = format!("HTTP/1.1 {answer}Content-Length: 0\r\n\r\n");
                    if reader.get_mut().write_all(text.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, sent)
}

fn request(reader: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut first = String::new();
    reader.read_line(&mut first).ok().filter(|size| *size > 0)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        if let Some((_, value)) = line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
            length = value.trim().parse().ok()?;
        }
    }
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes).ok()?;
    Some((first.trim().to_owned(), bytes))
}

#[test]
fn a_model_is_pushed_blob_by_blob_and_its_manifest_last() {
    let Some(server) = Server::start() else { return };
    let (address, sent) = registry();
    let name = format!("{address}/me/small");
    assert_eq!(server.post("/api/copy", &json!({"source": "smol", "destination": name})).0, 200);
    let records = server.stream("/api/push", &json!({"model": name, "insecure": true}));
    assert_eq!(records.last(), Some(&json!({"status": "success"})), "{records:?}");
    let sent = sent.lock().expect("nobody panics");
    let (last, manifest) = sent.last().expect("something was sent");
    assert_eq!(last, "PUT /v2/me/small/manifests/latest HTTP/1.1");
    let manifest: Value = serde_json::from_slice(manifest).expect("JSON");
    let blobs = manifest["layers"].as_array().expect("a list").len() + 1;
    let count = |method: &str| sent.iter().filter(|(line, _)| line.starts_with(method)).count();
    assert_eq!((count("HEAD"), count("POST"), count("PATCH"), count("PUT")), (blobs, blobs, blobs, blobs + 1));
    let weights = manifest["layers"][0]["size"].as_u64().expect("a size");
    assert!(sent.iter().any(|(line, bytes)| line.starts_with("PATCH") && bytes.len() as u64 == weights));
}

#[test]
fn a_call_that_a_model_writes_as_bare_json_is_a_call_for_every_client() {
    const CODER: &str = "qwen2.5-coder-0.5b.gguf";
    let Some(server) = Server::start_with(CODER, &[], |_| {}) else { return };
    let city = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let function = json!({"name": "get_weather", "description": "The weather of a city", "parameters": city});
    let tools = json!([{"type": "function", "function": function}]);
    let messages = json!([{"role": "user", "content": "What is the weather in Paris? Use the tool."}]);
    let body = json!({"model": "smol", "messages": messages, "tools": tools, "temperature": 0, "max_tokens": 100,
        "options": {"temperature": 0, "num_predict": 100}});
    let with = |more: Value| {
        let mut body = body.clone();
        more.as_object().unwrap().iter().for_each(|(key, value)| body[key] = value.clone());
        body
    };
    let paris = |arguments: &Value| assert!(arguments["city"].as_str().is_some_and(|city| city.contains("Paris")));

    let (_, whole) = server.post("/api/chat", &with(json!({"stream": false})));
    let call = &whole["message"]["tool_calls"][0]["function"];
    assert_eq!((&call["name"], &whole["message"]["content"]), (&json!("get_weather"), &json!("")), "{whole}");
    paris(&call["arguments"]);
    let records = server.stream("/api/chat", &body);
    let calls: Vec<&Value> = records.iter().filter_map(|record| record["message"]["tool_calls"].get(0)).collect();
    assert_eq!((calls.len(), &calls[0]["function"]), (1, call), "{records:?}");
    assert!(records.iter().all(|record| record["message"]["content"] == ""), "{records:?}");

    let (_, whole) = server.post("/v1/chat/completions", &body);
    assert_eq!(whole["choices"][0]["finish_reason"], "tool_calls", "{whole}");
    let call = &whole["choices"][0]["message"]["tool_calls"][0]["function"];
    paris(&serde_json::from_str(call["arguments"].as_str().unwrap()).unwrap());
    let (_, _, text) = server.ask("POST", "/v1/chat/completions", with(json!({"stream": true})).to_string().as_bytes());
    assert!(text.contains("\"tool_calls\":[{") && text.contains("\"finish_reason\":\"tool_calls\""), "{text}");

    let tools = json!([{"name": "get_weather", "description": "The weather of a city", "input_schema": city}]);
    for stream in [false, true] {
        let body = with(json!({"tools": tools, "stream": stream}));
        let (_, _, text) = server.ask("POST", "/v1/messages", body.to_string().as_bytes());
        assert!(text.contains("\"type\":\"tool_use\"") && text.contains("Paris"), "{text}");
    }
    // Where no tool is offered it is text.
    let (_, whole) = server.post("/api/chat", &with(json!({"stream": false, "tools": []})));
    assert!(whole["message"]["tool_calls"].is_null() && whole["message"]["content"] != "", "{whole}");
}

#[test]
fn a_key_pays_for_its_tokens_whichever_the_api_and_however_it_ends() {
    let mut key = String::new();
    let made = |home: &Path| {
        let add = ["key", "add", "phone", "--tokens-per-minute", "1"];
        key = String::from_utf8(command(home).args(add).output().unwrap().stdout).unwrap().trim().to_owned();
    };
    let Some(server) = Server::start_with(SMOLLM2, &["--need-keys"], made) else { return };
    let open = |path: &str, body: &Value| {
        let body = body.to_string();
        let mut stream = TcpStream::connect(server.address).unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {key}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).unwrap();
        stream
    };
    let status = |mut stream: TcpStream| {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok()).unwrap_or_default()
    };
    let body = chat("Tell me a story", &json!({"options": {"num_predict": 500}}));
    // Whoever leaves early owes for what was written, and for the prompt.
    let mut stream = BufReader::new(open("/api/chat", &body));
    let mut line = String::new();
    while !line.contains("\"done\":false") {
        line.clear();
        stream.read_line(&mut line).unwrap();
    }
    drop(stream);
    for _ in 0..200 {
        if status(open("/api/show", &json!({"model": "smol"}))) == 429 {
            assert_eq!(status(open("/api/chat", &body)), 429);
            return;
        }
        thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("nothing was owed");
}

#[test]
fn what_is_stored_with_a_model_is_left_out_for_who_says_so() {
    let Some(server) = Server::start() else { return };
    let body = json!({"model": "kind", "from": "smol", "system": "You are kind.", "stream": false,
        "messages": [{"role": "user", "content": "Stored."}]});
    assert_eq!(server.post("/api/create", &body).0, 200);
    let rendered = |more: Value| {
        let mut body =
            json!({"model": "kind", "messages": [{"role": "user", "content": "Said."}], "_debug_render_only": true});
        more.as_object().unwrap().iter().for_each(|(key, value)| body[key] = value.clone());
        server.post("/api/chat", &body).1["_debug_info"]["rendered_template"].as_str().unwrap().to_owned()
    };
    let all = rendered(json!({}));
    assert!(["You are kind.", "Stored.", "Said."].iter().all(|text| all.contains(text)), "{all}");
    let said = rendered(json!({"stored": false}));
    assert!(said.contains("Said.") && !said.contains("Stored.") && !said.contains("kind"), "{said}");
}

#[test]
fn a_model_of_a_server_elsewhere_need_not_be_here() {
    let Some(server) = Server::start() else { return };
    let home = tempfile::tempdir().expect("a folder for a home");
    let run = |words: &[&str]| {
        let host = server.address.to_string();
        let run = ["run", "smol", "--host", &host, "--num-predict", "4", "--seed", "1"];
        let out = command(home.path()).args(run).args(words).stdin(Stdio::null()).output().expect("it starts");
        (
            out.status.code(),
            String::from_utf8_lossy(&out.stdout).into_owned(),
            String::from_utf8_lossy(&out.stderr).into_owned(),
        )
    };
    let (code, answer, error) = run(&["Hello"]);
    assert!(code == Some(0) && !answer.trim().is_empty(), "{answer} {error}");
    let listed = command(home.path()).arg("list").output().expect("it starts").stdout;
    assert!(!String::from_utf8_lossy(&listed).contains("smol"), "it was not fetched");
    // What the server refuses is the command's error.
    let (code, _, error) = run(&["--think", "Hello"]);
    assert!(code == Some(1) && error.contains("does not support thinking"), "{error}");
}
