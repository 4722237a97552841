//! Bodies that come compressed: gzip, and zstd, which some agents send.
//!
//! Nobody can tell a bomb from a body before it is opened: what comes out is counted as it comes out.
//!
//! Sources: RFC 9110 §8.4; RFC 8878 §3.1.1.1.2 for the window.

use std::io::{self, Read};

use http::{HeaderMap, header};

use super::body::Fault;

/// What we can read, as `Accept-Encoding` says it.
pub const ACCEPTED: &str = "gzip, zstd";

/// The largest window of a zstd frame: it is memory before a single byte comes out.
const WINDOW_MAX: u64 = 8 << 20;

/// Bytes that are taken out at once.
const PIECE: usize = 64 << 10;

/// How the bytes of a body are to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coding {
    /// As they are.
    #[default]
    Identity,
    /// As RFC 1952 says.
    Gzip,
    /// As RFC 8878 says.
    Zstd,
    /// In a way that we do not know, or in several.
    Unknown,
}

impl Coding {
    /// What the fields of a head say.
    pub fn of_fields(fields: &HeaderMap) -> Self {
        let mut all = fields.get_all(header::CONTENT_ENCODING).iter();
        match (all.next(), all.next()) {
            (Some(field), None) => field.to_str().map_or(Self::Unknown, |text| Self::of(Some(text))),
            (Some(_), Some(_)) => Self::Unknown,
            (None, _) => Self::Identity,
        }
    }

    /// What `Content-Encoding` says; nothing where it is absent.
    fn of(field: Option<&str>) -> Self {
        match field.map(|text| text.trim().to_ascii_lowercase()).as_deref() {
            None | Some("" | "identity") => Self::Identity,
            Some("gzip" | "x-gzip") => Self::Gzip,
            Some("zstd") => Self::Zstd,
            Some(_) => Self::Unknown,
        }
    }

    /// What stands in `bytes`, `limit` bytes at most. `grow` is told of every piece before it is kept.
    ///
    /// # Errors
    /// [`Fault`], and what `grow` says.
    pub fn read(
        self,
        bytes: &[u8],
        limit: usize,
        mut grow: impl FnMut(usize) -> Result<(), Fault>,
    ) -> Result<Vec<u8>, Fault> {
        let mut reader: Box<dyn Read + '_> = match self {
            Self::Identity => Box::new(bytes),
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(bytes)),
            Self::Zstd => Box::new(Frames { rest: bytes, open: None }),
            Self::Unknown => return Err(Fault::Coding),
        };
        let (mut whole, mut piece) = (Vec::new(), vec![0; PIECE]);
        loop {
            let read = reader.read(&mut piece).map_err(|_| Fault::Damaged)?;
            if read == 0 {
                return Ok(whole);
            }
            if read > limit - whole.len() {
                return Err(Fault::TooLarge { limit });
            }
            grow(read)?;
            whole.extend_from_slice(&piece[..read]);
        }
    }
}

type Frame<'b> = ruzstd::decoding::StreamingDecoder<&'b [u8], ruzstd::decoding::FrameDecoder>;

/// One zstd frame after the other.
struct Frames<'b> {
    rest: &'b [u8],
    open: Option<Box<Frame<'b>>>,
}

impl Read for Frames<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(frame) = &mut self.open {
                match frame.read(out)? {
                    0 => self.rest = self.open.take().map_or(&[], |frame| frame.into_inner()),
                    read => return Ok(read),
                }
            }
            if self.rest.is_empty() {
                return Ok(0);
            }
            let frame = Frame::new_with_max_window_size(self.rest, WINDOW_MAX).map_err(io::Error::other)?;
            self.open = Some(Box::new(frame));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// `hello hello hello\n`, by the zstd program.
    const HELLO: &[u8] = &[
        0x28, 0xb5, 0x2f, 0xfd, 0x04, 0x58, 0x6d, 0x00, 0x00, 0x38, 0x68, 0x65, 0x6c, 0x6c, 0x6f, 0x20, 0x0a, 0x01,
        0x00, 0x31, 0x4a, 0x11, 0xa3, 0xaa, 0x74, 0xce,
    ];

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).and_then(|()| encoder.finish()).unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
    }

    fn read(coding: Coding, bytes: &[u8], limit: usize) -> Result<Vec<u8>, Fault> {
        coding.read(bytes, limit, |_| Ok(()))
    }

    #[test]
    fn what_was_compressed_is_read() {
        let text = b"hello ".repeat(50_000);
        for (coding, bytes) in [(Coding::Gzip, gzip(&text)), (Coding::Zstd, zstd(&text))] {
            assert!(bytes.len() < text.len() / 100);
            assert_eq!(read(coding, &bytes, text.len()), Ok(text.clone()));
            let twice = [bytes.clone(), bytes.clone()].concat();
            assert_eq!(read(coding, &twice, 2 * text.len()).map(|all| all.len()), Ok(2 * text.len()));
            assert_eq!(read(coding, &bytes, text.len() - 1), Err(Fault::TooLarge { limit: text.len() - 1 }));
            assert_eq!(read(coding, &bytes[..bytes.len() / 2], text.len()), Err(Fault::Damaged));
            assert_eq!(read(coding, b"{\"model\": \"x\"}", 100), Err(Fault::Damaged));
        }
        assert_eq!(read(Coding::Zstd, HELLO, 100), Ok(b"hello hello hello\n".to_vec()));
    }

    #[test]
    fn a_window_that_is_too_large_is_refused_before_it_is_made() {
        // Magic number, no content size, a window of 2^(10+17) bytes.
        assert_eq!(read(Coding::Zstd, &[0x28, 0xb5, 0x2f, 0xfd, 0x00, 17 << 3, 1, 0, 0], 100), Err(Fault::Damaged));
    }

    #[test]
    fn codings_are_known_by_their_names() {
        assert_eq!(Coding::of(None), Coding::Identity);
        assert_eq!(Coding::of(Some(" GZip ")), Coding::Gzip);
        assert_eq!(Coding::of(Some("zstd")), Coding::Zstd);
        for unknown in ["br", "deflate", "gzip, zstd"] {
            assert_eq!(Coding::of(Some(unknown)), Coding::Unknown);
        }
        assert_eq!(read(Coding::Unknown, b"x", 1), Err(Fault::Coding));
    }
}
