//! Harmed requests by the ten thousand: nothing panics, it does not matter how the bytes arrive, and what passes means
//! the same to the parser behind.

use super::{
    frame::Body,
    head::{self, HEAD_MAX, Scan},
};

/// Requests that are sound, so that harm reaches every corner.
const SEEDS: [&str; 5] = [
    "GET /api/tags?a=b HTTP/1.1\r\nHost: localhost:11434\r\nAccept: */*\r\n\r\n",
    "POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n{\"model\":1}",
    "POST /api/blobs/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nabcde\r\n1A\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\nX: y\r\n\r\n",
    "HEAD http://localhost/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\n\r\nPOST /b HTTP/1.1\r\nHost: b\r\nContent-Length: 3\r\n\r\nabc",
];

/// What is put in the place of other things.
const HARM: [&str; 20] = [
    "\r",
    "\n",
    "\r\n",
    "\r\n\r\n",
    " ",
    "\t",
    ":",
    ";",
    ",",
    "\0",
    "\u{7f}",
    "0",
    "f",
    "+",
    "-1",
    "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "chunked",
    "HTTP/1.1",
    "\u{e4}",
];

/// Xorshift: the same harm in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

fn harmed(chance: &mut Chance) -> Vec<u8> {
    let mut bytes = SEEDS[chance.below(SEEDS.len())].as_bytes().to_vec();
    for _ in 0..chance.below(4) {
        let at = chance.below(bytes.len() + 1);
        let end = (at + chance.below(4)).min(bytes.len());
        let new = HARM[chance.below(HARM.len())].as_bytes();
        match chance.below(3) {
            0 => drop(bytes.splice(at..end, new.iter().copied())),
            1 => drop(bytes.drain(at..end)),
            _ => drop(bytes.splice(at..at, new.iter().copied())),
        }
    }
    bytes
}

/// Where each message of a stream ends, and the status that ends the stream; told by what came piece by piece.
fn read(bytes: &[u8], mut cut: impl FnMut(usize) -> usize) -> (Vec<usize>, Option<u16>) {
    let (mut ends, mut start, mut arrived) = (Vec::new(), 0, 0);
    let (mut scan, mut body) = (Scan::default(), None::<Body>);
    loop {
        let here = &bytes[start..arrived];
        match &mut body {
            None => {
                match scan.end(here).and_then(|end| end.map(|end| Ok((end, head::body(&here[..end])?))).transpose()) {
                    Ok(Some((end, next))) => {
                        start += end;
                        (body, scan) = (Some(next), Scan::default());
                        continue;
                    }
                    Ok(None) => {}
                    Err(refusal) => return (ends, Some(refusal.status)),
                }
            }
            Some(left) => {
                let Ok(passed) = left.pass(here) else { return (ends, Some(0)) };
                start += passed;
                if left.is_done() {
                    ends.push(start);
                    body = None;
                    continue;
                }
            }
        }
        if arrived == bytes.len() {
            return (ends, None);
        }
        arrived = (arrived + cut(bytes.len() - arrived).max(1)).min(bytes.len());
    }
}

#[test]
fn harmed_requests_end_in_the_same_place_however_they_arrive() {
    let mut chance = Chance(1);
    let (mut sound, mut refused) = (0, 0);
    for _ in 0..20_000 {
        let bytes = harmed(&mut chance);
        let whole = read(&bytes, |rest| rest);
        assert_eq!(read(&bytes, |_| 1), whole, "{:?}", String::from_utf8_lossy(&bytes));
        assert_eq!(read(&bytes, |_| chance.below(9)), whole, "{:?}", String::from_utf8_lossy(&bytes));
        sound += usize::from(!whole.0.is_empty());
        refused += usize::from(whole.1.is_some());
    }
    // Were all refused at the door, or none, nothing would be proved.
    assert!(sound > 2000 && refused > 2000, "{sound} {refused}");
}

#[test]
fn a_head_that_passes_means_the_same_to_the_parser_behind() {
    let mut chance = Chance(2);
    let mut passed = 0;
    for _ in 0..20_000 {
        let bytes = harmed(&mut chance);
        let Ok(Some(end)) = Scan::default().end(&bytes) else { continue };
        let Ok(body) = head::body(&bytes[..end]) else { continue };
        passed += 1;
        let mut fields = [httparse::EMPTY_HEADER; 100];
        let mut request = httparse::Request::new(&mut fields);
        let shown = String::from_utf8_lossy(&bytes);
        assert_eq!(request.parse(&bytes), Ok(httparse::Status::Complete(end)), "{shown:?}");
        let find = |name: &str| {
            request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).collect::<Vec<_>>()
        };
        let (lengths, codings) = (find("content-length"), find("transfer-encoding"));
        assert!(lengths.len() + codings.len() <= 1, "{shown:?}");
        let expected = match (lengths.first(), codings.first()) {
            (Some(length), _) => Body::sized(std::str::from_utf8(length.value).unwrap().trim().parse().unwrap()),
            (_, Some(_)) => Body::chunked(),
            _ => Body::sized(0),
        };
        assert_eq!(body, expected, "{shown:?}");
    }
    assert!(passed > 2000, "{passed}");
}

#[test]
fn noise_is_refused_within_the_limit() {
    let mut chance = Chance(3);
    for _ in 0..200 {
        let noise: Vec<u8> = (0..HEAD_MAX + 1).map(|_| chance.below(256) as u8).collect();
        assert!(Scan::default().end(&noise).is_err());
    }
    // Even where every byte of it is allowed in a head.
    assert!(Scan::default().end(&b"a: b\r\n".repeat(HEAD_MAX)).is_err());
}
