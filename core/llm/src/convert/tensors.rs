//! The head of a safetensors file: `length u64 | JSON | data`, each tensor with its type, shape and offsets.
//!
//! Source: the format's description in the `safetensors` repository. Read here rather than by its crate, which
//! lends views into the file: we want places that outlive it, and have a JSON parser anyway.

use alloc::{format, string::String, vec::Vec};
use core::ops::Range;

use serde_json::Value;

use super::Error;
use crate::quant::Kind;

/// Bytes of the JSON at most (the format's own limit).
const HEADER_MAX: u64 = 100_000_000;

/// The tensors of one file.
#[derive(Clone, Debug, Default)]
pub struct Header {
    pub(super) tensors: Vec<Tensor>,
}

/// One tensor. Checked: it lies inside the file, and its size is that of its shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Its name in the file.
    pub name: String,
    /// F32, F16 or BF16.
    pub kind: Kind,
    /// Slowest first.
    pub shape: Vec<usize>,
    /// Which file; an index.
    pub file: usize,
    /// Where in that file.
    pub range: Range<usize>,
}

impl Header {
    /// Reads the head of file number `file`. Tensors of other types than floats are left out.
    ///
    /// # Errors
    /// [`Error::Tensors`].
    pub fn read(file: usize, bytes: &[u8]) -> Result<Self, Error> {
        let wrong = |why: &str| Error::Tensors(why.into());
        let length = bytes.first_chunk::<8>().map(|eight| u64::from_le_bytes(*eight));
        let length = length.filter(|&n| n <= HEADER_MAX).ok_or_else(|| wrong("its head is missing or too long"))?;
        let start = 8 + length as usize;
        let json = bytes.get(8..start).ok_or_else(|| wrong("it is cut short"))?;
        let json: Value = serde_json::from_slice(json).map_err(|e| Error::Tensors(format!("{e}")))?;
        let map = json.as_object().ok_or_else(|| wrong("its head is no object"))?;
        let mut tensors = Vec::new();
        for (name, entry) in map.iter().filter(|(name, _)| *name != "__metadata__") {
            let kind = match entry["dtype"].as_str() {
                Some("F32") => Kind::F32,
                Some("F16") => Kind::F16,
                Some("BF16") => Kind::Bf16,
                _ => continue,
            };
            let fail = |why| Error::Tensor { name: name.clone(), why };
            let numbers = |value: &Value| -> Option<Vec<usize>> {
                value.as_array()?.iter().map(|n| usize::try_from(n.as_u64()?).ok()).collect()
            };
            let shape = numbers(&entry["shape"]).ok_or_else(|| fail("has no shape"))?;
            let offsets = numbers(&entry["data_offsets"]).ok_or_else(|| fail("has no offsets"))?;
            let [from, to] = offsets[..] else { return Err(fail("has no offsets")) };
            let place = start
                .checked_add(from)
                .zip(start.checked_add(to))
                .filter(|(from, to)| from <= to && *to <= bytes.len());
            let (from, to) = place.ok_or_else(|| fail("lies beyond the end of its file"))?;
            let elements = shape.iter().try_fold(1usize, |product, &n| product.checked_mul(n));
            let size = elements.and_then(|n| n.checked_mul(kind.block_bytes()));
            if size != Some(to - from) {
                return Err(fail("has another size than its shape says"));
            }
            tensors.push(Tensor { name: name.clone(), kind, shape, file, range: from..to });
        }
        Ok(Self { tensors })
    }

    /// The tensor of that name.
    pub fn find(&self, name: &str) -> Option<&Tensor> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(json: &str, data: usize) -> Vec<u8> {
        let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
        bytes.extend(json.as_bytes());
        bytes.resize(bytes.len() + data, 1);
        bytes
    }

    #[test]
    fn tensors_are_found_where_they_lie() {
        let json = r#"{"__metadata__":{},"w":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},"i":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}"#;
        let header = Header::read(0, &file(json, 16)).unwrap();
        let tensor = header.find("w").unwrap();
        assert_eq!((tensor.kind, tensor.range.len()), (Kind::Bf16, 12));
        assert!(header.find("i").is_none());
    }

    #[test]
    fn what_lies_outside_or_has_another_size_is_refused() {
        for (shape, offsets) in
            [("[2,3]", "[0,99]"), ("[2,3]", "[8,4]"), ("[9]", "[0,12]"), ("[18446744073709551615,2]", "[0,12]")]
        {
            let json = format!(r#"{{"w":{{"dtype":"BF16","shape":{shape},"data_offsets":{offsets}}}}}"#);
            assert!(Header::read(0, &file(&json, 16)).is_err(), "{shape} {offsets}");
        }
        assert!(Header::read(0, &[1, 2]).is_err());
        assert!(Header::read(0, &u64::MAX.to_le_bytes()).is_err());
    }
}
