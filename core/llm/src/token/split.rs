//! Cutting a text into words before their bytes are merged: the regular expressions of the model
//! families, written out. They look ahead (`\s+(?!\S)`), which engines without backtracking cannot.
//!
//! A text goes through the passes in turn; each cuts the pieces of the one before. Of the alternatives
//! of an expression the first that matches wins, as in the tokenizers that models were trained with.

use super::class::{is_letter, is_mark, is_number, is_punctuation, is_space, is_symbol};

/// How many digits stay together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Digits {
    /// At most so many.
    UpTo(usize),
    /// All that follow each other.
    All,
}

/// One pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// Numbers stand alone: `\p{N}{1,n}`.
    Numbers(Digits),
    /// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
    Gpt2,
    /// `(?i:'s|..)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,n}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
    Words { digits: Digits, contractions: bool },
    /// As `Words`, with words cut where capitals follow small letters, contractions at the end of
    /// the word, and `/` after punctuation.
    Cased { digits: Digits, contractions: bool },
    /// Runs of CJK ideographs and kana stand alone.
    Ideographs,
    /// `[punctuation][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|` and spaces as in `Words`.
    Punctuated,
    /// Runs of punctuation stand alone: ``[\p{P}$+<=>^~|`]+``.
    Punctuation { backtick: bool },
    /// Groups of three ASCII digits stand alone.
    ThreeDigits,
}

/// Gives each word of `text` to `word`, in order.
pub(super) fn words<'t>(passes: &[Pass], text: &'t str, word: &mut dyn FnMut(&'t str)) {
    let Some((pass, rest)) = passes.split_first() else {
        word(text);
        return;
    };
    let mut at = 0;
    // What no alternative matches stays together as a piece of its own.
    let mut loose = 0;
    while at < text.len() {
        match pass.matches(&text[at..]) {
            0 => at += text[at..].chars().next().map_or(1, char::len_utf8),
            len => {
                if loose < at {
                    words(rest, &text[loose..at], word);
                }
                words(rest, &text[at..at + len], word);
                at += len;
                loose = at;
            }
        }
    }
    if loose < at {
        words(rest, &text[loose..at], word);
    }
}

impl Pass {
    /// Bytes of the match at the start of `text`; 0 for none.
    fn matches(self, text: &str) -> usize {
        match self {
            Self::Numbers(digits) => numbers(text, digits),
            Self::Gpt2 => gpt2(text),
            Self::Words { digits, contractions } => plain_words(text, digits, contractions),
            Self::Cased { digits, contractions } => cased(text, digits, contractions),
            Self::Ideographs => run(text, is_ideograph),
            Self::Punctuated => punctuated(text),
            Self::Punctuation { backtick } => {
                run(text, |c| is_punctuation(c) || "$+<=>^~|".contains(c) || (backtick && c == '`'))
            }
            Self::ThreeDigits => {
                let three = text.as_bytes().first_chunk::<3>();
                if three.is_some_and(|three| three.iter().all(u8::is_ascii_digit)) { 3 } else { 0 }
            }
        }
    }
}

fn gpt2(text: &str) -> usize {
    let short = contraction(text, false);
    if short > 0 {
        return short;
    }
    let space = usize::from(text.starts_with(' '));
    let tail = &text[space..];
    for class in [is_letter as fn(char) -> bool, is_number, is_other] {
        let len = run(tail, class);
        if len > 0 {
            return space + len;
        }
    }
    spaces(text)
}

fn plain_words(text: &str, digits: Digits, contractions: bool) -> usize {
    if contractions && contraction(text, true) > 0 {
        return contraction(text, true);
    }
    let lead = prefix(text, |c| !matches!(c, '\r' | '\n') && !is_letter(c) && !is_number(c));
    let letters = run(&text[lead..], is_letter);
    if letters > 0 {
        return lead + letters;
    }
    rest(text, digits, |c| matches!(c, '\r' | '\n'))
}

fn punctuated(text: &str) -> usize {
    let mut chars = text.chars();
    if chars.next().is_some_and(|c| c.is_ascii_punctuation()) {
        let letters = run(chars.as_str(), |c| c.is_ascii_alphabetic());
        if letters > 0 {
            return 1 + letters;
        }
    }
    let outside = |c: char| !matches!(c, '\r' | '\n') && !is_letter(c) && !is_punctuation(c) && !is_symbol(c);
    let word = |c: char| is_letter(c) || is_mark(c);
    // The optional first character may be a mark itself; then the run begins with it.
    let lead = prefix(text, outside);
    let letters = match run(&text[lead..], word) {
        0 => run(text, word),
        len => lead + len,
    };
    if letters > 0 {
        return letters;
    }
    let space = usize::from(text.starts_with(' '));
    let marks = run(&text[space..], |c| is_punctuation(c) || is_symbol(c));
    if marks > 0 {
        let end = space + marks;
        return end + run(&text[end..], |c| matches!(c, '\r' | '\n'));
    }
    match lines(text) {
        0 => spaces(text),
        len => len,
    }
}

/// `[^\r\n\p{L}\p{N}]?` `upper*lower+|upper+lower*` contraction?, where letters without case are both.
fn cased(text: &str, digits: Digits, contractions: bool) -> usize {
    let lead = prefix(text, |c| !matches!(c, '\r' | '\n') && !is_letter(c) && !is_number(c));
    let word = cased_word(&text[lead..]);
    if word > 0 {
        let end = lead + word;
        return end + if contractions { contraction(&text[end..], true) } else { 0 };
    }
    rest(text, digits, |c| matches!(c, '\r' | '\n' | '/'))
}

fn cased_word(text: &str) -> usize {
    // "Not a small ASCII letter" and "not a large one": letters beyond ASCII are both.
    let upper = |c: char| is_letter(c) && !c.is_ascii_lowercase();
    let lower = |c: char| is_letter(c) && !c.is_ascii_uppercase();
    let head = run(text, upper);
    let tail = run(&text[head..], lower);
    if tail > 0 {
        return head + tail;
    }
    // Without small letters after it, the first alternative gives back large ones until the rest begins with
    // a letter that is both; the second takes the whole run. The first wins where it matches at all.
    let both = text[..head].char_indices().rev().find(|&(_, c)| lower(c));
    match both {
        Some((at, c)) if at + c.len_utf8() < head => at + run(&text[at..], lower),
        _ => head,
    }
}

/// `'s|'t|'re|'ve|'m|'ll|'d`.
fn contraction(text: &str, any_case: bool) -> usize {
    let bytes = text.as_bytes();
    if bytes.first() != Some(&b'\'') {
        return 0;
    }
    let at = |i: usize| bytes.get(i).map_or(0, |b| if any_case { b.to_ascii_lowercase() } else { *b });
    match (at(1), at(2)) {
        (b's' | b't' | b'm' | b'd', _) => 2,
        (b'r' | b'v', b'e') | (b'l', b'l') => 3,
        _ => 0,
    }
}

fn is_other(c: char) -> bool {
    !is_space(c) && !is_letter(c) && !is_number(c)
}

/// Ideographs, hiragana, katakana.
fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{4e00}'..='\u{9fa5}' | '\u{3040}'..='\u{309f}' | '\u{30a0}'..='\u{30ff}')
}

/// ` ?[^\s\p{L}\p{N}]+[tail]*`.
fn others(text: &str, tail: impl Fn(char) -> bool) -> usize {
    let space = usize::from(text.starts_with(' '));
    match run(&text[space..], is_other) {
        0 => 0,
        len => space + len + run(&text[space + len..], tail),
    }
}

/// `\s*[\r\n]+`: the white space up to its last line end.
fn lines(text: &str) -> usize {
    let space = run(text, is_space);
    text[..space].rfind(['\r', '\n']).map_or(0, |at| at + 1)
}

/// `\s+(?!\S)|\s+`: before a word the last white space is left to it.
fn spaces(text: &str) -> usize {
    let space = run(text, is_space);
    let last = text[..space].chars().next_back().map_or(0, char::len_utf8);
    if space == text.len() || space == last { space } else { space - last }
}

fn numbers(text: &str, digits: Digits) -> usize {
    let most = match digits {
        Digits::UpTo(most) => most,
        Digits::All => usize::MAX,
    };
    text.chars().take(most).take_while(|&c| is_number(c)).map(char::len_utf8).sum()
}

fn run(text: &str, class: impl Fn(char) -> bool) -> usize {
    text.find(|c| !class(c)).unwrap_or(text.len())
}

/// Bytes of the first character, if it is of the class.
fn prefix(text: &str, class: impl Fn(char) -> bool) -> usize {
    text.chars().next().filter(|&c| class(c)).map_or(0, char::len_utf8)
}

/// What is no word: `\p{N}{1,n}| ?[^\s\p{L}\p{N}]+[ends]*|\s*[\r\n]+|\s+(?!\S)|\s+`.
fn rest(text: &str, digits: Digits, ends: impl Fn(char) -> bool) -> usize {
    match numbers(text, digits).max(others(text, ends)) {
        0 => match lines(text) {
            0 => spaces(text),
            len => len,
        },
        len => len,
    }
}

/// All words, for tests.
#[cfg(test)]
fn list<'t>(passes: &[Pass], text: &'t str) -> alloc::vec::Vec<&'t str> {
    let mut list = alloc::vec::Vec::new();
    words(passes, text, &mut |word| list.push(word));
    list
}

#[cfg(test)]
mod tests {
    use super::{Digits::*, Pass::*, *};

    #[test]
    fn a_space_belongs_to_the_word_after_it() {
        assert_eq!(list(&[Gpt2], "a  b\n\n c1's!"), ["a", " ", " b", "\n\n", " c", "1", "'s", "!"]);
    }

    #[test]
    fn digits_stand_alone_or_in_threes() {
        assert_eq!(list(&[Numbers(UpTo(1)), Gpt2], "in 1234"), ["in", " ", "1", "2", "3", "4"]);
        let llama = [Words { digits: UpTo(3), contractions: true }];
        assert_eq!(list(&llama, "in 12345"), ["in", " ", "123", "45"]);
    }

    #[test]
    fn line_ends_take_the_space_before_them() {
        let qwen = [Words { digits: UpTo(1), contractions: true }];
        assert_eq!(list(&qwen, "a \n  b"), ["a", " \n", " ", " b"]);
        assert_eq!(list(&qwen, "x;\n\ty"), ["x", ";\n", "\ty"]);
    }

    #[test]
    fn capitals_begin_a_word_where_case_counts() {
        let cased = [Cased { digits: UpTo(3), contractions: true }];
        assert_eq!(list(&cased, "helloWorld HTTPServer's"), ["hello", "World", " HTTPServer's"]);
    }

    #[test]
    fn nothing_is_lost() {
        let text = "a\u{301} \u{4e16}\u{754c}1\u{661}  \r\n\t\u{1f600}x'LL \u{a0}";
        for pre in ["gpt-2", "smollm", "llama-bpe", "qwen2", "gpt-4o", "tekken", "deepseek-v3", "falcon", "default"] {
            let passes = super::super::names::passes(pre).unwrap();
            assert_eq!(list(passes, text).concat(), text, "{pre}");
        }
    }
}
