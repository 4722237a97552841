//! How an engine is made.

use core::fmt;
use std::sync::Arc;

/// Is told which bytes of the model's file are not needed any more.
pub type Release = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// How keys and values are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KvKind {
    /// As halves.
    #[default]
    F16,
    /// In eight bits, 32 elements with one scale: half of the memory.
    Q8_0,
}

/// Instructions that kernels are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// AVX-512 with the VNNI dot product.
    Avx512Vnni,
    /// AVX-512 F, BW, VL and DQ.
    Avx512,
    /// AVX2, FMA and F16C.
    Avx2,
    /// AVX2, FMA, F16C and the VNNI dot product.
    Avx2Vnni,
    /// NEON with the dot product of an unsigned and a signed side.
    NeonI8mm,
    /// NEON with the dot product of two signed sides.
    NeonDot,
    /// NEON.
    Neon,
    /// Plain Rust.
    Portable,
}

impl Isa {
    /// All, the fastest first.
    pub const ALL: [Self; 8] = [
        Self::Avx512Vnni,
        Self::Avx512,
        Self::Avx2Vnni,
        Self::Avx2,
        Self::NeonI8mm,
        Self::NeonDot,
        Self::Neon,
        Self::Portable,
    ];

    /// The name that `TUTU_CPU` takes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Avx512Vnni => "avx512vnni",
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Avx2Vnni => "avx2vnni",
            Self::NeonI8mm => "neoni8mm",
            Self::NeonDot => "neondot",
            Self::Neon => "neon",
            Self::Portable => "portable",
        }
    }

    /// Whether this processor has them.
    pub fn is_here(self) -> bool {
        crate::has(self)
    }

    /// The instructions of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|isa| isa.name() == name)
    }
}

/// How an engine is made.
#[derive(Clone)]
pub struct Options {
    /// Tokens of one step at most.
    pub tokens_max: usize,
    /// Pages of the caches.
    pub pages: usize,
    /// Threads, the caller's among them.
    pub threads: usize,
    /// How keys and values are kept.
    pub kv: KvKind,
    /// Which instructions; `None` for the fastest there are.
    pub isa: Option<Isa>,
    /// Is told of each part of the file whose weights now lie in panels.
    pub release: Option<Release>,
}

impl Default for Options {
    fn default() -> Self {
        Self { tokens_max: 128, pages: 128, threads: 1, kv: KvKind::F16, isa: None, release: None }
    }
}

/// Why there is no engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The processor does not have the instructions that were asked for.
    NoIsa(Isa),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoIsa(isa) => write!(f, "this processor has no {}", isa.name()),
        }
    }
}

impl core::error::Error for Error {}
