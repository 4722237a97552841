//! SHA-256 (FIPS 180-4) over things that say what they are.
//!
//! Every hash begins with a [`Tag`], so that bytes hashed as one thing never stand for another.

use sha2::{Digest as _, Sha256, compress256, digest::generic_array::GenericArray};

use super::Digest;

/// What is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Tag {
    /// A leaf of a Merkle tree.
    Leaf = 1,
    /// An inner node of a Merkle tree.
    Branch = 2,
    /// One link of a hash chain; see [`link`].
    Link = 3,
    /// An entry of a log.
    Entry = 4,
    /// What a hold came to.
    Closing = 5,
    /// A set of witnesses.
    Witnesses = 6,
    /// What a log comes to.
    Fold = 7,
    /// A statement that witnesses sign.
    Statement = 8,
    /// A drawing of lots.
    Lot = 9,
    /// A vote that is not yet opened.
    Ballot = 10,
    /// A proposal.
    Proposal = 11,
    /// Who may vote with what.
    Snapshot = 12,
    /// The result of a vote.
    Tally = 13,
    /// A secret, from what only its owner can compute.
    Secret = 14,
}

/// The digest of the concatenation of `parts`, as a `tag`.
pub fn hash(tag: Tag, parts: &[&[u8]]) -> Digest {
    let length = 1 + parts.iter().map(|part| part.len()).sum::<usize>();
    if length <= SHORT_MAX {
        let mut at = 0;
        return short(length, |bytes| {
            for part in [&[tag as u8][..]].iter().chain(parts) {
                bytes[at..at + part.len()].copy_from_slice(part);
                at += part.len();
            }
        });
    }
    let mut state = Sha256::new_with_prefix([tag as u8]);
    parts.iter().for_each(|part| state.update(part));
    Digest(state.finalize().into())
}

/// The next link of a hash chain: 33 bytes in, so that one block of SHA-256 holds them with their padding.
pub fn link(secret: &Digest) -> Digest {
    short(33, |bytes| {
        bytes[0] = Tag::Link as u8;
        bytes[1..33].copy_from_slice(&secret.0);
    })
}

/// Blocks of a message that is hashed in one go, and the bytes that fit in them beside their padding (§5.1.1). Most of what is hashed
/// here is no longer, and half of what the library takes for that is to gather it piece by piece.
const BLOCKS: usize = 4;
const SHORT_MAX: usize = 64 * BLOCKS - 9;

/// The SHA-256 of `length` bytes, at most [`SHORT_MAX`], that `fill` puts at the beginning.
fn short(length: usize, fill: impl FnOnce(&mut [u8])) -> Digest {
    let mut bytes = [0; 64 * BLOCKS];
    fill(&mut bytes);
    bytes[length] = 0x80;
    let blocks = (length + 9).div_ceil(64);
    bytes[64 * blocks - 8..64 * blocks].copy_from_slice(&(8 * length as u64).to_be_bytes());
    // Of §5.3.3: the roots of the first primes.
    let mut state =
        [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];
    for block in bytes[..64 * blocks].chunks_exact(64) {
        compress256(&mut state, core::slice::from_ref(GenericArray::from_slice(block)));
    }
    let mut digest = [0; 32];
    for (to, word) in digest.chunks_exact_mut(4).zip(state) {
        to.copy_from_slice(&word.to_be_bytes());
    }
    Digest(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_bytes_with_other_meanings_have_other_digests() {
        assert_ne!(hash(Tag::Leaf, &[b"ab"]), hash(Tag::Branch, &[b"ab"]));
        assert_eq!(hash(Tag::Leaf, &[b"ab"]), hash(Tag::Leaf, &[b"a", b"b"]));
        assert_eq!(link(&Digest([7; 32])), hash(Tag::Link, &[&[7; 32]]));
    }

    #[test]
    fn what_is_hashed_in_one_go_is_hashed_as_the_library_does() {
        let bytes: alloc::vec::Vec<u8> = (0..3 * SHORT_MAX).map(|n| (n * n / 7) as u8).collect();
        for length in 0..=SHORT_MAX + 70 {
            let parts = [&bytes[..length / 3], &[], &bytes[length / 3..length]];
            let right = Sha256::new_with_prefix([Tag::Fold as u8]).chain_update(&bytes[..length]).finalize();
            assert_eq!(hash(Tag::Fold, &parts).0[..], right[..], "{length}");
        }
    }

    #[test]
    fn is_sha_256() {
        // sha256("\x01abc"), by coreutils: printf '\001abc' | sha256sum
        assert_eq!(
            hash(Tag::Leaf, &[b"abc"]).hex(),
            "1e18834c426d00e57788444cb3ccd62c771b420c095bb0c4e040a8c122c4570d"
        );
    }
}
