//! Where a JSON value ends, and what stands in an object that is not complete.

use alloc::string::String;

/// Finds the end of a JSON value that comes in pieces. It looks at brackets and quotes alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    begun: bool,
    depth: u32,
    in_string: bool,
    escaped: bool,
}

impl Scan {
    /// Within an object whose brace came already.
    pub(super) fn within() -> Self {
        Self { begun: true, depth: 1, ..Self::default() }
    }

    /// Whether anything of the value came.
    pub(super) fn has_begun(self) -> bool {
        self.begun
    }

    /// Takes more text in; the number of bytes of it that end the value, once they do. A word or a number ends where
    /// something else begins.
    pub(super) fn feed(&mut self, text: &str) -> Option<usize> {
        for (at, byte) in text.bytes().enumerate() {
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => {
                        self.in_string = false;
                        if self.depth == 0 {
                            return Some(at + 1);
                        }
                    }
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' if self.depth == 0 => return Some(at),
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Some(at + 1);
                    }
                }
                b',' if self.depth == 0 => return Some(at),
                _ if self.depth == 0 && self.begun && byte.is_ascii_whitespace() => return Some(at),
                _ => {}
            }
            self.begun = true;
        }
        None
    }
}

/// What is known of an object that may be a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Nothing yet.
    More,
    /// It is none.
    Bad,
    /// A call whose arguments begin at this byte.
    Arguments { name: String, at: usize },
    /// A call that is complete, up to this byte; its arguments are empty where there were none.
    Whole { name: String, arguments: String, end: usize },
}

/// Looks at an object from its brace on.
pub(super) fn look(text: &str) -> Look {
    let (mut name, mut arguments) = (None, None);
    let mut at = 1;
    loop {
        at = spaces(text, at);
        match text.as_bytes().get(at) {
            None => return Look::More,
            Some(b'}') => {
                return match name {
                    Some(name) => Look::Whole { name, arguments: arguments.unwrap_or_default(), end: at + 1 },
                    None => Look::Bad,
                };
            }
            Some(b',') => {
                at += 1;
                continue;
            }
            Some(b'"') => {}
            Some(_) => return Look::Bad,
        }
        let Some(end) = value_end(text, at) else { return Look::More };
        let Ok(key) = serde_json::from_str::<String>(&text[at..end]) else { return Look::Bad };
        at = spaces(text, end);
        match text.as_bytes().get(at) {
            None => return Look::More,
            Some(b':') => at = spaces(text, at + 1),
            Some(_) => return Look::Bad,
        }
        let Some(&first) = text.as_bytes().get(at) else { return Look::More };
        let is_arguments = matches!(key.as_str(), "arguments" | "parameters");
        if is_arguments && !matches!(first, b'{' | b'"' | b'n') {
            return Look::Bad;
        }
        if let (true, Some(name)) = (is_arguments, &name) {
            return Look::Arguments { name: name.clone(), at };
        }
        let Some(end) = value_end(text, at) else { return Look::More };
        let value = &text[at..end];
        if is_arguments {
            arguments = Some(value.into());
        } else if key == "name" {
            match serde_json::from_str::<String>(value) {
                Ok(text) => name = Some(text),
                Err(_) => return Look::Bad,
            }
        }
        at = end;
    }
}

fn value_end(text: &str, at: usize) -> Option<usize> {
    Scan::default().feed(&text[at..]).map(|len| at + len)
}

fn spaces(text: &str, at: usize) -> usize {
    text.len() - text[at..].trim_start().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_ends_where_its_brackets_do() {
        for (text, end) in [
            ("{\"a\": \"}\\\"}\", \"b\": [{}]} x", Some(24)),
            ("\"a\\\"b\", 1", Some(6)),
            ("12, 3", Some(2)),
            ("null}", Some(4)),
            ("{\"a\": [1, 2}", None),
            ("{\"a\": \"", None),
        ] {
            assert_eq!(Scan::default().feed(text), end, "{text}");
            let mut scan = Scan::default();
            let (mut found, mut before) = (None, 0);
            for c in text.split_inclusive(|_| true) {
                if let Some(len) = scan.feed(c) {
                    found = Some(before + len);
                    break;
                }
                before += c.len();
            }
            assert_eq!(found, end, "{text}, byte by byte");
        }
    }

    #[test]
    fn an_object_is_known_for_a_call_before_it_ends() {
        let whole =
            |name: &str, arguments: &str, end| Look::Whole { name: name.into(), arguments: arguments.into(), end };
        for (text, found) in [
            ("{\"name\": \"f\", \"arguments\": {\"a", Look::Arguments { name: "f".into(), at: 27 }),
            ("{\"name\": \"f\", \"arguments\":", Look::More),
            ("{\"name\": \"f", Look::More),
            ("{\"type\": \"function\", \"name\": \"f\"", Look::More),
            ("{\"arguments\": {\"a\": 1}, \"name\": \"f\"}", whole("f", "{\"a\": 1}", 36)),
            ("{\"name\": \"f\"}", whole("f", "", 13)),
            ("{\"name\": 1}", Look::Bad),
            ("{\"a\": 1}", Look::Bad),
            ("{a", Look::Bad),
            ("{\"name\": \"f\", \"arguments\": [1", Look::Bad),
        ] {
            assert_eq!(look(text), found, "{text}");
        }
    }
}
