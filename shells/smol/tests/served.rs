//! What the running server makes of files that are not its own, of adapters and small models that a request names, and
//! of what it kept on disk.
//!
//! Needs `TUTU_TEST_MODELS` (`ci/models`); without it, each test says that it is skipped.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
};

use serde_json::{Value, json};
use tutu::{
    daemon::named::Lookup,
    engine::{self, Sources},
    make::{self, Making},
    perform::Limit,
    store::{Places, Store},
};
use tutu_llm::{
    gguf::{Gguf, Meta, Writer},
    quant::Kind,
};
use tutu_node::work::models::Name;

const SMOLLM2: &str = "SmolLM2-135M-Instruct.Q4_1";
const QWEN: &str = "qwen2.5-coder-0.5b";

/// A home with settings, and the server that runs in it.
struct Home {
    folder: tempfile::TempDir,
    settings: Vec<(&'static str, String)>,
}

struct Server {
    child: Child,
    address: SocketAddr,
}

impl Home {
    fn new() -> Option<Self> {
        let Some(folder) = models() else {
            println!("skipped: TUTU_TEST_MODELS is not set");
            return None;
        };
        let settings = vec![("TUTU_MODELS_FOLDERS", folder.display().to_string())];
        Some(Self { folder: tempfile::tempdir().expect("a folder for a home"), settings })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tutu"));
        command.args(args).env("TUTU_HOME", self.path("home")).env("OLLAMA_MODELS", self.path("none"));
        command.env("HF_HUB_CACHE", self.path("hub")).env_remove("OLLAMA_HOST").stdin(Stdio::null());
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }

    fn run(&self, args: &[&str]) -> String {
        let out = self.command(args).output().expect("it starts");
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).expect("text")
    }

    fn create(&self, name: &str, text: &str) {
        let file = self.path(&format!("{name}.TuTufile"));
        fs::write(&file, text).expect("it is written");
        self.run(&["create", name, "-f", file.to_str().expect("a path")]);
    }

    fn serve(&self) -> Server {
        let mut child =
            self.command(&["serve", "--port", "0"]).stdout(Stdio::piped()).spawn().expect("the program starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("it says where it listens");
        let address = line.trim().strip_prefix("listening on http://").expect("it says where it listens");
        Server { address: address.parse().expect("an address"), child }
    }

    /// Ends the server as people do, and waits for it.
    fn stop(&self, mut server: Server) {
        self.run(&["stop", "--server"]);
        assert!(server.child.wait().expect("it ends").success());
    }
}

impl Server {
    fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, String) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).expect("it reads");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("it answers");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        (head[9..12].parse().expect("a status"), body.to_owned())
    }

    fn json(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let (status, text) = self.ask(method, path, body);
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// What a model says to a question, always choosing its best token.
    fn chat(&self, model: &str, text: &str, more: &Value) -> String {
        let (status, answer) = self.json("POST", "/api/chat", &question(model, text, more));
        assert_eq!(status, 200, "{answer}");
        answer["message"]["content"].as_str().expect("a text").to_owned()
    }

    fn names(&self, path: &str, list: &str, key: &str) -> Vec<String> {
        let (_, value) = self.json("GET", path, &Value::Null);
        let one = |value: &Value| value[key].as_str().expect("a name").to_owned();
        value[list].as_array().expect("a list").iter().map(one).collect()
    }

    fn size(&self) -> u64 {
        let (_, value) = self.json("GET", "/api/ps", &Value::Null);
        let models = value["models"].as_array().expect("a list");
        assert_eq!(models.len(), 1, "one model is in memory, whatever is asked of it: {value}");
        models[0]["size"].as_u64().expect("a size")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn models() -> Option<PathBuf> {
    std::env::var_os("TUTU_TEST_MODELS").map(PathBuf::from)
}

fn file(name: &str) -> PathBuf {
    models().expect("it was looked at before").join(format!("{name}.gguf"))
}

fn question(model: &str, text: &str, more: &Value) -> Value {
    let mut body = json!({"model": model, "stream": false, "messages": [{"role": "user", "content": text}],
        "options": {"num_predict": 24, "temperature": 0}});
    for (key, value) in more.as_object().into_iter().flatten() {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(name, value)| body[key][name] = value.clone()),
            value => body[key] = value.clone(),
        }
    }
    body
}

/// A small adapter for a model, made of noise.
fn write_adapter(path: &Path, model: &Path, mut state: u32) {
    const RANK: usize = 4;
    let bytes = fs::read(model).expect("the model");
    let head = Gguf::parse(&bytes).expect("a model");
    let mut writer = Writer::new();
    let architecture = head.str("general.architecture").expect("an architecture");
    writer
        .set("general.type", Meta::Str("adapter".into()))
        .set("adapter.type", Meta::Str("lora".into()))
        .set("general.architecture", Meta::Str(architecture.into()));
    let ends = ["attn_q.weight", "attn_v.weight", "ffn_down.weight"];
    let mut sizes = Vec::new();
    for tensor in head.tensors().iter().filter(|tensor| ends.iter().any(|end| tensor.name.ends_with(end))) {
        writer.tensor(&format!("{}.lora_a", tensor.name), Kind::F32, &[tensor.dims[0], RANK]);
        writer.tensor(&format!("{}.lora_b", tensor.name), Kind::F32, &[RANK, tensor.dims[1]]);
        sizes.extend([tensor.dims[0] * RANK, RANK * tensor.dims[1]]);
    }
    let mut sizes = sizes.into_iter();
    let mut number = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 8) as f32 / 8_388_608.0 - 1.0) * 0.15
    };
    let file = writer.file(|_| {
        let count = sizes.next().expect("as many as were named");
        (0..count).flat_map(|_| number().to_le_bytes()).collect()
    });
    fs::write(path, file).expect("it is written");
}

#[test]
fn files_of_others_are_served_where_they_lie() {
    let Some(home) = Home::new() else { return };
    let blobs = home.path("hub/models--Some--SmolLM2-GGUF/blobs");
    let snapshot = home.path("hub/models--Some--SmolLM2-GGUF/snapshots/abc");
    fs::create_dir_all(&blobs).and_then(|()| fs::create_dir_all(&snapshot)).expect("folders");
    fs::copy(file(SMOLLM2), blobs.join("blob")).expect("it is copied");
    #[cfg(unix)]
    std::os::unix::fs::symlink("../../blobs/blob", snapshot.join("SmolLM2.Q4_1.gguf")).expect("a link");
    let cached = "hf.co/Some/SmolLM2-GGUF:Q4_1";
    let listed = home.run(&["list"]);
    for name in [SMOLLM2, QWEN, cached] {
        assert!(listed.contains(name), "{name} in {listed}");
    }
    let server = home.serve();
    for (path, list, key) in [("/api/tags", "models", "name"), ("/v1/models", "data", "id")] {
        let names = server.names(path, list, key);
        assert!(names.contains(&format!("{SMOLLM2}:latest")) && names.contains(&cached.to_owned()), "{names:?}");
    }
    let said = server.chat(SMOLLM2, "Name a colour.", &Value::Null);
    assert!(!said.is_empty());
    assert_eq!(server.chat("hf.co/some/smollm2-gguf", "Name a colour.", &Value::Null), said);
    let (status, shown) = server.json("POST", "/api/show", &json!({ "model": cached }));
    assert_eq!((status, shown["details"]["family"].as_str()), (200, Some("llama")));
    let (status, refused) = server.json("DELETE", "/api/delete", &json!({ "model": SMOLLM2 }));
    assert_eq!(status, 403, "{refused}");
    assert!(refused["error"].as_str().expect("why").contains("remove it there"), "{refused}");
    assert!(file(SMOLLM2).is_file());
    // A folder of safetensors is converted when it is first asked for, into the home.
    let (status, made) = server.json("POST", "/api/embed", &json!({"model": "all-MiniLM-L6-v2", "input": "a text"}));
    if models().expect("models").join("all-MiniLM-L6-v2/model.safetensors").is_file() {
        assert_eq!((status, made["embeddings"][0].as_array().map(Vec::len)), (200, Some(384)), "{made}");
    }
    assert!(server.json("POST", "/api/chat", &question("no-such-model", "x", &Value::Null)).0 == 404);
}

#[test]
fn each_request_takes_the_adapters_that_it_names() {
    let Some(mut home) = Home::new() else { return };
    let folder = home.path("adapters");
    fs::create_dir_all(&folder).expect("a folder");
    write_adapter(&folder.join("one.gguf"), &file(SMOLLM2), 7);
    write_adapter(&folder.join("two.gguf"), &file(SMOLLM2), 99);
    write_adapter(&folder.join("other.gguf"), &file(QWEN), 3);
    home.settings[0].1 = folder.display().to_string();
    let base = format!("FROM {}\n", file(SMOLLM2).display());
    home.create("smol", &base);
    home.create("tuned", &format!("{base}ADAPTER {}\n", folder.join("one.gguf").display()));
    let text = "Tell me about the sea.";
    // Before there is a server: the adapter is part of the model that this opens.
    let alone =
        |model: &str| home.run(&["run", model, "--temperature", "0", "--num-predict", "24", text]).trim().to_owned();
    let (plain, tuned) = (alone("smol"), alone("tuned"));
    assert_ne!(plain, tuned, "the adapter changes something");
    let server = home.serve();
    assert_eq!(server.names("/api/tags", "models", "name").len(), 2, "adapters are no models");
    let with = |adapters: Value| server.chat("smol", text, &json!({ "adapters": adapters })).trim().to_owned();
    assert_eq!(with(json!([])), plain);
    let size = server.size();
    assert_eq!(with(json!(["one"])), tuned);
    let two = with(json!(["two"]));
    assert!(two != plain && two != tuned);
    assert_eq!(server.chat("tuned", text, &Value::Null).trim(), tuned);
    assert_eq!(with(json!([{"name": "tuned", "scale": 1.0}])), tuned);
    assert_eq!(with(json!([{"name": "one", "scale": 0}])), plain);
    assert_ne!(with(json!(["one", "two"])), tuned);
    assert_eq!(with(json!([])), plain, "what one request takes changes nothing for the next");
    let grown = server.size() - size;
    assert!(grown > 0 && grown < 64 << 20, "adapters are counted, and the weights are there once: {grown}");
    let (status, answer) = server.json(
        "POST",
        "/v1/chat/completions",
        &json!({"model": "smol", "messages": [{"role": "user", "content": text}], "max_tokens": 24, "temperature": 0,
            "adapters": [{"name": "one"}]}),
    );
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["choices"][0]["message"]["content"].as_str().map(str::trim), Some(tuned.as_str()));
    for (adapters, wanted) in [
        (json!(["nothing"]), 404),
        (json!(["smol"]), 400),
        (json!(["other"]), 400),
        (json!([{"path": "/etc/passwd"}]), 400),
        (json!(["/etc/passwd"]), 400),
        (json!("one"), 400),
    ] {
        let (status, answer) =
            server.json("POST", "/api/chat", &question("smol", text, &json!({"adapters": adapters})));
        assert_eq!(status, wanted, "{adapters}: {answer}");
        assert!(answer["error"].as_str().is_some_and(|why| !why.contains("panicked")), "{answer}");
    }
    assert_eq!(server.json("POST", "/api/chat", &question("one", text, &Value::Null)).0, 400, "it is no model");
    // All at once, in the same steps.
    let expected = [(json!([]), &plain), (json!(["one"]), &tuned), (json!(["two"]), &two), (json!([]), &plain)];
    thread::scope(|scope| {
        for (adapters, wanted) in &expected {
            scope.spawn(|| assert_eq!(with(adapters.clone()), **wanted));
        }
    });
}

#[test]
fn a_small_model_that_guesses_changes_no_answer() {
    let Some(home) = Home::new() else { return };
    home.create("drafted", &format!("FROM {}\nPARAMETER draft_model {SMOLLM2}\n", file(SMOLLM2).display()));
    let server = home.serve();
    let text = "Count from one to ten in words.";
    let plain = server.chat(SMOLLM2, text, &Value::Null);
    let size = server.size();
    let draft = |name: &str| json!({"options": {"draft_model": name}});
    assert_eq!(server.chat(SMOLLM2, text, &draft(SMOLLM2)), plain);
    let grown = server.size() - size;
    assert!(grown > 90 << 20, "the small model is counted: {grown}");
    let warm = |more: &Value| {
        let mut more = more.clone();
        (more["options"]["temperature"], more["options"]["seed"]) = (json!(0.9), json!(5));
        server.chat(SMOLLM2, text, &more)
    };
    assert_eq!(warm(&draft(SMOLLM2)), warm(&json!({"options": {}})));
    assert_eq!(server.json("POST", "/api/chat", &question(SMOLLM2, text, &draft("nothing"))).0, 404);
    let (status, refused) = server.json("POST", "/api/chat", &question(SMOLLM2, text, &draft(QWEN)));
    assert_eq!(status, 400);
    assert!(refused["error"].as_str().expect("why").contains("cannot guess for this model"), "{refused}");
    assert_eq!(server.chat("drafted", text, &Value::Null), plain);
}

#[test]
fn keys_and_values_on_disk_outlive_the_server_and_are_not_believed_when_damaged() {
    let Some(mut home) = Home::new() else { return };
    home.settings.push(("TUTU_INFERENCE_KV_DISK", "200MB".into()));
    let long: String = (0..140).map(|n| format!("Rule {n}: be brief and kind, whatever comes. ")).collect();
    let body = json!({"model": SMOLLM2, "max_tokens": 12, "temperature": 0, "messages": [
        {"role": "system", "content": long}, {"role": "user", "content": "Name a colour."}]});
    // Tokens of the prompt, how many of them were known, and the answer.
    let ask = |server: &Server| {
        let (status, answer) = server.json("POST", "/v1/chat/completions", &body);
        assert_eq!(status, 200, "{answer}");
        let count = |value: &Value| value.as_u64().expect("a number");
        let usage = &answer["usage"];
        let text = answer["choices"][0]["message"]["content"].as_str().expect("a text").to_owned();
        (count(&usage["prompt_tokens"]), count(&usage["prompt_tokens_details"]["cached_tokens"]), text)
    };
    let server = home.serve();
    let (tokens, known, text) = ask(&server);
    assert!(tokens >= 1500 && known == 0, "{tokens} and {known}");
    home.stop(server);
    let kept = home.path("home/kv");
    let files = || fs::read_dir(&kept).expect("a folder").map(|entry| entry.expect("a file").path());
    assert!(files().count() as u64 >= tokens / 32);
    let server = home.serve();
    let (_, known, again) = ask(&server);
    assert!(known >= tokens - 33 && again == text, "{known} of {tokens}: {again:?} and {text:?}");
    // Let go of, and asked again: it is there without an end of the server, too.
    let (status, _) = server.json("POST", "/api/generate", &json!({"model": SMOLLM2, "keep_alive": 0}));
    assert_eq!(status, 200);
    let (_, known, again) = ask(&server);
    assert!(known >= tokens - 33 && again == text);
    home.stop(server);
    for path in files() {
        let mut bytes = fs::read(&path).expect("a page");
        let at = bytes.len() / 2;
        bytes[at] ^= 4;
        fs::write(&path, bytes).expect("it is written");
    }
    let server = home.serve();
    assert_eq!(ask(&server), (tokens, 0, text.clone()));
    home.stop(server);
    home.settings.pop();
    let server = home.serve();
    assert_eq!(ask(&server), (tokens, 0, text));
    assert_eq!(files().count(), 0, "what is not to be kept is gone");
    drop(server);
}

#[test]
fn a_template_that_was_stored_is_parsed_once() {
    let Some(folder) = models() else { return };
    let home = tempfile::tempdir().expect("a folder for a home");
    let places = Places { folders: vec![folder], hub: None };
    let store = Store::open(home.path(), &home.path().join("models"), None, places).expect("a store");
    let name = |text: &str| Name::parse(text).expect("a name");
    let base = make::of_record(&store, &store.find(&name(SMOLLM2)).expect("it is there")).expect("it is imported");
    let making = Making { base, template: Some("Say: {{ .Prompt }}".into()), ..Making::default() };
    make::make(&store, &name("saying"), making, &mut |_| {}).expect("it is made");
    let named = Lookup::default().find(&store, &Limit { most: None, evicted: |_| {} }, "saying").expect("it is found");
    let plain = Sources { template: None, ..named.model.sources.clone() };
    let base = engine::card(&plain).expect("a card");
    let [one, two] = [0, 1].map(|_| named.card(&base).expect("a template"));
    assert_eq!(one.template().source(), "Say: {{ .Prompt }}");
    assert!(Arc::ptr_eq(&one.parsed(), &two.parsed()) && !Arc::ptr_eq(&one.parsed(), &base.parsed()));
}
