//! That an entry is among many, shown with few hashes.
//!
//! Source: RFC 9162 §2.1 (Certificate Transparency): the tree over any number of leaves, split at the greatest power of
//! two below it. Our tags stand in the place of its prefix bytes.

use alloc::vec::Vec;

use crate::kit::{
    Digest,
    hash::{Tag, hash},
};

/// The root over `leaves`; of none, the digest of nothing.
pub fn root(leaves: impl IntoIterator<Item = Digest>) -> Digest {
    let mut row: Vec<Digest> = leaves.into_iter().map(|leaf| hash(Tag::Leaf, &[&leaf.0])).collect();
    if row.is_empty() {
        return hash(Tag::Leaf, &[]);
    }
    while row.len() > 1 {
        let width = row.len();
        (0..width.div_ceil(2)).for_each(|at| row[at] = above(&row[2 * at..width.min(2 * at + 2)]));
        row.truncate(width.div_ceil(2));
    }
    row[0]
}

/// The digests beside the way from leaf `index` up to the root; nothing if there is no such leaf.
pub fn proof(leaves: &[Digest], index: usize) -> Option<Vec<Digest>> {
    if index >= leaves.len() {
        return None;
    }
    let mut row: Vec<Digest> = leaves.iter().map(|leaf| hash(Tag::Leaf, &[&leaf.0])).collect();
    let (mut at, mut beside) = (index, Vec::new());
    while row.len() > 1 {
        beside.extend(row.get(at ^ 1));
        row = row.chunks(2).map(above).collect();
        at /= 2;
    }
    Some(beside)
}

/// Whether `leaf` is number `index` of the `count` leaves under `root`.
pub fn holds(leaf: &Digest, index: usize, count: usize, proof: &[Digest], root: &Digest) -> bool {
    if index >= count {
        return false;
    }
    let (mut digest, mut at, mut width) = (hash(Tag::Leaf, &[&leaf.0]), index, count);
    let mut proof = proof.iter();
    while width > 1 {
        // The last of an odd row has nobody beside it and goes up as it is.
        if at ^ 1 < width {
            let Some(other) = proof.next() else { return false };
            digest = if at % 2 == 0 { above(&[digest, *other]) } else { above(&[*other, digest]) };
        }
        (at, width) = (at / 2, width.div_ceil(2));
    }
    proof.next().is_none() && digest == *root
}

fn above(pair: &[Digest]) -> Digest {
    match pair {
        [left, right] => hash(Tag::Branch, &[&left.0, &right.0]),
        _ => pair[0],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::NodeId;

    fn leaves(count: u64) -> Vec<Digest> {
        (0..count).map(|n| Digest(NodeId::number(n).0)).collect()
    }

    #[test]
    fn each_leaf_is_shown_and_no_other_in_its_place() {
        for count in 1..40_usize {
            let all = leaves(count as u64);
            let root = root(all.iter().copied());
            for index in 0..count {
                let proof = proof(&all, index).unwrap();
                assert!(proof.len() <= 6);
                for place in 0..count {
                    assert_eq!(
                        holds(&all[index], place, count, &proof, &root),
                        place == index,
                        "{index} as {place} of {count}"
                    );
                }
                assert!(!holds(&Digest([0; 32]), index, count, &proof, &root));
                let longer: Vec<Digest> = proof.iter().copied().chain([root]).collect();
                assert!(!holds(&all[index], index, count, &longer, &root), "one too many");
            }
            assert_eq!(super::proof(&all, count), None);
            assert!(!holds(&all[0], count, count, &[], &root));
        }
    }

    #[test]
    fn is_the_tree_of_rfc_9162() {
        let d: Vec<Digest> = leaves(7);
        let leaf = |n: usize| hash(Tag::Leaf, &[&d[n].0]);
        let up = |a: Digest, b: Digest| hash(Tag::Branch, &[&a.0, &b.0]);
        // §2.1.5 draws seven leaves: ((a b)(c d))((e f) j).
        let expected = up(up(up(leaf(0), leaf(1)), up(leaf(2), leaf(3))), up(up(leaf(4), leaf(5)), leaf(6)));
        assert_eq!(root(d.iter().copied()), expected);
        assert_eq!(root([]), hash(Tag::Leaf, &[]));
    }
}
