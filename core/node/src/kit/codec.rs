//! Postcard's bytes, read and written in place.
//!
//! What is read once in a while goes through `serde` and the `postcard` crate. What is looked at ten times before it is
//! new (gossip, packets) is read with this: the same format, nothing allocated, nothing copied, and every length capped
//! by whoever reads.
//!
//! Source: the postcard wire format, version 1: integers in groups of 7 bits, lowest first, bytes after their length.

use alloc::vec::Vec;
use core::fmt;

use super::{NodeId, Signature};

/// What is left to read.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(pub &'a [u8]);

/// The bytes do not hold what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// They end too soon.
    Short,
    /// A number is too great for its type, or is written with more bytes than it needs.
    Number,
    /// A length is above the limit of its field.
    Long {
        /// What was claimed.
        length: u64,
        /// What is allowed.
        limit: usize,
    },
    /// They hold something, but not what may stand there.
    Odd,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => f.write_str("the bytes end too soon"),
            Self::Number => f.write_str("a number is too great or not in its shortest form"),
            Self::Long { length, limit } => write!(f, "a length of {length} is above {limit}"),
            Self::Odd => f.write_str("the bytes mean nothing here"),
        }
    }
}

impl core::error::Error for Error {}

impl<'a> Reader<'a> {
    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let (head, tail) = self.0.split_at_checked(count).ok_or(Error::Short)?;
        self.0 = tail;
        Ok(head)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], Error> {
        let (head, tail) = self.0.split_first_chunk().ok_or(Error::Short)?;
        self.0 = tail;
        Ok(head)
    }

    /// One byte.
    pub fn byte(&mut self) -> Result<u8, Error> {
        self.array::<1>().map(|byte| byte[0])
    }

    /// A number in groups of 7 bits, in its shortest form: one value has one encoding, so that what is signed is what is read.
    pub fn number(&mut self) -> Result<u64, Error> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Error::Number);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return if byte == 0 && shift > 0 { Err(Error::Number) } else { Ok(value) };
            }
        }
        Err(Error::Number)
    }

    /// How many follow: at most `limit`.
    pub fn count(&mut self, limit: usize) -> Result<usize, Error> {
        let length = self.number()?;
        usize::try_from(length).ok().filter(|count| *count <= limit).ok_or(Error::Long { length, limit })
    }

    /// A length of at most `limit`, and so many bytes.
    pub fn bytes(&mut self, limit: usize) -> Result<&'a [u8], Error> {
        let count = self.count(limit)?;
        self.take(count)
    }

    /// Eight bytes, the highest first.
    pub fn word(&mut self) -> Result<u64, Error> {
        self.array().map(|bytes| u64::from_be_bytes(*bytes))
    }

    /// An id or a key.
    pub fn id(&mut self) -> Result<NodeId, Error> {
        self.array().map(|bytes| NodeId(*bytes))
    }

    /// A signature.
    pub fn signature(&mut self) -> Result<Signature, Error> {
        self.array().map(|bytes| Signature(*bytes))
    }
}

/// Appends `value` in groups of 7 bits.
pub fn put_number(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a length and the bytes.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::Rng;

    #[test]
    fn writes_and_reads_what_postcard_writes() {
        let mut rng = Rng::new(3);
        for _ in 0..5000 {
            let number = rng.next() >> rng.below(64);
            let mut out = Vec::new();
            put_number(&mut out, number);
            assert_eq!(out, postcard::to_allocvec(&number).unwrap());
            assert_eq!(Reader(&out).number(), Ok(number));
        }
        let mut out = Vec::new();
        put_bytes(&mut out, b"gossip");
        assert_eq!(out, postcard::to_allocvec("gossip").unwrap());
        assert_eq!(Reader(&out).bytes(6), Ok(&b"gossip"[..]));
        assert_eq!(Reader(&out).bytes(5), Err(Error::Long { length: 6, limit: 5 }));
        assert_eq!(Reader(&out[..4]).bytes(6), Err(Error::Short));
    }

    #[test]
    fn a_number_has_one_encoding() {
        for bytes in [&[0x80, 0][..], &[0xff, 0x80, 0], &[0xff; 10], &[0x80; 11]] {
            assert_eq!(Reader(bytes).number(), Err(Error::Number), "{bytes:?}");
        }
        let greatest = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert_eq!(Reader(&greatest).number(), Ok(u64::MAX));
    }
}
