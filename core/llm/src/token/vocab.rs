//! The tokens of a model: their names, and which of them are special.

use alloc::{string::String, vec::Vec};

use hashbrown::HashTable;

use super::{Error, names};
use crate::gguf::Gguf;

/// What a token is for; numbers are the file's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Role {
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6,
}

/// All tokens. Their names lie one after the other in one text.
pub(super) struct Vocab {
    names: String,
    /// Token `i` is called `names[starts[i]..starts[i + 1]]`.
    starts: Vec<u32>,
    roles: Vec<Role>,
    ids: HashTable<u32>,
    /// Tokens that are looked for in texts, by first byte, longest name first.
    specials: Vec<u32>,
    /// For each first byte, where its tokens lie in `specials`.
    by_first: [(u32, u32); 256],
}

impl Vocab {
    pub(super) fn read(file: &Gguf<'_>) -> Result<Self, Error> {
        let tokens = file.array("tokenizer.ggml.tokens").ok_or(Error::Missing("tokenizer.ggml.tokens"))?;
        let mut names = String::new();
        let mut starts = Vec::new();
        for name in tokens.strings() {
            starts.push(names.len() as u32);
            names.push_str(name);
            if names.len() > u32::MAX as usize / 2 {
                return Err(Error::Inconsistent("its names are longer than 2 GiB"));
            }
        }
        if starts.is_empty() || starts.len() != tokens.len() {
            return Err(Error::Missing("tokenizer.ggml.tokens"));
        }
        let len = starts.len();
        starts.push(names.len() as u32);
        let mut roles = roles(file, len)?;
        let mut ids = HashTable::with_capacity(len);
        let name = |id: u32| &names[starts[id as usize] as usize..starts[id as usize + 1] as usize];
        for id in 0..len as u32 {
            let hash = hash(name(id).as_bytes());
            // Of two tokens with one name the first is meant.
            if ids.find(hash, |&other| name(other) == name(id)).is_none() {
                ids.insert_unique(hash, id, |&other| self::hash(name(other).as_bytes()));
            }
        }
        let mut vocab = Self { names, starts, roles: Vec::new(), ids, specials: Vec::new(), by_first: [(0, 0); 256] };
        vocab.override_roles(&mut roles);
        vocab.roles = roles;
        vocab.index_specials();
        Ok(vocab)
    }

    fn override_roles(&self, roles: &mut [Role]) {
        for id in names::ENDS.iter().filter_map(|name| self.find(name)) {
            roles[id as usize] = Role::Control;
        }
    }

    fn index_specials(&mut self) {
        let special = |role: Role| matches!(role, Role::Control | Role::UserDefined | Role::Unknown);
        let mut specials: Vec<u32> =
            (0..self.len() as u32).filter(|&id| special(self.role(id)) && !self.text(id).is_empty()).collect();
        let key = |id: u32| {
            let name = self.text(id).as_bytes();
            (name[0], core::cmp::Reverse(name.len()), id)
        };
        specials.sort_by_key(|&id| key(id));
        let mut by_first = [(0, 0); 256];
        for (at, &id) in specials.iter().enumerate() {
            let range = &mut by_first[usize::from(self.text(id).as_bytes()[0])];
            if range.1 == 0 {
                range.0 = at as u32;
            }
            range.1 = at as u32 + 1;
        }
        self.specials = specials;
        self.by_first = by_first;
    }

    pub(super) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// The name of a token; empty beyond the vocabulary.
    pub(super) fn text(&self, id: u32) -> &str {
        let id = id as usize;
        if id < self.len() { &self.names[self.starts[id] as usize..self.starts[id + 1] as usize] } else { "" }
    }

    pub(super) fn role(&self, id: u32) -> Role {
        self.roles.get(id as usize).copied().unwrap_or(Role::Unused)
    }

    pub(super) fn find(&self, name: &str) -> Option<u32> {
        self.ids.find(hash(name.as_bytes()), |&id| self.text(id) == name).copied()
    }

    pub(super) fn specials(&self) -> impl Iterator<Item = u32> {
        self.specials.iter().copied()
    }

    /// How much of `text` comes before the next special token, and that token with its length in bytes.
    /// Control tokens count only where `controls` is set; user-defined ones always do.
    pub(super) fn next_special(&self, text: &str, controls: bool) -> (usize, Option<(u32, usize)>) {
        let bytes = text.as_bytes();
        for (at, &byte) in bytes.iter().enumerate() {
            let (start, end) = self.by_first[usize::from(byte)];
            for &id in &self.specials[start as usize..end as usize] {
                let name = self.text(id).as_bytes();
                if bytes[at..].starts_with(name) && (controls || self.role(id) == Role::UserDefined) {
                    return (at, Some((id, name.len())));
                }
            }
        }
        (bytes.len(), None)
    }
}

fn roles(file: &Gguf<'_>, len: usize) -> Result<Vec<Role>, Error> {
    let Some(types) = file.array("tokenizer.ggml.token_type") else {
        return Ok(alloc::vec![Role::Normal; len]);
    };
    if types.len() != len {
        return Err(Error::Inconsistent("it has another number of token types than of tokens"));
    }
    let role = |number| match number {
        2 => Role::Unknown,
        3 => Role::Control,
        4 => Role::UserDefined,
        5 => Role::Unused,
        6 => Role::Byte,
        _ => Role::Normal,
    };
    Ok(types.i64s().map(role).collect())
}

/// FxHash over words of eight bytes: short names, and a table that an attacker can at worst make slow to
/// load, which its size bounds.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    const SEED: u64 = 0x517c_c1b7_2722_0a95;
    let mix = |hash: u64, word: u64| (hash.rotate_left(5) ^ word).wrapping_mul(SEED);
    let (words, tail) = bytes.as_chunks::<8>();
    let mut hash = words.iter().fold(bytes.len() as u64, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    for &byte in tail {
        hash = mix(hash, byte.into());
    }
    // The table takes its bits from both ends.
    hash ^ hash >> 29
}
