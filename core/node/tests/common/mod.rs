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

/// Of the concatenation of `parts`, wherever they part: word by word, since it is made and checked as often as anything here.
fn stand_in(key: &NodeId, domain: Domain, parts: &[&[u8]]) -> Signature {
    let mut hash = key.short() ^ mix(domain as u64);
    let mut put = |word: u64| hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    let (mut begun, mut count) = (0, 0);
    for part in parts {
        let whole = if count == 0 { part.len() / 8 * 8 } else { 0 };
        let (words, rest) = part.split_at(whole);
        words.as_chunks().0.iter().for_each(|word| put(u64::from_be_bytes(*word)));
        for byte in rest {
            (begun, count) = (begun << 8 | u64::from(*byte), count + 1);
            if count == 8 {
                put(begun);
                (begun, count) = (0, 0);
            }
        }
    }
    put(begun);
    put(count);
    let mut bytes = [0; 64];
    bytes[..8].copy_from_slice(&mix(hash).to_be_bytes());
    bytes[8..40].copy_from_slice(&key.0);
    Signature(bytes)
}
