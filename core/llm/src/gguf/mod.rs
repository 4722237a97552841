//! The GGUF file format, versions 2 and 3, little endian: metadata, and where each tensor lies.
//!
//! ```text
//! magic "GGUF" | version u32 | tensors u64 | pairs u64
//! pairs   x  key: string | type u32 | value
//! tensors x  name: string | dimensions u32 | each u64, fastest first | element type u32 | offset u64
//! padding to `general.alignment` (32), then the data, to which the offsets are relative
//! string: length u64 | bytes        array: type u32 | length u64 | elements
//! ```
//!
//! Nothing is copied out of the file: values are read where they lie, each time they are asked for.
//! Everything is checked once, in [`Gguf::parse`]; no number of the file is believed before.
//!
//! Source: ggml `docs/gguf.md` (specification of the format).

mod read;
mod requantise;
mod value;
mod weights;
mod write;

use alloc::{string::String, vec::Vec};
use core::fmt;

pub use requantise::{RequantiseError, Requantised};
pub use value::{Array, Value, ValueType};
pub use weights::weights;
pub use write::{Element, Meta, Writer};

use crate::quant::Kind;
use read::Reader;

/// Where tensor data starts is a multiple of it, unless `general.alignment` says otherwise.
pub const ALIGNMENT: usize = 32;

/// Dimensions of one tensor at most (ggml's limit).
pub const DIMENSIONS_MAX: usize = 4;

/// Bytes of a key at most (format specification).
pub const KEY_MAX: usize = 65_535;

/// Bytes of a tensor's name at most (ggml's limit is 64; some converters write more).
pub const NAME_MAX: usize = 256;

/// A parsed file.
#[derive(Clone, Debug)]
pub struct Gguf<'a> {
    /// 2 or 3.
    pub version: u32,
    pairs: Vec<(&'a str, Value<'a>)>,
    tensors: Vec<TensorInfo<'a>>,
    /// Offset of the tensor data in the file.
    data: usize,
    alignment: usize,
}

/// What the file says of one tensor. Checked: it lies inside the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorInfo<'a> {
    /// `blk.0.attn_q.weight` and the like.
    pub name: &'a str,
    /// Element type.
    pub kind: Kind,
    /// Fastest first; dimensions that are not there are 1.
    pub dims: [usize; DIMENSIONS_MAX],
    /// First byte, from the start of the file.
    pub offset: usize,
    /// Bytes.
    pub size: usize,
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are explained by their variant")]
pub enum Error {
    /// It does not begin with `GGUF`.
    Magic,
    /// A version other than 2 and 3.
    Version(u32),
    /// Numbers in the order of other machines.
    BigEndian,
    /// It ends before `what` does; at least `missing` bytes more would be needed.
    Short { what: &'static str, at: usize, missing: u64 },
    /// A number beyond its limit.
    Limit { what: &'static str, at: usize, value: u64 },
    /// Text that is not UTF-8.
    Text { at: usize },
    /// A value type that the format does not have.
    ValueType { key: String, number: u32 },
    /// A key stands there twice.
    DuplicateKey(String),
    /// A tensor stands there twice.
    DuplicateTensor(String),
    /// `general.alignment` is no power of two.
    Alignment(u64),
    /// An element type that we do not have, by its name where it has one.
    Kind { tensor: String, number: u32 },
    /// A tensor whose rows are no whole number of blocks, or whose size overflows.
    Shape(String),
    /// A tensor that does not start at a multiple of the alignment.
    Unaligned(String),
    /// A tensor that ends behind the file.
    Outside { tensor: String, missing: u64 },
    /// The parts of a split model do not belong together.
    Split(String),
}

impl<'a> Gguf<'a> {
    /// Reads and checks the head of a file; `bytes` is the whole file.
    ///
    /// Costs one walk over the head, and memory for each key and tensor that is really there.
    ///
    /// # Errors
    /// [`Error`], at the first thing that is wrong.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        if reader.take(4, "the magic")? != b"GGUF" {
            return Err(Error::Magic);
        }
        let version = reader.u32("the version")?;
        match version {
            2 | 3 => {}
            v if matches!(v.swap_bytes(), 1..=3) => return Err(Error::BigEndian),
            v => return Err(Error::Version(v)),
        }
        let tensor_count = reader.count(24, "the number of tensors")?;
        let pair_count = reader.count(13, "the number of keys")?;
        let pairs = read::pairs(&mut reader, pair_count)?;
        let mut file = Self { version, pairs, tensors: Vec::new(), data: 0, alignment: ALIGNMENT };
        if let Some(value) = file.u64("general.alignment") {
            file.alignment = usize::try_from(value)
                .ok()
                .filter(|a| a.is_power_of_two() && *a <= 1 << 20)
                .ok_or(Error::Alignment(value))?;
        }
        let heads = read::tensor_heads(&mut reader, tensor_count)?;
        file.data = reader.position().next_multiple_of(file.alignment);
        file.tensors = read::place(heads, file.data, file.alignment, bytes.len())?;
        Ok(file)
    }

    /// The value under `key`.
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        self.pairs.binary_search_by_key(&key, |pair| pair.0).ok().map(|i| self.pairs[i].1)
    }

    /// All keys with their values, in the order of the keys.
    pub fn pairs(&self) -> impl Iterator<Item = (&'a str, Value<'a>)> {
        self.pairs.iter().copied()
    }

    /// A whole number that fits.
    pub fn u32(&self, key: &str) -> Option<u32> {
        self.u64(key).and_then(|n| n.try_into().ok())
    }

    /// A whole number.
    pub fn u64(&self, key: &str) -> Option<u64> {
        self.get(key)?.as_u64()
    }

    /// A number.
    pub fn f32(&self, key: &str) -> Option<f32> {
        self.get(key)?.as_f32()
    }

    /// Yes or no.
    pub fn bool(&self, key: &str) -> Option<bool> {
        match self.get(key)? {
            Value::Bool(b) => Some(b),
            _ => None,
        }
    }

    /// A text.
    pub fn str(&self, key: &str) -> Option<&'a str> {
        match self.get(key)? {
            Value::Str(s) => Some(s),
            _ => None,
        }
    }

    /// A list.
    pub fn array(&self, key: &str) -> Option<Array<'a>> {
        match self.get(key)? {
            Value::Array(array) => Some(array),
            _ => None,
        }
    }

    /// All tensors, in file order.
    pub fn tensors(&self) -> &[TensorInfo<'a>] {
        &self.tensors
    }

    /// Tensor data starts at a multiple of it.
    pub fn alignment(&self) -> usize {
        self.alignment
    }
}

/// The name that ggml gives an element type which we do not run.
fn foreign_kind(number: u32) -> &'static str {
    match number {
        9 => "Q8_1",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        21 => "IQ3_S",
        22 => "IQ2_S",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        40 => "NVFP4",
        _ => "unknown",
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => f.write_str("it is no GGUF file: it does not begin with \"GGUF\""),
            Self::Version(v) => write!(f, "GGUF version {v} is not supported; versions 2 and 3 are"),
            Self::BigEndian => f.write_str("it is a big-endian GGUF file; little-endian ones are supported"),
            Self::Short { what, at, missing } => {
                write!(f, "it is cut short: {what} at byte {at} needs at least {missing} bytes more")
            }
            Self::Limit { what, at, value } => write!(f, "{what} at byte {at} is {value}, beyond its limit"),
            Self::Text { at } => write!(f, "the text at byte {at} is not UTF-8"),
            Self::ValueType { key, number } => write!(f, "key {key:?} has the unknown value type {number}"),
            Self::DuplicateKey(key) => write!(f, "key {key:?} stands there twice"),
            Self::DuplicateTensor(name) => write!(f, "tensor {name:?} stands there twice"),
            Self::Alignment(n) => write!(f, "general.alignment is {n}, which is no power of two up to 1048576"),
            Self::Kind { tensor, number } => {
                let name = foreign_kind(*number);
                write!(f, "tensor {tensor:?} has the element type {name} ({number}), which is not supported")
            }
            Self::Shape(name) => write!(f, "tensor {name:?} has impossible dimensions for its element type"),
            Self::Unaligned(name) => write!(f, "tensor {name:?} does not start at a multiple of the alignment"),
            Self::Outside { tensor, missing } => {
                write!(f, "it is cut short: tensor {tensor:?} ends {missing} bytes behind the file")
            }
            Self::Split(why) => write!(f, "the parts do not make one model: {why}"),
        }
    }
}

impl core::error::Error for Error {}

#[cfg(test)]
mod tests;
