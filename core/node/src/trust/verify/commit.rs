//! What a worker commits to while it writes, and what decides about an audit afterwards.
//!
//! ```text
//! head of nothing     SHA-256("tutu work 1" ‖ session)
//! head after a block  SHA-256(head before ‖ number of the block, u32 big-endian ‖ fingerprint, 16 × i16 big-endian
//!                             ‖ hash of the tokens)
//! ```

use core::fmt;

use sha2::{Digest as _, Sha256};

use crate::kit::log;

/// Tokens of one block.
pub const BLOCK: u32 = 32;
/// Blocks of one session: two million tokens.
pub const BLOCKS_MAX: u32 = 65_536;

/// What a worker computed for one block: a random projection of the last hidden state, as the engine makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub [i16; 16]);

/// One block of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// What was computed.
    pub fingerprint: Fingerprint,
    /// The first half of the SHA-256 of its tokens.
    pub tokens: [u8; 16],
}

/// A chain of blocks. Worker and client each keep one; heads are equal as long as blocks are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    head: [u8; 32],
    count: u32,
}

/// Why a block was refused. The chain is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The worker's head does not follow from the block. The worker's fault.
    Broken {
        /// Which block, from 0.
        block: u32,
    },
    /// More blocks than a session has.
    TooLong,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken { block } => write!(f, "block {block} does not fit the commitment to it"),
            Self::TooLong => write!(f, "a session has {BLOCKS_MAX} blocks at most"),
        }
    }
}

impl core::error::Error for Error {}

impl Chain {
    /// The chain of `session` without blocks.
    pub fn new(session: &[u8; 32]) -> Self {
        Self { head: hash(&[b"tutu work 1", session]), count: 0 }
    }

    /// Adds a block; the new head.
    ///
    /// # Errors
    /// [`Error::TooLong`].
    pub fn push(&mut self, block: &Block) -> Result<[u8; 32], Error> {
        if self.count >= BLOCKS_MAX {
            return Err(Error::TooLong);
        }
        self.head = self.after(block);
        self.count += 1;
        Ok(self.head)
    }

    /// Adds a block to which the worker has committed with `head`.
    ///
    /// # Errors
    /// [`Error::TooLong`], [`Error::Broken`], in this order of checks.
    pub fn check(&mut self, block: &Block, head: &[u8; 32]) -> Result<(), Error> {
        if self.count < BLOCKS_MAX && self.after(block) != *head {
            return Err(Error::Broken { block: self.count });
        }
        self.push(block).map(drop)
    }

    /// What all blocks so far are committed to with.
    pub const fn head(&self) -> &[u8; 32] {
        &self.head
    }

    /// How many blocks there are.
    pub const fn count(&self) -> u32 {
        self.count
    }

    fn after(&self, block: &Block) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (at, part) in bytes.chunks_exact_mut(2).zip(block.fingerprint.0) {
            at.copy_from_slice(&part.to_be_bytes());
        }
        hash(&[&self.head, &self.count.to_be_bytes(), &bytes, &block.tokens])
    }
}

/// What a client tells of its secret before the work.
pub fn promise(secret: &[u8; 32]) -> [u8; 32] {
    hash(&[b"tutu promise 1", secret])
}

/// The seed of the sampling: neither side can choose it alone.
pub fn seed(client: &[u8; 32], worker: &[u8; 32]) -> u64 {
    first(&hash(&[b"tutu seed 1", client, worker]))
}

/// A number between 0 and 999,999 that nobody knew before the work was committed to: an audit is due if it is below the
/// rate. `None` if the secret is not what was promised.
pub fn draw(promised: &[u8; 32], secret: &[u8; 32], head: &[u8; 32]) -> Option<u32> {
    (promise(secret) == *promised).then(|| {
        let number = first(&hash(&[b"tutu audit 1", secret, head]));
        ((u128::from(number) * 1_000_000) >> 64) as u32
    })
}

/// The first of at most `most` blocks of `count` that are audited; all, if there are no more. Nobody could know it before the
/// work was committed to, and whoever promised the secret cannot choose it.
///
/// A window of `most` blocks slides over the answer and beyond both its ends, and is drawn back inside then. So each block is in it
/// with a chance of at least `most / (count + most - 1)`, the first and the last one, too; of blocks that follow each other
/// some are with about their part of the answer, or more.
pub fn window(secret: &[u8; 32], head: &[u8; 32], count: u32, most: u32) -> u32 {
    let (last, beyond) = (count.saturating_sub(most), most.saturating_sub(1));
    if last == 0 {
        return 0;
    }
    let number = first(&hash(&[b"tutu window 1", secret, head]));
    let start = (u128::from(number) * (u128::from(count) + u128::from(beyond))) >> 64;
    (start as u32).saturating_sub(beyond).min(last)
}

/// Buckets of distances.
pub const BUCKETS: usize = 48;

/// How far two fingerprints of the same block are apart: in quarters of a doubling, from 2⁻¹¹ of their size up to twice it.
pub fn distance(a: &Fingerprint, b: &Fingerprint) -> u8 {
    let pairs = || a.0.iter().zip(&b.0).map(|(a, b)| (i64::from(*a), i64::from(*b)));
    let apart: u64 = pairs().map(|(a, b)| a.abs_diff(b)).sum();
    let size: u64 = pairs().map(|(a, b)| a.unsigned_abs() + b.unsigned_abs()).sum::<u64>() / 2;
    if apart == 0 {
        return 0;
    }
    let quarters = (log::log2(apart) - log::log2(size.max(1))) / (log::ONE / 4) + 44;
    quarters.clamp(0, BUCKETS as i64 - 1) as u8
}

fn first(hash: &[u8; 32]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *hash;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::Rng;

    fn block(rng: &mut Rng) -> Block {
        let mut fingerprint = [0; 16];
        fingerprint.iter_mut().for_each(|part| *part = rng.next() as i16);
        Block { fingerprint: Fingerprint(fingerprint), tokens: [rng.next() as u8; 16] }
    }

    #[test]
    fn heads_agree_as_long_as_blocks_do() {
        let mut rng = Rng::new(1);
        let (mut worker, mut client) = (Chain::new(&[7; 32]), Chain::new(&[7; 32]));
        for n in 0..20 {
            let good = block(&mut rng);
            let head = worker.push(&good).unwrap();
            for at in 0..16 {
                let mut bad = good;
                bad.fingerprint.0[at] ^= 1;
                assert_eq!(client.check(&bad, &head), Err(Error::Broken { block: n }));
                let mut bad = good;
                bad.tokens[at] ^= 1;
                assert_eq!(client.check(&bad, &head), Err(Error::Broken { block: n }));
            }
            assert_eq!(client.check(&good, &head), Ok(()));
            assert_eq!(client, worker);
        }
        assert_ne!(Chain::new(&[8; 32]).head(), Chain::new(&[7; 32]).head(), "sessions differ");
    }

    #[test]
    fn a_session_has_an_end() {
        let mut chain = Chain { count: BLOCKS_MAX, ..Chain::new(&[0; 32]) };
        let block = block(&mut Rng::new(1));
        assert_eq!(chain.push(&block), Err(Error::TooLong));
        assert_eq!(chain.check(&block, &[0; 32]), Err(Error::TooLong));
    }

    #[test]
    fn audits_are_drawn_evenly_and_only_with_the_promised_secret() {
        let mut due = 0;
        for n in 0..20_000_u32 {
            let mut secret = [3; 32];
            secret[..4].copy_from_slice(&n.to_be_bytes());
            let head = hash(&[&secret]);
            let number = draw(&promise(&secret), &secret, &head).unwrap();
            assert!(number < 1_000_000);
            due += u32::from(number < 50_000);
            assert_eq!(draw(&promise(&[4; 32]), &secret, &head), None);
        }
        assert!((900..1_100).contains(&due), "{due} of 20,000 at 5 %");
    }

    #[test]
    fn each_block_of_a_long_answer_is_looked_at_with_its_part_and_short_ones_are_as_a_whole() {
        for count in [0, 1, 63, 64] {
            assert_eq!(window(&[1; 32], &[2; 32], count, 64), 0);
        }
        assert_eq!(
            window(&[1; 32], &[2; 32], 5, 0),
            window(&[1; 32], &[2; 32], 5, 0),
            "nothing to look at is no failure"
        );
        for count in [65, 100, 282, 1024] {
            let (draws, mut seen) = (4_000_u32, alloc::vec![0_u32; count]);
            for n in 0..draws {
                let head = hash(&[&n.to_be_bytes()]);
                let at = window(&[3; 32], &head, count as u32, 64) as usize;
                seen[at..at + 64].iter_mut().for_each(|seen| *seen += 1);
            }
            let least = draws * 64 / (count as u32 + 63);
            assert!(seen.iter().all(|seen| *seen > least * 7 / 10), "{count}: {:?} of {least}", seen.iter().min());
        }
        assert_ne!(window(&[1; 32], &[2; 32], 65_536, 64), window(&[2; 32], &[2; 32], 65_536, 64), "by the secret");
    }

    #[test]
    fn both_sides_make_the_seed() {
        let (a, b) = ([1; 32], [2; 32]);
        assert_eq!(seed(&a, &b), seed(&a, &b));
        assert!(seed(&a, &b) != seed(&b, &a) && seed(&a, &b) != seed(&a, &a) && seed(&a, &b) != seed(&b, &b));
    }

    #[test]
    fn distances_grow_with_the_difference() {
        let print = |scale: i16| Fingerprint(core::array::from_fn(|at| (1000 + at as i16) + scale));
        assert_eq!(distance(&print(0), &print(0)), 0);
        let mut last = 0;
        for scale in [1, 2, 4, 16, 100, 500] {
            let now = distance(&print(0), &print(scale));
            assert!(now >= last, "{scale}: {now} after {last}");
            last = now;
        }
        let opposite = |sign: i16| Fingerprint([sign * i16::MAX; 16]);
        assert_eq!(distance(&opposite(1), &opposite(-1)), 47);
        assert_eq!(distance(&Fingerprint([i16::MIN; 16]), &opposite(1)), 47);
        assert_eq!(distance(&Fingerprint([0; 16]), &Fingerprint([0; 16])), 0);
    }
}
