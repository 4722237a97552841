//! What TuTU decides, without a clock, a socket or a disk.
//!
//! | room | what it knows |
//! |---|---|
//! | [`kit`] | the shape of a machine, time, the four laws |
//! | [`work`] | models: their names, where they come from, how they are fetched and kept |
//! | [`mesh`] | who is there |
//! | [`trust`] | who is who |
//! | [`economy`] | what it is worth: the ledger, its witnesses |
//! | [`wire`] | the bytes between nodes |
//! | [`node`] | the corridor: one machine of all |
//! | [`edge`] | what the outside sets |
//!
//! Invariants: no `std`, no `unsafe`, no float, no order that is not ours, no number of a stranger believed
//! before it was checked.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod economy;
pub mod edge;
pub mod kit;
pub mod mesh;
pub mod node;
pub mod trust;
pub mod wire;
pub mod work;
