//! Small harm to sound bytes, the same for the same seed.

/// Marsaglia's xorshift64: enough chance for a mutator.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// Any seed will do.
    pub fn new(seed: u64) -> Self {
        let mut chance = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        chance.next();
        chance
    }

    /// The next number.
    #[allow(clippy::should_implement_trait, reason = "it never ends, so it is no iterator")]
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`, 0 where that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() >> 16) as usize % end.max(1)
    }
}

/// Numbers at which lengths, counts and types go wrong.
const EDGES: [u64; 20] = [
    0,
    1,
    2,
    7,
    8,
    9,
    12,
    31,
    32,
    39,
    255,
    256,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_ffff_ffe0,
    0xffff_ffff_ffff_ffff,
];

/// Harms `bytes` in one to four places, more often near the beginning, where a file's head is. One place is
/// the most frequent: what is harmed twice is often refused for the first harm, and the second never seen.
pub fn mutate(bytes: &mut Vec<u8>, chance: &mut Chance) {
    for _ in 0..[1, 1, 1, 2, 3, 4][chance.below(6)] {
        let reach = [128, 1024, 8192, usize::MAX][chance.below(4)].min(bytes.len());
        let at = chance.below(reach);
        match chance.below(10) {
            _ if bytes.is_empty() => bytes.push(chance.next() as u8),
            0 => bytes[at] ^= 1 << chance.below(8),
            1 => bytes[at] = chance.next() as u8,
            2 | 3 => put(bytes, at, &EDGES[chance.below(EDGES.len())].to_le_bytes()),
            4 => put(bytes, at, &(EDGES[chance.below(EDGES.len())] as u32).to_le_bytes()),
            5 => put(bytes, at, &(chance.below(1 << 16) as u64).to_le_bytes()),
            6 => bytes.truncate(chance.below(bytes.len())),
            7 => {
                let len = chance.below(64.min(bytes.len() - at));
                bytes.drain(at..at + len);
            }
            8 => {
                let copied = bytes[at..bytes.len().min(at + chance.below(64))].to_vec();
                let to = chance.below(bytes.len());
                bytes.splice(to..to, copied);
            }
            _ => {
                let len = 64.min(bytes.len() - at);
                let from = chance.below(bytes.len() - len + 1);
                bytes.copy_within(from..from + len, at);
            }
        }
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..].iter_mut().zip(value).for_each(|(byte, new)| *byte = *new);
}
