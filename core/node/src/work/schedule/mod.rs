//! Who does which task, without anybody in the middle.
//!
//! | file | what it knows |
//! |---|---|
//! | [`client`] | asks a few workers, keeps places, binds late, tries again, charges once |
//! | [`choice`] | whom to ask: by trust, price, line, models and texts in memory |
//! | [`learn`] | ranks those who were drawn, where that is better |
//! | [`budget`] | how often one may try again |
//! | [`worker`] | admits or refuses with a price, calls, runs, interrupts, hands on |
//! | [`queue`] | four bounded queues that each get their share |
//!
//! What a worker is trusted, asks and has in memory, the client is told; how fast it is and how much it has to do, the worker
//! quotes when it is asked, and binding late makes a wrong quote harmless.

pub mod budget;
pub mod choice;
pub mod client;
pub mod learn;
pub mod queue;
pub mod worker;
