//! The binary pulls from a registry on loopback that speaks the real protocol: manifest, token, ranges.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use tutu_llm::{
    gguf::{Meta, Writer},
    quant::Kind,
};
use tutu_node::{
    kit::{Bytes, Digest, Rng},
    work::{
        models::manifest::{self, Layer, Manifest},
        pull::Partial,
    },
};

const PIECE: usize = 64 << 10;

/// A registry with one model.
struct Registry {
    port: u16,
    served: Arc<AtomicU64>,
    allowed: Arc<(Mutex<u64>, Condvar)>,
    model: Arc<Vec<u8>>,
    /// The trace of each request, if it named one.
    traces: Traces,
}

type Traces = Arc<Mutex<Vec<Option<String>>>>;

impl Registry {
    /// Serves `model`; `sent` is what it really sends in its place.
    fn start(model: Vec<u8>, sent: Option<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (served, allowed) = (Arc::new(AtomicU64::new(0)), Arc::new((Mutex::new(0), Condvar::new())));
        let model = Arc::new(model);
        let config = b"{}".to_vec();
        let layer = |kind, bytes: &[u8]| Layer { kind, digest: digest(bytes), size: Bytes(bytes.len() as u64) };
        let manifest = Manifest {
            config: layer(manifest::Kind::Config, &config),
            layers: vec![layer(manifest::Kind::Model, &model)],
        };
        let blobs = BTreeMap::from([
            (format!("/v2/me/model/blobs/{}", digest(&model)), Arc::new(sent.unwrap_or_else(|| model.to_vec()))),
            ("/files/a%20model.gguf".into(), Arc::clone(&model)),
            ("/v2/me/model/tags/list".into(), Arc::new(br#"{"name":"me/model","tags":["latest"]}"#.to_vec())),
            ("/v2/me/model/manifests/latest".into(), Arc::new(manifest.print().into_bytes())),
        ]);
        let (counter, gate) = (Arc::clone(&served), Arc::clone(&allowed));
        let traces = Traces::default();
        let heard = Arc::clone(&traces);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (blobs, counter, gate) = (blobs.clone(), Arc::clone(&counter), Arc::clone(&gate));
                let heard = Arc::clone(&heard);
                // Whoever is killed leaves a broken pipe behind.
                thread::spawn(move || drop(answer(stream, port, &blobs, &counter, &gate, &heard)));
            }
        });
        Self { port, served, allowed, model, traces }
    }

    fn allow(&self, bytes: u64) {
        let mut allowed = self.allowed.0.lock().unwrap();
        *allowed = allowed.saturating_add(bytes);
        self.allowed.1.notify_all();
    }

    fn name(&self) -> String {
        format!("http://127.0.0.1:{}/me/model", self.port)
    }

    fn blob(&self, home: &Path) -> PathBuf {
        home.join("models/blobs").join(digest(&self.model).file_name())
    }

    /// What a pull has noted down so far.
    fn noted(&self, home: &Path) -> u64 {
        let path = home.join("models/blobs").join(format!("partial-{}.json", digest(&self.model).hex()));
        let note = fs::read(path).ok();
        note.and_then(|bytes| serde_json::from_slice::<Partial>(&bytes).ok()).map_or(0, |note| note.have.total())
    }
}

fn digest(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

/// One request, one answer.
fn answer(
    stream: TcpStream,
    port: u16,
    blobs: &BTreeMap<String, Arc<Vec<u8>>>,
    served: &AtomicU64,
    allowed: &(Mutex<u64>, Condvar),
    traces: &Traces,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let path = request.split(' ').nth(1).unwrap_or_default().to_string();
    let (mut range, mut token, mut trace) = (None, false, None);
    for line in lines {
        let line = line?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        trace = line.strip_prefix("traceparent: ").map(String::from).or(trace);
        token |= line == "authorization: bearer secret";
        if let Some(text) = line.strip_prefix("range: bytes=") {
            range = text.split_once('-').map(|(a, b)| (a.parse().unwrap(), b.parse::<usize>().unwrap() + 1));
        }
    }
    traces.lock().unwrap().push(trace);
    let mut stream = stream;
    if path.starts_with("/token?service=loop&scope=pull") {
        let body = r#"{"token":"secret"}"#;
        return write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    }
    if !token {
        let challenge = format!(r#"Bearer realm="http://127.0.0.1:{port}/token",service="loop",scope="pull""#);
        return write!(
            stream,
            "HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nWWW-Authenticate: {challenge}\r\nContent-Length: 0\r\n\r\n"
        );
    }
    let Some(blob) = blobs.get(&path) else {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    };
    let (start, end) = range.unwrap_or((0, blob.len()));
    let end = end.min(blob.len());
    let status = if range.is_some() { "206 Partial Content" } else { "200 OK" };
    let body = &blob[start..end];
    write!(
        stream,
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Range: bytes {start}-{}/{}\r\nContent-Length: {}\r\n\r\n",
        end - 1,
        blob.len(),
        body.len()
    )?;
    for piece in body.chunks(PIECE) {
        if !path.contains("/manifests/") && body.len() > 1 {
            let open = allowed.0.lock().unwrap();
            let mut open = allowed.1.wait_while(open, |open| *open < piece.len() as u64).unwrap();
            *open -= piece.len() as u64;
            served.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
        stream.write_all(piece)?;
    }
    Ok(())
}

/// A file whose head says that it is a model of `rows` rows of a kibibyte.
fn model(rows: usize) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.set("general.architecture", Meta::Str("llama".into()));
    for key in ["context_length", "embedding_length", "block_count", "attention.head_count"] {
        writer.set(&format!("llama.{key}"), Meta::U32(4));
    }
    writer.tensor("token_embd.weight", Kind::F32, &[256, rows]);
    let mut rng = Rng::new(1);
    writer.file(|_| (0..rows * 128).flat_map(|_| rng.next().to_le_bytes()).collect())
}

fn tutu(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tutu"));
    command.args(arguments).env("TUTU_HOME", home).env("NO_PROXY", "127.0.0.1").env("HOME", home);
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "OLLAMA_MODELS"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn done(child: Child) -> Output {
    child.wait_with_output().unwrap()
}

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_pull_that_is_killed_again_and_again_goes_on_and_ends_with_the_right_bytes() {
    let registry = Registry::start(model(40 << 10), None);
    let home = tempfile::tempdir().unwrap();
    let size = registry.model.len() as u64;
    for round in 1..=5 {
        let mut child = tutu(home.path(), &["pull", &registry.name()]).spawn().unwrap();
        registry.allow(4 << 20);
        while registry.noted(home.path()) < round * (3 << 20) {
            assert!(child.try_wait().unwrap().is_none(), "{}", error(&done(child)));
            thread::park_timeout(Duration::from_millis(1));
        }
        assert!(!registry.blob(home.path()).exists());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    registry.allow(u64::MAX / 2);
    let output = done(tutu(home.path(), &["pull", &registry.name()]).spawn().unwrap());
    assert!(output.status.success(), "{}", error(&output));
    assert!(fs::read(registry.blob(home.path())).unwrap() == *registry.model);
    let served = registry.served.load(Ordering::Relaxed);
    assert!(served < size + (10 << 20), "{served} bytes for a file of {size}: it does not go on where it was");
    let left = fs::read_dir(home.path().join("models/blobs")).unwrap().count();
    assert_eq!(left, 1, "nothing but the blob stays");
}

#[test]
fn two_that_pull_one_model_share_its_bytes() {
    let registry = Registry::start(model(8 << 10), None);
    let home = tempfile::tempdir().unwrap();
    let spawn = || tutu(home.path(), &["pull", &registry.name()]).spawn().unwrap();
    let (first, second) = (spawn(), spawn());
    registry.allow(u64::MAX / 2);
    for output in [done(first), done(second)] {
        assert!(output.status.success(), "{}", error(&output));
    }
    assert_eq!(registry.served.load(Ordering::Relaxed), registry.model.len() as u64);
}

#[test]
fn wrong_bytes_never_become_visible() {
    let right = model(64);
    let mut wrong = right.clone();
    *wrong.last_mut().unwrap() ^= 1;
    let registry = Registry::start(right, Some(wrong));
    registry.allow(u64::MAX / 2);
    let home = tempfile::tempdir().unwrap();
    let output = done(tutu(home.path(), &["pull", &registry.name()]).spawn().unwrap());
    assert_eq!(output.status.code(), Some(1));
    assert!(error(&output).contains("delivered sha256:"), "{}", error(&output));
    assert!(!registry.blob(home.path()).exists());
}

#[test]
fn a_model_that_was_not_used_for_the_longest_time_makes_room_and_a_pinned_one_stays() {
    let (small, large) = (Registry::start(model(4 << 10), None), Registry::start(model(6 << 10), None));
    [&small, &large].iter().for_each(|registry| registry.allow(u64::MAX / 2));
    let home = tempfile::tempdir().unwrap();
    let run =
        |arguments: &[&str]| done(tutu(home.path(), arguments).env("TUTU_MODELS_MAX_STORAGE", "8MB").spawn().unwrap());
    assert!(run(&["pull", &small.name()]).status.success());
    let output = run(&["pull", &large.name()]);
    assert!(output.status.success() && error(&output).contains("to make room"), "{}", error(&output));
    assert!(large.blob(home.path()).exists() && !small.blob(home.path()).exists());
    assert!(run(&["pin", &large.name()]).status.success());
    let output = run(&["pull", &small.name()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(error(&output).contains("models may take 8 MB"), "{}", error(&output));
    assert!(run(&["unpin", &large.name()]).status.success() && run(&["pull", &small.name()]).status.success());
}

#[test]
fn a_file_on_a_web_server_is_a_model_by_its_url() {
    let registry = Registry::start(model(64), None);
    registry.allow(u64::MAX / 2);
    let home = tempfile::tempdir().unwrap();
    let url = format!("http://127.0.0.1:{}/files/a%20model.gguf", registry.port);
    for _ in 0..2 {
        let output = done(tutu(home.path(), &["pull", &url]).spawn().unwrap());
        assert!(output.status.success(), "{}", error(&output));
    }
    assert!(registry.blob(home.path()).exists());
    assert_eq!(registry.served.load(Ordering::Relaxed), registry.model.len() as u64, "the second time it is here");
    assert!(done(tutu(home.path(), &["show", &url]).spawn().unwrap()).status.success());
}

#[test]
fn an_unknown_tag_is_an_error_that_lists_those_there_are() {
    let registry = Registry::start(model(1), None);
    registry.allow(u64::MAX / 2);
    let home = tempfile::tempdir().unwrap();
    let output = done(tutu(home.path(), &["pull", &format!("{}:huge", registry.name())]).spawn().unwrap());
    assert_eq!(output.status.code(), Some(1));
    assert!(error(&output).contains("the tags are: latest"), "{}", error(&output));
}

#[test]
fn what_is_not_there_is_an_error_that_says_so() {
    let registry = Registry::start(model(1), None);
    let home = tempfile::tempdir().unwrap();
    let name = format!("http://127.0.0.1:{}/me/other", registry.port);
    let output = done(tutu(home.path(), &["pull", &name]).spawn().unwrap());
    assert_eq!(output.status.code(), Some(1));
    assert!(error(&output).contains("there is no such file (HTTP 404)"), "{}", error(&output));
}

/// `tutu serve`, and where it listens.
fn serve(home: &Path) -> (Child, String) {
    let mut child = tutu(home, &["serve", "--port", "0"]).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (child, line.trim().strip_prefix("listening on http://").expect("it says where it listens").to_owned())
}

/// Asks for a model and leaves the connection open.
fn ask_for(address: &str, name: &str, trace: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    let body = format!("{{\"model\": \"{name}\", \"insecure\": true}}");
    write!(
        stream,
        "POST /api/pull HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTraceparent: {trace}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    stream
}

fn whole(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    answer
}

#[test]
fn a_pull_ends_with_its_last_client_and_is_gone_on_with() {
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let registry = Registry::start(model(40 << 10), None);
    let home = tempfile::tempdir().unwrap();
    let (mut server, address) = serve(home.path());
    let log = || fs::read_to_string(home.path().join("logs/tutu.log")).unwrap_or_default();
    let until = |what: &str, holds: &dyn Fn() -> bool| {
        for _ in 0..2000 {
            if holds() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("{what} did not come about: {}", log());
    };
    let (first, second) = (ask_for(&address, &registry.name(), TRACE), ask_for(&address, &registry.name(), TRACE));
    registry.allow(4 << 20);
    until("some of it", &|| registry.noted(home.path()) > 1 << 20);
    // One of two leaves: the other gets on. Both leave: nothing more is fetched.
    drop(first);
    until("the end of one pull", &|| log().matches("nobody waited").count() == 1);
    drop(second);
    until("the end of the other", &|| log().matches("nobody waited").count() == 2);
    let noted = registry.noted(home.path());
    registry.allow(u64::MAX / 2);
    thread::sleep(Duration::from_millis(300));
    assert_eq!(registry.noted(home.path()), noted);
    assert!(noted > 0 && !registry.blob(home.path()).exists());
    assert!(log().contains("\"trace\":\"4bf92f3577b34da6a3ce929d0e0e4736\""), "{}", log());

    let answer = whole(ask_for(&address, &registry.name(), TRACE));
    assert!(answer.contains("\"status\":\"success\""), "{answer}");
    assert!(fs::read(registry.blob(home.path())).unwrap() == *registry.model);
    let traces = registry.traces.lock().unwrap();
    let ours = |trace: &Option<String>| {
        trace
            .as_deref()
            .is_some_and(|trace| trace.starts_with(&TRACE[..36]) && trace.ends_with("-01") && trace != TRACE)
    };
    assert!(traces.iter().all(ours), "{traces:?}");
    server.kill().unwrap();
    server.wait().unwrap();
}
