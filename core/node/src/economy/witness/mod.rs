//! Who watches an account, and what they certify.
//!
//! | part | what it knows |
//! |---|---|
//! | [`set`] | the 3f+1 witnesses of an account: drawn by trust, recorded in its log |
//! | [`certificate`] | 2f+1 of them, for one statement |
//! | [`terms`] | how a set follows another, and what each may certify |
//! | [`vote`] | a witness: one statement for each place, ever |
//! | [`collect`] | an owner that gathers votes |
//!
//! There is no agreement among witnesses and no order among accounts: transfers by single owners need none.
//!
//! Source: R. Guerraoui et al., "The Consensus Number of a Cryptocurrency" (2019); M. Baudet, G. Danezis, A. Sonnino,
//! "FastPay" (2020), whose authorities are our witnesses. We leave its one committee for all: each account has its own.

pub mod certificate;
pub mod collect;
pub mod set;
pub mod terms;
pub mod vote;

pub use certificate::Certificate;
pub use collect::Collect;
pub use set::Set;
pub use terms::{Renewal, Terms};
pub use vote::Witness;

#[cfg(test)]
mod tests;
