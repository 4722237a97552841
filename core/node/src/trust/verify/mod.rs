//! Was the work done that was paid for?
//!
//! 1. Before: the client promises a secret number by its hash, and both sides' numbers make the seed of the sampling
//!    ([`commit`]).
//! 2. Meanwhile: for each 32 tokens the worker commits to a fingerprint of what it computed.
//! 3. After the last commitment the secret is told. It and the commitment say whether there is an audit ([`rate`]): before,
//!    the worker could not know, and the client cannot choose afterwards.
//! 4. An auditor computes the tokens in one pass, as a prompt, and compares fingerprints: all of up to 64 blocks, and of a longer
//!    answer 64 that follow each other, by the same secret and commitment ([`commit::window`]). The distances feed a
//!    sequential test for the pair of back ends ([`sequential`]): no single distance condemns, and from audit to audit no single
//!    auditor does ([`history`]).
//! 5. A newcomer is paid in part while it works, and the rest after the audit ([`rate::share`]): then cheating does not pay. Whoever
//!    cheats in a part of a long answer saves that part, and is looked at there with about as large a part of the chance.
//! 6. Whoever is found guilty by others may appeal, once: more of them compute it again, and more than half decide
//!    ([`dispute`]). Whoever was wrong bears the cost.
//!
//! What is shown are probabilities, and they are stated where the constants are.
//!
//! Sources: J. Ong et al., "TOPLOC" (2025, arXiv 2501.16007) for fingerprints of 32 tokens; A. Wald, "Sequential Tests of
//! Statistical Hypotheses" (1945); E. Page, "Continuous Inspection Schemes" (1954); Y. Zhang, S. Wang, "Proof of Sampling"
//! (2024, arXiv 2405.00295) for the deterrence.

pub mod commit;
pub mod dispute;
pub mod history;
pub mod rate;
pub mod sequential;
