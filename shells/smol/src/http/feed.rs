//! What is sent back: bytes at once, or a stream that somebody writes while it is read.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use serde::Serialize;
use smol::{
    Timer,
    channel::{self, Receiver, Sender},
    stream::Stream,
};

/// Pieces that wait for a slow reader before the producer waits too.
const PIECES_MAX: usize = 16;

/// How long a stream of events may be silent: proxies close connections after 60 s and more, some after 30 s.
const SILENCE: Duration = Duration::from_secs(15);

/// The reader is gone: nothing that is written will be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the reader is gone")
    }
}

impl std::error::Error for Gone {}

/// The writing end of a streamed answer.
#[derive(Clone, Debug)]
pub struct Feed {
    pieces: Sender<Bytes>,
}

impl Feed {
    /// Writes bytes; waits while the reader is slow.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn send(&self, bytes: impl Into<Bytes>) -> Result<(), Gone> {
        let bytes = bytes.into();
        // An empty piece would end a chunked body on some wires.
        if bytes.is_empty() { Ok(()) } else { self.pieces.send(bytes).await.map_err(|_| Gone) }
    }

    /// The same for a thread that may wait.
    ///
    /// # Errors
    /// [`Gone`].
    pub fn send_blocking(&self, bytes: impl Into<Bytes>) -> Result<(), Gone> {
        let bytes = bytes.into();
        if bytes.is_empty() { Ok(()) } else { self.pieces.send_blocking(bytes).map_err(|_| Gone) }
    }

    /// Writes a JSON value and a line feed.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn line(&self, value: &impl Serialize) -> Result<(), Gone> {
        let mut bytes = json(value);
        bytes.push(b'\n');
        self.send(bytes).await
    }

    /// Writes a server-sent event of JSON: `data: {...}`, with an `event: name` line before it where there is a name.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn event(&self, name: Option<&str>, value: &impl Serialize) -> Result<(), Gone> {
        let mut bytes = Vec::new();
        if let Some(name) = name {
            bytes.extend_from_slice(format!("event: {name}\n").as_bytes());
        }
        bytes.extend_from_slice(b"data: ");
        bytes.append(&mut json(value));
        bytes.extend_from_slice(b"\n\n");
        self.send(bytes).await
    }

    /// Writes a server-sent event of one line of text: `data: [DONE]`.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn data(&self, line: &str) -> Result<(), Gone> {
        self.send(format!("data: {line}\n\n")).await
    }

    /// Whether the reader is gone.
    pub fn is_gone(&self) -> bool {
        self.pieces.is_closed()
    }

    /// Waits until the reader is gone.
    pub async fn gone(&self) {
        self.pieces.closed().await;
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("what we answer is JSON")
}

type Producer = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The body of an answer.
///
/// One word, so that an [`Answer`](super::Answer) stays small enough to be an error.
pub struct Outgoing(Box<Kind>);

enum Kind {
    Bytes(Bytes),
    Stream {
        pieces: Pin<Box<Receiver<Bytes>>>,
        /// Runs whenever the reader has read all; dropped with the answer.
        producer: Option<Producer>,
        /// Fires every [`SILENCE`]; whether anything was sent since it last did.
        pulse: Option<(Timer, bool)>,
    },
}

impl Outgoing {
    /// Nothing.
    pub fn empty() -> Self {
        Self::bytes(Bytes::new())
    }

    /// These bytes.
    pub fn bytes(bytes: Bytes) -> Self {
        Self(Box::new(Kind::Bytes(bytes)))
    }

    /// What `produce` writes. It runs as a part of the answer: when that is dropped, so is it.
    pub fn stream<P, F>(produce: P) -> Self
    where
        P: FnOnce(Feed) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        let (feed, pieces) = Self::channel();
        let producer = Some(Box::pin(produce(feed)) as Producer);
        Self(Box::new(Kind::Stream { pieces, producer, pulse: None }))
    }

    /// What is written into the feed, by any task or thread, until its last clone is dropped.
    pub fn fed() -> (Feed, Self) {
        let (feed, pieces) = Self::channel();
        (feed, Self(Box::new(Kind::Stream { pieces, producer: None, pulse: None })))
    }

    fn channel() -> (Feed, Pin<Box<Receiver<Bytes>>>) {
        let (sender, receiver) = channel::bounded(PIECES_MAX);
        (Feed { pieces: sender }, Box::pin(receiver))
    }

    /// Lets a comment of server-sent events go out whenever the stream is silent.
    pub fn keep_alive(&mut self) {
        if let Kind::Stream { pulse, .. } = &mut *self.0 {
            *pulse = Some((Timer::interval(SILENCE), true));
        }
    }

    /// How many bytes it has, where that is known before they are sent.
    pub fn length(&self) -> Option<u64> {
        match &*self.0 {
            Kind::Bytes(bytes) => Some(bytes.len() as u64),
            Kind::Stream { .. } => None,
        }
    }

    /// The next bytes, never empty; nothing at the end.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        match &mut *self.0 {
            Kind::Bytes(bytes) => {
                let all = std::mem::take(bytes);
                Poll::Ready((!all.is_empty()).then_some(all))
            }
            Kind::Stream { pieces, producer, pulse } => {
                let piece = poll_stream(pieces, producer, cx);
                match pulse {
                    Some(pulse) => poll_pulse(pulse, piece, cx),
                    None => piece,
                }
            }
        }
    }

    /// All of it, for tests and for those who ask from within.
    pub async fn whole(mut self) -> Vec<u8> {
        let mut whole = Vec::new();
        while let Some(piece) = smol::future::poll_fn(|cx| self.poll_piece(cx)).await {
            whole.extend_from_slice(&piece);
        }
        whole
    }
}

fn poll_stream(
    pieces: &mut Pin<Box<Receiver<Bytes>>>,
    producer: &mut Option<Producer>,
    cx: &mut Context<'_>,
) -> Poll<Option<Bytes>> {
    loop {
        let piece = pieces.as_mut().poll_next(cx);
        let Some(running) = producer else { return piece };
        if let Poll::Ready(Some(piece)) = piece {
            return Poll::Ready(Some(piece));
        }
        match running.as_mut().poll(cx) {
            // Feeds that it gave away may still be written to.
            Poll::Ready(()) => *producer = None,
            // It may have written while it ran, and then waits for nothing but us.
            Poll::Pending if pieces.is_empty() => return Poll::Pending,
            Poll::Pending => {}
        }
    }
}

fn poll_pulse(
    (timer, has_sent): &mut (Timer, bool),
    piece: Poll<Option<Bytes>>,
    cx: &mut Context<'_>,
) -> Poll<Option<Bytes>> {
    if piece.is_ready() {
        *has_sent = true;
        return piece;
    }
    while Pin::new(&mut *timer).poll_next(cx).is_ready() {
        if !std::mem::take(has_sent) {
            return Poll::Ready(Some(Bytes::from_static(b": still here\n\n")));
        }
    }
    Poll::Pending
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing").field("length", &self.length()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use serde_json::json;

    use super::*;

    #[test]
    fn lines_and_events_are_framed() {
        let body = Outgoing::stream(|feed| async move {
            feed.line(&json!({"a": 1})).await.unwrap();
            feed.event(None, &json!({"b": "x\ny"})).await.unwrap();
            feed.event(Some("end"), &json!(2)).await.unwrap();
            feed.send("").await.unwrap();
            feed.data("[DONE]").await.unwrap();
        });
        let text = String::from_utf8(smol::block_on(body.whole())).unwrap();
        assert_eq!(text, "{\"a\":1}\ndata: {\"b\":\"x\\ny\"}\n\nevent: end\ndata: 2\n\ndata: [DONE]\n\n");
    }

    #[test]
    fn a_producer_runs_only_a_few_pieces_ahead() {
        let written = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&written);
        let mut body = Outgoing::stream(|feed| async move {
            while feed.send("x").await.is_ok() {
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        smol::block_on(smol::future::poll_fn(|cx| body.poll_piece(cx)));
        assert!(written.load(Ordering::Relaxed) <= PIECES_MAX + 1);
    }

    #[test]
    fn a_producer_is_dropped_with_the_answer_wherever_it_waits() {
        let alive = Arc::new(());
        let held = Arc::clone(&alive);
        let mut body = Outgoing::stream(|_feed| async move {
            smol::future::pending::<()>().await;
            drop(held);
        });
        assert!(smol::block_on(smol::future::poll_once(smol::future::poll_fn(|cx| body.poll_piece(cx)))).is_none());
        assert_eq!(Arc::strong_count(&alive), 2);
        drop(body);
        assert_eq!(Arc::strong_count(&alive), 1);
    }

    #[test]
    fn who_feeds_from_elsewhere_learns_that_the_reader_is_gone() {
        let (feed, body) = Outgoing::fed();
        assert!(!feed.is_gone());
        feed.send_blocking("x").unwrap();
        drop(body);
        smol::block_on(feed.gone());
        assert_eq!(feed.send_blocking("y"), Err(Gone));
    }

    #[test]
    fn a_silent_stream_of_events_is_kept_alive() {
        let mut body = Outgoing::stream(|_feed| smol::future::pending());
        let Kind::Stream { pulse, .. } = &mut *body.0 else { panic!("a stream") };
        *pulse = Some((Timer::interval(Duration::from_nanos(1)), false));
        let piece = smol::block_on(smol::future::poll_fn(|cx| body.poll_piece(cx)));
        assert_eq!(piece.as_deref(), Some(&b": still here\n\n"[..]));
    }
}
