//! What members say to each other: a head, and behind it gossip, item by item, to the end of the body.
//!
//! Heads are postcard. An item is one byte for its kind, a length, and so many bytes, so that kinds of later versions
//! are passed over:
//!
//! | kind | content |
//! |---|---|
//! | 1 | a record ([`super::record`]) |
//! | 2 | an accusation: subject and accuser by short id, 8 bytes each; incarnation; age; 64 bytes of signature |
//! | 3 | a doubt of the sender itself: subject, 8 bytes; incarnation; age; 1 if the sender counts it as dead |
//!
//! The age of an accusation is in eighths of a period, at most 255: how long it has been under way. It is not signed,
//! because everybody who hands it on adds to it.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::record::RECORD_MAX;
use crate::kit::{
    Signature,
    codec::{Error, Reader, put_bytes, put_number},
};

/// Buckets of a digest, at most: 2^8 hashes of 4 bytes fill a packet.
pub const BITS_MAX: u8 = 8;

/// How a member does right now. It rides on answers, because it is old before it could be told to everybody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulse {
    /// Whether the engine answers. That a process lives says nothing about it.
    pub engine: bool,
    /// Share of the engine in use, in percent.
    pub load: u8,
    /// Micro-credits for a thousand tokens.
    pub price: u32,
}

/// What a body begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Head {
    /// Only gossip.
    Gossip {
        /// Whether the receiver should introduce itself.
        introduce: bool,
    },
    /// Are you there?
    Ping {
        /// Comes back in the answer.
        nonce: u32,
        /// Whether the receiver should introduce itself.
        introduce: bool,
        /// For whom the sender asks: short id, and the nonce of that one.
        behalf: Option<(u64, u32)>,
    },
    /// I am. If the ping was on somebody's behalf, 64 bytes of signature for that one follow.
    Ack {
        /// Of the ping.
        nonce: u32,
        /// Whether the receiver should introduce itself.
        introduce: bool,
        /// Whether a proof follows.
        proof: bool,
        /// How the sender does.
        pulse: Pulse,
    },
    /// Ask this one for me.
    Help {
        /// Comes back in the answer.
        nonce: u32,
        /// Whom, by short id.
        target: u64,
    },
    /// It answers me. Its signature over your nonce, 64 bytes, follows.
    Proof {
        /// Of the request for help.
        nonce: u32,
    },
    /// It does not answer me either.
    Nack {
        /// Of the request for help.
        nonce: u32,
    },
    /// Hashes of what the sender knows, 4 bytes a bucket, follow; 2^bits buckets of short ids.
    Digest {
        /// At most [`BITS_MAX`].
        bits: u8,
        /// Bits that tell the sender's cell from others: who is in a smaller one says so ([`Self::Near`]).
        cell: u8,
    },
    /// All living members that the sender knows from one short id to another follow: short id, incarnation.
    List {
        /// The first short id of the range.
        first: u64,
        /// The last short id of the range.
        last: u64,
        /// So many follow.
        count: u16,
    },
    /// Records that were asked for follow, as items; they are no news and are not told on.
    Records,
    /// Records that the sender would like to have follow: short ids.
    Want {
        /// So many follow.
        count: u16,
    },
    /// Whom do you know near this place?
    Find {
        /// Comes back in the answer.
        nonce: u32,
        /// A hash of an address; who shares more leading bits with it is nearer.
        target: u64,
    },
    /// These, as records; they are no news and are not told on.
    Near {
        /// Of the question; 0 if the sender only wants its `bits` known.
        nonce: u32,
        /// Bits that tell the sender's cell from others.
        bits: u8,
    },
}

impl Head {
    /// Appends it.
    pub fn put(&self, out: &mut Vec<u8>) {
        let mut room = [0; 40];
        let bytes = postcard::to_slice(self, &mut room).expect("the longest head has 29 bytes");
        out.extend_from_slice(bytes);
    }

    /// Reads it, and leaves the rest in `body`.
    ///
    /// # Errors
    /// [`Error::Odd`] for anything that is no head that this version knows.
    pub fn take(body: &mut Reader) -> Result<Self, Error> {
        let (head, rest) = postcard::take_from_bytes(body.0).map_err(|_| Error::Odd)?;
        body.0 = rest;
        match head {
            Self::Digest { bits, .. } if bits > BITS_MAX => Err(Error::Odd),
            Self::List { first, last, .. } if first > last => Err(Error::Odd),
            head => Ok(head),
        }
    }
}

/// Somebody's word that a member did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accusation {
    /// Who did not answer, by short id.
    pub subject: u64,
    /// In which of its lives.
    pub incarnation: u64,
    /// Who says so, by short id.
    pub accuser: u64,
    /// Over the subject's whole id and the incarnation.
    pub signature: Signature,
}

/// One piece of gossip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// Bytes of a record, not checked yet.
    Record(&'a [u8]),
    /// An accusation, not checked yet, and how old it is.
    Accusation(Accusation, u8),
    /// What the sender itself thinks of a member.
    Doubt {
        /// Of whom, by short id.
        subject: u64,
        /// Of which of its lives.
        incarnation: u64,
        /// Eighths of a period since it was declared dead.
        age: u8,
        /// Whether it is past doubt.
        dead: bool,
    },
}

impl<'a> Item<'a> {
    /// Bytes of a doubt, at most: no item is shorter.
    pub const DOUBT: usize = 2 + 8 + 10 + 2;
    /// Bytes of an accusation, at most. Records are longer.
    pub const ACCUSATION: usize = 2 + 8 + 8 + 10 + 1 + 64;

    /// Appends it.
    pub fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Record(bytes) => {
                out.push(1);
                put_bytes(out, bytes);
            }
            Self::Accusation(accusation, age) => {
                out.push(2);
                framed(out, |out| {
                    out.extend_from_slice(&accusation.subject.to_be_bytes());
                    out.extend_from_slice(&accusation.accuser.to_be_bytes());
                    put_number(out, accusation.incarnation);
                    out.push(*age);
                    out.extend_from_slice(&accusation.signature.0);
                });
            }
            Self::Doubt { subject, incarnation, age, dead } => {
                out.push(3);
                framed(out, |out| {
                    out.extend_from_slice(&subject.to_be_bytes());
                    put_number(out, *incarnation);
                    out.push(*age);
                    out.push(u8::from(*dead));
                });
            }
        }
    }

    /// Reads the next; `None` at the end, and after what cannot be read.
    pub fn next(body: &mut Reader<'a>) -> Option<Self> {
        loop {
            let kind = body.byte().ok()?;
            let mut content = Reader(body.bytes(RECORD_MAX).ok()?);
            let item = match kind {
                1 => Ok(Self::Record(content.0)),
                2 => accusation(&mut content),
                3 => doubt(&mut content),
                // A later version's.
                _ => continue,
            };
            return item.ok();
        }
    }

    /// Bytes that it takes, at most.
    pub const fn size(&self) -> usize {
        match self {
            Self::Record(bytes) => bytes.len() + 3,
            Self::Accusation(..) => Self::ACCUSATION,
            Self::Doubt { .. } => Self::DOUBT,
        }
    }
}

fn accusation<'a>(content: &mut Reader<'a>) -> Result<Item<'a>, Error> {
    let (subject, accuser, incarnation, age) = (content.word()?, content.word()?, content.number()?, content.byte()?);
    Ok(Item::Accusation(Accusation { subject, incarnation, accuser, signature: content.signature()? }, age))
}

fn doubt<'a>(content: &mut Reader<'a>) -> Result<Item<'a>, Error> {
    let (subject, incarnation, age) = (content.word()?, content.number()?, content.byte()?);
    Ok(Item::Doubt { subject, incarnation, age, dead: content.byte()? == 1 })
}

/// Writes a length of one byte before what `write` writes: at most 127 bytes.
fn framed(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.push(0);
    write(out);
    out[at] = u8::try_from(out.len() - at - 1).expect("at most 92 bytes");
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn heads_are_read_as_they_are_written() {
        let pulse = Pulse { engine: true, load: 99, price: u32::MAX };
        for head in [
            Head::Gossip { introduce: true },
            Head::Ping { nonce: u32::MAX, introduce: false, behalf: Some((u64::MAX, u32::MAX)) },
            Head::Ack { nonce: 1, introduce: true, proof: true, pulse },
            Head::Help { nonce: 1, target: u64::MAX },
            Head::Proof { nonce: u32::MAX },
            Head::Nack { nonce: 0 },
            Head::Digest { bits: 8, cell: 20 },
            Head::List { first: 0, last: u64::MAX, count: u16::MAX },
            Head::Records,
            Head::Want { count: 3 },
            Head::Find { nonce: 7, target: u64::MAX },
            Head::Near { nonce: u32::MAX, bits: 9 },
        ] {
            let mut out = vec![];
            head.put(&mut out);
            out.push(77);
            let mut reader = Reader(&out);
            assert_eq!(Head::take(&mut reader), Ok(head));
            assert_eq!(reader.0, [77]);
        }
        let mut out = vec![];
        Head::Digest { bits: 9, cell: 0 }.put(&mut out);
        assert_eq!(Head::take(&mut Reader(&out)), Err(Error::Odd));
        assert_eq!(Head::take(&mut Reader(&[99])), Err(Error::Odd));
    }

    /// The file was written by hand from the formats above.
    #[test]
    fn the_golden_heads_and_items_stay_as_they_are() {
        let pulse = Pulse { engine: true, load: 99, price: 1000 };
        let heads = [
            Head::Gossip { introduce: true },
            Head::Ping { nonce: 300, introduce: false, behalf: Some((u64::MAX, 7)) },
            Head::Ping { nonce: 1, introduce: true, behalf: None },
            Head::Ack { nonce: u32::MAX, introduce: false, proof: true, pulse },
            Head::Help { nonce: 5, target: 1 << 40 },
            Head::Proof { nonce: 5 },
            Head::Nack { nonce: 5 },
            Head::Digest { bits: 8, cell: 3 },
            Head::List { first: 1, last: u64::MAX, count: 55 },
            Head::Records,
            Head::Want { count: 100 },
            Head::Find { nonce: 5, target: 1 << 63 },
            Head::Near { nonce: 5, bits: 9 },
        ];
        let signature = Signature([5; 64]);
        let items = [
            Item::Record(b"a record"),
            Item::Accusation(Accusation { subject: 1, incarnation: 300, accuser: 3, signature }, 255),
            Item::Doubt { subject: 9, incarnation: 2, age: 3, dead: true },
        ];
        let heads = heads.iter().map(|head| {
            let mut out = vec![];
            head.put(&mut out);
            out
        });
        let items = items.iter().map(|item| {
            let mut out = vec![];
            item.put(&mut out);
            out
        });
        let lines = heads.chain(items).map(|bytes| {
            let hex = bytes.iter().map(|byte| alloc::format!("{byte:02x}"));
            hex.collect::<alloc::string::String>() + "\n"
        });
        assert_eq!(lines.collect::<alloc::string::String>(), include_str!("../../../tests/data/gossip.hex"));
    }

    #[test]
    fn items_are_read_as_they_are_written_and_unknown_ones_passed_over() {
        let signature = Signature([5; 64]);
        let accusation = Accusation { subject: 1, incarnation: u64::MAX, accuser: 3, signature };
        let items = [
            Item::Record(b"a record"),
            Item::Accusation(accusation, 255),
            Item::Doubt { subject: 9, incarnation: 300, age: 3, dead: true },
        ];
        let mut out = vec![];
        for item in items {
            let before = out.len();
            item.put(&mut out);
            assert!(out.len() - before <= item.size());
            out.extend_from_slice(&[200, 2, 0, 0]);
        }
        let mut reader = Reader(&out);
        for item in items {
            assert_eq!(Item::next(&mut reader), Some(item));
        }
        assert_eq!(Item::next(&mut reader), None);
    }
}
