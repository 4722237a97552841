//! From the bytes of tokens to text that may be shown: whole characters only, and nothing that may yet
//! turn out to be the beginning of a stop text.

use alloc::{string::String, vec::Vec};

/// What became certain by one more token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Text that may be shown; often empty.
    pub text: String,
    /// The stop text that came, if one did. What follows it is dropped.
    pub stopped: Option<String>,
}

/// Holds back what is not certain.
#[derive(Clone, Debug)]
pub struct Stream {
    stops: Vec<String>,
    held: Vec<u8>,
}

impl Stream {
    /// A stream that ends at the first of `stops`; empty ones count for nothing.
    pub fn new(stops: &[String]) -> Self {
        Self { stops: stops.iter().filter(|stop| !stop.is_empty()).cloned().collect(), held: Vec::new() }
    }

    /// Bytes that came and may not be shown yet.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// The stop text that is the name of a control token.
    pub fn stop_in(&self, name: &str) -> Option<&str> {
        self.stops.iter().map(String::as_str).find(|stop| *stop == name)
    }

    /// Takes the bytes of one token.
    pub fn push(&mut self, bytes: &[u8]) -> Step {
        self.held.extend_from_slice(bytes);
        let found = self.stops.iter().filter_map(|stop| Some((find(&self.held, stop.as_bytes())?, stop)));
        if let Some((at, stop)) = found.min_by_key(|&(at, stop)| (at, stop.len())) {
            let stopped = Some(stop.clone());
            self.held.truncate(at);
            return Step { text: self.finish(), stopped };
        }
        let certain = self.held.len() - self.open_stop().max(open_char(&self.held));
        let text = String::from_utf8_lossy(&self.held[..certain]).into_owned();
        self.held.drain(..certain);
        Step { text, stopped: None }
    }

    /// The rest; an unfinished character becomes U+FFFD.
    pub fn finish(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.held).into_owned();
        self.held.clear();
        text
    }

    /// Bytes at the end that could be the beginning of a stop text.
    fn open_stop(&self) -> usize {
        let open = |stop: &String| {
            let stop = stop.as_bytes();
            (1..stop.len()).rev().find(|&len| self.held.ends_with(&stop[..len])).unwrap_or(0)
        };
        let len = self.stops.iter().map(open).max().unwrap_or(0);
        // Whole characters only: what is held back begins where a character does.
        let mut from = self.held.len() - len;
        while from > 0 && from < self.held.len() && self.held[from] & 0xc0 == 0x80 {
            from -= 1;
        }
        self.held.len() - from
    }
}

/// Bytes at the end that begin a character and do not finish it.
fn open_char(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let byte = bytes[bytes.len() - back];
        let len = match byte {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            0x80..=0xbf => continue,
            _ => return 0,
        };
        return if len > back { back } else { 0 };
    }
    0
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn a_character_is_shown_when_it_is_whole() {
        let mut stream = Stream::new(&[]);
        assert_eq!(stream.push(&[b'a', 0xf0, 0x9f]).text, "a");
        assert_eq!(stream.push(&[0x98]).text, "");
        assert_eq!(stream.push(&[0x80, b'b']).text, "\u{1f600}b");
        assert_eq!(stream.push(&[0xe4]).text, "");
        assert_eq!(stream.finish(), "\u{fffd}");
    }

    #[test]
    fn a_stop_text_is_found_across_tokens_and_not_shown() {
        let mut stream = Stream::new(&["STOP".to_string()]);
        assert_eq!(stream.push(b"go ST").text, "go ");
        assert_eq!(stream.push(b"OR").text, "STOR");
        assert_eq!(stream.push(b"!S").text, "!");
        assert_eq!(stream.push(b"TOP and more"), Step { text: String::new(), stopped: Some("STOP".into()) });
    }

    #[test]
    fn the_first_of_several_stops_wins() {
        let mut stream = Stream::new(&["bb".to_string(), "ab".to_string()]);
        assert_eq!(stream.push(b"xabb"), Step { text: "x".into(), stopped: Some("ab".into()) });
    }
}
