//! What it is worth.

pub mod fault;
pub mod governance;
pub mod ledger;
pub mod tiers;
pub mod witness;
