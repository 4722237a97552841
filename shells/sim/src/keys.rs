//! What hosts sign with.

use std::cell::Cell;

use tutu_node::{
    kit::{Domain, NodeId, Signature, Signer, Verifier, rng::mix},
    trust::identity::Identity,
};

/// Real Ed25519, or a stand-in for worlds in which it would be all that is computed.
#[derive(Clone, Debug, PartialEq)]
pub enum Keys {
    /// Ed25519.
    Real(Box<Identity>),
    /// A hash of key and message, of the size of a signature. Anybody could forge it; the actors of this simulator do not,
    /// and a signature over anything else is refused as a real one would be.
    StandIn(StandIn),
}

/// A key that is only a name, and how often it was used.
#[derive(Clone, Debug, PartialEq)]
pub struct StandIn {
    id: NodeId,
    /// Signatures made.
    pub signed: Cell<u32>,
    /// Signatures checked.
    pub verified: Cell<u32>,
}

impl Keys {
    /// The key of number `n` in the world of `seed`.
    pub fn new(real: bool, seed: u64, n: u64) -> Self {
        let id = NodeId::number(mix(seed) ^ mix(n));
        if real {
            Self::Real(Box::new(Identity::new(id.0)))
        } else {
            Self::StandIn(StandIn { id, signed: Cell::new(0), verified: Cell::new(0) })
        }
    }

    /// Signatures made and checked so far, if they are counted.
    pub fn counts(&self) -> (u64, u64) {
        match self {
            Self::Real(_) => (0, 0),
            Self::StandIn(key) => (key.signed.get().into(), key.verified.get().into()),
        }
    }
}

impl Signer for Keys {
    fn key(&self) -> NodeId {
        match self {
            Self::Real(identity) => identity.key(),
            Self::StandIn(key) => key.id,
        }
    }

    fn sign(&self, domain: Domain, parts: &[&[u8]]) -> Signature {
        match self {
            Self::Real(identity) => identity.sign(domain, parts),
            Self::StandIn(key) => {
                key.signed.set(key.signed.get().wrapping_add(1));
                stand_in(&key.id, domain, parts)
            }
        }
    }
}

impl Verifier for Keys {
    fn verify(&self, key: &NodeId, domain: Domain, parts: &[&[u8]], signature: &Signature) -> bool {
        match self {
            Self::Real(identity) => identity.verify(key, domain, parts, signature),
            Self::StandIn(own) => {
                own.verified.set(own.verified.get().wrapping_add(1));
                stand_in(key, domain, parts) == *signature
            }
        }
    }
}

fn stand_in(key: &NodeId, domain: Domain, parts: &[&[u8]]) -> Signature {
    const PRIME: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = key.short() ^ domain as u64;
    let mut length = 0;
    for part in parts {
        let (words, tail) = part.as_chunks::<8>();
        for word in words {
            hash = (hash ^ u64::from_le_bytes(*word)).wrapping_mul(PRIME).rotate_left(29);
        }
        // Where parts meet does not matter to a real signature; all of ours but the last are multiples of 8 bytes.
        for byte in tail {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(PRIME).rotate_left(29);
        }
        length += part.len() as u64;
    }
    hash = mix(hash ^ length);
    let mut bytes = [0; 64];
    for (n, chunk) in bytes.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        *chunk = hash.wrapping_add(n as u64).wrapping_mul(PRIME).to_le_bytes();
    }
    Signature(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stand_in_is_refused_where_a_real_signature_would_be() {
        for real in [false, true] {
            let [one, two] = [1, 2].map(|n| Keys::new(real, 7, n));
            let signature = one.sign(Domain::Record, &[b"12345678", b"abc"]);
            assert!(two.verify(&one.key(), Domain::Record, &[b"12345678", b"abc"], &signature));
            assert!(!two.verify(&one.key(), Domain::Record, &[b"12345678", b"abd"], &signature));
            assert!(!two.verify(&one.key(), Domain::Proof, &[b"12345678", b"abc"], &signature));
            assert!(!two.verify(&two.key(), Domain::Record, &[b"12345678", b"abc"], &signature));
        }
    }
}
