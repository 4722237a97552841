//! Keys and values of one layer, in pages.
//!
//! A page of a layer holds, for each head, the keys turned (for each element of the key 32 positions side by side,
//! so that sixteen scores are computed at once without a sum across lanes) and the values as they are.
//! Both are halves, or eight bits with a scale for each 32.

use tutu_llm::{backend::PAGE, plan, quant::f32_to_f16};

use crate::{
    lanes::{Lanes, Task},
    options::KvKind,
};

/// Elements that share a scale where keys and values are kept in eight bits (ggml's Q8_0).
pub const BLOCK: usize = 32;

/// Keys and values of one layer.
#[derive(Clone, Debug)]
pub struct Cache {
    /// Heads of keys and values.
    pub heads: usize,
    /// Elements of a key.
    pub key: usize,
    /// Elements of a value.
    pub value: usize,
    /// The keys and values themselves.
    pub kept: Kept,
}

/// For each page and head: keys `[key][PAGE]`, values `[PAGE][value]`; in eight bits also scales, as halves,
/// `[key / 32][PAGE]` and `[PAGE][value / 32]`. Whole vectors are read at the end of a row of values, so those lists are
/// 16 longer.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "explained above")]
pub enum Kept {
    Halves { keys: Vec<u16>, values: Vec<u16> },
    Bytes { keys: Vec<i8>, values: Vec<i8>, key_scales: Vec<u16>, value_scales: Vec<u16> },
}

impl Cache {
    /// Room for `pages` pages; the system gives the memory when it is written to.
    pub fn new(shape: &plan::Cache, kind: KvKind, pages: usize) -> Self {
        let rows = pages * PAGE * shape.heads;
        let kept = match kind {
            KvKind::F16 => Kept::Halves { keys: vec![0; rows * shape.key], values: vec![0; rows * shape.value + 16] },
            KvKind::Q8_0 => Kept::Bytes {
                keys: vec![0; rows * shape.key],
                values: vec![0; rows * shape.value + 16],
                key_scales: vec![0; rows * shape.key.div_ceil(BLOCK)],
                value_scales: vec![0; rows * shape.value.div_ceil(BLOCK)],
            },
        };
        Self { heads: shape.heads, key: shape.key, value: shape.value, kept }
    }

    /// Bytes of one page, as [`Self::save`] gives them.
    pub fn page_bytes(&self) -> usize {
        let rows = PAGE * self.heads;
        match &self.kept {
            Kept::Halves { .. } => 2 * rows * (self.key + self.value),
            Kept::Bytes { .. } => {
                rows * (self.key + self.value + 2 * self.key.div_ceil(BLOCK) + 2 * self.value.div_ceil(BLOCK))
            }
        }
    }

    /// Appends a page: keys, values, and where they are kept in eight bits the scales of both; halves with the low byte
    /// first.
    pub fn save(&self, page: usize, out: &mut Vec<u8>) {
        let rows = PAGE * self.heads;
        let halves = |out: &mut Vec<u8>, list: &[u16], width: usize| {
            out.extend(list[page * rows * width..][..rows * width].iter().flat_map(|half| half.to_le_bytes()));
        };
        match &self.kept {
            Kept::Halves { keys, values } => {
                halves(out, keys, self.key);
                halves(out, values, self.value);
            }
            Kept::Bytes { keys, values, key_scales, value_scales } => {
                for (list, width) in [(keys, self.key), (values, self.value)] {
                    out.extend(list[page * rows * width..][..rows * width].iter().map(|byte| byte.cast_unsigned()));
                }
                halves(out, key_scales, self.key.div_ceil(BLOCK));
                halves(out, value_scales, self.value.div_ceil(BLOCK));
            }
        }
    }

    /// Fills a page with [`Self::page_bytes`] bytes that [`Self::save`] gave.
    pub fn load(&mut self, page: usize, bytes: &[u8]) {
        let rows = PAGE * self.heads;
        let (key, value, mut rest) = (self.key, self.value, bytes);
        let halves = |rest: &mut &[u8], list: &mut [u16], width: usize| {
            let (own, after) = rest.split_at(2 * rows * width);
            let list = &mut list[page * rows * width..][..rows * width];
            list.iter_mut().zip(own.as_chunks::<2>().0).for_each(|(half, pair)| *half = u16::from_le_bytes(*pair));
            *rest = after;
        };
        match &mut self.kept {
            Kept::Halves { keys, values } => {
                halves(&mut rest, keys, key);
                halves(&mut rest, values, value);
            }
            Kept::Bytes { keys, values, key_scales, value_scales } => {
                for (list, width) in [(keys, key), (values, value)] {
                    let (own, after) = rest.split_at(rows * width);
                    let list = &mut list[page * rows * width..][..rows * width];
                    list.iter_mut().zip(own).for_each(|(byte, own)| *byte = own.cast_signed());
                    rest = after;
                }
                halves(&mut rest, key_scales, key.div_ceil(BLOCK));
                halves(&mut rest, value_scales, value.div_ceil(BLOCK));
            }
        }
    }

    /// Puts the key and the value of one position down, all heads.
    pub fn write<L: Lanes>(&mut self, l: L, page: usize, position: usize, key: &[f32], value: &[f32]) {
        l.run(Write { cache: self, page, at: position % PAGE, key, value });
    }
}

/// See [`Cache::write`].
struct Write<'a> {
    cache: &'a mut Cache,
    page: usize,
    at: usize,
    key: &'a [f32],
    value: &'a [f32],
}

impl Task for Write<'_> {
    type Out = ();

    #[inline(always)]
    fn go<L: Lanes>(self, l: L) {
        let Self { cache, page, at, key, value } = self;
        let Cache { heads, key: key_len, value: value_len, kept } = cache;
        let (key_len, value_len) = (*key_len, *value_len);
        for head in 0..*heads {
            let slot = page * *heads + head;
            let (key, value) = (&key[head * key_len..][..key_len], &value[head * value_len..][..value_len]);
            match kept {
                Kept::Halves { keys, values } => {
                    let keys = &mut keys[slot * key_len * PAGE..][..key_len * PAGE];
                    for (i, part) in key.chunks(16).enumerate() {
                        let halves = l.to_halves(l.get(&padded(part)));
                        for (j, half) in halves[..part.len()].iter().enumerate() {
                            keys[(i * 16 + j) * PAGE + at] = *half;
                        }
                    }
                    let values = &mut values[(slot * PAGE + at) * value_len..][..value_len];
                    for (out, part) in values.chunks_mut(16).zip(value.chunks(16)) {
                        out.copy_from_slice(&l.to_halves(l.get(&padded(part)))[..part.len()]);
                    }
                }
                Kept::Bytes { keys, values, key_scales, value_scales } => {
                    let (key_blocks, value_blocks) = (key_len.div_ceil(BLOCK), value_len.div_ceil(BLOCK));
                    for (b, part) in key.chunks(BLOCK).enumerate() {
                        let (scale, bytes) = quantise(part);
                        key_scales[(slot * key_blocks + b) * PAGE + at] = scale;
                        for (j, byte) in bytes[..part.len()].iter().enumerate() {
                            keys[(slot * key_len + b * BLOCK + j) * PAGE + at] = *byte;
                        }
                    }
                    for (b, part) in value.chunks(BLOCK).enumerate() {
                        let (scale, bytes) = quantise(part);
                        value_scales[(slot * PAGE + at) * value_blocks + b] = scale;
                        values[(slot * PAGE + at) * value_len + b * BLOCK..][..part.len()]
                            .copy_from_slice(&bytes[..part.len()]);
                    }
                }
            }
        }
    }
}

fn padded(part: &[f32]) -> [f32; 16] {
    let mut all = [0.0; 16];
    all[..part.len()].copy_from_slice(part);
    all
}

/// A scale, as a half, and whole numbers from -127 to 127.
fn quantise(part: &[f32]) -> (u16, [i8; BLOCK]) {
    let largest = part.iter().fold(0.0f32, |a, x| a.max(x.abs()));
    let scale = f32_to_f16(largest / 127.0);
    let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
    let mut bytes = [0; BLOCK];
    bytes.iter_mut().zip(part).for_each(|(byte, x)| *byte = (x * inverse).round_ties_even() as i8);
    (scale, bytes)
}
