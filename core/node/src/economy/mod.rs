//! What it is worth.

pub mod governance;
pub mod ledger;
pub mod tiers;
pub mod witness;
