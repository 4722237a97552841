//! The head of a request, looked at before hyper parses it: what may be understood in two ways is refused.
//!
//! ```text
//! METHOD SP target SP HTTP/1.1 CRLF
//! Host: name CRLF
//! Content-Length: 12 CRLF  |  Transfer-Encoding: chunked CRLF
//! CRLF
//! ```
//!
//! A proxy and a server that disagree about where a message ends can be made to disagree about who asked what
//! (request smuggling). Hyper follows the letter of the RFC, that lets a server mend such messages; we do not mend.
//!
//! Source: RFC 9112 §2.2, §3, §5, §6.

use super::frame::Body;

/// Bytes of a head at most.
pub const HEAD_MAX: usize = 16 << 10;

/// Bytes of the first line at most.
const LINE_MAX: usize = 8 << 10;

/// Header fields at most.
const FIELDS_MAX: usize = 100;

/// Why a head is refused, with what to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status.
    pub status: u16,
    /// One line for whoever wrote the request.
    pub why: &'static str,
}

const fn bad(why: &'static str) -> Refusal {
    Refusal { status: 400, why }
}

/// Looks for the end of a head, as its bytes come in.
#[derive(Debug, Default)]
pub struct Scan {
    seen: usize,
    has_line: bool,
}

impl Scan {
    /// How many of these bytes are the head, once it is whole. `bytes` begins with it, and has only grown since the
    /// last call.
    ///
    /// # Errors
    /// [`Refusal`] as soon as it is plain that no good head can come of it.
    pub fn end(&mut self, bytes: &[u8]) -> Result<Option<usize>, Refusal> {
        while let Some(&byte) = bytes.get(self.seen) {
            let before = &bytes[..self.seen];
            match byte {
                b'\n' if before.last() != Some(&b'\r') => return Err(bad("a line ends without a carriage return")),
                b'\n' => {
                    self.has_line = true;
                    if before.ends_with(b"\r\n\r") {
                        return Ok(Some(self.seen + 1));
                    }
                }
                _ if before.last() == Some(&b'\r') => return Err(bad("a carriage return stands within a line")),
                b'\r' | b'\t' | b' '..=b'~' | 0x80.. => {}
                _ => return Err(bad("a control character stands in the head")),
            }
            self.seen += 1;
            if !self.has_line && self.seen > LINE_MAX {
                return Err(Refusal { status: 414, why: "the address is too long" });
            }
            if self.seen >= HEAD_MAX {
                return Err(Refusal { status: 431, why: "the head of the request is too long" });
            }
        }
        Ok(None)
    }
}

/// What follows a whole head.
///
/// # Errors
/// [`Refusal`].
pub fn body(head: &[u8]) -> Result<Body, Refusal> {
    let mut lines = head.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let is_11 = request_line(lines.next().unwrap_or_default())?;
    let mut found = Found::default();
    for (number, line) in lines.take_while(|line| !line.is_empty()).enumerate() {
        if number == FIELDS_MAX {
            return Err(Refusal { status: 431, why: "there are more than 100 header fields" });
        }
        field(line, &mut found)?;
    }
    if is_11 && !found.host {
        return Err(bad("the Host field is missing"));
    }
    match (found.length, found.chunked) {
        (Some(_), true) => Err(bad("Content-Length and Transfer-Encoding exclude each other")),
        (None, true) if !is_11 => Err(bad("HTTP/1.0 has no Transfer-Encoding")),
        (None, true) => Ok(Body::chunked()),
        (length, false) => Ok(Body::sized(length.unwrap_or(0))),
    }
}

/// Whether the line asks in HTTP/1.1; else it does in 1.0.
fn request_line(line: &[u8]) -> Result<bool, Refusal> {
    let mut parts = line.split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(bad("the first line is not `METHOD address HTTP/1.1`"));
    };
    if method.is_empty() || method.len() > 32 || !method.iter().copied().all(is_token) {
        return Err(bad("the method is no word"));
    }
    let is_11 = match version {
        b"HTTP/1.1" => true,
        b"HTTP/1.0" => false,
        _ if version.starts_with(b"HTTP/") => {
            return Err(Refusal { status: 505, why: "only HTTP/1.1 and HTTP/1.0 are spoken here" });
        }
        _ => return Err(bad("the first line is not `METHOD address HTTP/1.1`")),
    };
    if method == b"CONNECT" {
        return Err(Refusal { status: 405, why: "this is no proxy" });
    }
    let is_plain = target.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#');
    let has_form = target.starts_with(b"/")
        || (target == b"*" && method == b"OPTIONS")
        || target.starts_with(b"http://")
        || target.starts_with(b"https://");
    if !is_plain || !has_form {
        return Err(bad(
            "the address is none: it begins with a slash, and other characters than ASCII are written as %XX",
        ));
    }
    Ok(is_11)
}

#[derive(Default)]
struct Found {
    host: bool,
    length: Option<u64>,
    chunked: bool,
}

fn field(line: &[u8], found: &mut Found) -> Result<(), Refusal> {
    if line.starts_with(b" ") || line.starts_with(b"\t") {
        return Err(bad("a header field goes on in the next line"));
    }
    let Some(colon) = line.iter().position(|&byte| byte == b':') else {
        return Err(bad("a header field has no colon"));
    };
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    if name.is_empty() || !name.iter().copied().all(is_token) {
        return Err(bad("the name of a header field is no word"));
    }
    let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
    if is(b"host") {
        if std::mem::replace(&mut found.host, true) {
            return Err(bad("there are two Host fields"));
        }
        let is_host = |&byte: &u8| byte.is_ascii_alphanumeric() || b"-._:[]%~!$&'()*+;=".contains(&byte);
        if !value.iter().all(is_host) {
            return Err(bad("the Host field holds no host"));
        }
    } else if is(b"content-length") {
        if found.length.is_some() {
            return Err(bad("there are two Content-Length fields"));
        }
        found.length = Some(number(value).ok_or(bad("the Content-Length is no number"))?);
    } else if is(b"transfer-encoding") {
        if std::mem::replace(&mut found.chunked, true) {
            return Err(bad("there are two Transfer-Encoding fields"));
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Refusal { status: 501, why: "the only Transfer-Encoding known here is chunked" });
        }
    } else if is(b"expect") && !value.eq_ignore_ascii_case(b"100-continue") {
        return Err(Refusal { status: 417, why: "the only expectation known here is 100-continue" });
    }
    Ok(())
}

/// Digits and nothing else; more than fit are no number either.
fn number(text: &[u8]) -> Option<u64> {
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    is_number
        .then(|| std::str::from_utf8(text).ok()?.parse().ok())
        .flatten()
        .filter(|length| *length <= i64::MAX as u64)
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Body, u16> {
        let end = Scan::default().end(text.as_bytes()).map_err(|refusal| refusal.status)?;
        assert_eq!(end, Some(text.len()), "{text:?}");
        body(text.as_bytes()).map_err(|refusal| refusal.status)
    }

    fn with(fields: &str) -> Result<Body, u16> {
        read(&format!("POST /x HTTP/1.1\r\nHost: a\r\n{fields}\r\n"))
    }

    #[test]
    fn good_heads_say_what_follows() {
        assert_eq!(with(""), Ok(Body::sized(0)));
        assert_eq!(with("Content-Length: 12\r\n"), Ok(Body::sized(12)));
        assert_eq!(with("Content-Length:12 \r\nexpect: 100-Continue\r\n"), Ok(Body::sized(12)));
        assert_eq!(with("TRANSFER-encoding:\tChunked\r\n"), Ok(Body::chunked()));
        assert_eq!(with("X: \u{e4}\t \r\n"), Ok(Body::sized(0)));
        assert_eq!(read("GET http://a/b?c HTTP/1.0\r\n\r\n"), Ok(Body::sized(0)));
        assert_eq!(read("OPTIONS * HTTP/1.1\r\nhost:\r\n\r\n"), Ok(Body::sized(0)));
    }

    #[test]
    fn what_can_be_understood_in_two_ways_is_refused() {
        for (fields, status) in [
            ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", 400),
            ("Transfer-Encoding: chunked\r\nContent-Length: 1\r\n", 400),
            ("Content-Length: 1\r\nContent-Length: 1\r\n", 400),
            ("Content-Length: 1, 1\r\n", 400),
            ("Content-Length: +1\r\n", 400),
            ("Content-Length: 0x1\r\n", 400),
            ("Content-Length: \r\n", 400),
            ("Content-Length: -1\r\n", 400),
            ("Content-Length: 99999999999999999999\r\n", 400),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400),
            ("Transfer-Encoding: gzip, chunked\r\n", 501),
            ("Transfer-Encoding: xchunked\r\n", 501),
            ("Transfer-Encoding: \u{b}chunked\r\n", 400),
            ("Transfer-Encoding : chunked\r\n", 400),
            (" folded\r\n", 400),
            ("X: a\r\n b\r\n", 400),
            ("Host: b\r\n", 400),
            ("no colon\r\n", 400),
            (": x\r\n", 400),
            ("Expect: tea\r\n", 417),
            (&"a: b\r\n".repeat(100), 431),
        ] {
            assert_eq!(with(fields), Err(status), "{fields}");
        }
        for (text, status) in [
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
            ("GET / ICAP/1.0\r\nHost: a\r\n\r\n", 400),
            ("GET /\r\n\r\n", 400),
            ("GET x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET /\u{e4} HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("G@T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
            ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400),
            ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ] {
            assert_eq!(read(text), Err(status), "{text}");
        }
    }

    #[test]
    fn a_bad_head_is_refused_before_it_ends() {
        let status = |bytes: &[u8]| Scan::default().end(bytes).map_err(|refusal| refusal.status);
        assert_eq!(status(b"GET / HTTP/1.1\nHo"), Err(400));
        assert_eq!(status(b"GET / HTTP/1.1\rHo"), Err(400));
        assert_eq!(status(b"\x16\x03\x01\x02"), Err(400));
        assert_eq!(status(&b"a".repeat(LINE_MAX + 1)), Err(414));
        let long = [b"GET / HTTP/1.1\r\nx: ".to_vec(), b"a".repeat(HEAD_MAX)].concat();
        assert_eq!(status(&long), Err(431));
        assert_eq!(status(b"GET / HTTP/1.1\r\n"), Ok(None));
    }

    #[test]
    fn it_does_not_matter_how_a_head_is_cut() {
        let text = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
        let mut scan = Scan::default();
        for end in 0..text.len() {
            let expected = (end >= text.len() - 3).then_some(text.len() - 3);
            assert_eq!(scan.end(&text[..end]), Ok(expected), "{end}");
        }
    }
}
