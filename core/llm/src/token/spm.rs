//! SentencePiece with scores (Kudo & Richardson 2018), as llama.cpp applies it: join the neighbours whose joint
//! token has the best score, and write what is no token in bytes.

use alloc::{borrow::Cow, collections::BinaryHeap, format, string::String, vec::Vec};
use core::cmp::Ordering;

use super::{Error, vocab::Vocab};
use crate::gguf::Gguf;

/// The character that stands for a space: U+2581.
const SPACE: &str = "\u{2581}";

pub(super) struct Spm {
    scores: Vec<f32>,
    prefix: bool,
}

impl Spm {
    pub(super) fn read(file: &Gguf<'_>, len: usize) -> Result<Self, Error> {
        let scores: Vec<f32> = match file.array("tokenizer.ggml.scores") {
            Some(scores) => scores.f32s().collect(),
            None => alloc::vec![0.0; len],
        };
        if scores.len() != len {
            return Err(Error::Inconsistent("it has another number of scores than of tokens"));
        }
        Ok(Self { scores, prefix: file.bool("tokenizer.ggml.add_space_prefix").unwrap_or(true) })
    }

    /// Whether a text gets a space before it.
    pub(super) fn prefixes(&self) -> bool {
        self.prefix
    }

    pub(super) fn encode(&self, vocab: &Vocab, text: &str, fresh: bool, unknown: Option<u32>, out: &mut Vec<u32>) {
        let prefix = if self.prefix && fresh { SPACE } else { "" };
        let text = format!("{prefix}{}", escaped(text));
        let mut parts: Vec<Part> = Vec::new();
        for (at, c) in text.char_indices() {
            let index = parts.len();
            parts.push(Part { start: at, end: at + c.len_utf8(), before: index.wrapping_sub(1), after: index + 1 });
        }
        let count = parts.len();
        let mut heap = BinaryHeap::new();
        let push = |parts: &[Part], left: usize, heap: &mut BinaryHeap<Pair>| {
            let Some(right) = parts.get(parts[left].after) else { return };
            if let Some(id) = vocab.find(&text[parts[left].start..right.end]) {
                heap.push(Pair { score: self.scores[id as usize], left, end: right.end });
            }
        };
        for left in 0..count {
            push(&parts, left, &mut heap);
        }
        while let Some(Pair { left, end, .. }) = heap.pop() {
            let right = parts[left].after;
            if parts[left].is_gone() || right >= count || parts[right].end != end {
                continue;
            }
            parts[left].end = end;
            parts[left].after = parts[right].after;
            parts[right].end = parts[right].start;
            if let Some(after) = parts.get(parts[left].after).map(|_| parts[left].after) {
                parts[after].before = left;
            }
            push(&parts, left, &mut heap);
            if parts[left].before < count {
                push(&parts, parts[left].before, &mut heap);
            }
        }
        for part in parts.iter().filter(|part| !part.is_gone()) {
            emit(vocab, &text[part.start..part.end], unknown, out);
        }
    }
}

fn escaped(text: &str) -> Cow<'_, str> {
    if text.contains(' ') { Cow::Owned(text.replace(' ', SPACE)) } else { Cow::Borrowed(text) }
}

fn emit(vocab: &Vocab, part: &str, unknown: Option<u32>, out: &mut Vec<u32>) {
    if let Some(id) = vocab.find(part) {
        out.push(id);
        return;
    }
    for byte in part.bytes() {
        let name: String = format!("<0x{byte:02X}>");
        out.extend(vocab.find(&name).or(unknown));
    }
}

/// The byte of a token called `<0x0A>`.
pub(super) fn byte(name: &str) -> Option<u8> {
    let hex = name.strip_prefix("<0x")?.strip_suffix('>')?;
    u8::from_str_radix(hex, 16).ok()
}

struct Part {
    start: usize,
    end: usize,
    before: usize,
    after: usize,
}

impl Part {
    fn is_gone(&self) -> bool {
        self.start == self.end
    }
}

/// Two neighbours that could be joined; the best score comes first, of equals the leftmost.
struct Pair {
    score: f32,
    left: usize,
    end: usize,
}

impl Ord for Pair {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Pair {}
