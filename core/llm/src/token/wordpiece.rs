//! WordPiece as BERT applies it (Devlin et al. 2019; the `BertTokenizer` of its release): lower case without
//! accents, punctuation and ideographs stand alone, then the longest token that fits, again and again.
//!
//! Files spell a token that begins a word with `▁` before it, and a continuing one bare.

use alloc::{string::String, vec::Vec};

use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

use super::{class::is_punctuation, vocab::Vocab};

/// Characters of a word at most; a longer one is unknown.
const WORD_MAX: usize = 100;

pub(super) struct WordPiece;

impl WordPiece {
    pub(super) fn new() -> Self {
        Self
    }

    pub(super) fn encode(&self, vocab: &Vocab, text: &str, unknown: Option<u32>, out: &mut Vec<u32>) {
        let mut word = String::new();
        let mut flush = |word: &mut String| {
            if !word.is_empty() {
                pieces(vocab, word, unknown, out);
                word.clear();
            }
        };
        for c in normal(text) {
            if c.is_whitespace() {
                flush(&mut word);
            } else if stands_alone(c) {
                flush(&mut word);
                word.push(c);
                flush(&mut word);
            } else {
                word.push(c);
            }
        }
        flush(&mut word);
    }
}

/// Clean, in lower case, without accents.
fn normal(text: &str) -> impl Iterator<Item = char> {
    let clean = text.chars().filter(|&c| !is_noise(c)).map(|c| if is_blank(c) { ' ' } else { c });
    let plain = clean.nfd().filter(|c| c.general_category() != GeneralCategory::NonspacingMark);
    plain.flat_map(char::to_lowercase)
}

fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r') || c.is_whitespace()
}

/// What is taken out: control and format characters. What has no meaning yet, or a private one, stays and is unknown.
fn is_noise(c: char) -> bool {
    use GeneralCategory::{Control, Format};
    if matches!(c, '\t' | '\n' | '\r') {
        return false;
    }
    matches!(c, '\0' | '\u{fffd}') || matches!(c.general_category(), Control | Format)
}

fn stands_alone(c: char) -> bool {
    c.is_ascii_punctuation() || is_punctuation(c) || is_ideograph(c)
}

/// CJK ideographs, the blocks that BERT names.
fn is_ideograph(c: char) -> bool {
    matches!(c as u32,
        0x4e00..=0x9fff | 0x3400..=0x4dbf | 0x20000..=0x2a6df | 0x2a700..=0x2b73f | 0x2b740..=0x2b81f
        | 0x2b920..=0x2ceaf | 0xf900..=0xfaff | 0x2f800..=0x2fa1f)
}

fn pieces(vocab: &Vocab, word: &str, unknown: Option<u32>, out: &mut Vec<u32>) {
    if word.chars().count() > WORD_MAX {
        out.extend(unknown);
        return;
    }
    let mut marked = String::from("\u{2581}");
    marked.push_str(word);
    let begun = out.len();
    let mut at = 0;
    while at < marked.len() {
        let ends = marked[at..].char_indices().map(|(i, c)| at + i + c.len_utf8()).rev();
        let found = ends.filter(|&end| at > 0 || end > '\u{2581}'.len_utf8()).find_map(|end| {
            let id = vocab.find(&marked[at..end])?;
            Some((id, end))
        });
        match found {
            Some((id, end)) => {
                out.push(id);
                at = end;
            }
            None => {
                out.truncate(begun);
                out.extend(unknown);
                return;
            }
        }
    }
}
