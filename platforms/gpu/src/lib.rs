//! Runs plans on GPUs of any vendor, with the kernels in `shaders/`, over wgpu: Vulkan, Metal and DX12.
//!
//! | room | what it does |
//! |---|---|
//! | `caps` | what a device can do, as far as kernels depend on it |
//! | [`adapter`] | which GPUs there are, and which is taken |
//! | `driver` | what drivers are asked beside wgpu |
//! | [`kernel`] | the kernels, each with its variants |
//! | `pack` | weights as kernels read them |
//! | [`record`] | from a plan to a program: where everything lies, what is fused |
//! | `touch` | what operations read and write |
//! | [`program`] | dispatches over numbered memory; no device |
//! | [`count`] | what a step moves |
//! | `step` | what a step tells the device |
//! | `device` | an open GPU, its pipelines, whether it is still there |
//! | `engine` | a program on a device: one submission a step |
//! | `profile` | how long each kernel takes |
//! | [`split`] | a plan in two halves, the second on the GPU |
//! | `trial` | whether a driver's narrow numbers and matrices are right |
//! | `spare` | who takes over when a GPU is gone, or given a plan that it does not know |
//!
//! Invariants: weights stay in their block format in the device's memory; a step allocates nothing on the device,
//! compiles nothing, and is one submission; a software adapter is never taken unless it is named.

pub mod adapter;
mod caps;
pub mod count;
mod device;
mod driver;
mod engine;
pub mod kernel;
mod pack;
mod profile;
pub mod program;
pub mod record;
mod spare;
pub mod split;
mod step;
mod touch;
mod trial;

pub use adapter::{Adapter, Class, Info, Wanted, adapters, choose, is_likely};
pub use caps::Caps;
pub use device::Device;
pub use engine::{Engine, Error, Options, Release, bytes};
pub use spare::{Make, Spared, Why};
