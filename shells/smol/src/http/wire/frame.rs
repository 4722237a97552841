//! Where the body of a request ends.
//!
//! ```text
//! sized:    exactly as many bytes as the head said
//! chunked:  { hex size [; extension] CRLF  bytes CRLF }  0 CRLF  { trailer CRLF }  CRLF
//! ```
//!
//! Source: RFC 9112 §6 and §7.1. Line ends are CRLF and nothing else, sizes have digits and nothing else: the same
//! bytes must not end in another place for a proxy before us.

/// Bytes of an extension, or of all trailers, at most. Nobody uses either.
const EXTRA_MAX: u16 = 4096;

/// A body is not framed as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// A body of which some bytes may have passed already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Body(State);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// This many bytes are left.
    Sized(u64),
    /// Within the digits of a chunk's size.
    Size { size: u64, digits: u8 },
    /// Within an extension, that says nothing to us.
    Extension { size: u64, length: u16 },
    /// The line feed after a size.
    SizeEnd { size: u64 },
    /// This many bytes of a chunk are left.
    Data(u64),
    /// The carriage return after a chunk.
    DataCr,
    /// The line feed after a chunk.
    DataLf,
    /// Within trailers, `length` bytes of them so far; `empty` at the beginning of a line.
    Trailer { length: u16, empty: bool },
    /// The line feed that ends a trailer, or all of them.
    TrailerLf { length: u16, last: bool },
}

impl Body {
    /// A body of so many bytes.
    pub fn sized(length: u64) -> Self {
        Self(State::Sized(length))
    }

    /// A body in chunks.
    pub fn chunked() -> Self {
        Self(State::Size { size: 0, digits: 0 })
    }

    /// Whether nothing is left.
    pub fn is_done(&self) -> bool {
        self.0 == State::Sized(0)
    }

    /// How many of these bytes belong to the body; all, unless it ends among them.
    ///
    /// # Errors
    /// [`Broken`]; nothing of it may be used any more.
    pub fn pass(&mut self, bytes: &[u8]) -> Result<usize, Broken> {
        let mut at = 0;
        while at < bytes.len() && !self.is_done() {
            let (State::Sized(left) | State::Data(left)) = &mut self.0 else {
                self.0 = self.step(bytes[at])?;
                at += 1;
                continue;
            };
            let here = (*left).min((bytes.len() - at) as u64);
            *left -= here;
            // Fits: it is at most the length of a slice.
            at += here as usize;
            if self.0 == State::Data(0) {
                self.0 = State::DataCr;
            }
        }
        Ok(at)
    }

    /// What comes after one byte of what is not data.
    fn step(&self, byte: u8) -> Result<State, Broken> {
        use State::*;
        let digit = char::from(byte).to_digit(16).map(u64::from);
        Ok(match (self.0, byte) {
            // Fifteen digits are more than any disk has.
            (Size { size, digits }, _) if digits < 15 && digit.is_some() => {
                Size { size: size << 4 | digit.unwrap_or(0), digits: digits + 1 }
            }
            (Size { size, digits: 1.. }, b';') => Extension { size, length: 0 },
            (Size { size, digits: 1.. }, b'\r') | (Extension { size, .. }, b'\r') => SizeEnd { size },
            (Extension { size, length }, b'\t' | b' '..=b'~') if length < EXTRA_MAX => {
                Extension { size, length: length + 1 }
            }
            (SizeEnd { size: 0 }, b'\n') => Trailer { length: 0, empty: true },
            (SizeEnd { size }, b'\n') => Data(size),
            (DataCr, b'\r') => DataLf,
            (DataLf, b'\n') => Size { size: 0, digits: 0 },
            (Trailer { length, empty }, b'\r') => TrailerLf { length, last: empty },
            (Trailer { length, .. }, b'\t' | b' '..=b'~' | 0x80..) if length < EXTRA_MAX => {
                Trailer { length: length + 1, empty: false }
            }
            (TrailerLf { last: true, .. }, b'\n') => Sized(0),
            (TrailerLf { length, .. }, b'\n') => Trailer { length, empty: true },
            (
                Size { .. } | Extension { .. } | SizeEnd { .. } | DataCr | DataLf | Trailer { .. } | TrailerLf { .. },
                _,
            )
            | (Sized(_) | Data(_), _) => return Err(Broken),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(text: &[u8]) -> Result<(usize, bool), Broken> {
        let mut body = Body::chunked();
        let passed = body.pass(text)?;
        // However it is cut, it ends in the same place.
        for cut in 0..=text.len() {
            let mut body = Body::chunked();
            let first = body.pass(&text[..cut])?;
            let both = first + body.pass(&text[first..])?;
            assert_eq!(both, passed, "cut at {cut}");
        }
        Ok((passed, body.is_done()))
    }

    #[test]
    fn sized_bodies_end_after_their_size() {
        let mut body = Body::sized(5);
        assert_eq!(body.pass(b"abc"), Ok(3));
        assert!(!body.is_done());
        assert_eq!(body.pass(b"defg"), Ok(2));
        assert!(body.is_done());
        assert_eq!(body.pass(b"x"), Ok(0));
    }

    #[test]
    fn chunked_bodies_end_after_their_trailers() {
        for whole in [
            &b"0\r\n\r\n"[..],
            b"3\r\nabc\r\n0\r\n\r\n",
            b"00a;x=\"y\"\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n",
            b"1;\r\na\r\n000\r\nX: y\r\nZ: \xc3\xa4\r\n\r\n",
        ] {
            assert_eq!(pass(whole), Ok((whole.len(), true)));
            let more = [whole, b"GET / HTTP/1.1\r\n"].concat();
            assert_eq!(pass(&more), Ok((whole.len(), true)));
            assert_eq!(pass(&whole[..whole.len() - 1]), Ok((whole.len() - 1, false)));
        }
    }

    #[test]
    fn what_is_framed_otherwise_is_broken() {
        for text in [
            &b"\r\n"[..],
            b"3\nabc",
            b"3\r\nabcd\r\n",
            b"3\r\nabc\n",
            b"+3\r\n",
            b"0x3\r\n",
            b"-1\r\n",
            b" 3\r\n",
            b"3 \r\n",
            b"g\r\n",
            b";x\r\n",
            b"3;x\ny\r\n",
            b"3;\0\r\n",
            b"0000000000000001\r\n",
            b"ffffffffffffffff\r\n",
            b"0\r\n\n",
            b"0\r\nX: y\n",
            b"0\r\nX: \0\r\n",
        ] {
            assert_eq!(pass(text), Err(Broken), "{:?}", String::from_utf8_lossy(text));
        }
        let long = [b"1;".to_vec(), b"a".repeat(usize::from(EXTRA_MAX) + 1)].concat();
        assert_eq!(Body::chunked().pass(&long), Err(Broken));
        let trailers = [b"0\r\n".to_vec(), b"a: b\r\n".repeat(usize::from(EXTRA_MAX))].concat();
        assert_eq!(Body::chunked().pass(&trailers), Err(Broken));
    }
}
