//! One connection, and each request on it: hyper's types on one side, ours on the other.

use std::{
    convert::Infallible,
    error::Error as _,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body::{Body as _, Frame, SizeHint};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use smol::{
    Timer,
    channel::Receiver,
    future::{FutureExt, poll_fn},
};
use smol_hyper::rt::FuturesIo;

use super::{
    Limits, Server,
    gate::{Answered, Gate, Verdict},
    head::{HEAD_MAX, Refusal},
    listener::{Knock, Stream},
};
use crate::http::{
    Answer, Body, Counters, Fault, Method, Peer, Request, Scope,
    access::{Access, Log},
    coding::{self, Coding},
    feed::Outgoing,
    origins, trace,
};

/// What all connections share.
pub(super) struct Service<S> {
    server: Server<S>,
    pub limits: Limits,
    watch: Arc<Watch>,
}

/// What is told of every request after its end.
struct Watch {
    counters: Arc<Counters>,
    log: Option<Log>,
}

/// How somebody came in.
#[derive(Clone, Copy)]
pub(super) struct Door {
    pub peer: Peer,
    pub needs_key: bool,
}

impl<S: Send + Sync + 'static> Service<S> {
    pub fn new(server: Server<S>) -> Self {
        let watch = Arc::new(Watch { counters: Arc::clone(&server.counters), log: server.log.clone() });
        Self { limits: server.limits, server, watch }
    }

    /// Serves a connection until it ends.
    pub async fn receive(self: Arc<Self>, knock: Knock, door: Door, stopped: Receiver<()>) {
        let shake = async { knock.open().await.ok() };
        let impatient = async {
            Timer::after(self.limits.head).await;
            None
        };
        let Some(stream) = shake.or(impatient).await else { return };
        self.watch.counters.connections.fetch_add(1, Ordering::Relaxed);
        let gate = Gate::new(stream, self.limits);
        if self.converse(&gate, door, stopped).await {
            part(&gate).or(after(PARTING)).await;
        }
        if let Some(refusal) = gate.refusal() {
            self.watch.counters.refused(refusal.status);
        }
        self.watch.counters.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// Lets hyper serve what comes through the gate. Whether the other side may still listen afterwards.
    async fn converse(self: &Arc<Self>, gate: &Gate<Stream>, door: Door, stopped: Receiver<()>) -> bool {
        let answered = gate.answered();
        let answering = service_fn(|request: http::Request<Incoming>| {
            let (service, answered) = (Arc::clone(self), Arc::clone(&answered));
            async move { Ok::<_, Infallible>(service.answer(request, door, answered).await) }
        });
        let connection = http1::Builder::new()
            .header_read_timeout(None)
            .max_header_size(2 * HEAD_MAX)
            .max_buf_size(4 * HEAD_MAX)
            .serve_connection(FuturesIo::new(gate.clone()), answering);
        let mut connection = pin!(connection);
        let mut stop = pin!(Some(async move { stopped.recv().await.is_err() }));
        let mut clock = Timer::interval(self.limits.tick());
        poll_fn(|cx| {
            while smol::prelude::Stream::poll_next(Pin::new(&mut clock), cx).is_ready() {
                if gate.check(Instant::now(), self.idle()) == Verdict::Dead {
                    return Poll::Ready(false);
                }
            }
            if stop.as_mut().as_pin_mut().is_some_and(|stop| stop.poll(cx).is_ready()) {
                stop.set(None);
                connection.as_mut().graceful_shutdown();
            }
            connection.as_mut().poll(cx).map(|_| true)
        })
        .await
    }

    /// How long a connection may be idle: less when many wait for one.
    fn idle(&self) -> Duration {
        let open = self.watch.counters.connections.load(Ordering::Relaxed);
        let is_crowded = open > self.limits.connections_max as u64 / 4 * 3;
        if is_crowded { self.limits.idle.min(CROWDED) } else { self.limits.idle }
    }

    async fn answer(
        &self,
        request: http::Request<Incoming>,
        door: Door,
        answered: Arc<Answered>,
    ) -> http::Response<Sent> {
        let start = Instant::now();
        let mut request = incoming(request, door.peer);
        let mut sent = Sent::new(Arc::clone(&self.watch), answered, &request, start);
        let (id, trace) = (Arc::clone(&request.id), request.trace.clone());
        let (mut answer, route) = match self.server.guard.admit(&mut request, door.needs_key) {
            Err(answer) => (answer, None),
            Ok(reader) => {
                sent.key = request.key.clone();
                let (mut answer, route) = self.server.router.answer(request).await;
                if let Some(reader) = reader {
                    origins::let_read(&mut answer, &reader);
                }
                (answer, route)
            }
        };
        if let Ok(id) = HeaderValue::from_str(&id) {
            // OpenAI's clients look for the first name, Anthropic's for the second.
            answer.headers.insert("request-id", id.clone());
            answer.headers.insert("x-request-id", id);
        }
        trace.write(|name, text| {
            if let Ok(value) = HeaderValue::from_str(text) {
                answer.headers.insert(name, value);
            }
        });
        if answer.status == StatusCode::UNSUPPORTED_MEDIA_TYPE {
            answer.headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(coding::ACCEPTED));
        }
        sent.begin(&answer, route);
        sent.body = Some(answer.body);
        let mut response = http::Response::new(sent);
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        response
    }
}

/// Idle time while connections are scarce.
const CROWDED: Duration = Duration::from_secs(5);

/// How long the last words may take.
const PARTING: Duration = Duration::from_secs(2);

/// Bytes that are still read after the last words.
const REST_MAX: usize = 1 << 20;

async fn after(time: Duration) {
    Timer::after(time).await;
}

/// Says why, if something was refused, and closes.
///
/// What the other side had sent is read for a moment: else the system would answer it with a reset, which may reach
/// the other side before our last words do.
async fn part(gate: &Gate<Stream>) {
    if let Some(refusal) = gate.refusal().filter(|refusal| !refusal.why.is_empty()) {
        let text = last_words(refusal);
        let mut left = text.as_bytes();
        while !left.is_empty() {
            match poll_fn(|cx| gate.poll_write_raw(cx, left)).await {
                Ok(written @ 1..) => left = &left[written..],
                _ => return,
            }
        }
    }
    if poll_fn(|cx| gate.poll_close_raw(cx)).await.is_err() {
        return;
    }
    let (mut rest, mut piece) = (REST_MAX, [0; 4096]);
    while let Ok(read @ 1..) = poll_fn(|cx| gate.poll_read_raw(cx, &mut piece)).await {
        rest = rest.saturating_sub(read);
        if rest == 0 {
            return;
        }
    }
}

fn last_words(refusal: Refusal) -> String {
    let status = StatusCode::from_u16(refusal.status).expect("written in the source");
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}",
        refusal.why.len(),
        refusal.why
    )
}

fn incoming(request: http::Request<Incoming>, peer: Peer) -> Request {
    let (mut head, body) = request.into_parts();
    // A whole URL in the first line says better than Host whom it is for (RFC 9112 §3.2.2).
    if let Some(host) = head.uri.authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok()) {
        head.headers.insert(header::HOST, host);
    }
    let trace = trace::of_fields(&head.headers);
    let coding = Coding::of_fields(&head.headers);
    let id = id(&head.headers);
    let length = body.size_hint().exact();
    Request {
        path: head.uri.path().to_owned(),
        query: head.uri.query().map(str::to_owned),
        method: head.method,
        headers: head.headers,
        peer,
        id,
        trace,
        scope: Scope::Open,
        key: None,
        quota: None,
        body: if length == Some(0) { Body::empty() } else { Body::new(Pieces(body), length).coded(coding) },
        parameters: Vec::new(),
    }
}

/// The asker's name for the request where it is short and plain, else one of our own.
fn id(headers: &HeaderMap) -> Arc<str> {
    let given = headers.get("x-request-id").and_then(|value| value.to_str().ok());
    match given.filter(|id| (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic())) {
        Some(id) => id.into(),
        None => format!("req_{:016x}", trace::random()).into(),
    }
}

struct Pieces(Incoming);

impl smol::prelude::Stream for Pieces {
    type Item = Result<Bytes, Fault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            return Poll::Ready(match ready!(Pin::new(&mut self.0).poll_frame(cx)) {
                None => None,
                // Trailers are of no use to anybody here.
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => Some(Ok(bytes)),
                    Err(_) => continue,
                },
                Some(Err(error)) => Some(Err(fault(&error))),
            });
        }
    }
}

fn fault(error: &hyper::Error) -> Fault {
    let mut source = error.source();
    while let Some(cause) = source {
        if cause.downcast_ref::<io::Error>().is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut) {
            return Fault::Slow;
        }
        source = cause.source();
    }
    Fault::Broken
}

/// An answer on its way; whatever becomes of it, its end is counted.
pub(super) struct Sent {
    body: Option<Outgoing>,
    answered: Arc<Answered>,
    watch: Arc<Watch>,
    start: Instant,
    method: Method,
    /// Everything else that the log wants, if there is one.
    access: Option<Box<Access>>,
    key: Option<Arc<str>>,
    route: Option<&'static str>,
    /// 0 until there is an answer.
    status: u16,
    bytes: u64,
    head: Duration,
    finished: bool,
}

impl Sent {
    fn new(watch: Arc<Watch>, answered: Arc<Answered>, request: &Request, start: Instant) -> Self {
        watch.counters.in_flight.fetch_add(1, Ordering::Relaxed);
        let access = watch.log.is_some().then(|| Box::new(Access::of(request)));
        Self {
            body: None,
            answered,
            start,
            method: request.method.clone(),
            access,
            key: None,
            route: None,
            status: 0,
            bytes: 0,
            head: Duration::ZERO,
            finished: false,
            watch,
        }
    }

    fn begin(&mut self, answer: &Answer, route: Option<&'static str>) {
        self.head = self.start.elapsed();
        self.route = route;
        self.status = answer.status.as_u16();
        // Hyper asks nothing of a body that it need not send.
        self.finished = answer.body.length() == Some(0) || self.method == Method::HEAD;
    }
}

/// Of a request whose client left before there was an answer: nginx's number for it.
const LEFT: u16 = 499;

impl Drop for Sent {
    fn drop(&mut self) {
        let counters = &self.watch.counters;
        let (whole, status) = (self.start.elapsed(), if self.status == 0 { LEFT } else { self.status });
        counters.in_flight.fetch_sub(1, Ordering::Relaxed);
        counters.sent_bytes.fetch_add(self.bytes, Ordering::Relaxed);
        counters.answered(&self.method, self.route, status, whole);
        if let (Some(log), Some(mut access)) = (&self.watch.log, self.access.take()) {
            (access.key, access.route, access.status) = (self.key.take(), self.route, status);
            (access.bytes, access.head, access.whole, access.finished) = (self.bytes, self.head, whole, self.finished);
            log(&access);
        }
        self.answered.tell();
    }
}

impl http_body::Body for Sent {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let sent = &mut *self;
        let Some(body) = &mut sent.body else { return Poll::Ready(None) };
        let Ok(piece) = catch_unwind(AssertUnwindSafe(|| body.poll_piece(cx))) else {
            sent.body = None;
            return Poll::Ready(Some(Err(Broken)));
        };
        let piece = ready!(piece);
        sent.bytes += piece.as_ref().map_or(0, |bytes| bytes.len() as u64);
        sent.finished = piece.is_none() || body.length() == Some(0);
        Poll::Ready(piece.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(|body| body.length() == Some(0))
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().and_then(Outgoing::length).map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// The producer of an answer panicked: the connection ends, so that nobody takes what was sent for the whole.
#[derive(Debug)]
pub(super) struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the answer could not be finished")
    }
}

impl std::error::Error for Broken {}
