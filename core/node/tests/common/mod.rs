//! Keys that are only names: for worlds in which signatures would be all that is computed.

use tutu_node::kit::{Domain, NodeId, Signature, Signer, Verifier, rng::mix};

/// A hash of key and message in the place of a signature. Anybody could forge it; nobody here does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Name(pub NodeId);

impl Signer for Name {
    fn key(&self) -> NodeId {
        self.0
    }

    fn sign(&self, domain: Domain, parts: &[&[u8]]) -> Signature {
        stand_in(&self.0, domain, parts)
    }
}

impl Verifier for Name {
    fn verify(&self, key: &NodeId, domain: Domain, parts: &[&[u8]], signature: &Signature) -> bool {
        stand_in(key, domain, parts) == *signature
    }
}

fn stand_in(key: &NodeId, domain: Domain, parts: &[&[u8]]) -> Signature {
    let mut hash = key.short() ^ mix(domain as u64);
    for byte in parts.iter().flat_map(|part| part.iter()) {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    let mut bytes = [0; 64];
    bytes[..8].copy_from_slice(&mix(hash).to_be_bytes());
    bytes[8..40].copy_from_slice(&key.0);
    Signature(bytes)
}
