//! Text to token ids and back, as the file's vocabulary says.
//!
//! Three families: byte-level BPE (`bpe`, `gpt2` in files), SentencePiece with scores (`spm`,
//! `llama`), and WordPiece (`wordpiece`, `bert`). A token that controls the model (`<|im_end|>`) is read
//! out of text only where the caller says so: [`Special::Parse`].

mod bpe;
mod class;
mod names;
mod split;
mod spm;
pub mod stream;
mod vocab;
mod wordpiece;

use alloc::{borrow::Cow, string::String, vec::Vec};
use core::fmt;

use crate::gguf::Gguf;
use bpe::Bpe;
use spm::Spm;
use vocab::{Role, Vocab};
use wordpiece::WordPiece;

/// Whether control tokens are read out of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// Their names are text like any other: what a user wrote.
    Text,
    /// Their names stand for them: what a template wrote.
    Parse,
}

/// Why a vocabulary cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// A key that is needed is missing or of another type.
    Missing(&'static str),
    /// A tokenizer model that we do not have.
    Model(String),
    /// A pre-tokenizer that we do not have.
    Pre(String),
    /// Lists of different lengths, or a special token beyond the vocabulary.
    Inconsistent(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(key) => write!(f, "the key {key:?} is missing or of another type"),
            Self::Model(name) => {
                write!(f, "the tokenizer model {name:?} is not supported; these are: gpt2 llama bert")
            }
            Self::Pre(name) => write!(f, "the pre-tokenizer {name:?} is not supported"),
            Self::Inconsistent(what) => write!(f, "the vocabulary contradicts itself: {what}"),
        }
    }
}

impl core::error::Error for Error {}

/// A vocabulary and how text is cut into it.
pub struct Tokenizer {
    vocab: Vocab,
    method: Method,
    ids: Ids,
    /// Ids that end a generation, sorted.
    ends: Vec<u32>,
    /// White space after a special token is swallowed (Phi 3).
    strips_right: bool,
}

enum Method {
    Bpe(Bpe),
    Spm(Spm),
    WordPiece(WordPiece),
}

/// Tokens with a role, where there are any.
#[derive(Clone, Copy, Debug, Default)]
struct Ids {
    bos: Option<u32>,
    eos: Option<u32>,
    unknown: Option<u32>,
    separator: Option<u32>,
    add_bos: bool,
    add_eos: bool,
}

impl Tokenizer {
    /// Reads the vocabulary of a file.
    ///
    /// # Errors
    /// [`Error`], naming the key or the method.
    pub fn from_gguf(file: &Gguf<'_>) -> Result<Self, Error> {
        let vocab = Vocab::read(file)?;
        let model = file.str("tokenizer.ggml.model").ok_or(Error::Missing("tokenizer.ggml.model"))?;
        let method = match model {
            "gpt2" => Method::Bpe(Bpe::read(file)?),
            "llama" => Method::Spm(Spm::read(file, vocab.len())?),
            "bert" => Method::WordPiece(WordPiece::new()),
            other => return Err(Error::Model(other.into())),
        };
        let ids = Ids::read(file, &method, vocab.len())?;
        let ends = ends(file, &vocab, &ids);
        let name = file.str("general.name").unwrap_or_default().to_lowercase();
        let strips_right = matches!(method, Method::Spm(_)) && (name.contains("phi-3") || name.contains("phi3"));
        Ok(Self { vocab, method, ids, ends, strips_right })
    }

    /// Appends the ids of `text`, without beginning and end marks.
    pub fn encode(&self, text: &str, special: Special, out: &mut Vec<u32>) {
        let mut at = 0;
        // SentencePiece puts a space before a text, and before what follows a special token too.
        let mut fresh = true;
        while at < text.len() {
            let (plain, found) = self.vocab.next_special(&text[at..], special == Special::Parse);
            if plain > 0 {
                self.encode_plain(&text[at..at + plain], fresh, out);
                fresh = false;
            }
            at += plain;
            if let Some((id, len)) = found {
                out.push(id);
                at += len;
                fresh = true;
                if self.strips_right && !matches!(self.vocab.text(id), "<unk>" | "<s>" | "<|endoftext|>") {
                    at = text.len() - text[at..].trim_start().len();
                }
            }
        }
    }

    fn encode_plain(&self, text: &str, fresh: bool, out: &mut Vec<u32>) {
        match &self.method {
            Method::Bpe(bpe) => bpe.encode(&self.vocab, text, self.ids.unknown, out),
            Method::Spm(spm) => spm.encode(&self.vocab, text, fresh, self.ids.unknown, out),
            Method::WordPiece(words) => words.encode(&self.vocab, text, self.ids.unknown, out),
        }
    }

    /// Puts the marks around `ids` that the file asks for: beginning, end, `[CLS]`, `[SEP]`.
    pub fn add_special(&self, ids: &mut Vec<u32>) {
        if let (true, Some(bos)) = (self.ids.add_bos, self.ids.bos) {
            ids.insert(0, bos);
        }
        if self.ids.add_eos {
            let end = if matches!(self.method, Method::WordPiece(_)) { self.ids.separator } else { self.ids.eos };
            ids.extend(end);
        }
    }

    /// The mark at the beginning, where the file wants one.
    pub fn leading(&self) -> Option<u32> {
        self.ids.bos.filter(|_| self.ids.add_bos)
    }

    /// The bytes that a token stands for in a text; the name of a control token.
    pub fn piece(&self, id: u32) -> Cow<'_, [u8]> {
        let text = self.vocab.text(id);
        match (self.vocab.role(id), &self.method) {
            (Role::Control | Role::Unknown, _) => Cow::Borrowed(text.as_bytes()),
            (Role::UserDefined, Method::Bpe(_)) => Cow::Borrowed(text.as_bytes()),
            (_, Method::Bpe(_)) => Cow::Owned(bpe::bytes(text)),
            (Role::Byte, Method::Spm(_)) => Cow::Owned(spm::byte(text).into_iter().collect()),
            (_, Method::Spm(_) | Method::WordPiece(_)) if text.contains('\u{2581}') => {
                Cow::Owned(text.replace('\u{2581}', " ").into_bytes())
            }
            _ => Cow::Borrowed(text.as_bytes()),
        }
    }

    /// The text of many tokens; control tokens appear by name or, where `special` is not set, not at all.
    pub fn decode(&self, ids: &[u32], special: bool) -> Vec<u8> {
        let mut out = Vec::new();
        for &id in ids {
            if special || !self.is_control(id) {
                out.extend(&*self.piece(id));
            }
        }
        // The space that encoding put before a text is taken away again.
        let prefixed =
            matches!(&self.method, Method::Spm(spm) if spm.prefixes()) || matches!(self.method, Method::WordPiece(_));
        if prefixed && out.first() == Some(&b' ') {
            out.remove(0);
        }
        out
    }

    /// Whether the token ends a generation.
    pub fn is_end(&self, id: u32) -> bool {
        self.ends.binary_search(&id).is_ok()
    }

    /// Whether the token has a meaning to the model and none as text.
    pub fn is_control(&self, id: u32) -> bool {
        matches!(self.vocab.role(id), Role::Control | Role::Unknown)
    }

    /// How many tokens there are.
    pub fn len(&self) -> usize {
        self.vocab.len()
    }

    /// Whether there is none; no file that was read has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The token of the beginning.
    pub fn bos(&self) -> Option<u32> {
        self.ids.bos
    }

    /// The token of the end.
    pub fn eos(&self) -> Option<u32> {
        self.ids.eos
    }

    /// The token that is called just `text`.
    pub fn id_of(&self, text: &str) -> Option<u32> {
        self.vocab.find(text)
    }

    /// The name of a token as it stands in the file; empty beyond the vocabulary.
    pub fn text(&self, id: u32) -> &str {
        self.vocab.text(id)
    }

    /// The names of all control tokens: what must not be smuggled in through a user's text.
    pub fn controls(&self) -> impl Iterator<Item = &str> {
        self.vocab.specials().filter(|&id| self.is_control(id)).map(|id| self.vocab.text(id))
    }
}

impl Ids {
    fn read(file: &Gguf<'_>, method: &Method, len: usize) -> Result<Self, Error> {
        let id = |key: &str| match file.u32(key) {
            // Converters write "none" as the largest number.
            None | Some(u32::MAX) => Ok(None),
            Some(id) if (id as usize) < len => Ok(Some(id)),
            Some(_) => Err(Error::Inconsistent("a special token lies beyond the vocabulary")),
        };
        let word_piece = matches!(method, Method::WordPiece(_));
        let (bos, eos, unknown) = match method {
            Method::Bpe(_) => (Some(11), Some(11), None),
            Method::Spm(_) => (Some(1), Some(2), Some(0)),
            Method::WordPiece(_) => (Some(101), None, Some(100)),
        };
        let known = |id: Option<u32>| id.filter(|&id| (id as usize) < len);
        let bos = id("tokenizer.ggml.bos_token_id")?.or(known(bos));
        let cls = id("tokenizer.ggml.cls_token_id")?.filter(|_| word_piece);
        // The key was misspelt for years, and files carry both spellings.
        let separator = match id("tokenizer.ggml.seperator_token_id")? {
            None => id("tokenizer.ggml.separator_token_id")?,
            some => some,
        };
        let pre = file.str("tokenizer.ggml.pre").unwrap_or_default();
        let default_bos = match method {
            Method::Bpe(_) => names::begins(pre),
            Method::Spm(_) | Method::WordPiece(_) => true,
        };
        Ok(Self {
            bos: cls.or(bos),
            eos: id("tokenizer.ggml.eos_token_id")?.or(known(eos)),
            unknown: id("tokenizer.ggml.unknown_token_id")?.or(known(unknown)),
            separator: separator.or(known(word_piece.then_some(102))),
            add_bos: file.bool("tokenizer.ggml.add_bos_token").unwrap_or(default_bos),
            add_eos: file.bool("tokenizer.ggml.add_eos_token").unwrap_or(word_piece) || word_piece,
        })
    }
}

/// Every token that ends a generation: those that the file names, and those that are known by name.
fn ends(file: &Gguf<'_>, vocab: &Vocab, ids: &Ids) -> Vec<u32> {
    let named = ["tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"];
    let mut ends: Vec<u32> =
        named.iter().filter_map(|key| file.u32(key)).filter(|&id| (id as usize) < vocab.len()).collect();
    ends.extend(ids.eos);
    ends.extend(names::ENDS.iter().filter_map(|name| vocab.find(name)));
    // In gpt-oss a message ends with <|end|>, and the answer with <|return|> or <|call|>.
    if vocab.find("<|return|>").is_some() && vocab.find("<|call|>").is_some() {
        ends.retain(|&id| vocab.text(id) != "<|end|>");
    }
    ends.sort_unstable();
    ends.dedup();
    ends
}
