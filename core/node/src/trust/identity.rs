//! Identities: Ed25519 keys, what they sign, and how one follows another.
//!
//! A node *is* its first public key ([`NodeId`]). With it, it signs a [`Certificate`] for each key that it works with,
//! so that a key can be replaced without a new name. Every signature says what it is for ([`Domain`]).
//!
//! Source: RFC 8032 (Ed25519). Checks are strict: keys and points of small order are refused, since with them one
//! signature would fit many messages.

use alloc::{collections::BTreeMap, vec::Vec};
use core::fmt;

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};

use crate::kit::{Certificate, Domain, NodeId, Signature, Signer, Verifier};

/// A secret key that this node holds. It checks signatures too, so that one thing can be handed to a machine.
#[derive(Clone)]
pub struct Identity(SigningKey);

impl Identity {
    /// The identity that belongs to 32 random bytes.
    pub fn new(secret: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&secret))
    }
}

impl Signer for Identity {
    fn key(&self) -> NodeId {
        NodeId(self.0.verifying_key().to_bytes())
    }

    fn sign(&self, domain: Domain, parts: &[&[u8]]) -> Signature {
        Signature(self.0.sign(&framed(domain, parts)).to_bytes())
    }
}

impl Verifier for Identity {
    fn verify(&self, key: &NodeId, domain: Domain, parts: &[&[u8]], signature: &Signature) -> bool {
        let Ok(key) = VerifyingKey::from_bytes(&key.0) else { return false };
        key.verify_strict(&framed(domain, parts), &ed25519_dalek::Signature::from_bytes(&signature.0)).is_ok()
    }

    /// In one sum with weights that follow from the list (Bernstein et al., "High-speed high-security signatures", §5).
    ///
    /// A signer can make signatures that hold in one list and not in another, by a part of small order; nobody can make
    /// one for the key of somebody else. So a list is valid or not as a whole, the same for everybody, and whoever is in
    /// it did sign.
    fn verify_all(&self, domain: Domain, items: &[(NodeId, &[u8], Signature)]) -> bool {
        let messages: Vec<Vec<u8>> = items.iter().map(|item| framed(domain, &[item.1])).collect();
        let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
        let signatures: Vec<_> = items.iter().map(|item| ed25519_dalek::Signature::from_bytes(&item.2.0)).collect();
        let keys: Result<Vec<_>, _> = items.iter().map(|item| VerifyingKey::from_bytes(&item.0.0)).collect();
        let Ok(keys) = keys else { return false };
        !keys.iter().any(VerifyingKey::is_weak) && ed25519_dalek::verify_batch(&messages, &signatures, &keys).is_ok()
    }
}

/// What is signed: whose protocol, which version, what for, and then the message.
fn framed(domain: Domain, parts: &[&[u8]]) -> Vec<u8> {
    let mut message = Vec::with_capacity(8 + parts.iter().map(|part| part.len()).sum::<usize>());
    message.extend_from_slice(b"tutu\x01");
    message.push(domain as u8);
    parts.iter().for_each(|part| message.extend_from_slice(part));
    message
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl fmt::Debug for Identity {
    /// The public half only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.key())
    }
}

/// Which key signs for whom now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Keyring {
    current: BTreeMap<NodeId, Certificate>,
}

/// Why a certificate was refused. The ring is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The identity did not sign it.
    Forged,
    /// There is one with this serial number or a higher.
    Old {
        /// The serial number that holds.
        serial: u64,
    },
    /// The ring is full.
    Full {
        /// Identities with certificates that it holds.
        limit: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forged => f.write_str("the identity did not sign this certificate"),
            Self::Old { serial } => write!(f, "certificate {serial} holds, and this one is not newer"),
            Self::Full { limit } => write!(f, "the ring holds {limit} identities and no more"),
        }
    }
}

impl core::error::Error for Error {}

impl Keyring {
    /// Identities with certificates that a ring holds.
    pub const LIMIT: usize = 65_536;

    /// Takes in `certificate` of `subject`.
    ///
    /// # Errors
    /// [`Error::Old`], [`Error::Full`] and [`Error::Forged`], in this order of checks: the dear one last.
    pub fn rotate(&mut self, subject: NodeId, certificate: Certificate, verifier: &impl Verifier) -> Result<(), Error> {
        match self.current.get(&subject) {
            Some(held) if held.serial >= certificate.serial => return Err(Error::Old { serial: held.serial }),
            None if self.current.len() >= Self::LIMIT => return Err(Error::Full { limit: Self::LIMIT }),
            _ => {}
        }
        if !certificate.holds(&subject, verifier) {
            return Err(Error::Forged);
        }
        self.current.insert(subject, certificate);
        Ok(())
    }

    /// The key that signs for `subject`: its first, unless it said otherwise.
    pub fn key(&self, subject: &NodeId) -> NodeId {
        self.current.get(subject).map_or(*subject, |certificate| certificate.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_as_rfc_8032_says() {
        // RFC 8032 §7.1, TEST 1: the key; the signature over our framing is checked by the public half alone.
        let secret = [
            0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4, 0x44, 0x49,
            0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
        ];
        let identity = Identity::new(secret);
        assert_eq!(identity.key().short(), 0xd75a_9801_82b1_0ab7);
        let signature = identity.sign(Domain::Record, &[b"a", b"bc"]);
        let other = Identity::new([7; 32]);
        assert!(other.verify(&identity.key(), Domain::Record, &[b"abc"], &signature));
        assert!(!other.verify(&identity.key(), Domain::Packet, &[b"abc"], &signature), "another purpose");
        assert!(!other.verify(&identity.key(), Domain::Record, &[b"abd"], &signature), "another message");
        assert!(!other.verify(&other.key(), Domain::Record, &[b"abc"], &signature), "another signer");
        assert!(!other.verify(&NodeId([0; 32]), Domain::Record, &[b"abc"], &signature), "a key of small order");
    }

    #[test]
    fn many_signatures_hold_together_or_not_at_all() {
        let signers: Vec<Identity> = (1..22).map(|n| Identity::new([n; 32])).collect();
        let sign = |n: &Identity| (n.key(), &b"once"[..], n.sign(Domain::Vote, &[b"once"]));
        let mut list: Vec<_> = signers.iter().map(sign).collect();
        assert!(signers[0].verify_all(Domain::Vote, &list));
        assert!(!signers[0].verify_all(Domain::Entry, &list), "another purpose");
        list[20].1 = b"twice";
        assert!(!signers[0].verify_all(Domain::Vote, &list), "another message");
        list[20] = (NodeId([0; 32]), &b"once"[..], list[0].2);
        assert!(!signers[0].verify_all(Domain::Vote, &list), "a key of small order");
        assert!(signers[0].verify_all(Domain::Vote, &[]));
    }

    #[test]
    fn a_newer_certificate_replaces_the_key_and_an_older_does_not() {
        let (root, first, second) = (Identity::new([1; 32]), Identity::new([2; 32]), Identity::new([3; 32]));
        let mut ring = Keyring::default();
        assert_eq!(ring.key(&root.key()), root.key());
        let one = Certificate::issue(&root, 1, first.key());
        let two = Certificate::issue(&root, 2, second.key());
        assert_eq!(ring.rotate(root.key(), two, &root), Ok(()));
        assert_eq!(ring.rotate(root.key(), one, &root), Err(Error::Old { serial: 2 }));
        let forged = Certificate { serial: 9, ..Certificate::issue(&first, 9, first.key()) };
        assert_eq!(ring.rotate(root.key(), forged, &root), Err(Error::Forged));
        assert_eq!(ring.key(&root.key()), second.key());
    }
}
