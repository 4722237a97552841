//! What comes with a request, piece by piece or whole, and never more than was allowed.

use std::{
    fmt,
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use http::StatusCode;
use smol::stream::{Stream, StreamExt};

use super::coding::{ACCEPTED, Coding};

/// Bytes of a body that is read whole, unless a handler says otherwise. A prompt of a million tokens has some 4 MB.
pub const WHOLE_MAX: usize = 32 << 20;

/// Bytes of all bodies together that are being read whole: many who send slowly must not fill the memory.
const TOGETHER_MAX: usize = 512 << 20;

/// How many of them there are.
static TOGETHER: AtomicUsize = AtomicUsize::new(0);

/// Why a body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// It is longer than this many bytes.
    TooLarge {
        /// What may come.
        limit: usize,
    },
    /// It comes too slowly.
    Slow,
    /// Too many bodies come at once; this one may come again.
    Crowded,
    /// It is not framed as HTTP has it, or the sender went away within it.
    Broken,
    /// It is compressed in a way that is not known here.
    Coding,
    /// It is not what its `Content-Encoding` says.
    Damaged,
}

impl Fault {
    /// What to answer.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Crowded => StatusCode::SERVICE_UNAVAILABLE,
            Self::Broken | Self::Damaged => StatusCode::BAD_REQUEST,
            Self::Coding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { limit } => write!(f, "the request body is longer than {limit} bytes"),
            Self::Slow => f.write_str("the request body came too slowly"),
            Self::Crowded => f.write_str("too many large requests come at once; try again in a moment"),
            Self::Broken => f.write_str("the request body is broken or ended early"),
            Self::Coding => {
                write!(f, "the request body has a content-encoding that is not known here; those are {ACCEPTED}")
            }
            Self::Damaged => f.write_str("the request body is not what its content-encoding says"),
        }
    }
}

impl std::error::Error for Fault {}

type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, Fault>> + Send>>;

/// A body that is read once.
pub struct Body {
    pieces: Option<Pieces>,
    length: Option<u64>,
    coding: Coding,
}

impl Body {
    /// Nothing.
    pub fn empty() -> Self {
        Self { pieces: None, length: Some(0), coding: Coding::Identity }
    }

    /// What `pieces` yields, `length` bytes in all where that is known.
    pub fn new(pieces: impl Stream<Item = Result<Bytes, Fault>> + Send + 'static, length: Option<u64>) -> Self {
        Self { pieces: Some(Box::pin(pieces)), length, coding: Coding::Identity }
    }

    /// The same, compressed.
    pub fn coded(self, coding: Coding) -> Self {
        Self { coding, ..self }
    }

    /// How many bytes come in all, if the sender said so.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// The next bytes; nothing at the end. For bodies of any length: what is not asked for is not received. One that
    /// is compressed cannot be had in pieces.
    pub async fn chunk(&mut self) -> Option<Result<Bytes, Fault>> {
        if self.coding != Coding::Identity {
            return Some(Err(Fault::Coding));
        }
        self.piece().await
    }

    async fn piece(&mut self) -> Option<Result<Bytes, Fault>> {
        self.pieces.as_mut()?.next().await
    }

    /// All bytes, [`WHOLE_MAX`] at most.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn whole(&mut self) -> Result<Vec<u8>, Fault> {
        self.whole_within(WHOLE_MAX).await
    }

    /// All bytes, `limit` at most, of those that come and of those that they stand for.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn whole_within(&mut self, limit: usize) -> Result<Vec<u8>, Fault> {
        if self.coding == Coding::Unknown {
            return Err(Fault::Coding);
        }
        let large = Fault::TooLarge { limit };
        if self.length.is_some_and(|length| length > limit as u64) {
            return Err(large);
        }
        // Memory follows what came, not what was announced.
        let (mut whole, mut share) = (Vec::new(), Share { of: &TOGETHER, bytes: 0 });
        while let Some(piece) = self.piece().await {
            let piece = piece?;
            if piece.len() > limit - whole.len() {
                return Err(large);
            }
            share.grow(piece.len(), TOGETHER_MAX)?;
            whole.extend_from_slice(&piece);
        }
        match self.coding {
            Coding::Identity => Ok(whole),
            coding => {
                let read = move || coding.read(&whole, limit, |bytes| share.grow(bytes, TOGETHER_MAX));
                smol::unblock(read).await
            }
        }
    }
}

/// A part of what all may hold together; given back when it is dropped.
struct Share<'a> {
    of: &'a AtomicUsize,
    bytes: usize,
}

impl Share<'_> {
    fn grow(&mut self, bytes: usize, max: usize) -> Result<(), Fault> {
        self.bytes += bytes;
        let before = self.of.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > max { Err(Fault::Crowded) } else { Ok(()) }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.of.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Self {
        let bytes = bytes.into();
        let length = bytes.len() as u64;
        Self::new(smol::stream::once(Ok(bytes)), Some(length))
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never what stands in it.
        f.debug_struct("Body").field("length", &self.length).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_read_whole_up_to_the_limit() {
        smol::block_on(async {
            assert_eq!(Body::empty().whole().await, Ok(Vec::new()));
            assert_eq!(Body::from("12345").whole_within(5).await, Ok(b"12345".to_vec()));
            assert_eq!(Body::from("12345").whole_within(4).await, Err(Fault::TooLarge { limit: 4 }));
            let unknown = |count| Body::new(smol::stream::repeat(Ok(Bytes::from_static(b"ab"))).take(count), None);
            assert_eq!(unknown(2).whole_within(4).await, Ok(b"abab".to_vec()));
            assert_eq!(unknown(usize::MAX).whole_within(4).await, Err(Fault::TooLarge { limit: 4 }));
        });
    }

    #[test]
    fn all_bodies_together_have_a_limit_and_give_back_what_they_held() {
        let together = AtomicUsize::new(0);
        let mut first = Share { of: &together, bytes: 0 };
        assert_eq!(first.grow(6, 10), Ok(()));
        let mut second = Share { of: &together, bytes: 0 };
        assert_eq!(second.grow(4, 10), Ok(()));
        assert_eq!(second.grow(1, 10), Err(Fault::Crowded));
        drop(first);
        assert_eq!(second.grow(1, 10), Ok(()));
        drop(second);
        assert_eq!(together.into_inner(), 0);
    }

    #[test]
    fn a_body_is_read_in_pieces() {
        smol::block_on(async {
            let pieces = [Ok(Bytes::from_static(b"a")), Err(Fault::Slow)];
            let mut body = Body::new(smol::stream::iter(pieces), None);
            assert_eq!(body.chunk().await, Some(Ok(Bytes::from_static(b"a"))));
            assert_eq!(body.chunk().await, Some(Err(Fault::Slow)));
            assert_eq!(body.chunk().await, None);
        });
    }
}
