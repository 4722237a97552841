//! SHA-256 (FIPS 180-4) over things that say what they are.
//!
//! Every hash begins with a [`Tag`], so that bytes hashed as one thing never stand for another.

use sha2::{Digest as _, Sha256};

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
    let mut state = Sha256::new_with_prefix([tag as u8]);
    parts.iter().for_each(|part| state.update(part));
    Digest(state.finalize().into())
}

/// The next link of a hash chain: 33 bytes in, so that one block of SHA-256 holds them with their padding.
pub fn link(secret: &Digest) -> Digest {
    let mut block = [Tag::Link as u8; 33];
    block[1..].copy_from_slice(&secret.0);
    Digest(Sha256::digest(block).into())
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
    fn is_sha_256() {
        // sha256("\x01abc"), by coreutils: printf '\001abc' | sha256sum
        assert_eq!(
            hash(Tag::Leaf, &[b"abc"]).hex(),
            "1e18834c426d00e57788444cb3ccd62c771b420c095bb0c4e040a8c122c4570d"
        );
    }
}
