//! Byte-level byte-pair encoding (Radford et al. 2019, GPT-2; Sennrich et al. 2016 for the merging).
//!
//! The vocabulary is written in characters, one for each byte: printable Latin-1 stands for itself, the
//! other 68 bytes are moved to U+0100 and up, so that a space is `Ġ` and a line end `Ċ`.

use alloc::{collections::BinaryHeap, string::String, vec::Vec};
use core::cmp::Reverse;

use hashbrown::HashTable;

use super::{
    Error, names,
    split::{self, Pass},
    vocab::{Vocab, hash},
};
use crate::gguf::Gguf;

pub(super) struct Bpe {
    passes: &'static [Pass],
    whole_words: bool,
    /// All merges as files have them, `left right`, one after the other.
    merges: String,
    starts: Vec<u32>,
    ranks: HashTable<u32>,
}

impl Bpe {
    pub(super) fn read(file: &Gguf<'_>) -> Result<Self, Error> {
        let pre = file.str("tokenizer.ggml.pre").unwrap_or("default");
        let passes = names::passes(pre).ok_or_else(|| Error::Pre(pre.into()))?;
        let list = file.array("tokenizer.ggml.merges").ok_or(Error::Missing("tokenizer.ggml.merges"))?;
        let mut merges = String::new();
        let mut starts = Vec::new();
        for merge in list.strings() {
            starts.push(merges.len() as u32);
            merges.push_str(merge);
            if merges.len() > u32::MAX as usize / 2 {
                return Err(Error::Inconsistent("its merges are longer than 2 GiB"));
            }
        }
        let count = starts.len() as u32;
        starts.push(merges.len() as u32);
        let mut ranks = HashTable::with_capacity(count as usize);
        let text = |rank: u32| &merges[starts[rank as usize] as usize..starts[rank as usize + 1] as usize];
        for rank in 0..count {
            let hash = hash(text(rank).as_bytes());
            if ranks.find(hash, |&other| text(other) == text(rank)).is_none() {
                ranks.insert_unique(hash, rank, |&other| self::hash(text(other).as_bytes()));
            }
        }
        Ok(Self { passes, whole_words: names::takes_whole_words(pre), merges, starts, ranks })
    }

    pub(super) fn encode(&self, vocab: &Vocab, text: &str, unknown: Option<u32>, out: &mut Vec<u32>) {
        let mut scratch = Scratch::default();
        split::words(self.passes, text, &mut |word| {
            scratch.text.clear();
            scratch.text.extend(word.bytes().map(char_of));
            match vocab.find(&scratch.text) {
                Some(id) if self.whole_words => out.push(id),
                _ => self.merge(vocab, &mut scratch, unknown, out),
            }
        });
    }

    /// Joins the best pair again and again: lowest rank first, of equals the leftmost.
    fn merge(&self, vocab: &Vocab, scratch: &mut Scratch, unknown: Option<u32>, out: &mut Vec<u32>) {
        let Scratch { text, parts, heap, pair } = scratch;
        parts.clear();
        let mut at = 0;
        for c in text.chars() {
            let index = parts.len();
            parts.push(Part { start: at, end: at + c.len_utf8(), before: index.wrapping_sub(1), after: index + 1 });
            at += c.len_utf8();
        }
        let count = parts.len();
        let mut push = |parts: &[Part], left: usize, heap: &mut BinaryHeap<_>| {
            let right = parts[left].after;
            if right >= count {
                return;
            }
            let (left_text, right_text) =
                (&text[parts[left].start..parts[left].end], &text[parts[right].start..parts[right].end]);
            if let Some(rank) = self.rank(left_text, right_text, pair) {
                heap.push(Reverse((rank, left, parts[right].end)));
            }
        };
        heap.clear();
        for left in 0..count {
            push(parts, left, heap);
        }
        while let Some(Reverse((_, left, end))) = heap.pop() {
            let right = parts[left].after;
            // Stale: one of the two was joined to something else meanwhile.
            if parts[left].is_gone() || right >= count || parts[right].end != end {
                continue;
            }
            parts[left].end = end;
            parts[left].after = parts[right].after;
            parts[right].end = parts[right].start;
            if parts[left].after < count {
                let after = parts[left].after;
                parts[after].before = left;
            }
            push(parts, left, heap);
            if parts[left].before < count {
                let before = parts[left].before;
                push(parts, before, heap);
            }
        }
        for part in parts.iter().filter(|part| !part.is_gone()) {
            emit(vocab, &text[part.start..part.end], unknown, out);
        }
    }

    fn rank(&self, left: &str, right: &str, pair: &mut String) -> Option<u32> {
        pair.clear();
        pair.push_str(left);
        pair.push(' ');
        pair.push_str(right);
        let text =
            |rank: u32| &self.merges[self.starts[rank as usize] as usize..self.starts[rank as usize + 1] as usize];
        self.ranks.find(hash(pair.as_bytes()), |&rank| text(rank) == pair.as_str()).copied()
    }
}

/// What a merged part is; a part that is no token falls back to its bytes.
fn emit(vocab: &Vocab, part: &str, unknown: Option<u32>, out: &mut Vec<u32>) {
    if let Some(id) = vocab.find(part) {
        out.push(id);
        return;
    }
    let mut one = [0; 4];
    for c in part.chars() {
        out.extend(vocab.find(c.encode_utf8(&mut one)).or(unknown));
    }
}

/// Memory that is used again for every word.
#[derive(Default)]
struct Scratch {
    text: String,
    parts: Vec<Part>,
    heap: BinaryHeap<Reverse<(u32, usize, usize)>>,
    pair: String,
}

/// A piece of the word, in a list that shrinks.
#[derive(Clone, Copy)]
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

/// The character that stands for a byte.
fn char_of(byte: u8) -> char {
    match byte {
        b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => byte as char,
        0..=0x20 => char::from_u32(0x100 + u32::from(byte)).expect("a Latin letter"),
        0x7f..=0xa0 => char::from_u32(0x121 + u32::from(byte - 0x7f)).expect("a Latin letter"),
        0xad => '\u{143}',
    }
}

/// The byte that a character stands for; `None` for one that stands for none.
fn byte_of(c: char) -> Option<u8> {
    match c as u32 {
        n @ (0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) => Some(n as u8),
        n @ 0x100..=0x120 => Some((n - 0x100) as u8),
        n @ 0x121..=0x142 => Some((n - 0x121 + 0x7f) as u8),
        0x143 => Some(0xad),
        _ => None,
    }
}

/// The bytes of a token's name; characters that stand for none remain as they are.
pub(super) fn bytes(name: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    for c in name.chars() {
        match byte_of(c) {
            Some(byte) => out.push(byte),
            None => out.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_character_of_its_own() {
        for byte in 0..=u8::MAX {
            assert_eq!(byte_of(char_of(byte)), Some(byte));
        }
        assert_eq!((char_of(b' '), char_of(b'\n')), ('\u{120}', '\u{10a}'));
    }
}
