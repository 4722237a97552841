//! Many thousand nodes in one process, from one seed.
//!
//! The nodes are the ones that ship: [`tutu_node::node::Node`], with their bytes, timers and disks. Only the world around
//! them is made up: how late a packet is, what a disk forgets, who stalls, who lies. The same plan gives the same world,
//! event by event, and the hash of its trace says so.
//!
//! | module | what it knows |
//! |---|---|
//! | [`plan`] | everything that will happen to a world, written down before it begins |
//! | [`world`] | time: what was planned happens, and what was told is judged |
//! | [`part`] | some of the hosts, and all that happens to them |
//! | [`together`] | parts of a large world side by side, in threads |
//! | [`host`] | one machine |
//! | [`names`] | who is called what |
//! | [`net`] | links: latency, loss, doubles, disorder, one-way cuts, partitions, walls |
//! | [`disk`] | what is kept, forgotten, torn |
//! | [`actors`] | hosts that lie, and how |
//! | [`keys`] | signatures: real ones, or counted stand-ins of the same size |
//! | [`check`] | what must always hold, and what must hold after a calm |
//! | [`scenarios`] | one story each |
//! | [`economy`] | markets: hosts that work for each other, and some that cheat |
//! | [`outcome`] | what came of a world, in numbers |
//! | `mutants` | whether worlds notice when the protocol is wrong |
//! | [`shrink`] | how little of a story makes it fail |
//! | [`plot`] | pictures |
//!
//! Invariant: nothing here reads a clock, a socket or a disk; only `main` looks at its watch, to say how long it took.
#![forbid(unsafe_code)]

pub mod actors;
pub mod check;
pub mod disk;
pub mod economy;
pub mod host;
pub mod keys;
#[cfg(feature = "mutants")]
pub mod mutants;
pub mod names;
pub mod net;
pub mod outcome;
pub mod part;
pub mod plan;
pub mod plot;
pub mod scenarios;
pub mod shrink;
pub mod together;
pub mod world;
