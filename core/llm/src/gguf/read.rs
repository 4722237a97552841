//! Walking over the head of a file, one checked step at a time.

use alloc::{string::String, vec::Vec};

use super::{Array, DIMENSIONS_MAX, Error, KEY_MAX, NAME_MAX, TensorInfo, Value, ValueType};
use crate::quant::Kind;

/// Lists inside lists at most; the format allows them, no known file has two levels.
const DEPTH_MAX: usize = 4;

/// A place in the bytes.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// The next `len` bytes.
    pub(super) fn take(&mut self, len: u64, what: &'static str) -> Result<&'a [u8], Error> {
        let left = (self.bytes.len() - self.at) as u64;
        if len > left {
            return Err(Error::Short { what, at: self.at, missing: len - left });
        }
        let taken = &self.bytes[self.at..self.at + len as usize];
        self.at += len as usize;
        Ok(taken)
    }

    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, Error> {
        Ok(u32::from_le_bytes(self.take(4, what)?.try_into().expect("four were taken")))
    }

    pub(super) fn u64(&mut self, what: &'static str) -> Result<u64, Error> {
        Ok(u64::from_le_bytes(self.take(8, what)?.try_into().expect("eight were taken")))
    }

    /// A number of things of which each takes at least `least` bytes, so that a head that claims more
    /// than the file can hold is refused before anything is allocated for it.
    pub(super) fn count(&mut self, least: u64, what: &'static str) -> Result<usize, Error> {
        let at = self.at;
        let value = self.u64(what)?;
        let left = (self.bytes.len() - self.at) as u64;
        if value > left / least {
            return Err(Error::Limit { what, at, value });
        }
        Ok(value as usize)
    }

    pub(super) fn string(&mut self, max: usize, what: &'static str) -> Result<&'a str, Error> {
        let at = self.at;
        let len = self.u64(what)?;
        if len > max as u64 {
            return Err(Error::Limit { what, at, value: len });
        }
        core::str::from_utf8(self.take(len, what)?).map_err(|_| Error::Text { at: at + 8 })
    }

    fn value(&mut self, kind: ValueType, key: &str, depth: usize) -> Result<Value<'a>, Error> {
        Ok(match kind {
            ValueType::Str => Value::Str(self.string(usize::MAX, "a text")?),
            ValueType::Array => Value::Array(self.array(key, depth)?),
            scalar => Value::scalar(scalar, self.take(scalar.size() as u64, "a value")?),
        })
    }

    fn array(&mut self, key: &str, depth: usize) -> Result<Array<'a>, Error> {
        let at = self.at;
        let kind = self.value_type(key)?;
        if depth == DEPTH_MAX {
            return Err(Error::Limit { what: "the depth of lists", at, value: depth as u64 + 1 });
        }
        let len = self.count(kind.least() as u64, "the length of a list")?;
        let start = self.at;
        match kind {
            ValueType::Str => {
                for _ in 0..len {
                    self.string(usize::MAX, "a text of a list")?;
                }
            }
            ValueType::Array => {
                for _ in 0..len {
                    self.array(key, depth + 1)?;
                }
            }
            scalar => {
                self.take(len as u64 * scalar.size() as u64, "a list")?;
            }
        }
        Ok(Array::new(kind, len, &self.bytes[start..self.at]))
    }

    fn value_type(&mut self, key: &str) -> Result<ValueType, Error> {
        let number = self.u32("a value type")?;
        ValueType::from_number(number).ok_or_else(|| Error::ValueType { key: String::from(key), number })
    }
}

/// All keys with their values, sorted by key.
pub(super) fn pairs<'a>(reader: &mut Reader<'a>, count: usize) -> Result<Vec<(&'a str, Value<'a>)>, Error> {
    let mut pairs = Vec::new();
    for _ in 0..count {
        let key = reader.string(KEY_MAX, "a key")?;
        let kind = reader.value_type(key)?;
        pairs.push((key, reader.value(kind, key, 0)?));
    }
    pairs.sort_by_key(|pair| pair.0);
    match pairs.windows(2).find(|two| two[0].0 == two[1].0) {
        Some(two) => Err(Error::DuplicateKey(String::from(two[0].0))),
        None => Ok(pairs),
    }
}

/// One entry of the tensor list, with its offset still relative to the data.
pub(super) struct Head<'a> {
    name: &'a str,
    kind: Kind,
    dims: [usize; DIMENSIONS_MAX],
    size: usize,
    offset: u64,
}

pub(super) fn tensor_heads<'a>(reader: &mut Reader<'a>, count: usize) -> Result<Vec<Head<'a>>, Error> {
    let mut heads: Vec<Head<'a>> = Vec::new();
    for _ in 0..count {
        heads.push(tensor_head(reader)?);
    }
    let mut names: Vec<&str> = heads.iter().map(|head| head.name).collect();
    names.sort_unstable();
    match names.windows(2).find(|two| two[0] == two[1]) {
        Some(two) => Err(Error::DuplicateTensor(String::from(two[0]))),
        None => Ok(heads),
    }
}

fn tensor_head<'a>(reader: &mut Reader<'a>) -> Result<Head<'a>, Error> {
    let name = reader.string(NAME_MAX, "a tensor's name")?;
    let at = reader.position();
    let count = reader.u32("a tensor's dimensions")?;
    if count as usize > DIMENSIONS_MAX {
        return Err(Error::Limit { what: "the number of dimensions", at, value: count.into() });
    }
    let shape = || Error::Shape(String::from(name));
    let mut dims = [1; DIMENSIONS_MAX];
    for dim in &mut dims[..count as usize] {
        *dim = usize::try_from(reader.u64("a dimension")?).ok().filter(|&n| n > 0).ok_or_else(shape)?;
    }
    let number = reader.u32("an element type")?;
    let kind = Kind::ALL
        .into_iter()
        .find(|kind| *kind as u32 == number)
        .ok_or_else(|| Error::Kind { tensor: String::from(name), number })?;
    let offset = reader.u64("a tensor's offset")?;
    let rows = dims[1..].iter().try_fold(1usize, |product, &n| product.checked_mul(n));
    let size = rows.and_then(|rows| {
        dims[0].checked_mul(rows)?;
        kind.row_bytes(dims[0])?.checked_mul(rows)
    });
    Ok(Head { name, kind, dims, size: size.ok_or_else(shape)?, offset })
}

/// Turns relative offsets into places in a file of `len` bytes.
pub(super) fn place(
    heads: Vec<Head<'_>>,
    data: usize,
    alignment: usize,
    len: usize,
) -> Result<Vec<TensorInfo<'_>>, Error> {
    let mut infos = Vec::with_capacity(heads.len());
    for head in heads {
        if !head.offset.is_multiple_of(alignment as u64) {
            return Err(Error::Unaligned(String::from(head.name)));
        }
        let outside = |missing| Error::Outside { tensor: String::from(head.name), missing };
        let end = (data as u64).checked_add(head.offset).and_then(|start| start.checked_add(head.size as u64));
        let end = end.ok_or_else(|| outside(u64::MAX))?;
        if end > len as u64 {
            return Err(outside(end - len as u64));
        }
        let offset = data + head.offset as usize;
        infos.push(TensorInfo { name: head.name, kind: head.kind, dims: head.dims, offset, size: head.size });
    }
    Ok(infos)
}
