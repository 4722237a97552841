//! A server with routes that misbehave on purpose, and a client that looks at bytes.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    thread::JoinHandle,
    time::Duration,
};

use tutu::http::{
    Answer, Counters, Limits, Listener, Method, Request, Router, Running, Scope, Server, StatusCode, basics,
};

/// Times so short that a test need not wait, and long enough for a busy machine.
const LIMITS: Limits = Limits {
    connections_max: 32,
    head: Duration::from_millis(400),
    idle: Duration::from_secs(60),
    body: Duration::from_millis(400),
    write: Duration::from_millis(400),
    rate: 1 << 20,
    drain: Duration::from_secs(60),
};

/// What handlers share with the test.
struct State {
    begun: Mutex<Sender<()>>,
    dropped: Mutex<Sender<()>>,
    gate: smol::channel::Receiver<()>,
    smuggled: AtomicUsize,
}

impl State {
    /// Says that a handler runs, and says so when it ends.
    fn watch(self: &Arc<Self>) -> Watched {
        self.begun.lock().unwrap().send(()).unwrap();
        Watched(Arc::clone(self))
    }
}

struct Watched(Arc<State>);

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.0.dropped.lock().unwrap().send(());
    }
}

pub struct House {
    address: SocketAddr,
    running: Option<Running>,
    state: Arc<State>,
    begun: Receiver<()>,
    dropped: Receiver<()>,
    gate: smol::channel::Sender<()>,
    counters: Arc<Counters>,
    log: Arc<Mutex<String>>,
}

impl House {
    pub fn open() -> Self {
        Self::open_with(|listener| listener)
    }

    /// With a listener of another kind.
    pub fn open_with(kind: impl FnOnce(Listener) -> Listener) -> Self {
        let ((begin, begun), (drop, dropped), (gate, closed)) =
            (mpsc::channel(), mpsc::channel(), smol::channel::bounded(1));
        let state =
            Arc::new(State { begun: begin.into(), dropped: drop.into(), gate: closed, smuggled: AtomicUsize::new(0) });
        let mut server = Server::new(routes(Arc::clone(&state)));
        let log = Arc::new(Mutex::new(String::new()));
        let lines = Arc::clone(&log);
        server.log = Some(Arc::new(move |access| lines.lock().unwrap().push_str(&format!("{access}\n"))));
        server.limits = LIMITS;
        let counters = Arc::clone(&server.counters);
        let listener = kind(Listener::tcp("127.0.0.1:0".parse().unwrap()).unwrap());
        let address = listener.address().unwrap();
        let running = Some(server.start(vec![listener]).unwrap());
        Self { address, running, state, begun, dropped, gate, counters, log }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    }

    /// Sends these bytes, says that no more will come only by its silence, and reads until the other side ends.
    pub fn ask(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect();
        // It may refuse and close before all is sent.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer
    }

    pub fn get(&self, path: &str) -> Vec<u8> {
        self.ask(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes())
    }

    /// Waits until a watched handler runs.
    pub fn begun(&self) {
        self.begun.recv_timeout(Duration::from_secs(30)).expect("a handler runs");
    }

    /// Waits until a watched handler ended.
    pub fn dropped(&self) {
        self.dropped.recv_timeout(Duration::from_secs(30)).expect("the handler ends");
    }

    /// Lets `/gate` go on.
    pub fn release(&self) {
        self.gate.close();
    }

    pub fn smuggled(&self) -> usize {
        self.state.smuggled.load(Ordering::Relaxed)
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until nobody is connected and nothing is being answered.
    pub fn until_empty(&self) {
        let held =
            || self.counters.connections.load(Ordering::Relaxed) + self.counters.in_flight.load(Ordering::Relaxed);
        while held() > 0 {
            std::thread::yield_now();
        }
    }

    /// Asks it to end, on another thread.
    pub fn stop(&mut self) -> JoinHandle<()> {
        let running = self.running.take().unwrap();
        std::thread::spawn(move || running.stop().unwrap())
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.gate.close();
        if let Some(running) = self.running.take() {
            let _ = running.stop();
        }
    }
}

fn routes(state: Arc<State>) -> Router<State> {
    let mut router = Router::new(state);
    basics::routes(&mut router, None);
    router.add(Method::POST, "/echo", Scope::Run, echo);
    router.add(Method::POST, "/json", Scope::Run, json);
    router.add(Method::POST, "/count", Scope::Run, count);
    router.add(Method::POST, "/ignore", Scope::Run, |_, _: Request| async { Answer::text(StatusCode::OK, "ignored") });
    router.add(Method::GET, "/smuggled", Scope::Open, |state: Arc<State>, _: Request| async move {
        state.smuggled.fetch_add(1, Ordering::Relaxed);
        Answer::text(StatusCode::OK, "smuggled")
    });
    router.add(Method::GET, "/silent", Scope::Run, |state: Arc<State>, _: Request| async move {
        let _watched = state.watch();
        smol::future::pending::<Answer>().await
    });
    router.add(Method::POST, "/wait", Scope::Run, |state: Arc<State>, mut request: Request| async move {
        let _watched = state.watch();
        let _ = request.body.whole().await;
        Answer::text(StatusCode::OK, "waited")
    });
    router.add(Method::GET, "/endless", Scope::Run, |state: Arc<State>, _: Request| async move {
        let watched = state.watch();
        Answer::ndjson(|feed| async move {
            let _watched = watched;
            let piece = vec![b'x'; 1 << 16];
            while feed.send(piece.clone()).await.is_ok() {}
        })
    });
    router.add(Method::GET, "/gate", Scope::Run, |state: Arc<State>, _: Request| async move {
        Answer::events(|feed| async move {
            let _ = feed.data("first").await;
            let _watched = state.watch();
            let _ = state.gate.recv().await;
            let _ = feed.data("last").await;
        })
    });
    router.add(Method::GET, "/panic", Scope::Run, |_, _: Request| async { broken() });
    router.add(Method::GET, "/half", Scope::Run, |_, _: Request| async {
        Answer::ndjson(|feed| async move {
            let _ = feed.line(&1).await;
            broken();
        })
    });
    router
}

fn broken() -> Answer {
    panic!("on purpose")
}

async fn echo(_: Arc<State>, mut request: Request) -> Answer {
    match request.body.whole_within(1 << 16).await {
        Ok(bytes) => Answer::bytes(StatusCode::OK, "application/octet-stream", bytes),
        Err(fault) => Answer::text(fault.status(), fault.to_string()),
    }
}

async fn json(_: Arc<State>, mut request: Request) -> Result<Answer, tutu::http::Malformed> {
    #[derive(serde::Deserialize)]
    struct Ask {
        model: String,
        stream: Option<bool>,
    }
    let ask = request.json_any_case::<Ask>().await?.value;
    Ok(Answer::text(StatusCode::OK, format!("{} {:?}", ask.model, ask.stream)))
}

async fn count(_: Arc<State>, mut request: Request) -> Answer {
    let mut count = 0;
    while let Some(piece) = request.body.chunk().await {
        match piece {
            Ok(piece) => count += piece.len(),
            Err(fault) => return Answer::text(fault.status(), fault.to_string()),
        }
    }
    Answer::text(StatusCode::OK, count.to_string())
}

/// The statuses of all answers in these bytes, but for 100.
pub fn statuses(answer: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(answer).replace("HTTP/1.0 ", "HTTP/1.1 ");
    // Refusals name the version too.
    let found = text.split("HTTP/1.1 ").skip(1).filter_map(|rest| rest.get(..3)?.parse().ok());
    found.filter(|status| *status != 100).collect()
}
