//! SIMD kernels and the thread pool that runs a plan on the processor.

pub mod lanes;
