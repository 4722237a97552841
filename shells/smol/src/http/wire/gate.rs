//! What stands between a socket and hyper: only whole, plain heads go in, one request at a time; who is too slow goes.
//!
//! ```text
//! socket --> [ head whole and plain? ] --> hyper --> handler
//!              | no: 400 408 414 431 501 505, written here, after what was asked before is answered
//! ```
//!
//! While a request is being answered, the next one waits here; so that the socket can still be read, and hyper learns
//! at once that the other side is gone.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker, ready},
    time::{Duration, Instant},
};

use smol::io::{AsyncRead, AsyncWrite};

use super::{
    Limits,
    frame::Body,
    head::{self, HEAD_MAX, Refusal, Scan},
};

/// How many requests of a connection were answered: told by whoever drops an answer.
#[derive(Debug, Default)]
pub struct Answered {
    count: AtomicU64,
    /// Who waits to pass the next request on.
    waiting: Mutex<Option<Waker>>,
}

impl Answered {
    /// One more was answered.
    pub fn tell(&self) {
        self.count.fetch_add(1, Ordering::Release);
        if let Some(waker) = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take() {
            waker.wake();
        }
    }
}

/// One end is hyper's, the other whoever watches the connection.
pub struct Gate<T>(Arc<Mutex<Inner<T>>>);

impl<T> Clone for Gate<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Inner<T> {
    io: T,
    limits: Limits,
    /// What was read and has not been passed on.
    buffer: Vec<u8>,
    state: State,
    passed: u64,
    answered: Arc<Answered>,
    refusal: Option<Refusal>,
    /// Whether an empty line before the next head was passed over.
    skipped: bool,
    reading: Wait,
    writing: Wait,
}

enum State {
    /// Nothing of a request is passed on before its head is whole.
    Head(Scan),
    /// `left` bytes of a head may pass, then its body.
    Passing { left: usize, body: Body },
    /// A body passes.
    Body(Body),
}

/// For how long one direction has been waited for, in all, and how much came of it.
#[derive(Clone, Copy, Debug)]
struct Wait {
    since: Option<Instant>,
    waited: Duration,
    bytes: u64,
}

impl Wait {
    const NONE: Self = Self { since: None, waited: Duration::ZERO, bytes: 0 };

    fn begin(&mut self) {
        self.since = self.since.or_else(|| Some(Instant::now()));
    }

    fn end(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        if let Some(since) = self.since.take() {
            self.waited += since.elapsed();
        }
    }

    /// Whether it takes longer than `patience` and what came at `rate` bytes a second excuses.
    fn is_over(&self, now: Instant, patience: Duration, rate: u64) -> bool {
        let waited = self.waited + self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        waited > patience + Duration::from_millis(self.bytes.saturating_mul(1000) / rate.max(1))
    }
}

/// What is to become of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Good,
    /// Hyper must look at it: it will find an end or an error.
    Wake,
    /// The other side does not read what we send.
    Dead,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Gate<T> {
    /// Before a socket that was just accepted.
    pub fn new(io: T, limits: Limits) -> Self {
        let mut reading = Wait::NONE;
        reading.begin();
        Self(Arc::new(Mutex::new(Inner {
            io,
            limits,
            buffer: Vec::new(),
            state: State::Head(Scan::default()),
            passed: 0,
            answered: Arc::default(),
            refusal: None,
            skipped: false,
            reading,
            writing: Wait::NONE,
        })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The count of answers, for whoever drops one.
    pub fn answered(&self) -> Arc<Answered> {
        Arc::clone(&self.inner().answered)
    }

    /// Looks at the clock; `idle` is how long a connection may wait for its next request.
    pub fn check(&self, now: Instant, idle: Duration) -> Verdict {
        self.inner().check(now, idle)
    }

    /// Why the last request was refused, if it was. Hyper has ended by then.
    pub fn refusal(&self) -> Option<Refusal> {
        self.inner().refusal
    }

    /// Writes to the socket, past hyper: only once that has ended.
    pub fn poll_write_raw(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner().io).poll_write(cx, bytes)
    }

    /// Reads from the socket, past everything: only once hyper has ended.
    pub fn poll_read_raw(&self, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner().io).poll_read(cx, bytes)
    }

    /// Says to the other side that nothing more will come.
    pub fn poll_close_raw(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner().io).poll_close(cx)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Inner<T> {
    fn is_busy(&self) -> bool {
        self.passed > self.answered.count.load(Ordering::Acquire)
    }

    fn check(&mut self, now: Instant, idle: Duration) -> Verdict {
        let limits = self.limits;
        if self.writing.is_over(now, limits.write, limits.rate) {
            return Verdict::Dead;
        }
        let patience = match self.state {
            State::Head(_) if self.is_busy() || self.refusal.is_some() => return Verdict::Good,
            State::Head(_) if self.buffer.is_empty() => idle,
            State::Head(_) => limits.head,
            State::Passing { .. } => return Verdict::Good,
            State::Body(_) => {
                let is_slow = self.reading.is_over(now, limits.body, limits.rate);
                return if is_slow { Verdict::Wake } else { Verdict::Good };
            }
        };
        if self.reading.since.is_none_or(|since| now.saturating_duration_since(since) <= patience) {
            return Verdict::Good;
        }
        // An idle connection is closed without a word: a request may be on its way.
        let why = if self.buffer.is_empty() { "" } else { "the head of the request came too slowly" };
        self.refusal = Some(Refusal { status: 408, why });
        Verdict::Wake
    }

    /// Reads into the buffer. 0 is the end.
    fn fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut piece = [0; 2048];
        let read = ready!(Pin::new(&mut self.io).poll_read(cx, &mut piece))?;
        if self.buffer.is_empty() && read > 0 && matches!(self.state, State::Head(_)) && !self.is_busy() {
            // The time for a head begins with its first byte.
            self.reading = Wait::NONE;
            self.reading.begin();
        }
        self.buffer.extend_from_slice(&piece[..read]);
        Poll::Ready(Ok(read))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            let is_busy = self.is_busy();
            match &mut self.state {
                State::Head(_) if is_busy => return self.poll_gone(cx),
                State::Head(scan) => {
                    if self.refusal.is_some() {
                        return Poll::Ready(Ok(0));
                    }
                    if self.buffer.starts_with(b"\r\n") && !std::mem::replace(&mut self.skipped, true) {
                        // Some send an empty line after a body (RFC 9112 §2.2).
                        self.buffer.drain(..2);
                        *scan = Scan::default();
                    }
                    match whole_head(scan, &self.buffer) {
                        Ok(Some((left, body))) => {
                            self.state = State::Passing { left, body };
                            self.passed += 1;
                            self.skipped = false;
                            self.reading = Wait::NONE;
                            if self.writing.since.is_none() {
                                self.writing = Wait::NONE;
                            }
                        }
                        Ok(None) => {
                            self.reading.begin();
                            if ready!(self.fill(cx))? == 0 {
                                return Poll::Ready(Ok(0));
                            }
                        }
                        Err(refusal) => self.refusal = Some(refusal),
                    }
                }
                State::Passing { left, body } => {
                    let here = (*left).min(out.len());
                    out[..here].copy_from_slice(&self.buffer[..here]);
                    self.buffer.drain(..here);
                    *left -= here;
                    if *left == 0 {
                        let body = *body;
                        self.after(body);
                    }
                    return Poll::Ready(Ok(here));
                }
                State::Body(_) => return self.poll_body(cx, out),
            }
        }
    }

    /// While a request is being answered: is the other side still there? What it sends meanwhile waits.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        while self.buffer.len() < HEAD_MAX {
            match self.fill(cx)? {
                Poll::Ready(0) => return Poll::Ready(Ok(0)),
                Poll::Ready(_) => {}
                Poll::Pending => break,
            }
        }
        if !self.buffer.is_empty() {
            *self.answered.waiting.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    fn poll_body(&mut self, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        let read = if self.buffer.is_empty() {
            if self.reading.is_over(Instant::now(), self.limits.body, self.limits.rate) {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.reading.begin();
            let read = ready!(Pin::new(&mut self.io).poll_read(cx, out))?;
            self.reading.end(read);
            read
        } else {
            let here = self.buffer.len().min(out.len());
            out[..here].copy_from_slice(&self.buffer[..here]);
            self.buffer.drain(..here);
            here
        };
        let State::Body(body) = &mut self.state else { unreachable!("called for bodies") };
        let Ok(passed) = body.pass(&out[..read]) else {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        };
        // What follows the body is the next request, and waits for its turn.
        self.buffer.splice(..0, out[passed..read].iter().copied());
        let body = *body;
        self.after(body);
        Poll::Ready(Ok(passed))
    }

    fn after(&mut self, body: Body) {
        self.state = if body.is_done() { State::Head(Scan::default()) } else { State::Body(body) };
        if body.is_done() {
            self.reading = Wait::NONE;
            // A large buffer was for a large head.
            if self.buffer.is_empty() && self.buffer.capacity() > 4096 {
                self.buffer = Vec::new();
            }
        }
    }
}

/// Length of the head and what follows it, once it is whole.
fn whole_head(scan: &mut Scan, buffer: &[u8]) -> Result<Option<(usize, Body)>, Refusal> {
    let Some(end) = scan.end(buffer)? else { return Ok(None) };
    Ok(Some((end, head::body(&buffer[..end])?)))
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Gate<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        self.inner().poll_read(cx, out)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Gate<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut inner = self.inner();
        let written = Pin::new(&mut inner.io).poll_write(cx, bytes);
        inner.note(&written);
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.inner();
        let written = Pin::new(&mut inner.io).poll_write_vectored(cx, pieces);
        inner.note(&written);
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner().io).poll_flush(cx)
    }

    /// Hyper has ended; there may still be something to say ([`Gate::poll_close_raw`] closes).
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

impl<T> Inner<T> {
    fn note(&mut self, written: &Poll<io::Result<usize>>) {
        match written {
            Poll::Pending => self.writing.begin(),
            // Only what was waited for counts for or against the reader.
            Poll::Ready(Ok(bytes)) if self.writing.since.is_some() => self.writing.end(*bytes),
            Poll::Ready(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use smol::{
        future::{block_on, poll_once},
        io::{AsyncReadExt, AsyncWriteExt},
    };

    use super::*;

    const LIMITS: Limits = Limits {
        connections_max: 1,
        head: Duration::from_secs(10),
        idle: Duration::from_secs(60),
        body: Duration::from_secs(20),
        write: Duration::from_secs(60),
        rate: 1024,
        drain: Duration::ZERO,
    };

    const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    fn pair() -> (Gate<smol::net::TcpStream>, smol::net::TcpStream) {
        block_on(async {
            let listener = smol::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let client = smol::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            (Gate::new(listener.accept().await.unwrap().0, LIMITS), client)
        })
    }

    /// What hyper would read now; nothing while it would wait.
    fn read(gate: &mut Gate<smol::net::TcpStream>) -> Option<io::Result<String>> {
        let mut bytes = [0; 4096];
        let read = block_on(poll_once(gate.read(&mut bytes)));
        read.map(|read| read.map(|read| String::from_utf8_lossy(&bytes[..read]).into_owned()))
    }

    /// What hyper reads once it is there.
    fn next(gate: &mut Gate<smol::net::TcpStream>) -> String {
        let mut bytes = [0; 4096];
        let read = block_on(gate.read(&mut bytes)).unwrap();
        String::from_utf8_lossy(&bytes[..read]).into_owned()
    }

    #[test]
    fn the_second_request_waits_until_the_first_is_answered() {
        let (mut gate, mut client) = pair();
        block_on(client.write_all(format!("{GET}{GET}").as_bytes())).unwrap();
        assert_eq!(next(&mut gate), GET);
        assert!(read(&mut gate).is_none());
        gate.answered().tell();
        assert_eq!(next(&mut gate), GET);
    }

    #[test]
    fn hyper_learns_that_the_client_is_gone_while_another_request_waits() {
        let (mut gate, mut client) = pair();
        block_on(client.write_all(format!("{GET}{GET}").as_bytes())).unwrap();
        assert_eq!(next(&mut gate), GET);
        drop(client);
        assert_eq!(next(&mut gate), "");
    }

    #[test]
    fn a_body_passes_and_what_follows_it_waits() {
        let (mut gate, mut client) = pair();
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        block_on(client.write_all(format!("{head}3\r\nabc\r\n0\r\n\r\n{GET}").as_bytes())).unwrap();
        assert_eq!(next(&mut gate), head);
        let mut body = String::new();
        while !body.ends_with("0\r\n\r\n") {
            body += &next(&mut gate);
        }
        assert_eq!(body, "3\r\nabc\r\n0\r\n\r\n");
        assert!(read(&mut gate).is_none());
        gate.answered().tell();
        assert_eq!(next(&mut gate), GET);
    }

    #[test]
    fn a_bad_head_ends_the_connection_after_what_was_asked_before() {
        let (mut gate, mut client) = pair();
        block_on(client.write_all(format!("{GET}GET / HTTP/1.1\nHost: a\n\n").as_bytes())).unwrap();
        assert_eq!(next(&mut gate), GET);
        assert!(read(&mut gate).is_none());
        assert_eq!(gate.refusal(), None);
        gate.answered().tell();
        assert_eq!(next(&mut gate), "");
        assert_eq!(gate.refusal().unwrap().status, 400);
    }

    #[test]
    fn a_body_framed_wrongly_is_an_error() {
        let (mut gate, mut client) = pair();
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        block_on(client.write_all(format!("{head}+3\r\nabc\r\n").as_bytes())).unwrap();
        assert_eq!(next(&mut gate), head);
        let mut bytes = [0; 64];
        assert_eq!(block_on(gate.read(&mut bytes)).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn slow_heads_and_idle_connections_end_after_their_time() {
        let later = |seconds| Instant::now() + Duration::from_secs(seconds);
        let (mut gate, mut client) = pair();
        assert!(read(&mut gate).is_none());
        assert_eq!(gate.check(later(59), LIMITS.idle), Verdict::Good);
        assert_eq!(gate.check(later(59), Duration::from_secs(5)), Verdict::Wake);
        assert_eq!(gate.refusal().unwrap().why, "");

        let (mut slow, _) = (pair(), ());
        block_on(slow.1.write_all(b"GET / HT")).unwrap();
        while slow.0.inner().buffer.is_empty() {
            assert!(read(&mut slow.0).is_none());
        }
        assert_eq!(slow.0.check(later(9), LIMITS.idle), Verdict::Good);
        assert_eq!(slow.0.check(later(11), LIMITS.idle), Verdict::Wake);
        assert_eq!(slow.0.refusal().unwrap().status, 408);
        assert_eq!(next(&mut slow.0), "");

        // A handler may think as long as it likes.
        let (mut busy, mut asker) = pair();
        block_on(asker.write_all(GET.as_bytes())).unwrap();
        assert_eq!(next(&mut busy), GET);
        assert!(read(&mut busy).is_none());
        assert_eq!(busy.check(later(3600), LIMITS.idle), Verdict::Good);
        block_on(client.close()).unwrap();
    }

    #[test]
    fn a_wait_is_excused_by_what_came_of_it() {
        let start = Instant::now();
        let wait = Wait { since: Some(start), waited: Duration::from_secs(5), bytes: 10 << 10 };
        let patience = Duration::from_secs(20);
        assert!(!wait.is_over(start + Duration::from_secs(24), patience, 1024));
        assert!(wait.is_over(start + Duration::from_secs(26), patience, 1024));
        assert!(!Wait::NONE.is_over(start, patience, 1024));
    }
}
