//! Block formats: how weights lie in a file, and what numbers they stand for.

mod decode;
mod encode;
mod float;
mod recipe;

use core::fmt;

pub use decode::{IQ4_VALUES, MXFP4_VALUES, dequantise, e8m0_half, k_scale};
pub use encode::{Error, quantise};
pub use float::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
pub use recipe::{Recipe, Shape};

/// The element type of a tensor. Numbers are those of the GGUF file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
#[allow(missing_docs, reason = "the field's own names")]
pub enum Kind {
    F32 = 0,
    F16 = 1,
    Q4_0 = 2,
    Q4_1 = 3,
    Q5_0 = 6,
    Q5_1 = 7,
    Q8_0 = 8,
    Q2K = 10,
    Q3K = 11,
    Q4K = 12,
    Q5K = 13,
    Q6K = 14,
    Iq4Nl = 20,
    Iq4Xs = 23,
    Bf16 = 30,
    Mxfp4 = 39,
}

impl Kind {
    /// Every format there is, in the order of their numbers.
    pub const ALL: [Self; 16] = [
        Self::F32,
        Self::F16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2K,
        Self::Q3K,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
        Self::Iq4Nl,
        Self::Iq4Xs,
        Self::Bf16,
        Self::Mxfp4,
    ];

    /// Elements in one block: 1, 32 or 256.
    pub const fn block_len(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 | Self::Iq4Nl | Self::Mxfp4 => 32,
            Self::Q2K | Self::Q3K | Self::Q4K | Self::Q5K | Self::Q6K | Self::Iq4Xs => 256,
        }
    }

    /// Bytes in one block.
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Q4_0 | Self::Iq4Nl => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q2K => 84,
            Self::Q3K => 110,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
            Self::Iq4Xs => 136,
            Self::Mxfp4 => 17,
        }
    }

    /// Bytes of a row of `len` elements; `None` where `len` is no whole number of blocks or overflows.
    pub const fn row_bytes(self, len: usize) -> Option<usize> {
        if !len.is_multiple_of(self.block_len()) {
            return None;
        }
        (len / self.block_len()).checked_mul(self.block_bytes())
    }

    /// The name that people and files use, for example `Q4_K`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q2K => "Q2_K",
            Self::Q3K => "Q3_K",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
            Self::Iq4Nl => "IQ4_NL",
            Self::Iq4Xs => "IQ4_XS",
            Self::Bf16 => "BF16",
            Self::Mxfp4 => "MXFP4",
        }
    }
}

/// The size of each format, from its parts: halves of scales and minima, packed scales, quanta by their bits.
const _: () = {
    const HALF: usize = 2;
    const fn quanta(count: usize, bits: usize) -> usize {
        count * bits / 8
    }
    assert!(Kind::Q4_0.block_bytes() == HALF + quanta(32, 4));
    assert!(Kind::Q4_1.block_bytes() == 2 * HALF + quanta(32, 4));
    assert!(Kind::Q5_0.block_bytes() == HALF + quanta(32, 5));
    assert!(Kind::Q5_1.block_bytes() == 2 * HALF + quanta(32, 5));
    assert!(Kind::Q8_0.block_bytes() == HALF + quanta(32, 8));
    assert!(Kind::Q2K.block_bytes() == 2 * HALF + quanta(16, 8) + quanta(256, 2));
    assert!(Kind::Q3K.block_bytes() == HALF + quanta(16, 6) + quanta(256, 3));
    assert!(Kind::Q4K.block_bytes() == 2 * HALF + quanta(16, 6) + quanta(256, 4));
    assert!(Kind::Q5K.block_bytes() == 2 * HALF + quanta(16, 6) + quanta(256, 5));
    assert!(Kind::Q6K.block_bytes() == HALF + quanta(16, 8) + quanta(256, 6));
    assert!(Kind::Iq4Nl.block_bytes() == HALF + quanta(32, 4));
    assert!(Kind::Iq4Xs.block_bytes() == HALF + quanta(8, 6) + quanta(256, 4));
    assert!(Kind::Mxfp4.block_bytes() == 1 + quanta(32, 4));
};

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
