//! What a member says of itself, signed, so that anybody can hand it on and nobody can change it.
//!
//! | bytes | what |
//! |---|---|
//! | 32 | id |
//! | 1 | flags: 1 it leaves, 2 a certificate follows |
//! | 1–10 | incarnation |
//! | 97–106 | only with flag 2: serial number, key, signature of the certificate |
//! | 1–3 and so many | facts, in postcard |
//! | 64 | signature of the key over all of the above |
//!
//! A record is kept and handed on byte for byte, with fields that only later versions know.

use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};
use core::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::kit::{
    Bytes, Certificate, Domain, Fault, NodeId, Signer, Verifier,
    bloom::Bloom,
    codec::{Error, Reader, put_bytes, put_number},
    fault,
};

/// Bytes that the facts of a record may take.
pub const FACTS_MAX: usize = 256;
/// Bytes that a record may take.
pub const RECORD_MAX: usize = 32 + 1 + 10 + 106 + 3 + FACTS_MAX + 64;
/// Letters that the name of a region may have.
pub const REGION_MAX: usize = 16;

const LEFT: u8 = 1;
const CERTIFIED: u8 = 2;

/// What changes slowly enough to be told to everybody. Load and price do not; they ride on answers ([`super::Pulse`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Where it is, in its own words; at most [`REGION_MAX`] bytes.
    pub region: String,
    /// Memory that it gives to models.
    pub memory: Bytes,
    /// Which models it has, by hash of their digest.
    pub models: Bloom,
    /// Members, by short id, through which it is reached if not directly; 0 for none.
    pub relays: [u64; 2],
}

impl Facts {
    /// A member at `addr` of which nothing else is known.
    pub fn at(addr: SocketAddr) -> Self {
        Self { addr, region: String::new(), memory: Bytes(0), models: Bloom::default(), relays: [0; 2] }
    }

    /// Whether it says to be reached only through others.
    pub fn is_hidden(&self) -> bool {
        self.relays != [0; 2]
    }
}

impl Default for Facts {
    fn default() -> Self {
        Self::at(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0))
    }
}

/// A record whose signature was checked: there is no other way to have one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose.
    pub id: NodeId,
    /// Which of its lives, and which word in it; a higher one replaces a lower.
    pub incarnation: u64,
    /// Whether this is its farewell.
    pub left: bool,
    /// The key that it signs with.
    pub key: NodeId,
    /// Serial number of the certificate of that key; 0 for its first.
    pub serial: u64,
    /// What it says of itself.
    pub facts: Facts,
    bytes: Box<[u8]>,
}

/// The beginning of a record, which is enough to see that it is not new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peek {
    pub id: NodeId,
    pub incarnation: u64,
    pub left: bool,
}

impl Record {
    /// Writes and signs a record. `certificate` must be for the signer's key, unless that is `id` itself.
    pub fn sign(
        id: NodeId,
        incarnation: u64,
        left: bool,
        facts: Facts,
        certificate: Option<&Certificate>,
        signer: &impl Signer,
    ) -> Arc<Self> {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&id.0);
        bytes.push((u8::from(left) * LEFT) | (u8::from(certificate.is_some()) * CERTIFIED));
        put_number(&mut bytes, incarnation);
        if let Some(certificate) = certificate {
            put_number(&mut bytes, certificate.serial);
            bytes.extend_from_slice(&certificate.key.0);
            bytes.extend_from_slice(&certificate.signature.0);
        }
        let mut facts = facts;
        while facts.region.len() > REGION_MAX {
            facts.region.pop();
        }
        put_bytes(&mut bytes, &postcard::to_allocvec(&facts).expect("plain values always encode"));
        let signature = signer.sign(Domain::Record, &[&bytes]);
        bytes.extend_from_slice(&signature.0);
        let (key, serial) = certificate.map_or((id, 0), |certificate| (certificate.key, certificate.serial));
        Arc::new(Self { id, incarnation, left, key, serial, facts, bytes: bytes.into() })
    }

    /// Reads and checks a record.
    ///
    /// # Errors
    /// What [`Error`] says; [`Error::Odd`] also when a signature is not what it should be.
    pub fn open(bytes: &[u8], verifier: &impl Verifier) -> Result<Arc<Self>, Error> {
        let mut reader = Reader(bytes);
        let (id, flags, incarnation) = (reader.id()?, reader.byte()?, reader.number()?);
        let (mut key, mut serial) = (id, 0);
        if flags & CERTIFIED != 0 {
            serial = reader.number()?;
            key = reader.id()?;
            let certificate = Certificate { serial, key, signature: reader.signature()? };
            if serial == 0 || !certificate.holds(&id, verifier) {
                return Err(Error::Odd);
            }
        }
        let facts = reader.bytes(FACTS_MAX)?;
        let signed = &bytes[..bytes.len() - reader.0.len()];
        let signature = reader.signature()?;
        // Later versions may say more in flags or facts, never less: what remains of the facts is theirs.
        let (facts, _) = postcard::take_from_bytes::<Facts>(facts).map_err(|_| Error::Odd)?;
        let sound = reader.0.is_empty() && facts.region.len() <= REGION_MAX;
        let signed_by =
            fault::on(Fault::RecordSignatureUnchecked) || verifier.verify(&key, Domain::Record, &[signed], &signature);
        if !sound || !signed_by {
            return Err(Error::Odd);
        }
        let left = flags & LEFT != 0;
        Ok(Arc::new(Self { id, incarnation, left, key, serial, facts, bytes: bytes.into() }))
    }

    /// As it came, and as it goes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn peek(bytes: &[u8]) -> Result<Peek, Error> {
        let mut reader = Reader(bytes);
        let (id, flags, incarnation) = (reader.id()?, reader.byte()?, reader.number()?);
        Ok(Peek { id, incarnation, left: flags & LEFT != 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::identity::Identity;

    fn facts() -> Facts {
        let mut models = Bloom::default();
        models.insert(42);
        Facts {
            addr: "192.0.2.7:11435".parse().unwrap(),
            region: "eu-west".into(),
            memory: Bytes(8_000_000_000),
            models,
            relays: [0, 7],
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_signed_and_not_when_a_bit_differs() {
        let identity = Identity::new([1; 32]);
        let record = Record::sign(identity.key(), 300, false, facts(), None, &identity);
        assert_eq!(Record::open(record.bytes(), &identity), Ok(record.clone()));
        assert_eq!(record.bytes().len(), 32 + 1 + 2 + 1 + record.bytes()[35] as usize + 64);
        for bit in 0..record.bytes().len() * 8 {
            let mut harmed = record.bytes().to_vec();
            harmed[bit / 8] ^= 1 << (bit % 8);
            assert!(Record::open(&harmed, &identity).is_err(), "bit {bit}");
        }
        for length in 0..record.bytes().len() {
            assert!(Record::open(&record.bytes()[..length], &identity).is_err(), "length {length}");
        }
    }

    #[test]
    fn a_certified_key_signs_for_the_identity() {
        let (root, worker) = (Identity::new([1; 32]), Identity::new([2; 32]));
        let certificate = Certificate::issue(&root, 4, worker.key());
        let record = Record::sign(root.key(), 1, true, facts(), Some(&certificate), &worker);
        let read = Record::open(record.bytes(), &root).unwrap();
        assert_eq!((read.id, read.key, read.serial, read.left), (root.key(), worker.key(), 4, true));
        let stolen = Certificate::issue(&worker, 4, worker.key());
        let record = Record::sign(root.key(), 1, false, facts(), Some(&stolen), &worker);
        assert_eq!(Record::open(record.bytes(), &root), Err(Error::Odd));
    }

    #[test]
    fn facts_of_a_later_version_are_kept_and_passed_over() {
        let identity = Identity::new([1; 32]);
        let record = Record::sign(identity.key(), 1, false, facts(), None, &identity);
        let mut later = postcard::to_allocvec(&facts()).unwrap();
        later.extend_from_slice(b"what nobody knows yet");
        let mut bytes = record.bytes()[..34].to_vec();
        put_bytes(&mut bytes, &later);
        let signature = identity.sign(Domain::Record, &[&bytes]);
        bytes.extend_from_slice(&signature.0);
        let read = Record::open(&bytes, &identity).unwrap();
        assert_eq!((&read.facts, read.bytes()), (&facts(), &bytes[..]));
    }

    #[test]
    fn the_golden_record_stays_as_it_is() {
        let identity = Identity::new([1; 32]);
        let record = Record::sign(identity.key(), 300, false, facts(), None, &identity);
        let hex: String = record.bytes().iter().map(|byte| alloc::format!("{byte:02x}")).collect();
        assert_eq!(hex, include_str!("../../../tests/data/record.hex").trim());
    }
}
