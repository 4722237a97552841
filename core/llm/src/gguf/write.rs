//! Writing a file: the head first, then each tensor's data where the head says.

use alloc::{string::String, vec::Vec};

use super::{ALIGNMENT, Value, ValueType};
use crate::quant::Kind;

/// A value to be written.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the field's own names")]
pub enum Meta {
    U8(u8),
    U32(u32),
    I32(i32),
    U64(u64),
    F32(f32),
    F64(f64),
    Bool(bool),
    Str(String),
    Strings(Vec<String>),
    /// Any list, as its element type, its length and its bytes.
    Raw(Element, usize, Vec<u8>),
}

/// Element types of a list.
pub type Element = ValueType;

impl Meta {
    /// A list of whole numbers.
    pub fn i32s(list: impl IntoIterator<Item = i32>) -> Self {
        let bytes: Vec<u8> = list.into_iter().flat_map(i32::to_le_bytes).collect();
        Self::Raw(ValueType::I32, bytes.len() / 4, bytes)
    }

    /// A list of numbers.
    pub fn f32s(list: impl IntoIterator<Item = f32>) -> Self {
        let bytes: Vec<u8> = list.into_iter().flat_map(f32::to_le_bytes).collect();
        Self::Raw(ValueType::F32, bytes.len() / 4, bytes)
    }

    /// What was read from another file, to be written again. Numbers keep their value, and widths of 64
    /// bits only where they need them.
    pub fn copied(value: Value<'_>) -> Self {
        match value {
            Value::Unsigned(n) => u32::try_from(n).map_or(Self::U64(n), Self::U32),
            Value::Signed(n) => i32::try_from(n).map_or(Self::U64(n as u64), Self::I32),
            Value::Float(x) if f64::from(x as f32) == x || x.is_nan() => Self::F32(x as f32),
            Value::Float(x) => Self::F64(x),
            Value::Bool(b) => Self::Bool(b),
            Value::Str(s) => Self::Str(s.into()),
            Value::Array(array) => Self::Raw(array.kind(), array.len(), array.bytes().into()),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let mut put = |kind: ValueType, bytes: &[u8]| {
            out.extend((kind as u32).to_le_bytes());
            out.extend(bytes);
        };
        match self {
            Self::U8(n) => put(ValueType::U8, &[*n]),
            Self::U32(n) => put(ValueType::U32, &n.to_le_bytes()),
            Self::I32(n) => put(ValueType::I32, &n.to_le_bytes()),
            Self::U64(n) => put(ValueType::U64, &n.to_le_bytes()),
            Self::F32(x) => put(ValueType::F32, &x.to_le_bytes()),
            Self::F64(x) => put(ValueType::F64, &x.to_le_bytes()),
            Self::Bool(b) => put(ValueType::Bool, &[u8::from(*b)]),
            Self::Str(text) => {
                put(ValueType::Str, &[]);
                string(text, out);
            }
            Self::Strings(list) => {
                put(ValueType::Array, &(ValueType::Str as u32).to_le_bytes());
                out.extend((list.len() as u64).to_le_bytes());
                list.iter().for_each(|text| string(text, out));
            }
            Self::Raw(kind, len, bytes) => {
                put(ValueType::Array, &(*kind as u32).to_le_bytes());
                out.extend((*len as u64).to_le_bytes());
                out.extend(bytes);
            }
        }
    }
}

/// The head of a file that is being made. Tensors lie in the order in which they were added.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Writer {
    pairs: Vec<(String, Meta)>,
    tensors: Vec<Tensor>,
}

#[derive(Clone, Debug, PartialEq)]
struct Tensor {
    name: String,
    kind: Kind,
    dims: Vec<usize>,
    size: usize,
}

impl Writer {
    /// An empty file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key`; a value that was there is replaced.
    pub fn set(&mut self, key: &str, value: Meta) -> &mut Self {
        match self.pairs.iter_mut().find(|pair| pair.0 == key) {
            Some(pair) => pair.1 = value,
            None => self.pairs.push((key.into(), value)),
        }
        self
    }

    /// Announces a tensor, `dims` fastest first. Its bytes follow in the order of announcement.
    ///
    /// # Panics
    /// If `dims` is empty or a row is no whole number of blocks: the caller chose kind and shape.
    pub fn tensor(&mut self, name: &str, kind: Kind, dims: &[usize]) -> &mut Self {
        let rows: usize = dims[1..].iter().product();
        let size = kind.row_bytes(dims[0]).expect("a row is a whole number of blocks") * rows;
        self.tensors.push(Tensor { name: name.into(), kind, dims: dims.into(), size });
        self
    }

    /// The bytes before the data, padded to its start (version 3).
    pub fn head(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(b"GGUF");
        out.extend(3u32.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.pairs.len() as u64).to_le_bytes());
        for (key, value) in &self.pairs {
            string(key, &mut out);
            value.write(&mut out);
        }
        let mut offset = 0;
        for tensor in &self.tensors {
            string(&tensor.name, &mut out);
            out.extend((tensor.dims.len() as u32).to_le_bytes());
            tensor.dims.iter().for_each(|&dim| out.extend((dim as u64).to_le_bytes()));
            out.extend((tensor.kind as u32).to_le_bytes());
            out.extend((offset as u64).to_le_bytes());
            offset += tensor.size.next_multiple_of(ALIGNMENT);
        }
        out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
        out
    }

    /// Bytes of tensor number `index`, and the zeros that must follow them.
    pub fn size(&self, index: usize) -> (usize, usize) {
        let size = self.tensors[index].size;
        (size, size.next_multiple_of(ALIGNMENT) - size)
    }

    /// A whole small file, with the data of its tensors from `data`.
    ///
    /// # Panics
    /// If `data` gives another number of bytes than the tensor has.
    pub fn file(&self, mut data: impl FnMut(&str) -> Vec<u8>) -> Vec<u8> {
        let mut out = self.head();
        for (index, tensor) in self.tensors.iter().enumerate() {
            let bytes = data(&tensor.name);
            let (size, padding) = self.size(index);
            assert_eq!(bytes.len(), size, "the data of {} has its size", tensor.name);
            out.extend(bytes);
            out.resize(out.len() + padding, 0);
        }
        out
    }
}

fn string(text: &str, out: &mut Vec<u8>) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}
