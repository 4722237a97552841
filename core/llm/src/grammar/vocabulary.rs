//! All tokens of a model as a tree over their bytes, so that a grammar is asked once for a beginning that many share.

use alloc::{vec, vec::Vec};

use super::machine::{DEAD, Machine, State};
use crate::token::Tokenizer;

/// States that one mask may bring up. A grammar that needs more is hostile; tokens that are then not
/// looked at count as refused.
const NEW_STATES_MAX: usize = 1 << 14;

/// What a token that controls the model stands for in a grammar: a byte that no text contains, and its name. So only a
/// grammar that asks for the token itself takes it.
pub fn control(name: &str) -> Vec<u8> {
    [&[0xff], name.as_bytes()].concat()
}

/// A set of tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mask(Vec<u64>);

impl Mask {
    /// No token of a vocabulary.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the token is in it.
    pub fn contains(&self, id: u32) -> bool {
        self.0.get(id as usize / 64).is_some_and(|word| word >> (id % 64) & 1 == 1)
    }

    /// How many tokens are in it.
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether none is in it.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }

    /// Makes the logits of all other tokens negative infinity.
    pub fn apply(&self, logits: &mut [f32]) {
        for (at, chunk) in logits.chunks_mut(64).enumerate() {
            let word = self.0.get(at).copied().unwrap_or(0);
            if word == u64::MAX {
                continue;
            }
            for (bit, logit) in chunk.iter_mut().enumerate() {
                if word >> bit & 1 == 0 {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
    }

    fn clear(&mut self, tokens: usize) {
        self.0.clear();
        self.0.resize(tokens.div_ceil(64), 0);
    }

    fn insert(&mut self, id: u32) {
        self.0[id as usize / 64] |= 1 << (id % 64);
    }
}

/// The tokens that stand for text, and those that end a generation.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    /// The tree, each node before its children; `depth` 1 is the first byte.
    nodes: Vec<Node>,
    /// Ids in the order of their bytes.
    ids: Vec<u32>,
    /// Sorted.
    ends: Vec<u32>,
    /// The bytes of all tokens, and where each token's lie.
    text: Vec<u8>,
    spans: Vec<(u32, u32)>,
    /// How many tokens there are of any kind.
    len: usize,
    depth_max: usize,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    /// The first node that is not below this one.
    after: u32,
    /// Ids that end here: from this index into `ids` to the next node's.
    ids: u32,
    depth: u16,
    byte: u8,
}

impl Vocabulary {
    /// The vocabulary of a tokenizer. Tokens that control the model stand for what [`control`] makes of their names.
    pub fn of(tokenizer: &Tokenizer) -> Self {
        let count = tokenizer.len() as u32;
        let pieces = (0..count).filter(|&id| !tokenizer.is_end(id)).map(|id| {
            if tokenizer.is_control(id) { (id, control(tokenizer.text(id)).into()) } else { (id, tokenizer.piece(id)) }
        });
        Self::new(count as usize, pieces, (0..count).filter(|&id| tokenizer.is_end(id)))
    }

    /// A vocabulary of `len` tokens of which these stand for these bytes, and these end a generation.
    /// A token without bytes is never allowed, nor is one of more than 65,535.
    pub fn new<B: AsRef<[u8]>>(
        len: usize,
        pieces: impl IntoIterator<Item = (u32, B)>,
        ends: impl IntoIterator<Item = u32>,
    ) -> Self {
        let known = |id: u32| (id as usize) < len;
        let mut pieces: Vec<(u32, B)> = pieces
            .into_iter()
            .filter(|(id, piece)| known(*id) && !piece.as_ref().is_empty() && piece.as_ref().len() <= u16::MAX.into())
            .collect();
        pieces.sort_by(|(a, left), (b, right)| left.as_ref().cmp(right.as_ref()).then(a.cmp(b)));
        let mut nodes: Vec<Node> = Vec::new();
        let mut open: Vec<usize> = Vec::new();
        let mut last: &[u8] = &[];
        let mut ids = Vec::with_capacity(pieces.len());
        let (mut text, mut spans) = (Vec::new(), vec![(0, 0); len]);
        for (id, piece) in &pieces {
            let piece = piece.as_ref();
            spans[*id as usize] = (text.len() as u32, (text.len() + piece.len()) as u32);
            text.extend_from_slice(piece);
            let common = last.iter().zip(piece).take_while(|(a, b)| a == b).count();
            for at in open.drain(common..) {
                nodes[at].after = nodes.len() as u32;
            }
            for (depth, &byte) in piece.iter().enumerate().skip(common) {
                open.push(nodes.len());
                nodes.push(Node { after: 0, ids: ids.len() as u32, depth: depth as u16 + 1, byte });
            }
            ids.push(*id);
            last = piece;
        }
        let count = nodes.len() as u32;
        open.into_iter().for_each(|at| nodes[at].after = count);
        let depth_max = nodes.iter().map(|node| usize::from(node.depth)).max().unwrap_or(0);
        // The end of the last node's ids.
        nodes.push(Node { after: count + 1, ids: ids.len() as u32, depth: 0, byte: 0 });
        let mut ends: Vec<u32> = ends.into_iter().filter(|&id| known(id)).collect();
        ends.sort_unstable();
        Self { nodes, ids, ends, text, spans, len, depth_max }
    }

    /// The bytes that a token stands for; none where it stands for no text.
    pub fn piece(&self, id: u32) -> &[u8] {
        self.spans.get(id as usize).map_or(&[], |&(from, to)| &self.text[from as usize..to as usize])
    }

    /// Whether the token ends a generation.
    pub fn is_end(&self, id: u32) -> bool {
        self.ends.binary_search(&id).is_ok()
    }

    /// How many tokens there are of any kind.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sets which tokens may follow `state` with `left` bytes left. Answers how many bytes must be left for the
    /// answer to be the same; nothing where bytes were short, or the grammar too hard.
    pub(super) fn mask(
        &self,
        machine: &mut Machine,
        state: State,
        left: u32,
        may_end: bool,
        mask: &mut Mask,
    ) -> Option<u32> {
        mask.clear(self.len);
        if may_end {
            self.ends.iter().for_each(|&id| mask.insert(id));
        }
        let states_max = machine.states() + NEW_STATES_MAX;
        let mut path = vec![state; self.depth_max + 1];
        let (mut needed, mut whole) = (0, true);
        let mut found = may_end;
        let mut at = 0;
        while at + 1 < self.nodes.len() {
            let node = self.nodes[at];
            let depth = usize::from(node.depth);
            if found && machine.states() > states_max {
                whole = false;
                break;
            }
            let next = machine.step(path[depth - 1], node.byte);
            if next == DEAD {
                at = node.after as usize;
                continue;
            }
            let bytes = machine.bytes_of(next).saturating_add(u32::from(node.depth));
            if bytes > left {
                whole = false;
                at = node.after as usize;
                continue;
            }
            needed = needed.max(bytes);
            path[depth] = next;
            for &id in &self.ids[node.ids as usize..self.nodes[at + 1].ids as usize] {
                mask.insert(id);
                found = true;
            }
            at += 1;
        }
        whole.then_some(needed)
    }
}
