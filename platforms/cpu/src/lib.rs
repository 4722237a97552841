//! Runs plans on the processor.
//!
//! | room | what it does |
//! |---|---|
//! | [`lanes`] | sixteen numbers at a time on every instruction set; kernels are written once over it |
//! | `memory` | one region for all weights, in huge pages |
//! | `panel` | weights put side by side as the kernels read them |
//! | `acts` | activations, quantised and put side by side as the kernels read them |
//! | `linear` | panels times activations |
//! | `unpacked` | parts of panels, unpacked once and multiplied with many tokens |
//! | `place` | where the products go; of the output head only the best |
//! | `cache` | keys and values in pages |
//! | `attention` | queries times the pages of a cache, segment by segment |
//! | `rows` | norms, rotary embedding, activation functions |
//! | `pool` | threads that claim chunks of work |
//! | `engine` | a plan, prepared once and run step by step |
//!
//! Invariants: the bits of a token's result depend on the token and what is before it, never on what else is
//! computed with it, in how many chunks, or on how many threads; every `unsafe` block stands on a fact that its
//! comment names.

#![allow(clippy::needless_range_loop, reason = "kernels index several arrays by one number")]

mod acts;
mod attention;
mod cache;
mod engine;
pub mod lanes;
mod linear;
mod memory;
mod options;
mod panel;
mod place;
mod pool;
mod quantise;
mod rows;
mod shared;
mod unpacked;

use std::sync::Arc;

use tutu_llm::{
    backend::{Backend, Batch, Fault},
    plan::Plan,
    sample::Candidate,
    weights::Weights,
};

pub use options::{Error, Isa, KvKind, Options, Release};

/// A plan that runs on the processor.
pub struct Engine {
    inner: Box<dyn Backend + Send>,
    isa: Isa,
}

impl Engine {
    /// Prepares a plan: weights are put into panels, once.
    ///
    /// # Errors
    /// [`Error::NoIsa`], where instructions were asked for that the processor does not have.
    pub fn new(weights: Arc<Weights>, plan: Arc<Plan>, options: Options) -> Result<Self, Error> {
        let wanted: &[Isa] = match &options.isa {
            Some(isa) => &[*isa],
            None => &Isa::ALL,
        };
        for &isa in wanted {
            if let Some(inner) = make(isa, &weights, &plan, &options) {
                return Ok(Self { inner, isa });
            }
        }
        Err(Error::NoIsa(wanted[0]))
    }

    /// Which instructions it uses.
    pub fn isa(&self) -> Isa {
        self.isa
    }
}

/// Whether this processor has these instructions.
fn has(isa: Isa) -> bool {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => lanes::Avx512Vnni::detect().is_some(),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => lanes::Avx512::detect().is_some(),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => lanes::Avx2::detect().is_some(),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2Vnni => lanes::Avx2Vnni::detect().is_some(),
        #[cfg(target_arch = "aarch64")]
        Isa::NeonI8mm => lanes::NeonI8mm::detect().is_some(),
        #[cfg(target_arch = "aarch64")]
        Isa::NeonDot => lanes::NeonDot::detect().is_some(),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => lanes::Neon::detect().is_some(),
        Isa::Portable => true,
        // Of another family of processors.
        _ => false,
    }
}

fn make(isa: Isa, weights: &Arc<Weights>, plan: &Arc<Plan>, options: &Options) -> Option<Box<dyn Backend + Send>> {
    fn with<L: lanes::Lanes>(
        lanes: L,
        weights: &Arc<Weights>,
        plan: &Arc<Plan>,
        options: &Options,
    ) -> Box<dyn Backend + Send> {
        Box::new(engine::Engine::new(lanes, Arc::clone(weights), Arc::clone(plan), options.clone()))
    }
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => lanes::Avx512Vnni::detect().map(|l| with(l, weights, plan, options)),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => lanes::Avx512::detect().map(|l| with(l, weights, plan, options)),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => lanes::Avx2::detect().map(|l| with(l, weights, plan, options)),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2Vnni => lanes::Avx2Vnni::detect().map(|l| with(l, weights, plan, options)),
        #[cfg(target_arch = "aarch64")]
        Isa::NeonI8mm => lanes::NeonI8mm::detect().map(|l| with(l, weights, plan, options)),
        #[cfg(target_arch = "aarch64")]
        Isa::NeonDot => lanes::NeonDot::detect().map(|l| with(l, weights, plan, options)),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => lanes::Neon::detect().map(|l| with(l, weights, plan, options)),
        Isa::Portable => Some(with(lanes::Portable, weights, plan, options)),
        // Of another family of processors.
        _ => None,
    }
}

impl Backend for Engine {
    fn tokens_max(&self) -> usize {
        self.inner.tokens_max()
    }

    fn pages(&self) -> usize {
        self.inner.pages()
    }

    fn step(&mut self, batch: &Batch<'_>, out: &mut Vec<f32>) -> Result<(), Fault> {
        self.inner.step(batch, out)
    }

    fn step_best(&mut self, batch: &Batch<'_>, most: usize, out: &mut Vec<Vec<Candidate>>) -> Result<(), Fault> {
        self.inner.step_best(batch, most, out)
    }

    fn states(&mut self, batch: &Batch<'_>, out: &mut Vec<f32>) -> Result<(), Fault> {
        self.inner.states(batch, out)
    }

    fn replan(&mut self, weights: Arc<Weights>, plan: Arc<Plan>) -> Result<(), Fault> {
        self.inner.replan(weights, plan)
    }

    fn page_bytes(&self) -> usize {
        self.inner.page_bytes()
    }

    fn save(&self, page: u32, out: &mut Vec<u8>) {
        self.inner.save(page, out);
    }

    fn load(&mut self, page: u32, bytes: &[u8]) -> bool {
        self.inner.load(page, bytes)
    }
}
