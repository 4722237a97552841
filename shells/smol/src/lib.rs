//! The product: a command line around an engine and a store of models.
//!
//! | room | what it does |
//! |---|---|
//! | [`cli`] | one file a command |
//! | [`client`] | asks a server, from the command line |
//! | [`config`] | settings: flags over environment over file over defaults |
//! | [`daemon`] | what stays while the server runs: store, models in memory, settings |
//! | [`drive`] | the loop around a node |
//! | [`engine`] | a loaded model that answers |
//! | [`http`] | who asks over HTTP is let in, understood and answered |
//! | [`log`] | what happened, for those who look after this machine |
//! | [`make`] | models of one's own |
//! | [`measure`] | what models do here, counted |
//! | [`model`] | a model that was named |
//! | [`perform`] | fetches what the core decides to fetch |
//! | [`store`] | models on disk, their records in LMDB |
//! | [`talk`] | what an API asks of a model and what comes back, whichever the API |
//! | [`web`] | the page of this machine |

pub mod cli;
pub mod client;
pub mod config;
pub mod daemon;
pub mod drive;
pub mod engine;
pub mod http;
pub mod log;
pub mod make;
pub mod measure;
pub mod model;
pub mod perform;
pub mod store;
pub mod talk;
pub mod web;
