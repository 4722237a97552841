//! One connection, and each request on it: hyper's types on one side, ours on the other.

use std::{
    convert::Infallible,
    error::Error as _,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use smol::{
    Timer,
    channel::Receiver,
    future::{FutureExt, poll_fn},
    io::{AsyncRead, AsyncWrite},
    stream::Stream,
};
use smol_hyper::rt::FuturesIo;

use super::{
    Limits,
    gate::{Answered, Gate, Verdict},
    head::{HEAD_MAX, Refusal},
};
use crate::http::{
    Answer, Body, Fault, Peer, Request, Router, Scope,
    feed::Outgoing,
    trace::{self, Trace},
};

/// What all connections share.
pub(super) struct Service<S> {
    pub router: Router<S>,
    pub limits: Limits,
    /// Connections that are open.
    pub open: AtomicUsize,
}

impl<S: Send + Sync + 'static> Service<S> {
    /// Serves a connection until it ends.
    pub async fn connection<T>(self: Arc<Self>, stream: T, peer: Peer, stopped: Receiver<()>)
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.open.fetch_add(1, Ordering::Relaxed);
        let gate = Gate::new(stream, self.limits);
        if self.converse(&gate, peer, stopped).await {
            part(&gate).or(after(PARTING)).await;
        }
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Lets hyper serve what comes through the gate. Whether the other side may still listen afterwards.
    async fn converse<T>(self: &Arc<Self>, gate: &Gate<T>, peer: Peer, stopped: Receiver<()>) -> bool
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let answered = gate.answered();
        let answering = service_fn(|request: http::Request<Incoming>| {
            let (service, answered) = (Arc::clone(self), Arc::clone(&answered));
            async move {
                let answer = service.answer(request, peer).await;
                Ok::<_, Infallible>(outgoing(answer, answered))
            }
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
            while Pin::new(&mut clock).poll_next(cx).is_ready() {
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
        let is_crowded = self.open.load(Ordering::Relaxed) > self.limits.connections_max / 4 * 3;
        if is_crowded { self.limits.idle.min(CROWDED) } else { self.limits.idle }
    }

    async fn answer(&self, request: http::Request<Incoming>, peer: Peer) -> Answer {
        let (answer, _route) = self.router.answer(incoming(request, peer)).await;
        answer
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
async fn part<T: AsyncRead + AsyncWrite + Unpin>(gate: &Gate<T>) {
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
    let (head, body) = request.into_parts();
    let field = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let trace = Trace::of(field("traceparent"), field("tracestate"));
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
        scope: Scope::Manage,
        key: None,
        body: if length == Some(0) { Body::empty() } else { Body::new(Pieces(body), length) },
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

impl Stream for Pieces {
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

fn outgoing(answer: Answer, answered: Answered) -> http::Response<Sent> {
    let mut response = http::Response::new(Sent { body: Some(answer.body), answered });
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    response
}

/// A body on its way; a producer that panicked is gone from it.
pub(super) struct Sent {
    body: Option<Outgoing>,
    answered: Answered,
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.answered.fetch_add(1, Ordering::Release);
    }
}

impl http_body::Body for Sent {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        match catch_unwind(AssertUnwindSafe(|| body.poll_piece(cx))) {
            Ok(piece) => piece.map(|piece| piece.map(|bytes| Ok(Frame::data(bytes)))),
            Err(_) => {
                self.body = None;
                Poll::Ready(Some(Err(Broken)))
            }
        }
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
